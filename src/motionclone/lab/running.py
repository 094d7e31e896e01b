"""Run a suite: every method on every case, one line of results for each, in as many sittings as it takes."""

import json
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2
import torch

from motionclone import __version__
from motionclone.errors import InputError
from motionclone.files import whole_file
from motionclone.lab.bench import Bench, Setup
from motionclone.lab.cases import Case
from motionclone.lab.suites import Method

RESULTS, DESCRIPTION = "results.jsonl", "suite.json"


def describe(setup: Setup) -> dict[str, Any]:
    """What `suite.json` holds; two runs with the same description have the same results."""
    return {
        "suite": setup.suite.name,
        "model": setup.model,
        "dtype": setup.dtype,
        "clip": setup.clip,
        "seed": setup.seed,
        "settings": setup.base.model_dump(mode="json"),
        "methods": [asdict(method) for method in setup.suite.methods],
        "cases": [
            {"name": c.name, "motion": c.motion, "kind": c.kind, "prompt": c.prompt, "reference": c.seen}
            for c in setup.cases
        ],
        "motionclone": __version__,
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def run_suite(
    setup: Setup, folder: Path, *, workers: int = 1, on_done: Callable[[int, int], None] | None = None
) -> None:
    """Make and score what is not done yet, and add it to `folder/results.jsonl`.

    Args:
        setup: suite, cases, model and seeds.
        folder: for results; may hold those of an earlier, interrupted run of the same setup.
        workers: processes; each computes with one thread when there are several.
        on_done: called with the number of (method, case) pairs that are done, and of all.

    Raises:
        InputError: if the folder holds results of another setup.
    """
    _claim(folder, describe(setup))
    results = folder / RESULTS
    done = {(line["method"], line["case"]) for line in whole_lines(results)}
    jobs = [(method, case) for method in setup.suite.methods for case in setup.cases]
    missing = [(method, case) for method, case in jobs if (method.name, case.name) not in done]
    total, count = len(jobs), len(jobs) - len(missing)
    if on_done is not None:
        on_done(count, total)
    _drop_torn_line(results)
    with results.open("a", encoding="utf-8") as file:
        for line in _computed(setup, folder, missing, workers):
            file.write(json.dumps(line) + "\n")
            file.flush()
            count += 1
            if on_done is not None:
                on_done(count, total)


def whole_lines(results: Path) -> list[dict[str, Any]]:
    """The results so far; a last line without its end, of a run that was killed, does not count."""
    if not results.exists():
        return []
    lines = results.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise InputError(f"{results} is damaged ({error}); remove the line, or the file to start anew.") from error


def _drop_torn_line(results: Path) -> None:
    if results.exists():
        data = results.read_bytes()
        if data and not data.endswith(b"\n"):
            with results.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Write the description, or make sure that the folder's is the same."""
    path = folder / DESCRIPTION
    wanted = json.loads(json.dumps(description))
    if path.exists():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); choose another --out-dir.") from error
        different = [name for name in wanted if name != "machine" and kept.get(name) != wanted[name]]
        if different:
            raise InputError(
                f"{folder} holds results of another {' and '.join(different)}; choose another --out-dir, or remove it."
            )
        return
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def _computed(
    setup: Setup, folder: Path, jobs: Sequence[tuple[Method, Case]], workers: int
) -> Iterator[dict[str, Any]]:
    """Lines of results, in the order in which they are done."""
    if workers == 1 or len(jobs) < 2:
        bench = Bench(setup, folder)
        for method, case in jobs:
            yield bench.line(method, case)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_start_worker, initargs=(setup, folder)
    )
    try:
        # Few wait in the queue, so that an interrupted run ends soon.
        waiting: set[Future[dict[str, Any]]] = set()
        for method, case in jobs:
            waiting.add(pool.submit(_line, method, case))
            if len(waiting) > workers:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    finally:
        pool.shutdown(cancel_futures=True)


_bench: Bench | None = None  # of a worker process; nothing else can hold it between two jobs


def _start_worker(setup: Setup, folder: Path) -> None:
    global _bench
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which lets the video at work be finished
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _bench = Bench(setup, folder)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _line(method: Method, case: Case) -> dict[str, Any]:
    assert _bench is not None
    return _bench.line(method, case)
