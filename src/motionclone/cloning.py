"""A motion and words in, a video and its record out."""

import inspect
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from motionclone import __version__
from motionclone.backbones.backbone import Backbone
from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import steps_heard
from motionclone.errors import InputError, named
from motionclone.extraction import extract_motion, generator_of, model_name, seeded_noise
from motionclone.idle import tell_idle, tell_other_count
from motionclone.media.conditions import Condition
from motionclone.media.frames import as_frames
from motionclone.motion import Motion
from motionclone.objectives import objective_named
from motionclone.sampling import GuidedStep, check_fits, motion_guidance
from motionclone.schedule import check_schedule, uneven_schedule
from motionclone.settings import Settings
from motionclone.steps import step_index

# https://cv.iptc.org/newscodes/digitalsourcetype: media made by a trained model.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

# What diffusers' pipelines call the pictures that they cannot do without, though most have a default, None.
PICTURES = ("image", "video", "conditioning_frames")


@dataclass(frozen=True)
class Step:
    """Progress: one denoising step is done."""

    index: int  # from 1
    steps: int
    timestep: int
    guided: GuidedStep | None  # None if the step was not guided


@dataclass(frozen=True)
class Generated:
    """A new video.

    Attributes:
        frames: (f, 3, h, w), RGB in [-1, 1].
        steps: the guided steps.
        record: everything that decided the output, plain JSON values; enough to make it again.
    """

    frames: Tensor
    steps: tuple[GuidedStep, ...]
    record: dict[str, Any]


def clone(
    pipe: Any,
    frames: Any,
    prompt: str,
    settings: Settings | None = None,
    *,
    condition: Condition | None = None,
    source: dict[str, Any] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Generated:
    """Clone the motion of a clip into a new video: `extract_motion`, then `generate`.

    Args:
        pipe: a diffusers pipeline of a supported family, such as from `load_pipeline`, or its backbone.
        frames: the reference, (f, 3, h, w) in [-1, 1], or another form that `as_frames` takes (a list of PIL images, as
            diffusers' `load_video` gives); f, h, w are those of the settings.
        prompt: what the new video shows.
        settings: such as from `preset`.
        condition: pictures that the new video follows, for a pipeline with SparseCtrl.
        source: facts about the clip for the record, plain JSON values.
        on_step: called after every denoising step.

    Raises:
        InputError: if clip, prompt or settings do not fit the model, or a step is not finite.
    """
    settings = settings or Settings()
    backbone, sampling = backbone_of(pipe), settings.sampling
    wanted = (sampling.num_frames, 3, sampling.height, sampling.width)
    frames = as_frames(frames)
    if tuple(frames.shape) != wanted:
        raise InputError(f"the reference has shape {tuple(frames.shape)} and the settings ask for {wanted}.")
    check(backbone, prompt, settings)
    check_condition(backbone, condition, settings)
    motion = extract_motion(
        backbone,
        frames,
        settings.extraction,
        seed=settings.seed,
        source=source,
        shown_frames=condition.frames if condition is not None and settings.conditioning.at_extraction else (),
        condition_scale=settings.conditioning.scale,
    )
    return generate(backbone, motion, prompt, settings, condition=condition, on_step=on_step)


def check(pipe: Any, prompt: str, settings: Settings) -> None:
    """Raise InputError, before anything slow, if the prompt or the settings do not fit the model."""
    backbone, sampling = backbone_of(pipe), settings.sampling
    backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
    backbone.sites(settings.extraction.blocks)
    objective_named(settings.guidance.objective)
    check_schedule(backbone.pipe.scheduler, sampling.steps, sampling.guided_steps, settings.guidance.guided_fraction)
    _check_call(backbone, _arguments(backbone, prompt, settings))
    for text in (_positive(prompt, settings), sampling.negative_prompt):
        backbone.check_prompt(text)


def _arguments(backbone: Backbone, prompt: str, settings: Settings) -> dict[str, Any]:
    """Of the pipeline, but for pictures and noise. InputError if there is something that it would ignore."""
    own = {"prompt": _positive(prompt, settings), "num_inference_steps": settings.sampling.steps, "output_type": "pt"}
    return backbone.pipeline_arguments(settings.sampling) | own


def _check_call(backbone: Backbone, arguments: Mapping[str, Any]) -> None:
    """InputError if the pipeline takes other arguments, or needs more: it is for another task, as video to video."""
    parameters = inspect.signature(type(backbone.pipe).__call__).parameters.values()
    takes = {parameter.name for parameter in parameters}
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    brought = ("self", *arguments, "latents", "generator")
    strange = [name for name in brought if name not in takes and not anything]
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.name not in (*brought, *backbone.picture_arguments)
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and (parameter.name in PICTURES or parameter.default is parameter.empty)
    ]
    if strange or needed:
        wants = [f"needs {', '.join(needed)}"] * bool(needed) + [f"takes no {', '.join(strange)}"] * bool(strange)
        raise InputError(
            f"{type(backbone.pipe).__name__} {' and '.join(wants)}, so it cannot be called from here; read the motion "
            "with extract_motion and call the pipeline yourself inside motion_guidance."
        )


