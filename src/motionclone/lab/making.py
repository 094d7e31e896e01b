"""Make one method's video of one case."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone, generate
from motionclone.extraction import extract_motion, generator_of
from motionclone.inversion import inverted_motion, inverted_motions
from motionclone.lab.cases import Case
from motionclone.lab.suites import Method
from motionclone.media.overlay import overlay
from motionclone.media.pictures import condition_from
from motionclone.motion import Motion
from motionclone.schedule import first_guided_timestep, uneven_timesteps
from motionclone.settings import Settings


@dataclass(frozen=True)
class Made:
    """A video, and the motion that a heat map shows."""

    frames: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    motion: Motion | None
    seconds: float


def make(pipe: Any, method: Method, case: Case, reference: Tensor, settings: Settings) -> Made:
    """The method's video of a case; `reference` is its clip, (f, 3, h, w), and `settings` are the method's."""
    began = time.monotonic()
    if method.kind == "ceiling":
        return Made(_through_the_vae(pipe, reference, settings.seed), None, time.monotonic() - began)
    if method.kind == "drawn":
        assert case.wanted is not None
        drawn = case.wanted.render(settings.sampling.height)
        return Made(_through_the_vae(pipe, drawn, settings.seed), None, time.monotonic() - began)
    if method.prompt == "precise":
        told = settings.extraction.model_copy(update={"prompt": case.seen})
        settings = settings.model_copy(update={"extraction": told})
    chosen = settings.extraction
    if method.kind == "heat map":
        motion = extract_motion(pipe, reference, chosen, seed=settings.seed)
        return Made(overlay(motion, reference), motion, time.monotonic() - began)
    if method.inversion == "none":
        followed = None if method.follows == "nothing" else condition_from(first_frame(case, settings), method.follows)
        frames = clone(pipe, reference, case.prompt, settings, condition=followed).frames
        return Made(frames, None, time.monotonic() - began)
    backbone, sampling, guidance = backbone_of(pipe), settings.sampling, settings.guidance
    with torch.no_grad():
        latents = backbone.encode_video(reference, generator_of(settings.seed, "vae"))
    if method.inversion == "fixed":
        frames = generate(pipe, inverted_motion(pipe, latents, chosen), case.prompt, settings).frames
    else:
        timesteps = uneven_timesteps(sampling.steps, sampling.guided_steps, guidance.guided_fraction)
        start = first_guided_timestep(guidance.guided_fraction)
        frames = generate(pipe, inverted_motions(pipe, latents, chosen, timesteps, start), case.prompt, settings).frames
    return Made(frames, None, time.monotonic() - began)


def first_frame(case: Case, settings: Settings) -> Tensor:
    """The first frame of the perfect clone, (3, h, w): the picture that is to be followed."""
    assert case.wanted is not None
    return case.wanted.render(settings.sampling.height)[0]


@torch.no_grad()
def _through_the_vae(pipe: Any, frames: Tensor, seed: int) -> Tensor:
    backbone = backbone_of(pipe)
    latents = backbone.encode_video(frames, generator_of(seed, "vae"))
    return backbone.decode_video(latents).clamp(-1, 1).cpu()
