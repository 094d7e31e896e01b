"""Rays to try batches on: three raylets on this machine, or each in a network and under a host name of its own."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

NODES = 3  # with the head
_NETWORK, _PORT = "10.77.0", 6379


class Rays(Protocol):
    """A Ray of which nodes die."""

    address: str
    driver: Sequence[str]
    """What a driver's command begins with, to be on the head's machine."""
    options: Sequence[str]
    """Of a batch on it."""

    def raylets(self) -> list[psutil.Process]:
        """Those that may be killed, one of every node but the head; nodes that are gone are started again."""

    def shutdown(self) -> None:
        """End all of it."""


class OneMachine:
    """Raylets beside each other, as Ray's own tests have them."""

    driver: Sequence[str] = ()
    options: Sequence[str] = ()

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(NODES - 1)]
        self.address = str(self._cluster.address)

    def raylets(self) -> list[psutil.Process]:
        """As `Rays` says."""
        alive = [node for node in self._nodes if node.any_processes_alive() and not node.dead_processes()]
        with contextlib.suppress(Exception):  # on a busy machine one may not come up in time; then after the next kill
            while len(alive) < NODES - 1:
                alive.append(self._cluster.add_node(num_cpus=1))
        self._nodes = alive
        return [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in alive]

    def shutdown(self) -> None:
        """As `Rays` says."""
        self._cluster.shutdown()


class Namespaces:
    """Nodes that see each other over a bridge alone and want a token; needs root, `ip` and `unshare`."""

    address = f"{_NETWORK}.1:{_PORT}"
    driver = ("ip", "netns", "exec", "mcray1", "unshare", "--uts", "sh", "-c", 'hostname mcray1; exec "$@"', "sh")
    options = ("--shared",)

    def __init__(self) -> None:
        # Inherited by nodes, and by the drivers of a batch.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            self._connect()
            self._nodes[1] = _node(1, "--head", f"--port={_PORT}", "--include-dashboard=false")
            _wait_for(lambda: _raylet(self._nodes[1]) is not None)
            for number in range(2, NODES + 1):
                self._join(number)
        except BaseException:
            self.shutdown()
            raise

    def _connect(self) -> None:
        _ip("link", "add", "mcray", "type", "bridge")
        _ip("link", "set", "mcray", "up")
        for number in range(1, NODES + 1):
            _ip("netns", "add", f"mcray{number}")
            _ip("link", "add", f"mcray-{number}", "type", "veth", "peer", "name", "eth0", "netns", f"mcray{number}")
            _ip("link", "set", f"mcray-{number}", "master", "mcray", "up")
            _ip("-n", f"mcray{number}", "addr", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", f"mcray{number}", "link", "set", device, "up")
            _ip("-n", f"mcray{number}", "route", "add", "default", "dev", "eth0")  # by which Ray looks for its address

    def _join(self, number: int) -> None:
        self._nodes[number] = _node(number, f"--address={self.address}")
        _wait_for(lambda: _raylet(self._nodes[number]) is not None)

    def raylets(self) -> list[psutil.Process]:
        """As `Rays` says."""
        for number in range(2, NODES + 1):
            if _raylet(self._nodes[number]) is None:
                _end(self._nodes[number])
                self._join(number)
        return [found for number in range(2, NODES + 1) if (found := _raylet(self._nodes[number])) is not None]

    def shutdown(self) -> None:
        """As `Rays` says."""
        for node in reversed(self._nodes.values()):
            _end(node)
        for number in range(1, NODES + 1):
            _ip("netns", "del", f"mcray{number}", check=False)
        _ip("link", "del", "mcray", check=False)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check)


def _node(number: int, *options: str) -> subprocess.Popen[bytes]:
    """A node of Ray that stays in the foreground, and in a process group of its own."""
    ray = Path(sys.executable).with_name("ray")
    begin = [*Namespaces.driver, str(ray), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    command = [each.replace("mcray1", f"mcray{number}") for each in begin]
    return subprocess.Popen(
        [*command, f"--node-ip-address={_NETWORK}.{number}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _raylet(node: subprocess.Popen[bytes]) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        for each in psutil.Process(node.pid).children(recursive=True):
            if each.name() == "raylet" and each.status() != psutil.STATUS_ZOMBIE:
                return each
    return None


def _end(node: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(node.pid).children(recursive=True)
    node.kill()
    node.wait()
    for each in started:
        with contextlib.suppress(psutil.Error):
            each.kill()


def _wait_for(there: Any, most: float = 60.0) -> None:
    end = time.monotonic() + most
    while not there():
        if time.monotonic() > end:
            raise SystemExit(f"a node of Ray did not come up in {most:.0f} s")
        time.sleep(0.2)


@contextmanager
def rays(apart: bool) -> Iterator[Rays]:
    """A Ray of three nodes; `apart` each has a network of its own."""
    found: Rays = Namespaces() if apart else OneMachine()
    try:
        yield found
    finally:
        found.shutdown()