def fitting(pipe: Any, settings: Settings) -> Settings:
    """The settings with the nearest number of frames, height and width that the model takes."""
    s = settings.sampling
    frames, height, width = backbone_of(pipe).nearest_size(s.num_frames, s.height, s.width)
    sampling = s.model_copy(update={"num_frames": frames, "height": height, "width": width})
    return settings.model_copy(update={"sampling": sampling})


def check_condition(pipe: Any, condition: Condition | None, settings: Settings) -> None:
    """Raise InputError if pictures, or that there are none, do not fit the model or the settings."""
    sampling = settings.sampling
    backbone_of(pipe).check_condition(condition)
    if condition is not None:
        condition.check_fits(sampling.num_frames, sampling.height, sampling.width)


def _positive(prompt: str, settings: Settings) -> str:
    """The prompt with the positive prompt behind it."""
    return ", ".join(part for part in (prompt, settings.sampling.positive_prompt) if part)


@torch.no_grad()
def generate(
    pipe: Any,
    motion: Motion | Mapping[float, Motion],
    prompt: str,
    settings: Settings | None = None,
    *,
    condition: Condition | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Generated:
    """A new video that moves like `motion`, or like the motions of the guided timesteps; with weight 0, its plain twin.

    The uneven schedule stands in for a DDIM scheduler while this runs; other schedulers are kept, and then
    `guided_fraction` alone says which of their steps are guided. With `shared_noise`,
    the initial latents are the noise that was added to the reference at extraction, whatever `settings.seed`. With a
    `condition`, its pictures are followed by a pipeline with SparseCtrl.

    Raises:
        InputError: if motion, prompt or settings do not fit the model, or a step is not finite.
    """
    settings = settings or Settings()
    backbone, sampling = backbone_of(pipe), settings.sampling
    pipe = backbone.pipe
    for each in (motion,) if isinstance(motion, Motion) else motion.values():
        check_fits(backbone, each)
    check(backbone, prompt, settings)
    check_condition(backbone, condition, settings)
    first = motion if isinstance(motion, Motion) else next(iter(motion.values()))
    tell_idle(backbone, settings, first, condition)
    seed = settings.seed if first.record.seed is None or not sampling.shared_noise else first.record.seed
    shape = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
    size = first.record.size or (sampling.height, sampling.width)
    if (first.video_frames, *size) != (sampling.num_frames, sampling.height, sampling.width):
        raise InputError(
            f"the motion has {first.video_frames} frames of {size[1]}x{size[0]} pixels and {sampling.num_frames} "
            f"frames of {sampling.width}x{sampling.height} were asked for; generate at its size, or extract again."
        )
    noise = seeded_noise(shape, seed, "reference" if sampling.shared_noise else "independent")
    guided: list[GuidedStep] = []
    reported = 0
    began = time.monotonic()

    def end_of_step(timestep: float, latents: Tensor) -> None:
        nonlocal reported
        number = step_index(pipe.scheduler, timestep) + 1
        if not latents.isfinite().all():
            raise InputError(
                f"step {number} of {sampling.steps} gave latents that are not finite; use {named('dtype', 'float32')}, "
                f"or a lower {named('guidance_scale')} than {sampling.guidance_scale:g}."
            )
        if on_step is not None:
            on_step(Step(number, sampling.steps, int(timestep), guided[-1] if len(guided) > reported else None))
        reported = len(guided)

    shown = {} if condition is None else backbone.pipeline_condition(condition, settings.conditioning.scale)
    device = pipe._execution_device
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=condition is not None),
        motion_guidance(backbone, motion, settings.guidance, on_guided_step=guided.append),
        backbone.prepared(sampling),
        uneven_schedule(pipe, sampling.guided_steps, settings.guidance.guided_fraction),
        steps_heard(pipe.scheduler, end_of_step, pipe),
        warnings.catch_warnings(),
    ):
        # Several pictures go in as tensors: as PIL images they would be rounded to 8 bits.
        warnings.filterwarnings("ignore", "Passing `image` as a list of 4d", FutureWarning)
        if condition is not None:  # the picture's latents are sampled from the global generator
            torch.manual_seed(generator_of(seed, "vae").initial_seed())
        video = pipe(
            **shown,
            **_arguments(backbone, prompt, settings),
            latents=backbone.initial_latents(noise, condition),
            generator=generator_of(seed, "sampling"),
        ).frames[0]
    tell_other_count(pipe.scheduler, settings, len(guided))
    if not video.isfinite().all():
        overflown = "the decoded video is not finite; the VAE overflows in half precision, use"
        raise InputError(f"{overflown} {named('dtype', 'float32')}.")
    record = {
        "motionclone": __version__,
        "ai_generated": True,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "prompt": prompt,
        "model": model_name(pipe),
        "initial_noise_seed": seed,
        "settings": settings.model_dump(mode="json"),
        "motion": first.record.values(),
        "condition": None
        if condition is None
        else {"frames": list(condition.frames), "source": list(condition.source)},
        "energies": [round(step.energy, 8) for step in guided],
        "seconds": round(time.monotonic() - began, 2),
        "dtype": str(backbone.denoiser.dtype).removeprefix("torch."),
        "device": str(device),
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    return Generated(video.float().cpu() * 2 - 1, tuple(guided), record)
