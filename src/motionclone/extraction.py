"""Read the motion of a clip: noise it once, run part of one forward pass, keep the strongest attention (Sec. 3.3)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from motionclone import __version__
from motionclone.backbones.backbone import Backbone, Call
from motionclone.backbones.capture import listening, stopping_at
from motionclone.backbones.families import Pipeline, backbone_of
from motionclone.backbones.offloading import has_closing_hooks
from motionclone.backbones.per_frame_norm import has_per_frame_norm
from motionclone.backbones.recomputing import within_memory
from motionclone.errors import InputError, named
from motionclone.media.conditions import Condition
from motionclone.media.frames import as_frames
from motionclone.media.limits import is_whole
from motionclone.media.places import bare_name
from motionclone.motion import Motion, check_is_motion, represent
from motionclone.provenance import Provenance, source_from
from motionclone.settings import Extraction, or_default
from motionclone.steps import noise_level

Stream = Literal["reference", "independent", "vae", "sampling"]


def generator_of(seed: int, stream: Stream) -> torch.Generator:
    """A CPU generator, the same on every machine; streams of one seed are unrelated. InputError for what is no seed."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise InputError(f"a seed is a whole number from 0 to 2^63 - 1, not {seed!r}; give one of those.")
    return torch.Generator("cpu").manual_seed((int(seed) + get_args(Stream).index(stream) * 0x5851F42D4C957F2D) % 2**63)


def seeded_noise(shape: tuple[int, ...], seed: int, stream: Stream = "reference") -> Tensor:
    """Standard Gaussian noise in float32 on the CPU: that of the reference, or noise independent of it."""
    return torch.randn(shape, generator=generator_of(seed, stream))


def shared_noise(pipe: Pipeline, motion: Motion, *, condition: Condition | None = None) -> Tensor:
    """The noise that was added to a motion's reference, to start its video from, as the authors do.

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        motion: that guides it.
        condition: pictures that the video follows, for families that look for them there.

    Returns:
        What the pipeline takes for its `latents`, on the CPU: (1, c, f, h, w), but for the families' own layouts.

    Raises:
        InputError: the motion does not know its noise or size, or this model makes no such videos.
    """
    check_is_motion(motion)
    backbone, record = backbone_of(pipe), motion.record
    if record.seed is None or record.size is None:
        raise InputError("the motion does not know the noise of its reference, or its size; extract it again.")
    shape = backbone.latents_shape(motion.video_frames, *record.size)
    return backbone.initial_latents(seeded_noise(shape, record.seed), condition)


def extract_motion(
    pipe: Pipeline,
    frames: Any,
    settings: Extraction | None = None,
    *,
    seed: int = 0,
    source: Mapping[str, Any] | None = None,
    shown_frames: Sequence[int] = (),
    condition_scale: float = 1.0,
) -> Motion:
    """The motion representation H = {L, M} of a clip, by a single noise-adding and denoising step (Sec. 3.3).

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        frames: (f, 3, h, w), RGB in [-1, 1], or in another form that `as_frames` takes; of the size to generate.
        settings: noise step, k, blocks and prompt.
        seed: of the noise, and of the VAE's sample.
        source: facts about the clip for the motion's record, plain JSON values.
        shown_frames: numbers of the frames that the pipeline's SparseCtrl is shown, as the authors do where the new
            video follows pictures at these frames; by default it is not used. Image-to-video models are always shown
            the first.
        condition_scale: its strength.

    Raises:
        InputError: if the blocks have no temporal attention, k is out of range or the model cannot take the frames.
    """
    settings = or_default(settings, Extraction)
    backbone = backbone_of(pipe)
    frames = as_frames(frames)
    backbone.latents_shape(len(frames), *frames.shape[-2:])
    check_reading(backbone, settings)
    known = source_from(source)
    shown = None
    shown_frames = shown_frames or backbone.shown_frames
    if shown_frames:
        if not all(is_whole(number) and 0 <= number < len(frames) for number in shown_frames):
            raise InputError(f"shown_frames are 0 to {len(frames) - 1} for this clip, not {list(shown_frames)}.")
        shown = Condition(frames[list(shown_frames)], tuple(shown_frames))
        backbone.check_condition(shown)
    tiles = f"use {named('vae_tiling', True)}, or fewer or smaller frames"
    with torch.no_grad(), within_memory(backbone.pipe._execution_device, "the clip in the VAE", tiles):
        latents = backbone.encode_video(frames, generator_of(seed, "vae"))
    if not latents.isfinite().all():
        raise InputError("the encoded clip is not finite; the VAE overflows in half precision, use dtype float32.")
    about: dict[str, Any] = {"seed": int(seed), "source": known, "num_frames": len(frames)}
    about["size"] = tuple(frames.shape[-2:])
    if shown_frames:
        about |= {"shown_frames": tuple(shown_frames), "condition_scale": condition_scale}
    noise = seeded_noise(tuple(latents.shape), seed)
    motion = motion_of_latents(
        backbone, latents, noise, settings, shown=shown, condition_scale=condition_scale, about=about
    )
    backbone.pipe.maybe_free_model_hooks()
    return motion


