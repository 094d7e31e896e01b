"""Work for pools that is done at once, or not at all; in a module of its own, as workers elsewhere have to find it."""

import os
import signal
import time

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
