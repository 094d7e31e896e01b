"""`motionclone batch` with noise for videos and one motion for all: for `batches.py --stand-in`, which tries the rest.

The folder that STAND_IN names holds a video's record and a motion, which the model has made: template.json and
template.safetensors. Nothing else differs, so that workers start in seconds.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from motionclone.cli import batch_worker, main
from motionclone.cli.rows import Task
from motionclone.cli.running import Made


def make(job: Any, sources: Any, settings: Any, output: Path, *_others: Any, **_options: Any) -> Made:
    """Noise that the output's name decides, after as long as the model takes on a busy machine."""
    import torch

    time.sleep(1)
    seed = int.from_bytes(hashlib.sha256(output.name.encode()).digest()[:6])
    frames = 2 * torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) - 1
    record = json.loads((Path(os.environ["STAND_IN"]) / "template.json").read_text())
    generated: Any = SimpleNamespace(frames=frames, steps=(), record=record)
    return Made(job, generated, 8.0, None)


class Worker(batch_worker.Worker):
    """Unpickling it has this module loaded, whose `make` it then calls."""

    def _extract(self, task: Task, path: Path) -> None:
        from motionclone.motion import load_motion

        load_motion(Path(os.environ["STAND_IN"]) / "template.safetensors").save(path)


batch_worker.make = make

if __name__ == "__main__":
    import standing_in  # under the name that workers know

    batch_worker.Worker = standing_in.Worker  # type: ignore[misc]
    sys.exit(main())
