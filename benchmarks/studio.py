"""Load the studio and kill it: order, losses, memory, and what a kill leaves.

    python benchmarks/studio.py [--clients 50] [--jobs 200] [--kills 20] [--seed 0] [--engine quick]

First, studios that work on jobs are killed (SIGKILL) at random moments, while more jobs come in. After each, the folder
is opened again: every job that a client was told of must be there, what was finished must be whole, byte for byte what
its record says, what was being made must say so, and nothing else may be left; in the end all that waits is made.

Then so many clients put jobs in line over HTTP at once and follow them until they are over; every tenth job fails. All
must be made once, in the order in which they came, the failed ones with their reason, and the server's memory must not
grow after the first quarter of them by more than 5 %. Clients that are told that the line is full come back.

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
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.studio import making
from motionclone.studio.desk import Desk
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.store import Store
from motionclone.studio.worker import Heard

WORDS = {"prompt": "a red star on blue waves", "example": "There and back", "steps": 1, "frames": 4}
FAILS = 7
"""The seed of jobs that fail."""


def quick(engine: making.Engine, seconds: float) -> making.Engine:
    """An engine whose videos are a few bytes after a while; of the seed `FAILS` none."""

    class Quick(making.Engine):
        def make(self, entry: Any, folder: Path, heard: Heard) -> str:
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

    return Quick(**vars(engine))


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


def load(address: str, desk: Desk, clients: int, jobs: int) -> dict[str, Any]:
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
                memory.append(round(psutil.Process().memory_info().rss / 2**20))

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
    ends = [(desk.store.place(entry.id) / "job.json").stat().st_mtime_ns for entry in entries]
    assert ends == sorted(ends), "jobs were not made in their order"
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


@contextlib.contextmanager
def studio(engine: making.Engine, folder: Path, **options: Any) -> Iterator[SimpleNamespace]:
    """A studio that is served: its address, and its desk."""
    from motionclone.studio import desk as desks
    from motionclone.studio.serving import served

    made: list[Desk] = []

    class Noted(Desk):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    desks.Desk, making.load_engine = Noted, lambda choice: engine  # type: ignore[misc,assignment]
    try:
        with served(ModelChoice(device="cpu"), folder, **options) as address:
            yield SimpleNamespace(address=address, desk=made[0])
    finally:
        desks.Desk, making.load_engine = Desk, load_engine  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("quick", "mini"), default="quick")
    given = parser.parse_args()
    engine = load_engine(ModelChoice(device="cpu"))
    if given.engine == "quick":
        engine = quick(engine, 0.1)
    draw, longest = random.Random(given.seed), 2.0 if given.engine == "quick" else 12.0  # in which several are made
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        from motionclone.studio.clips import EXAMPLES, example_clip

        clip, known = example_clip(folder, EXAMPLES[0]), set[str]()
        for number in range(given.kills):  # before there are threads, which a fork does not take along
            left = kill_once(engine, folder / "killed", clip, draw.uniform(0.2, longest), known)
            print(json.dumps({"kill": number + 1, **left}), flush=True)
        if given.kills:
            desk = Desk(engine, folder / "killed")
            while any(entry.state in ("waiting", "running") for entry in desk.store.entries()):
                time.sleep(0.1)
            for entry in desk.store.entries():
                whole(desk.store.place(entry.id), entry.state)
            desk.close()
            print(json.dumps({"jobs": len(known), "lost": 0, "half_written": 0}), flush=True)
        if given.jobs:
            with studio(engine, folder / "loaded") as served:
                found = load(served.address, served.desk, given.clients, given.jobs)
            print(json.dumps(found), flush=True)
            first, last = found["memory_mb"][0], found["memory_mb"][-1]
            if last > first * 1.05:
                sys.exit(f"memory grew from {first} to {last} MB")


if __name__ == "__main__":
    main()
