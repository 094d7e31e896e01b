"""Kill runs at random moments, and look at what they leave.

    python benchmarks/kills.py [--kills 200] [--evaluations 0] [--seed 0] [--reruns 0]

Runs `generate`, and `clone` with and without `--compare` and `--overwrite`, of the bundled model at two steps, and
sends KILL, TERM or INT at a random moment, half of them about when files take their places. After each, a reader must
see the older video with its record, the new one with its own, or nothing; fewer files than belong together only until
the next run, after which all are there and nothing else is.

With `--evaluations`, so many sittings of `evaluate` with two workers are killed, INT now and then sent to all of its
processes, as a terminal does; all must end within five seconds, what was finished must be kept and counted once, and
when a folder is finished it must hold what an undisturbed one does. With `--reruns`, runs are made again from their
records, and must be the same byte for byte.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import motionclone.cli

# Runs are forks of this process, which has loaded these, but has not computed: so they start at once. Loaded by `main`
# alone, as the workers of `evaluate` import this file again.
LOADED = (
    "diffusers.pipelines.animatediff",
    "transformers.models.clip.modeling_clip",
    "motionclone.cloning",
    "motionclone.lab.demo",
    "motionclone.media.records",
    "motionclone.models",
)
EVALUATE = ["evaluate", "quick", "--cases", "2", "--steps", "2", "--guided-steps", "1", "--workers", "2", "--out-dir"]
QUICK = ["--preset", "mini", "--steps", "2", "--guided-steps", "1"]


def start(words: list[str], folder: Path) -> int:
    """A process that runs a command in a folder."""
    if child := os.fork():
        return child
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background has taken away
    os.setsid()
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    sys.argv = ["motionclone", *words]
    code = 1
    try:
        motionclone.cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


def end(child: int) -> int:
    """The exit code of a process; negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def call(words: list[str], folder: Path) -> None:
    if code := end(start(words, folder)):
        raise SystemExit(f"{words} ended with {code}")


def seconds_to(words: list[str], folder: Path) -> tuple[float, float]:
    """How long a run takes, and when its first temporary video appears."""
    began, first = time.monotonic(), None
    child = start(words, folder)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if first is None and any(path.suffix == ".mp4" for path in folder.glob(".motionclone-*")):
            first = time.monotonic() - began
        time.sleep(0.002)
    whole = time.monotonic() - began
    return whole, first or whole


