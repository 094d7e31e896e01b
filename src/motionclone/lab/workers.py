"""Share the videos of a run among processes; whatever ends the run, they end within seconds."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import torch

from motionclone.errors import InputError
from motionclone.lab.bench import Bench, Setup
from motionclone.lab.cases import Case
from motionclone.lab.methods import Method

GRACE = 3.0
"""Seconds that a process has to take away what it has half written."""

Line = dict[str, Any]


def compute_shared(
    setup: Setup, folder: Path, jobs: Sequence[tuple[Method, Case]], workers: int, keep: Callable[[Line], None]
) -> None:
    """Hand the line of every job to `keep` as soon as it is there; each process computes with one thread.

    Raises:
        InputError: if a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    # As bytes: scenes hold tensors, which would otherwise be handed over by a server that dies noisily on Ctrl-C.
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(pickle.dumps(setup), folder))
    before = set(multiprocessing.active_children())
    waiting: set[Future[Line]] = set()
    try:
        for method, case in jobs:
            with _deaf_to_ctrl_c():
                waiting.add(pool.submit(_line, method.name, case.name))
            if len(waiting) > workers:  # few wait in the queue: what is in it cannot be called back
                _keep_finished(waiting, keep)
        while waiting:
            _keep_finished(waiting, keep)
        pool.shutdown()
    except BrokenProcessPool as error:
        raise InputError(
            "one of the processes at work was killed, perhaps for want of memory; call again with fewer workers."
        ) from error
    finally:
        _end(pool, set(multiprocessing.active_children()) - before)
        for future in waiting:
            if future.done() and not future.cancelled() and future.exception() is None:
                keep(future.result())


def _keep_finished(waiting: set[Future[Line]], keep: Callable[[Line], None]) -> None:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        waiting.remove(future)
        keep(future.result())


def _end(pool: ProcessPoolExecutor, processes: set[BaseProcess]) -> None:
    """Processes at rest end by themselves; what is at work is asked to, and after a while made to."""
    pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
    pool.shutdown(wait=True)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that start inside the `with` never hear Ctrl-C, which a terminal sends to all; here it waits."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Ended(BaseException):
    """A worker was asked to end while it was at work."""


_bench: Bench | None = None  # of a worker process; nothing else can hold it between two jobs
_at_work = False  # likewise


def _start(setup: bytes, folder: Path) -> None:
    global _bench
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_end)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _bench = Bench(pickle.loads(setup), folder)


def _on_end(*_: object) -> None:
    if _at_work:
        raise _Ended  # so that half-written files are taken away
    os._exit(1)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _line(method_name: str, case_name: str) -> Line:
    global _at_work
    assert _bench is not None
    method = next(method for method in _bench.setup.suite.methods if method.name == method_name)
    case = next(case for case in _bench.setup.cases if case.name == case_name)
    _at_work = True
    try:
        _bench.load()
        return _bench.line(method, case)
    except _Ended:
        os._exit(1)
    finally:
        _at_work = False
