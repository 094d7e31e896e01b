"""Workers as processes of this machine, one a GPU where there are some; whatever ends the run, they end in seconds."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from motionclone.batch.pools import Answer, Given, Lost, Raised, Setup, Told
from motionclone.errors import InputError

GRACE = 3.0
"""Seconds that a process has to take away what it has half written."""
_GONE = (EOFError, OSError)
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_ANSWERS: dict[str, Callable[..., Answer]] = {"told": Told, "given": Given, "raised": Raised}


class Processes:
    """A pool of processes; see `Pool`."""

    def __init__(self, size: int, setup: Setup, gpus: Sequence[str] = (), threads: int | None = None) -> None:
        """`gpus` are given out in turn, by what CUDA_VISIBLE_DEVICES calls them; `threads` each computes with."""
        self.size = size
        self._context = multiprocessing.get_context("spawn")
        # As bytes: tensors in it would otherwise be handed over by a server that dies noisily on Ctrl-C.
        self._setup, self._gpus, self._threads = pickle.dumps(setup), gpus, threads
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}

    def ready(self, worker: int) -> bool:
        """As `Pool` says."""
        return True

    def give(self, worker: int, job: Any) -> None:
        """As `Pool` says."""
        if worker not in self._workers:
            self._workers[worker] = self._started(worker)
        with suppress(OSError):  # it has died since; which `answers` tells
            self._workers[worker][1].send_bytes(pickle.dumps(job))

    def _started(self, worker: int) -> tuple[SpawnProcess, Connection]:
        ours, theirs = self._context.Pipe()
        gpu = self._gpus[worker % len(self._gpus)] if self._gpus else None
        process = self._context.Process(target=_live, args=(theirs, self._setup, gpu, self._threads), daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        return process, ours

    def answers(self, patience: float) -> Iterable[Answer]:
        """As `Pool` says."""
        ready = set(
            wait([each for process, line in self._workers.values() for each in (line, process.sentinel)], patience)
        )
        for worker, (process, line) in list(self._workers.items()):
            if line in ready or process.sentinel in ready:
                yield from _heard(worker, line)
            if process.sentinel in ready and worker in self._workers:
                process.join()
                line.close()
                del self._workers[worker]
                yield Lost(worker, _how(process.exitcode))

    def close(self) -> Iterable[Answer]:
        """As `Pool` says: who is at rest ends by itself, who is at work is asked to, and after a while made to."""
        deadline = time.monotonic() + GRACE
        for process, _ in self._workers.values():
            process.terminate()
        for process, _ in self._workers.values():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        workers, self._workers = self._workers, {}
        return [answer for worker, (_, line) in workers.items() for answer in _heard(worker, line)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by what CUDA_VISIBLE_DEVICES calls them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return named if len(named) == count and named[0] else [str(number) for number in range(count)]


def threads_of(workers: int) -> int:
    """Threads for each of several workers without GPUs, which share those that one would compute with."""
    import torch

    return max(1, torch.get_num_threads() // workers)


def _heard(worker: int, line: Connection) -> Iterator[Answer]:
    """All that a worker has said, as far as it has come."""
    with suppress(*_GONE, pickle.UnpicklingError):
        while line.poll():
            kind, *said = pickle.loads(line.recv_bytes())
            yield _ANSWERS[kind](worker, *said)


def _how(code: int | None) -> str:
    number = -(code or 0)
    if number > 0:
        why = ", perhaps for want of memory" if number == getattr(signal, "SIGKILL", 9) else ""
        return f"its process was ended by signal {number}{why}"
    return f"its process ended with exit code {code}"


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
    """A worker was asked to end."""


def _live(line: Connection, setup: bytes, gpu: str | None, threads: int | None) -> None:
    """The life of a worker."""
    if gpu is not None:  # before anything looks for GPUs
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_end)
    with suppress(*_GONE, _Ended):
        if threads is not None:
            compute_with(threads)
        work = pickle.loads(setup)()
        while True:
            job = pickle.loads(line.recv_bytes())
            try:
                value = work(job, lambda *step: line.send_bytes(pickle.dumps(("told", *step))))
                said: tuple[str, Any] = ("given", value)
            except Exception as error:
                said = ("raised", _portable(error))
            line.send_bytes(pickle.dumps(said))


def compute_with(threads: int) -> None:
    """Let this process use so many threads for one computation."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _portable(error: Exception) -> Exception:
    """An error that can be handed over, and is what it was where it matters."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    return error if type(again) is type(error) else InputError(f"{type(error).__name__}: {error}")


def _on_end(*_: object) -> None:
    raise _Ended  # so that half-written files are taken away


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever.

    Linux ends it at once; elsewhere a thread does, which has to wait while a large library is loaded.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
