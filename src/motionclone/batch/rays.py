"""Workers as actors of Ray, one a GPU where the cluster has some; Ray is imported when a pool is made."""

import os
import pickle
import re
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import psutil

from motionclone.batch.pools import Answer, Busy, Given, Lost, Raised, Setup
from motionclone.errors import InputError, from_extra

PATIENCE = 10.0
"""Seconds in which whoever listens at an address has to let us in."""


class Rays:
    """A pool of actors, on a cluster or on a Ray that is started for it; see `Pool`."""

    def __init__(self, address: str, setup: Setup, size: int | None = None, shared: bool = False) -> None:
        """Connect.

        Args:
            address: "local" for a Ray of this machine that ends with the pool, "auto" for the one that runs here, or
                that of a cluster, as `ray.init` takes it; tokens are taken from Ray's own environment variables.
            setup: of every worker; motionclone must be installed on all nodes.
            size: how many workers; by default one a GPU of the cluster, or else one a core, and never more at a time.
            shared: whether files lie under the same paths on all nodes.

        Raises:
            InputError: Ray is not there, cannot be reached, has nothing to work with, or machines that share no files.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with from_extra("ray", "a batch on Ray"):
            import ray
        _check_listening(address)
        self._ray = ray
        own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        if own and size:
            own["num_cpus"] = size
        heard, others = signal.getsignal(signal.SIGTERM), set(psutil.Process().children())
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:  # of the network, and of arguments
            raise InputError(f"Ray at {address} cannot be used ({_last_line(error)}); give another.") from error
        finally:
            signal.signal(signal.SIGTERM, heard)  # which Ray takes for itself
        hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        if len(hosts) > 1 and not shared:
            ray.shutdown()
            raise InputError(
                f"this Ray has {len(hosts)} machines, and outputs go to a folder; if all of them have it, say that it "
                "is shared."
            )
        self._started = set(psutil.Process().children()) - others
        self._takes = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
        self._places = self._room()
        self.size = size or self._places
        if not self._places:
            ray.shutdown()
            raise InputError(f"Ray at {address} has no CPU and no GPU for a worker; start nodes that have some first.")
        self._actor = ray.remote(max_restarts=0, **{f"num_{self._takes.lower()}s": 1})(_Worker)
        self._setup = pickle.dumps(setup)
        self._workers: dict[int, Any] = {}
        self._starting: dict[int, Any] = {}  # what will say that they are there
        self._at_work: dict[Any, int] = {}  # by what will hold the answer

    def _room(self) -> int:
        """How many workers there is room for, now that some nodes may be gone, or others here."""
        return int(self._ray.cluster_resources().get(self._takes, 0))

    def ready(self, worker: int) -> bool:
        """As `Pool` says."""
        return worker in self._workers or len(self._workers) < self._places

    def give(self, worker: int, job: Any) -> None:
        """As `Pool` says."""
        if worker not in self._workers:
            self._workers[worker] = self._actor.remote(self._setup)
            self._starting[worker] = self._workers[worker].started.remote()
        self._at_work[self._workers[worker].do.remote(pickle.dumps(job))] = worker

    def answers(self, patience: float) -> Iterable[Answer]:
        """As `Pool` says."""
        self._places = self._room()
        if not self._at_work:
            time.sleep(patience)
            return
        ready, rest = self._ray.wait(list(self._at_work), num_returns=1, timeout=patience)
        if rest:
            ready += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        for each in ready:
            yield self._answer(each)
        yield from self._homeless()

    def _homeless(self) -> Iterator[Answer]:
        """Take their jobs from workers that wait for a node that is gone: others may have nothing to do."""
        for worker, started in list(self._starting.items()):
            if self._ray.wait([started], timeout=0)[0]:
                del self._starting[worker]
            elif len(self._workers) > self._places:
                self._drop(worker)
                self._at_work = {each: other for each, other in self._at_work.items() if other != worker}
                yield Given(worker, Busy())

    def _drop(self, worker: int) -> None:
        self._starting.pop(worker, None)
        self._ray.kill(self._workers.pop(worker))

    def _answer(self, each: Any) -> Answer:
        worker = self._at_work.pop(each)
        try:
            kind, said = pickle.loads(self._ray.get(each))
        except self._ray.exceptions.RayError as error:
            self._drop(worker)
            return Lost(worker, f"its worker was lost: {_last_line(error)}")
        return Given(worker, said) if kind == "given" else Raised(worker, said)

    def close(self) -> Iterable[Answer]:
        """As `Pool` says; actors are ended at once, and what they leave half written is swept up afterwards."""
        try:
            return list(self.answers(0)) if self._at_work else []
        finally:
            for actor in self._workers.values():
                self._ray.kill(actor)
            self._shut_down()

    def _shut_down(self) -> None:
        """Disconnect; a Ray that was started here ends with what it has started, which outlives it by seconds."""
        own = set(self._started)
        for process in self._started:
            with suppress(psutil.Error):
                own |= set(process.children(recursive=True))
                if process.name() not in ("raylet", "gcs_server"):  # to which we are connected
                    process.kill()  # Ray waits a second for each that does not heed it.
        self._ray.shutdown()
        for process in own:
            with suppress(psutil.Error):
                process.kill()


class _Worker:
    """An actor; it says no steps."""

    def __init__(self, setup: bytes) -> None:
        self._work = pickle.loads(setup)()

    def started(self) -> None:
        """Answers once the worker is there."""

    def do(self, job: bytes) -> bytes:
        try:
            return pickle.dumps(("given", self._work(pickle.loads(job), lambda *_: None)))
        except Exception as error:
            return pickle.dumps(("raised", InputError(str(error))))


def _check_listening(address: str) -> None:
    """InputError for a host and port where nobody listens, of which Ray would ask for many minutes, deaf to Ctrl-C."""
    asked = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    place = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", asked)
    if place is None:  # a word, which Ray knows or refuses at once
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"nobody listens at {asked} ({told}); start a Ray there, or give another address.") from error


def _last_line(error: Exception) -> str:
    """Ray tells whole stories, in colours; the end of them says what it was."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines()]
    last = next((line for line in reversed(lines) if line), type(error).__name__)
    return last.partition(". Some common causes")[0][:300].rstrip(".")
