"""Kill workers, nodes and drivers of batches at random moments, and look at what they leave.

    python benchmarks/batches.py [--jobs 20] [--kills 20] [--engines processes shards ray hazards time] [--stand-in]

Makes a batch of the bundled model (four small frames in two steps a video: it is the bookkeeping that is tried)
undisturbed, then by each engine while a random process is killed with signal 9 every few seconds: a worker, a node of
Ray, or the driver, which is started again. After every kill each record must have its whole video; in the end the
videos must be those of the undisturbed batch, byte for byte, each made once, and nothing else may be left. `shards` are
three drivers at a time; `ray` is a cluster of three nodes, each with a raylet of its own and with `--apart`, as root,
with a network and a host name of its own. Most of the time goes into loading the model again: with `--stand-in` there
is none, and noise is made in its place.

`hazards`: a full disk and a read-only one (where a small file system can be mounted), a job that always kills its
worker, a clip that is deleted meanwhile. `time`: the time of a job against a plain loop in one process, and two workers
against one.
"""

import argparse
import atexit
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from ray_machines import rays

from motionclone.batch.folder import state_of
from motionclone.batch.storage import Folder
from motionclone.lab.world import Scene, named_trajectory
from motionclone.media.writing import write_video

# Ray's workers would otherwise give way to everything else on the machine.
os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
PROGRAM = ["-m", "motionclone"]
Victim = tuple[str, Any]
"""What kind of process, and the process."""
STARTED: list[subprocess.Popen[str]] = []
QUICK = "{model: mini, frames: 4, height: 32, width: 32, steps: 2, guided_steps: 1, warm_up: 1, cool_down: 1}"
FAULTS = ("is lost", "is half written", "was made twice", "has other bytes")


