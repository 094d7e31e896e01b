"""What a job will take, as far as it is known before it runs: memory as counted, time by what was made here."""

from collections.abc import Iterable

import torch

from motionclone.models import name_of
from motionclone.models.devices import memory_here
from motionclone.models.facts import known_facts, memory_of
from motionclone.settings import Settings
from motionclone.studio.asked import Asked
from motionclone.studio.making import ModelChoice
from motionclone.studio.store import Entry


def foretold(settings: Settings, asked: Asked, choice: ModelChoice, device: torch.device, seconds: float | None) -> str:
    """One sentence on size, steps, memory and time; what is not known is not said.

    Args:
        settings: of the job.
        asked: whether its twin is wanted, too.
        choice: of the model.
        device: that it works on.
        seconds: that it takes, if that is known.
    """
    sampling = settings.sampling
    guided, each = settings.guided_steps, settings.guidance.gradients
    parts = [
        *([f"{asked.videos} videos"] if asked.strengths else []),
        f"{sampling.num_frames} frames of {sampling.width} x {sampling.height}",
        f"{sampling.steps} steps, {guided} of them guided" + f" by {each} gradients each" * (guided > 0 and each > 1),
    ]
    facts = known_facts().get(name_of(choice.model))
    if facts is not None:
        exact = choice.dtype == "float32" or (choice.dtype is None and device.type == "cpu")
        taken = memory_of(facts, settings, offload=choice.offload, tiling=choice.vae_tiling, exact=exact).most
        here = memory_here(device)
        free = "" if here is None else f"; {here[0] / 1e9:.1f} GB are free beside it"
        parts.append(f"about {taken:.1f} GB of memory, the model included{free}")
    if seconds is not None:
        parts.append(f"about {spoken_time(seconds)}, by the last video")
    return "; ".join(parts) + "."


def spoken_time(seconds: float) -> str:
    """As a person says it: 8 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def time_of(asked: Asked, before: Iterable[Entry], frames: int) -> float | None:
    """Seconds, in proportion to the steps and frames of the last job that was made; None if there is none.

    Args:
        asked: of the job.
        before: jobs of its model, the oldest first.
        frames: of a video of which no other number is asked for.
    """
    made = [entry for entry in before if entry.state == "done" and entry.seconds is not None]
    if not made:
        return None
    now, then = (each.steps * each.videos * float(each.more.get("frames", frames)) for each in (asked, made[-1].asked))
    return (made[-1].seconds or 0.0) / then * now
