"""Load the studio and kill it: order, losses, memory, and what a kill leaves.

    python benchmarks/studio.py [--clients 50] [--jobs 200] [--kills 20] [--server-kills 20] [--workers 1] [--seed 0]
                                [--engine quick]

First, studios that work on jobs are killed (SIGKILL) at random moments, while more jobs come in. After each, the folder
is opened again: every job that a client was told of must be there, what was finished must be whole, byte for byte what
its record says, what was being made must say so, and nothing else may be left; in the end all that waits is made.

Then the same is done to `motionclone studio` itself, which makes real videos that are asked for over HTTP, is killed
and started again; its workers must be gone with it. In the end what a kill has stopped is made again.

Then so many clients put jobs in line over HTTP at once and follow them until they are over; every tenth job fails. All
must be made once, begun in the order in which they came, the failed ones with their reason, and the memory of the
server and its workers must not grow after the first quarter of them by more than 5 %. Clients that are told that the
line is full come back.

`--engine mini` makes real videos of one step and four frames in place of a tenth of a second's sleep.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.studio import elsewhere, making
from motionclone.studio.desk import Desk
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.store import Entry, Store
from motionclone.studio.worker import Heard, Make

WORDS = {"prompt": "a red star on blue waves", "example": "There and back", "steps": 1, "frames": 4}
FAILS = 7
"""The seed of jobs that fail."""
SECONDS = 0.1
"""That a quick job takes."""


def make_quickly(seconds: float, entry: Entry, folder: Path, heard: Heard) -> str:
    """A video that is a few bytes after a while; of the seed `FAILS` none."""
    heard("making the video", None)
    time.sleep(seconds)
    if entry.asked.seed == FAILS:
        raise InputError("this one fails.")
    (folder / "motion.safetensors").write_bytes(os.urandom(1000))
    record = {"output": {"sha256": None}, "motion": {"source": {"fps": 8}}}
    with making.whole_file(folder / "out.mp4") as new:
        new.write_bytes(os.urandom(100_000))
        record["output"]["sha256"] = sha256_of(new)
    with making.whole_file(folder / "out.json") as new:
        new.write_text(json.dumps(record))
    return ""


class Quick(making.Engine):
    """An engine that makes such videos."""

    def make(self, entry: Entry, folder: Path, heard: Heard) -> str:
        return make_quickly(SECONDS, entry, folder, heard)


def quick(_: ModelChoice) -> Make:
    """What makes such videos in a process."""
    return partial(make_quickly, SECONDS)


def call(address: str, endpoint: str, **words: Any) -> Any:
    """What an endpoint of a studio answers. RuntimeError is what it refuses."""
    asked = Request(f"{address}gradio_api/call/v2/{endpoint}", json.dumps(words).encode())
    asked.add_header("Content-Type", "application/json")
    try:
        with urlopen(asked, timeout=60) as answer:
            number = json.load(answer)["event_id"]
        with urlopen(f"{address}gradio_api/call/v2/{endpoint}/{number}", timeout=60) as answer:
            event, data = (line.partition(": ")[2] for line in answer.read().decode().splitlines()[-3:-1])
    except HTTPError as error:
        raise RuntimeError(error.read().decode()) from error
    if event == "error":
        raise RuntimeError(json.loads(data)["error"])
    return json.loads(data)[0]


def follow(address: str, seeds: list[int], told: list[dict[str, Any]]) -> None:
    """What one person does: put in jobs, one after the other, and wait for each."""
    for seed in seeds:
        while True:
            try:
                job = call(address, "make", **WORDS, seed=seed)
                break
            except RuntimeError as error:
                if "wait already" not in str(error):
                    raise
                time.sleep(0.5)
        told.append(job)
        ahead = job.get("ahead", 0)
        while (now := call(address, "job", id=job["id"]))["state"] in ("waiting", "running"):
            assert now.get("ahead", 0) <= ahead, f"{job['id']} was passed in the line"
            ahead = now.get("ahead", 0)
            time.sleep(0.5)
        assert now["state"] == ("failed" if seed == FAILS else "done"), now
        assert now["sentence"] == "this one fails." or seed != FAILS, now


def load(address: str, desk: "Noted", clients: int, jobs: int) -> dict[str, Any]:
    """Serve so many at once; the memory after each quarter, MB."""
    told: list[dict[str, Any]] = []
    older = {entry.id for entry in desk.store.entries()}
    memory, over, began = [], threading.Event(), time.monotonic()

    def watch() -> None:
        while not over.wait(0.2):
            finished = sum(entry.state in ("done", "failed") for entry in desk.store.entries()) - len(older)
            if finished >= (len(memory) + 1) * jobs / 4:
                gc.collect()
                with contextlib.suppress(OSError, AttributeError):  # what the C library holds in reserve does not count
                    ctypes.CDLL(None).malloc_trim(0)
                here = psutil.Process()
                held = sum(each.memory_info().rss for each in (here, *here.children(recursive=True)))
                memory.append(round(held / 2**20))

    watcher = threading.Thread(target=watch)
    watcher.start()
    each = [[FAILS if number % 10 == 9 else 100 + number for number in range(k, jobs, clients)] for k in range(clients)]
    try:
        with ThreadPoolExecutor(clients) as pool:
            for future in [pool.submit(follow, address, seeds, told) for seeds in each]:
                future.result()
        time.sleep(0.5)
    finally:
        over.set()
        watcher.join()
    entries = [entry for entry in desk.store.entries() if entry.id not in older]
    assert [entry.id for entry in entries if entry.state in ("done", "failed")] == [entry.id for entry in entries]
    assert {entry.id for entry in entries} == {job["id"] for job in told}
    assert len(told) == jobs, f"{jobs - len(told)} jobs were lost"
    assert desk.begun[-jobs:] == [entry.id for entry in entries], "jobs were not begun in their order"
    return {"jobs": jobs, "clients": clients, "seconds": round(time.monotonic() - began, 1), "memory_mb": memory}


def at_work(engine: making.Engine, folder: Path, clip: Path, pipe: int) -> None:
    """A studio that works, into which jobs are put until it is killed; tells which ones, as a client is told."""
    desk = Desk(engine, folder)
    draw = random.Random()
    for number in range(10_000):
        if desk.store.entries() and sum(entry.state == "waiting" for entry in desk.store.entries()) > 5:
            time.sleep(0.05)
            continue
        asked = desk.asked(clip, prompt=WORDS["prompt"], steps=1, seed=100 + number, more={"frames": 4})
        os.write(pipe, f"{desk.submit(clip, asked).id}\n".encode())
        time.sleep(draw.uniform(0, 0.1))


def kill_once(engine: making.Engine, folder: Path, clip: Path, seconds: float, known: set[str]) -> dict[str, int]:
    """Let a studio work so long, kill it, and look at what it leaves; `known` are jobs that clients were told of."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.close(reading)
            at_work(engine, folder, clip, writing)
        os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "the studio ended by itself"
    with os.fdopen(reading) as told:
        known |= {line.strip() for line in told if line.endswith("\n")}
    return opened(folder, known)