def check_reading(backbone: Backbone, settings: Extraction) -> None:
    """InputError if the model has no such blocks, or the network that is read does not work at t_alpha."""
    backbone.sites(settings.blocks)
    if settings.t_alpha < backbone.guided_from:
        raise InputError(
            f"t_alpha is {settings.t_alpha} and the network that is read works from {backbone.guided_from:g} on; use "
            f"{backbone.guided_from:g} to 999."
        )


def motion_of_latents(
    pipe: Any,
    latents: Tensor,
    noise: Tensor,
    settings: Extraction,
    *,
    shown: Condition | None = None,
    condition_scale: float = 1.0,
    about: Mapping[str, Any] | None = None,
) -> Motion:
    """The motion representation of clean latents with given noise.

    z = alpha x0 + sigma eps at t_alpha, one forward pass that ends after the last guided block, Eqs. 3 and 5.

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        latents: x0, (1, c, f, h, w), scaled.
        noise: eps, of the same shape.
        settings: noise step, k, blocks and prompt.
        shown: the clip's own frames, if SparseCtrl is to see some of them.
        condition_scale: their strength.
        about: what else the record is to say of the clip.
    """
    backbone = backbone_of(pipe)
    level = noise_level(backbone.pipe.scheduler, settings.t_alpha)
    noisy = level.alpha * latents.float() + level.sigma * noise.to(latents.device, torch.float32)
    steer = None
    if shown is not None:
        steer = partial(backbone.conditioned, condition=shown, latents=latents, scale=condition_scale)
    return motion_at(backbone, noisy, settings.t_alpha, settings, steer, about)


@torch.no_grad()
def motion_at(
    pipe: Any,
    noisy: Tensor,
    timestep: float,
    settings: Extraction,
    steer: Callable[[Call], Call] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Motion:
    """The motion representation that the denoiser has of noisy latents, (1, c, f, h, w), at their timestep.

    `steer` adds to the denoiser's arguments, `about` to the record.
    """
    backbone = backbone_of(pipe)
    sites = backbone.sites(settings.blocks)
    with within_memory(noisy.device, "a text encoder or SparseCtrl"):
        call = backbone.denoiser_call(noisy, timestep, settings.prompt)
        if steer is not None:
            call = steer(call)
    frames = backbone.map_frames(call)
    if frames < 2:
        raise InputError("the whole clip is one frame of this model's attention, which cannot move; use more frames.")
    settings = kept_of(settings, frames)
    whole = has_closing_hooks(backbone.denoiser)
    with (
        backbone.reading(call) as reading,
        listening(partial(backbone.tap, call), sites) as found,
        nullcontext() if whole else stopping_at(backbone.after(sites)),
        within_memory(noisy.device, "a forward pass of the denoiser"),
    ):
        backbone.denoiser(**reading, return_dict=False)
    if not all(part.isfinite().all() for pair in found.values() for part in pair):
        raise InputError("the denoiser's attention is not finite; use dtype float32 or bfloat16.")
    grid = {site: backbone.grid(call, found[site][0]) for site in sites}
    return Motion(represent(found, settings.k), grid, _provenance(backbone, sites, settings, about or {}))


def kept_of(settings: Extraction, frames: int) -> Extraction:
    """The settings; where those of a preset keep more entries of a row than the attention has frames, all of them.

    InputError if a person set so many.
    """
    if settings.k > frames and "k" in settings.model_fields_set:
        raise InputError(f"k = {settings.k} is more than the {frames} frames of the attention; use at most {frames}.")
    return settings if settings.k <= frames else settings.model_copy(update={"k": frames})


def _provenance(backbone: Backbone, sites: Sequence[str], settings: Extraction, about: Mapping[str, Any]) -> Provenance:
    return Provenance(
        motionclone=__version__,
        model=model_name(backbone.pipe),
        fingerprints={site: backbone.fingerprint(site) for site in sites},
        per_frame_norm=has_per_frame_norm(backbone.denoiser),
        **{**settings.model_dump(), **about},
    )


def model_name(pipe: Any) -> str:
    """What a pipeline was loaded from, as far as it tells; of a place on this machine, only the last part."""
    name = str(getattr(pipe, "name_or_path", "") or pipe.config.get("_name_or_path", "") or type(pipe).__name__)
    return bare_name(name) if Path(name).is_absolute() or Path(name).exists() else name
