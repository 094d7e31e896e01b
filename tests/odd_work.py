"""Work for pools that is done at once, or not at all; in a module of its own, as workers elsewhere have to find it."""

import ctypes
import os
import signal
import time
from pathlib import Path

from motionclone.batch.pools import Failed
from motionclone.errors import InputError


def setup():
    def work(job, on_step):
        on_step(1, 2)
        time.sleep(0.01)
        if job == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "bad":
            return Failed("it is bad")
        if job == "full":
            raise InputError("there is no room.")
        return job, os.getpid()

    return work


def deaf():
    """A worker that tells where it is, and then does not let go of the interpreter for a minute."""
    Path("pid").write_text(f"{os.getpid()}\n")
    ctypes.PyDLL(None).sleep(60)
