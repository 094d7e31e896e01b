"""Make one method's video of one case."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motionclone import __version__
from motionclone.backbones.families import backbone_of
from motionclone.cloning import Generated, clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion, generator_of
from motionclone.inversion import inverted_motion, inverted_motions
from motionclone.lab.cases import Case
from motionclone.lab.identity import public_name
from motionclone.lab.methods import Method
from motionclone.media.overlay import overlay
from motionclone.media.pictures import condition_from
from motionclone.motion import Motion
from motionclone.schedule import first_guided_timestep, uneven_schedule
from motionclone.settings import Settings


@dataclass(frozen=True)
class Made:
    """A video."""

    frames: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    provenance: Mapping[str, Any]  # what the file says of how it was made
    seconds: float
    heat: Motion | None = None  # that a heat map shows


def make(pipe: Any, method: Method, case: Case, reference: Tensor, settings: Settings) -> Made:
    """The method's video of a case; `reference` is its clip, (f, 3, h, w), and `settings` are the method's.

    Raises:
        InputError: if the method cannot be had with this model, or the video is not finite.
    """
    began = time.monotonic()
    provenance = {"motionclone": __version__, "made_by": "motionclone evaluate", "ai_generated": True}
    heat = None
    if method.prompt == "precise":
        if case.caption is None:
            raise InputError(
                "nobody has said what these references show, so there is no precise prompt to read them with."
            )
        extraction = settings.extraction.model_copy(update={"prompt": case.caption})
        settings = settings.model_copy(update={"extraction": extraction})
    if method.kind == "ceiling":
        frames = _through_the_vae(pipe, reference, settings.seed)
    elif method.kind == "drawn":
        frames = _through_the_vae(pipe, case.target.render(settings.sampling.height), settings.seed)
    elif method.kind == "heat map":
        heat = extract_motion(pipe, reference, settings.extraction, seed=settings.seed)
        frames = overlay(heat, reference)
        provenance["ai_generated"] = False  # it is the reference under colours
    else:
        generated = _generated(pipe, method, case, reference, settings)
        frames = generated.frames
        record = {name: value for name, value in generated.record.items() if name != "motion"}
        provenance |= record | {"model": public_name(str(record["model"]))}
    if not frames.isfinite().all():
        raise InputError("the video is not finite; the VAE overflows in half precision, use dtype float32.")
    return Made(frames, provenance, time.monotonic() - began, heat)


def _generated(pipe: Any, method: Method, case: Case, reference: Tensor, settings: Settings) -> Generated:
    if method.inversion == "none":
        picture = first_frame(case, settings)
        condition = None if method.condition == "none" else condition_from(picture, method.condition)
        return clone(pipe, reference, case.prompt, settings, condition=condition)
    sampling, guidance, extraction = settings.sampling, settings.guidance, settings.extraction
    with torch.no_grad():
        latents = backbone_of(pipe).encode_video(reference, generator_of(settings.seed, "vae"))
    if method.inversion == "fixed":
        return generate(pipe, inverted_motion(pipe, latents, extraction, frames=reference), case.prompt, settings)
    with uneven_schedule(pipe, sampling.guided_steps, guidance.guided_fraction):
        pipe.scheduler.set_timesteps(sampling.steps)
        timesteps = [int(timestep) for timestep in pipe.scheduler.timesteps]
    lowest = first_guided_timestep(guidance.guided_fraction, pipe.scheduler.config.num_train_timesteps)
    motions = inverted_motions(pipe, latents, extraction, timesteps, lowest, frames=reference)
    return generate(pipe, motions, case.prompt, settings)


def first_frame(case: Case, settings: Settings) -> Tensor:
    """The first frame of the perfect clone, (3, h, w): the picture that is to be followed."""
    return case.target.render(settings.sampling.height)[0]


@torch.no_grad()
def _through_the_vae(pipe: Any, frames: Tensor, seed: int) -> Tensor:
    backbone = backbone_of(pipe)
    latents = backbone.encode_video(frames, generator_of(seed, "vae"))
    return backbone.decode_video(latents).clamp(-1, 1).cpu()