class Batch:
    """A folder, the drivers at work in it, and what has been seen of it."""

    def __init__(
        self, root: Path, name: str, more: list[list[str]], jobs: str = "jobs.yaml", begin: Sequence[str] = ()
    ) -> None:
        self.root, self.folder, self.more, self.jobs, self.begin = root, root / name, more, jobs, begin
        self.drivers: dict[int, subprocess.Popen[str]] = {}
        self.over: set[int] = set()
        self.first: dict[str, tuple[int, int]] = {}
        self.faults: list[str] = []
        self.killed: Counter[str] = Counter()
        self.began = time.monotonic()

    def start(self, number: int) -> None:
        words = [
            *self.begin,
            sys.executable,
            *PROGRAM,
            "batch",
            self.jobs,
            "--out-dir",
            str(self.folder.relative_to(self.root)),
        ]
        self.drivers[number] = subprocess.Popen(
            [*words, *self.more[number]],
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        STARTED.append(self.drivers[number])

    def keep_going(self) -> bool:
        """Start what is not running and has not ended well; whether anything is at work."""
        for number in range(len(self.more)):
            driver = self.drivers.get(number)
            if number in self.over or (driver is not None and driver.poll() is None):
                continue
            if driver is not None and driver.returncode == 0:
                self.over.add(number)
                continue
            if driver is not None and driver.returncode not in (1, -signal.SIGKILL):
                said = (driver.stderr.read() if driver.stderr else "")[-500:]
                self.faults.append(f"exit code {driver.returncode}: {said}")
            self.start(number)
        return len(self.over) < len(self.more)

    def await_another(self, most: float = 60.0) -> None:
        """Until a video has been made, for so many seconds at most."""
        done, end = len(state_of(Folder(self.folder)).done), time.monotonic() + most
        while time.monotonic() < end and self.keep_going() and len(state_of(Folder(self.folder)).done) == done:
            time.sleep(0.2)

    def look(self) -> None:
        """What is done must be whole, and never change again."""
        for name in state_of(Folder(self.folder)).done:
            facts = (self.folder / name).stat()
            seen = facts.st_ino, facts.st_mtime_ns
            if self.first.setdefault(name, seen) != seen:
                self.faults.append(f"{name} was made twice")
            record = json.loads((self.folder / name).with_suffix(".json").read_text())
            if record["output"]["sha256"] != sha256(self.folder / name):
                self.faults.append(f"{name} is half written")

    def ended(self, wanted: dict[str, str]) -> list[str]:
        self.look()
        found = {path.name: sha256(path) for path in self.folder.glob("*.mp4")}
        self.faults += [f"{name} is lost" for name in wanted.keys() - found.keys()]
        self.faults += [f"{name} is too many" for name in found.keys() - wanted.keys()]
        self.faults += [f"{name} has other bytes" for name in found if wanted.get(name, found[name]) != found[name]]
        left = [*self.folder.glob(".*"), *(self.folder / "motions").glob(".*"), *self.folder.glob("*.error.json")]
        self.faults += [f"{path.name} was left" for path in left]
        kinds = [f"{sum(each.endswith(kind) for each in self.faults)} {kind.split(maxsplit=1)[1]}" for kind in FAULTS]
        killed = ", ".join(f"{count} {kind}" for kind, count in sorted(self.killed.items())) or "none"
        seconds = time.monotonic() - self.began
        print(
            f"{self.folder.name}: {len(found)} made; killed: {killed}; {', '.join(kinds)}; {seconds:.0f} s", flush=True
        )
        return self.faults


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(root: Path, name: str, *more: str, jobs: str = "jobs.yaml") -> tuple[int, str]:
    """A batch from beginning to end: its exit code, and what it said."""
    batch = Batch(root, name, [list(more)], jobs)
    batch.start(0)
    said = batch.drivers[0].communicate()[1]
    return batch.drivers[0].returncode, said


def write_jobs(root: Path, number: int, name: str = "jobs.yaml", references: str = "[a.mp4]") -> None:
    entry = f"{{references: {references}, prompts: [a red star on blue waves, a green ring], seeds: 0..{number - 1}}}"
    (root / name).write_text(f"defaults: {QUICK}\njobs:\n- {entry}\n")


def stand_in(root: Path) -> None:
    """From now on nothing is made by the model, but one record and one motion."""
    write_jobs(root, 1, "one.yaml")
    code, said = run(root, "one", jobs="one.yaml")
    if code:
        raise SystemExit(said)
    shutil.copy(next((root / "one" / "motions").iterdir()), root / "template.safetensors")
    record = json.loads(min((root / "one").glob("a-*.json")).read_text())
    (root / "template.json").write_text(json.dumps({k: v for k, v in record.items() if k not in ("job", "output")}))
    here = str(Path(__file__).parent)
    os.environ |= {"STAND_IN": str(root), "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    PROGRAM[:] = [str(Path(here) / "standing_in.py")]


def workers_of(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return [each for each in psutil.Process(driver.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    except psutil.Error:
        return []


def kill(process: psutil.Process | subprocess.Popen[str]) -> None:
    with contextlib.suppress(psutil.Error, OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait(5)


def disturb(batch: Batch, kills: int, chance: random.Random, victims: Any, every: tuple[float, float]) -> None:
    """Kill so many processes, and let the batch come to its end."""
    while batch.keep_going():
        more = batch.killed.total() < kills
        if more and chance.random() < 0.5:  # else it might never come to anything
            batch.await_another()
        time.sleep(chance.uniform(*every) if more else 0.5)
        if more and (found := victims(batch)):
            kind, victim = chance.choice(found)
            its_workers = workers_of(victim) if kind == "drivers" else []
            kill(victim)
            batch.killed[kind] += 1
            _, alive = psutil.wait_procs(its_workers, timeout=5)
            batch.faults += [f"worker {each.pid} outlived its driver by 5 s" for each in alive]
            done = len(state_of(Folder(batch.folder)).done)
            print(f"{batch.folder.name}: {batch.killed.total()} killed, {done} done", flush=True)
        batch.look()


def local(batch: Batch) -> list[Victim]:
    drivers = [driver for driver in batch.drivers.values() if driver.poll() is None]
    workers = [each for driver in drivers for each in workers_of(driver)]
    return [*(("drivers", each) for each in drivers), *(("workers", each) for each in workers)]


def on_ray(
    root: Path, kills: int, chance: random.Random, wanted: dict[str, str], every: tuple[float, float], apart: bool
) -> list[str]:
    with rays(apart) as cluster:
        batch = Batch(root, "ray", [["--ray", cluster.address, *cluster.options]], begin=cluster.driver)

        def victims(batch: Batch) -> list[Victim]:
            actors = [
                each
                for each in psutil.process_iter(["name", "cmdline"])
                if "ray::_Worker" in " ".join(each.info["cmdline"] or [])
            ]
            drivers = [driver for driver in batch.drivers.values() if driver.poll() is None]
            kinds = {"drivers": drivers, "raylets": cluster.raylets(), "actors": actors}
            return [(kind, each) for kind, found in kinds.items() for each in found]

        disturb(batch, kills, chance, victims, every)
    return batch.ended(wanted)


def hazards(root: Path, wanted: dict[str, str]) -> list[str]:
    found = []
    name = min(wanted)
    key = hashlib.sha256(Path(name).stem.casefold().encode()).hexdigest()[:12]
    batch = Batch(root, "poison", [["--workers", "2"]])
    batch.start(0)
    lock = batch.folder / f".motionclone-{key}.lock"
    while batch.drivers[0].poll() is None:
        try:
            worker = int(lock.read_text().split()[1])
            if worker != batch.drivers[0].pid:  # which writes the error
                os.kill(worker, signal.SIGKILL)
        except (OSError, IndexError, ValueError):
            time.sleep(0.005)
    told = list(batch.folder.glob("*.error.json"))
    if batch.drivers[0].returncode != 1 or [each.name for each in told] != [f"{Path(name).stem}.error.json"]:
        found.append(f"poison: exit code {batch.drivers[0].returncode}, errors {[each.name for each in told]}")
    code, said = run(root, "poison")
    found += [f"poison: then {code}, {said}"] * (code != 0) + batch.ended(wanted)

    shutil.copy(root / "a.mp4", root / "gone.mp4")
    write_jobs(root, 2, "two.yaml", "[a.mp4, gone.mp4]")
    batch = Batch(root, "deleted", [[]], "two.yaml")
    batch.start(0)
    while not list(batch.folder.glob("*.mp4")):
        time.sleep(0.02)
    (root / "gone.mp4").unlink()
    batch.drivers[0].communicate()
    errors = len(list(batch.folder.glob("*.error.json")))
    found += [f"deleted: exit code {batch.drivers[0].returncode}"] * (
        batch.drivers[0].returncode != (1 if errors else 0)
    )
    shutil.copy(root / "a.mp4", root / "gone.mp4")
    code, said = run(root, "deleted", jobs="two.yaml")
    found += [f"deleted: then {code}, {said}"] * (code != 0)

    disk = root / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True).returncode:
        print("no small file system could be mounted")
        return found
    try:
        code, said = run(root, "disk/v")
        found += [f"full: {code}, {said}"] * (code != 2 or "no room" not in said)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        code, said = run(root, "disk/v")
        found += [f"read-only: {code}, {said}"] * (code != 2)
        subprocess.run(["mount", "-o", "remount,rw,size=1g", disk], check=True)
        code, said = run(root, "disk/v")
        found += [f"then: {code}, {said}"] * (code != 0) + Batch(root, "disk/v", []).ended(wanted)
    finally:
        subprocess.run(["umount", disk], check=True)
    return found


def timed(root: Path, number: int) -> None:
    """Seconds of a job of some five, without the start: one worker between two plain loops, then two workers."""
    import torch

    from motionclone import clone, load_pipeline, preset, read_clip
    from motionclone.settings import parse_settings

    data = preset("mini").model_dump()
    data["sampling"] |= {"steps": 6, "guided_steps": 3}
    settings = parse_settings(data, None)
    torch.set_num_threads(1)
    pipe, clip = load_pipeline("mini", device="cpu"), read_clip(root / "a.mp4", 16, 64, 64)
    pipe.set_progress_bar_config(disable=True)

    def loop() -> None:
        seconds = []
        for seed in range(number + 1):
            began = time.monotonic()
            made = clone(pipe, clip.frames, "a red star", settings.model_copy(update={"seed": seed}))
            write_video(root / "loop.mp4", made.frames, clip.fps, overwrite=True)
            seconds.append(time.monotonic() - began)
        print(f"loop: {statistics.mean(seconds[1:]):.3f} s a job", flush=True)  # the first warms up

    def batch(workers: int) -> None:
        seeds = f"0..{(number + 1) * workers - 1}"  # the first of each worker warms up
        entry = f"{{reference: a.mp4, prompt: a red star, steps: 6, guided_steps: 3, seeds: {seeds}}}"
        (root / "timed.yaml").write_text(f"- {entry}\n")
        code, said = run(root, f"timed{workers}", "--workers", str(workers), jobs="timed.yaml")
        if code:
            raise SystemExit(said)
        ends = sorted(path.stat().st_mtime for path in (root / f"timed{workers}").glob("*.mp4"))[workers - 1 :]
        print(f"{workers} workers: {(ends[-1] - ends[0]) / (len(ends) - 1):.3f} s a job", flush=True)

    loop()
    batch(1)
    loop()
    batch(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    engines = ["processes", "shards", "ray", "hazards", "time"]
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, nargs=2, default=(2.0, 25.0), help="seconds between two kills")
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    parser.add_argument(
        "--undisturbed", type=Path, help="folder of an undisturbed batch of as many jobs, if there is one"
    )
    parser.add_argument("--stand-in", action="store_true", help="make noise without the model: all but that is tried")
    parser.add_argument("--apart", action="store_true", help="nodes of Ray with networks and host names of their own")
    options = parser.parse_args()
    chance, began, faults = random.Random(options.seed), time.monotonic(), []
    atexit.register(lambda: [driver.kill() for driver in STARTED if driver.poll() is None])
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        clip = Scene("circle", "green", "dots", "gray", named_trajectory("right", 16)).render(64)
        write_video(root / "a.mp4", clip, 8)
        write_jobs(root, options.jobs // 2)
        wanted: dict[str, str] = {}
        if options.stand_in:
            stand_in(root)
        if options.engines != ["time"]:
            if options.undisturbed is None:
                code, said = run(root, "undisturbed", "--workers", "4" if options.stand_in else "1")
                if code:
                    raise SystemExit(said)
            folder = options.undisturbed or root / "undisturbed"
            wanted = {path.name: sha256(path) for path in folder.glob("*.mp4")}
        for engine in options.engines:
            found: list[str] = []
            if engine == "processes":
                batch = Batch(root, engine, [["--workers", "2"]])
                disturb(batch, options.kills, chance, local, options.every)
                found = batch.ended(wanted)
            elif engine == "shards":
                batch = Batch(root, engine, [["--shard", f"{number}/3"] for number in (1, 2, 3)])
                disturb(batch, options.kills, chance, local, options.every)
                found = batch.ended(wanted)
            elif engine == "ray":
                found = on_ray(root, options.kills, chance, wanted, options.every, options.apart)
            elif engine == "hazards":
                found = hazards(root, wanted)
            else:
                timed(root, options.jobs)
            print(*(f"{engine}: {fault}" for fault in found), f"{engine}: {len(found)} faults", sep="\n", flush=True)
            faults += found
    print(f"{len(faults)} faults; {time.monotonic() - began:.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