def faults(folder: Path, finished: bool) -> list[str]:
    """What is wrong with the files of `out.mp4`; a run that was killed may be unfinished, but never mixed."""
    found = []
    video, record, beside = (folder / name for name in ("out.mp4", "out.json", "out-compare.mp4"))
    if record.exists():
        try:
            output = json.loads(record.read_text())["output"]
        except ValueError:
            return [f"{record.name} is half written"]
        for path, wanted in ((video, output["sha256"]), (beside, output["comparison"])):
            if path.exists() and wanted != hashlib.sha256(path.read_bytes()).hexdigest():
                found.append(f"{path.name} is not the record's")
    litter = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    if finished:
        found += [f"{name} was left" for name in litter]
        found += [f"{path.name} is missing" for path in (video, record) if not path.exists()]
        if beside.exists():
            found.append("an older comparison stayed")
    elif not litter and video.exists() != record.exists():
        found.append("a video without its record, or the other way round, and nothing that could mend it")
    return found


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Whole lines of results, without what differs from run to run."""
    path = folder / "results.jsonl"
    kept = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "peak_bytes")} for line in kept]


def seconds_until_gone(group: int) -> float:
    """How long processes of a group are still there; 60 at most."""
    began = time.monotonic()
    while time.monotonic() - began < 60:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    return time.monotonic() - began


def kill_evaluations(root: Path, number: int, chance: random.Random) -> int:
    """Kill so many sittings; say what is wrong and return how much."""
    began = time.monotonic()
    call([*EVALUATE, "undisturbed"], root)
    whole, wanted = time.monotonic() - began, lines_of(root / "undisturbed")
    files = {path.relative_to(root / "undisturbed") for path in (root / "undisturbed").rglob("*") if path.is_file()}
    wrong, finished, slowest, kept, folder = 0, 0, 0.0, [], root / "evaluation0"
    for sitting in range(number):
        child = start([*EVALUATE, folder.name], root)
        time.sleep(chance.uniform(0, whole))
        sent = chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        if sent is signal.SIGINT and chance.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, sent)
        else:
            os.kill(child, sent)
        stopped = time.monotonic()
        code = end(child)
        slow = time.monotonic() - stopped + seconds_until_gone(child)
        slowest, now = max(slowest, slow), lines_of(folder)
        found = [f"exit code {code}"] if code not in (0, 128 + sent, -sent) else []
        found += [f"processes ended after {slow:.1f} s"] if slow > 5 else []
        found += [f"{line['method']}/{line['case']} is lost" for line in kept if line not in now]
        found += [f"{line['method']}/{line['case']} is not as undisturbed" for line in now if line not in wanted]
        found += ["a line is there twice"] if len(now) > len({(line["method"], line["case"]) for line in now}) else []
        found += [f"{line['video']} is missing" for line in now if not (folder / line["video"]).exists()]
        kept = now
        if len(now) == len(wanted):
            call([*EVALUATE, folder.name], root)
            left = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
            found += [f"{path} was left or is missing" for path in left ^ files]
            finished, kept = finished + 1, []
            folder = root / f"evaluation{finished}"
        for fault in found:
            print(f"sitting {sitting} of {folder.name}, {sent.name}: {fault}", flush=True)
        wrong += len(found)
    print(f"{number} sittings of evaluate killed, {finished} folders finished; all ended within {slowest:.1f} s")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reruns", type=int, default=0)
    options = parser.parse_args()
    for name in LOADED:
        importlib.import_module(name)
    chance = random.Random(options.seed)
    began, seen, wrong = time.monotonic(), {"old": 0, "new": 0, "nothing": 0, "unfinished": 0}, 0
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        call(["demo", "--out-dir", "demo"], root)
        call(["extract", "demo/reference.mp4", "-o", "m.safetensors"], root)
        reference, motion = str(root / "demo/reference.mp4"), str(root / "m.safetensors")
        kinds = {
            "generate": ["generate", motion, "a red star on blue waves", "-o", "out.mp4", *QUICK],
            "clone": ["clone", reference, "a red star on blue waves", "-o", "out.mp4", *QUICK],
            "clone --compare": ["clone", reference, "a ring on waves", "-o", "out.mp4", "--compare", *QUICK],
        }
        for number in range(options.kills):
            kind = chance.choice(list(kinds))
            folder = root / f"run{number}"
            folder.mkdir()
            before, older = chance.random() < 0.7, chance.choice(list(kinds))
            if before:
                call(kinds[older], folder)
            words = [*kinds[kind], "--seed", str(number + 1), *(["--overwrite"] if before else [])]
            if number % 10 == 0:  # the machine's load changes
                spare = root / f"spare{number}"
                spare.mkdir()
                whole, writing = seconds_to(kinds[kind], spare)
            late = chance.random() < 0.5
            after = chance.uniform(writing * 0.95, whole * 1.02) if late else chance.uniform(0, whole)
            sent = chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            child = start(words, folder)
            time.sleep(after)
            os.kill(child, sent)
            code = end(child)
            # Too late, in order, or before it was heard (Python's own start).
            if code not in (0, 128 + sent, -sent) or (sent is signal.SIGKILL and code == 128 + sent):
                print(f"run {number}: exit code {code} after {sent.name}")
                wrong += 1
            found = faults(folder, False)
            record = folder / "out.json"
            if not record.exists():
                state = "unfinished" if (folder / "out.mp4").exists() else "nothing"
            else:
                state = "new" if json.loads(record.read_text())["settings"]["seed"] == number + 1 else "old"
            if before and state == "nothing":
                found.append("the older video is lost")
            if code in (0, 128 + sent):
                found += [f"{path.name} was left" for path in folder.iterdir() if path.name.startswith(".")]
            seen[state] += 1
            call([*kinds["clone"], "--overwrite"], folder)
            found += faults(folder, True)
            for fault in found:
                print(f"run {number}, {kind} over {older if before else 'nothing'}, {sent.name}: {fault}")
            wrong += len(found)
        wrong += kill_evaluations(root, options.evaluations, chance) if options.evaluations else 0
        same = 0
        for number in range(options.reruns):
            folder = root / f"again{number}"
            folder.mkdir()
            call([*kinds["clone"], "--seed", str(number)], folder)
            call(["rerun", "out.json", "-o", "again.mp4"], folder)
            same += (folder / "out.mp4").read_bytes() == (folder / "again.mp4").read_bytes()
    print(f"{options.kills} kills: {seen}; {wrong} faults; {same} of {options.reruns} runs were the same again")
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong or same < options.reruns))


if __name__ == "__main__":
    main()