def opened(folder: Path, known: set[str]) -> dict[str, int]:
    """How many jobs of a folder are in which state when it is opened; AssertionError for what is lost or half there."""
    store = Store(folder)
    try:
        entries = {entry.id: entry for entry in store.entries()}
        assert not store.unreadable, f"half written: {store.unreadable}"
        assert known <= entries.keys(), f"lost: {known - entries.keys()}"
        states = [entry.state for entry in entries.values()]
        for entry in entries.values():
            whole(store.jobs / entry.id, entry.state)
            assert entry.state != "failed" or entry.sentence.endswith("make it again."), entry.sentence
        assert {path.name for path in store.jobs.iterdir()} == entries.keys()
        return {state: states.count(state) for state in ("done", "failed", "waiting")}
    finally:
        store.close()


def whole(place: Path, state: str) -> None:
    """AssertionError for what is half written in a job's folder."""
    names = {path.name for path in place.iterdir()}
    assert {"job.json", "poster.png"} <= names
    assert not {name for name in names if name.startswith(".")}, names
    if state == "done":
        assert sha256_of(place / "out.mp4") == json.loads((place / "out.json").read_text())["output"]["sha256"]
    if state == "waiting":
        assert len(names) == 3, names


class Server:
    """`motionclone studio`, served by a process of its own on a folder."""

    def __init__(self, folder: Path, workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        words = ("studio", "--no-browser", "--device", "cpu", "--port", port, "--folder", folder, "--workers", workers)
        self._command = [sys.executable, "-m", "motionclone", *map(str, words)]
        self.start()

    def start(self) -> None:
        """Serve, and wait until it answers."""
        self._process = psutil.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                call(self.address, "jobs")
                return
            except (URLError, ConnectionError):
                assert self._process.poll() is None, "the studio ended by itself"
                time.sleep(0.2)

    def kill(self) -> None:
        """End it, which has no time for anything; its workers notice."""
        all_of_it = [self._process, *self._process.children(recursive=True)]
        self._process.kill()
        left = psutil.wait_procs(all_of_it, timeout=10)[1]
        assert not left, f"it is dead, and these work on: {left}"


def kill_server(server: Server, folder: Path, seconds: float, known: set[str]) -> dict[str, int]:
    """As `kill_once`, of a studio that is served, which is then started again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if sum(job["state"] in ("waiting", "running") for job in call(server.address, "jobs")) < 4:
            known.add(call(server.address, "make", **WORDS, seed=100 + len(known))["id"])
        time.sleep(0.1)
    server.kill()
    left = opened(folder, known)
    server.start()
    return left


def over(jobs: Callable[[], Iterable[str]]) -> None:
    """Wait until all jobs are, whose states are given."""
    while not {"waiting", "running"}.isdisjoint(jobs()):
        time.sleep(0.1)


class Noted(Desk):
    """A desk that notes in which order jobs are begun."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.begun: list[str] = []
        change = self.store.change

        def noted(identity: str, **changes: object) -> Entry:
            self.begun += [identity] * (changes.get("state") == "running")
            return change(identity, **changes)

        self.store.change = noted  # type: ignore[method-assign]


@contextlib.contextmanager
def studio(engine: making.Engine, folder: Path, **options: Any) -> Iterator[SimpleNamespace]:
    """A studio that is served here: its address, and its desk."""
    from motionclone.studio import desk as desks
    from motionclone.studio.serving import served

    made: list[Noted] = []

    def desk(*given: Any) -> Noted:
        made.append(Noted(*given))
        return made[0]

    loaded = elsewhere.loaded
    desks.Desk, making.load_engine = desk, lambda choice: engine  # type: ignore[misc,assignment]
    elsewhere.loaded = quick if isinstance(engine, Quick) else loaded
    try:
        with served(ModelChoice(device="cpu"), folder, **options) as address:
            while made[0].workers.size < options.get("workers", 1):
                time.sleep(0.1)
            yield SimpleNamespace(address=address, desk=made[0])
    finally:
        desks.Desk, making.load_engine, elsewhere.loaded = Desk, load_engine, loaded  # type: ignore[misc]


def end(engine: making.Engine, folder: Path, known: set[str]) -> None:
    """Make what waits in a folder after the kills, and once more what one of them has stopped, and look at it all."""
    with contextlib.closing(Desk(engine, folder)) as desk:
        stopped = [entry.id for entry in desk.store.entries() if entry.state == "failed"][-1:]
        again = [desk.again(identity).id for identity in stopped]
        over(lambda: (entry.state for entry in desk.store.entries()))
        for entry in desk.store.entries():
            whole(desk.store.place(entry.id), entry.state)
        assert all(desk.store.entry(identity).state == "done" for identity in again)
        assert known <= {entry.id for entry in desk.store.entries()}
    print(json.dumps({"jobs": len(known), "lost": 0, "half_written": 0, "again": len(again)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--server-kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("quick", "mini"), default="quick")
    given = parser.parse_args()
    engine = load_engine(ModelChoice(device="cpu"))
    if given.engine == "quick":
        engine = Quick(**vars(engine))
    draw, longest = random.Random(given.seed), 2.0 if given.engine == "quick" else 12.0  # in which several are made
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        from motionclone.studio.clips import EXAMPLES, example_clip

        clip, known = example_clip(folder, EXAMPLES[0]), set[str]()
        for number in range(given.kills):  # before there are threads, which a fork does not take along
            left = kill_once(engine, folder / "killed", clip, draw.uniform(0.2, longest), known)
            print(json.dumps({"kill": number + 1, **left}), flush=True)
        if given.kills:
            end(engine, folder / "killed", known)
        if given.server_kills:
            known, server = set(), Server(folder / "served", given.workers)
            try:
                for number in range(given.server_kills):
                    left = kill_server(server, folder / "served", draw.uniform(0.5, 10), known)
                    print(json.dumps({"kill of the server": number + 1, **left}), flush=True)
                over(lambda: (job["state"] for job in call(server.address, "jobs")))
            finally:
                server.kill()
            end(engine, folder / "served", known)
        if given.jobs:
            with studio(engine, folder / "loaded", workers=given.workers) as served:
                found = load(served.address, served.desk, given.clients, given.jobs)
            print(json.dumps(found), flush=True)
            first, last = found["memory_mb"][0], found["memory_mb"][-1]
            if last > first * 1.05:
                sys.exit(f"memory grew from {first} to {last} MB")


if __name__ == "__main__":
    main()
