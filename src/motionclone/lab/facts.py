"""What a suite must know of a model before its first video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from motionclone.backbones.families import backbone_of
from motionclone.cloning import check
from motionclone.extraction import extract_motion
from motionclone.schedule import uneven_schedule
from motionclone.settings import Settings


@dataclass(frozen=True)
class ModelFacts:
    """What a loaded pipeline tells of itself."""

    blocks: tuple[str, ...]  # all that have temporal attention
    attention_frames: int  # of the attention, one of which may stand for several of the video's
    own_steps: bool  # its scheduler keeps its own timesteps, whatever the number of guided ones
    device: str  # such as cuda
    dtype: str  # such as float16


def facts_of(pipe: Any, base: Settings, prompts: Sequence[str]) -> ModelFacts:
    """Read the motion of an empty clip, which tells how the model's attention is made and that the settings fit it.

    Raises:
        InputError: if model, settings and prompts do not fit each other.
    """
    for prompt in prompts:
        check(pipe, prompt, base)
    sampling, guidance = base.sampling, base.guidance
    motion = extract_motion(pipe, torch.zeros(sampling.num_frames, 3, sampling.height, sampling.width), base.extraction)
    scheduler, backbone = pipe.scheduler, backbone_of(pipe)
    with uneven_schedule(pipe, sampling.guided_steps, guidance.guided_fraction):
        own_steps = pipe.scheduler is scheduler
    dtype = str(backbone.denoiser.dtype).removeprefix("torch.")
    return ModelFacts(backbone.blocks(), motion.num_frames, own_steps, pipe._execution_device.type, dtype)
