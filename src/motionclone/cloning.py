"""A motion and words in, a video and its record out."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from motionclone import __version__
from motionclone.backbones.families import Pipeline, backbone_of
from motionclone.backbones.patching import steps_heard
from motionclone.backbones.recomputing import within_memory
from motionclone.calling import (
    call_arguments,
    caller_of,
    check_call,
    check_function,
    positive,
    recorded,
    with_arguments,
)
from motionclone.errors import GuidanceWarning, InputError, named
from motionclone.extraction import extract_motion, generator_of, kept_of, model_name, seeded_noise
from motionclone.idle import tell_idle, tell_other_count
from motionclone.media.conditions import Condition
from motionclone.media.frames import OutputType, as_frames, check_output_type, in_form
from motionclone.models.mini_words import MINI_MODELS, advice
from motionclone.motion import Motion
from motionclone.objectives import objective_named
from motionclone.sampling import GuidedStep, check_fits, motion_guidance, motions_in
from motionclone.schedule import check_schedule
from motionclone.settings import Settings, check_text, or_default
from motionclone.steps import step_index

# https://cv.iptc.org/newscodes/digitalsourcetype: media made by a trained model.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@dataclass(frozen=True)
class Step:
    """Progress: one denoising step is done."""

    index: int  # from 1
    steps: int
    timestep: int
    guided: GuidedStep | None  # None if the step was not guided
    latents: Tensor | None = field(default=None, repr=False, compare=False)
    """After it, as the pipeline has them; such as for a preview."""


@dataclass(frozen=True)
class Generated:
    """A new video.

    Attributes:
        frames: (f, 3, h, w), RGB in [-1, 1]; or in the form of the `output_type` that was asked for.
        steps: the guided steps.
        record: everything that decided the output, plain JSON values; enough to make it again, but for what it names
            in `not_reproducible`.
    """

    frames: Any
    steps: tuple[GuidedStep, ...]
    record: dict[str, Any]

    def __repr__(self) -> str:
        sampling = self.record["settings"]["sampling"]
        return (
            f"Generated({sampling['num_frames']} frames of {sampling['width']}x{sampling['height']}, "
            f"{len(self.steps)} guided steps, prompt {self.record['prompt'][:60]!r})"
        )


def clone(
    pipe: Pipeline,
    frames: Any,
    prompt: str,
    settings: Settings | None = None,
    *,
    condition: Condition | None = None,
    source: dict[str, Any] | None = None,
    on_step: Callable[[Step], None] | None = None,
    output_type: OutputType | None = None,
    **arguments: Any,
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
        output_type: of the new frames, as in `generate`.
        arguments: of the pipeline, as in `generate`.

    Raises:
        InputError: if clip, prompt or settings do not fit the model, or a step is not finite.
    """
    given, settings = settings, or_default(settings, Settings)
    backbone, sampling = caller_of(pipe), settings.sampling
    wanted = (sampling.num_frames, 3, sampling.height, sampling.width)
    frames = as_frames(frames)
    check_function("on_step", on_step)
    check_output_type(output_type)
    if tuple(frames.shape) != wanted:
        whose = "the settings ask" if given is not None else "the default settings, the paper's for camera moves, ask"
        raise InputError(
            f"the reference has shape {tuple(frames.shape)} and {whose} for {wanted}; change the clip or the settings."
        )
    check(backbone, prompt, settings, arguments)
    check_condition(backbone, condition, settings)
    motion = motion_for(backbone, frames, settings, condition=condition, source=source)
    return generate(
        backbone, motion, prompt, settings, condition=condition, on_step=on_step, output_type=output_type, **arguments
    )


def motion_for(
    pipe: Pipeline,
    frames: Any,
    settings: Settings,
    *,
    condition: Condition | None = None,
    source: dict[str, Any] | None = None,
) -> Motion:
    """The motion that `clone` reads of frames with whole settings: of their seed, and shown what the video follows."""
    return extract_motion(
        pipe,
        frames,
        settings.extraction,
        seed=settings.seed,
        source=source,
        shown_frames=condition.frames if condition is not None and settings.conditioning.at_extraction else (),
        condition_scale=settings.conditioning.scale,
    )


def check(pipe: Pipeline, prompt: str, settings: Settings, arguments: Mapping[str, Any] | None = None) -> None:
    """Raise InputError, before anything slow, if the prompt, the settings or further arguments do not fit the model.

    Of a pipeline without a tokenizer, as `load_pipeline` makes some without weights, prompts are not checked.
    """
    if not isinstance(prompt, str):
        raise InputError(f"the prompt must be one text, not {type(prompt).__name__}; make one video after the other.")
    check_text(prompt)
    settings, added = with_arguments(settings, arguments or {})
    backbone, sampling = caller_of(pipe), settings.sampling
    frames = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)[2]
    kept_of(settings.extraction, frames)
    backbone.sites(settings.extraction.blocks)
    objective_named(settings.guidance.objective)
    check_schedule(backbone.pipe.scheduler, sampling.steps, sampling.guided_steps, settings.guidance.guided_fraction)
    check_call(backbone, call_arguments(backbone, prompt, settings), added)
    for text in (
        (positive(prompt, settings), sampling.negative_prompt) if getattr(backbone.pipe, "tokenizer", True) else ()
    ):
        backbone.check_prompt(text)


def fitting(pipe: Pipeline, settings: Settings) -> Settings:
    """The settings with the nearest number of frames, height and width that the model takes."""
    s = settings.sampling
    frames, height, width = backbone_of(pipe).nearest_size(s.num_frames, s.height, s.width)
    sampling = s.model_copy(update={"num_frames": frames, "height": height, "width": width})
    return settings.model_copy(update={"sampling": sampling})


def check_condition(pipe: Pipeline, condition: Condition | None, settings: Settings) -> None:
    """Raise InputError if pictures, or that there are none, do not fit the model or the settings."""
    if not isinstance(condition, Condition | None):
        raise InputError(f"condition must be a Condition, not {type(condition).__name__}; see read_picture.")
    sampling = settings.sampling
    backbone_of(pipe).check_condition(condition)
    if condition is not None:
        condition.check_fits(sampling.num_frames, sampling.height, sampling.width)


def check_motion(pipe: Pipeline, motion: Motion, settings: Settings) -> None:
    """Raise InputError if a motion was read with another model, or at another size than the settings'."""
    check_fits(backbone_of(pipe), motion)
    sampling = settings.sampling
    size = motion.record.size or (sampling.height, sampling.width)
    if (motion.video_frames, *size) != (sampling.num_frames, sampling.height, sampling.width):
        raise InputError(
            f"the motion has {motion.video_frames} frames of {size[1]}x{size[0]} pixels and {sampling.num_frames} "
            f"frames of {sampling.width}x{sampling.height} were asked for; generate at its size, or extract again."
        )


def tell_words(pipe: Pipeline, prompt: str, settings: Settings, pictured: bool = False) -> None:
    """Warn of words that are none or, of a bundled model, unknown: something would be made of them in silence."""
    if not pictured and not positive(prompt, settings).strip():
        warnings.warn("the prompt is empty; say what the new video shows", GuidanceWarning, stacklevel=3)
    model = model_name(backbone_of(pipe).pipe)
    texts = (positive(prompt, settings), settings.sampling.negative_prompt, settings.extraction.prompt)
    if model in MINI_MODELS and (sentence := advice(model, texts)):
        warnings.warn(sentence, GuidanceWarning, stacklevel=3)


@torch.no_grad()
def generate(
    pipe: Pipeline,
    motion: Motion | Mapping[float, Motion],
    prompt: str,
    settings: Settings | None = None,
    *,
    condition: Condition | None = None,
    on_step: Callable[[Step], None] | None = None,
    output_type: OutputType | None = None,
    **arguments: Any,
) -> Generated:
    """A new video that moves like `motion`, or like the motions of the guided timesteps; with weight 0, its plain twin.

    The uneven schedule stands in for a DDIM scheduler while this runs; other schedulers are kept, and then
    `guided_fraction` alone says which of their steps are guided. With `shared_noise`,
    the initial latents are the noise that was added to the reference at extraction, whatever `settings.seed`. With a
    `condition`, its pictures are followed by a pipeline with SparseCtrl.

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        motion: extracted with the same model, at the size and number of frames of the settings.
        prompt: what the new video shows.
        settings: such as from `preset`.
        condition: pictures that the new video follows, for a pipeline with SparseCtrl.
        on_step: called after every denoising step.
        output_type: of the frames, as diffusers names them: "pil", a list of images; "np", an array (f, h, w, 3) in
            [0, 1]; "pt", a tensor (f, 3, h, w) in [0, 1]. By default a tensor in [-1, 1], as everywhere here.
        arguments: further ones of the pipeline, such as `callback_on_step_end` or `clip_skip`. A `negative_prompt`
            takes the place of the settings', and a `generator` makes the noise that the video starts from, as in
            diffusers, in place of the motion's and of `settings.seed`.

    Raises:
        InputError: if motion, prompt, settings or arguments do not fit the model, or a step is not finite.
    """
    settings, given = with_arguments(or_default(settings, Settings), arguments)
    backbone, sampling = caller_of(pipe), settings.sampling
    pipe = backbone.pipe
    check_function("on_step", on_step)
    check_output_type(output_type)
    motions = motions_in(motion)
    for each in motions:
        check_motion(backbone, each, settings)
    check(backbone, prompt, settings, given)
    check_condition(backbone, condition, settings)
    first = motions[0]
    tell_idle(backbone, settings, first, condition)
    tell_words(backbone, prompt, settings, condition is not None)
    seed = settings.seed if first.record.seed is None or not sampling.shared_noise else first.record.seed
    shape = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
    about_arguments = recorded(given)
    generator = given.pop("generator", None)
    if generator is None:
        noise = seeded_noise(shape, seed, "reference" if sampling.shared_noise else "independent")
    else:
        noise = torch.randn(shape, generator=generator, device=generator.device)
    guided: list[GuidedStep] = []  # since the last step
    finite: list[tuple[int, Tensor]] = []  # numbers of steps that were not looked at
    began = time.monotonic()

    def check_finite(but: int = 0) -> None:
        """All steps but so many of the last, so that the device need not be waited for."""
        while len(finite) > but:
            number, is_finite = finite.pop(0)
            if not is_finite:
                raise InputError(
                    f"step {number} of {sampling.steps} gave latents that are not finite; use "
                    f"{named('dtype', 'float32')}, or a lower {named('guidance_scale')} than "
                    f"{sampling.guidance_scale:g}."
                )

    def end_of_step(timestep: float, latents: Tensor) -> None:
        number = step_index(pipe.scheduler, timestep) + 1
        finite.append((number, latents.isfinite().all()))
        check_finite(but=1)
        if on_step is not None:
            on_step(Step(number, sampling.steps, int(timestep), guided[-1] if guided else None, latents))
        guided.clear()

    shown = {} if condition is None else backbone.pipeline_condition(condition, settings.conditioning.scale)
    device = pipe._execution_device
    tiles = f"use {named('vae_tiling', True)} or {named('offload', 'model')}, or fewer or smaller frames"
    with (
        torch.random.fork_rng(range(torch.cuda.device_count())),
        motion_guidance(backbone, motion, settings, on_guided_step=on_step and guided.append) as trace,
        backbone.prepared(sampling),
        steps_heard(pipe.scheduler, end_of_step, pipe),
        within_memory(device, "the video, in the VAE or a text encoder,", tiles),
        warnings.catch_warnings(),
    ):
        # Several pictures go in as tensors: as PIL images they would be rounded to 8 bits.
        warnings.filterwarnings("ignore", "Passing `image` as a list of 4d", FutureWarning)
        # Some pipelines draw a picture's latents, or have their schedulers draw noise, from the global generator.
        torch.manual_seed(generator_of(seed, "vae").initial_seed())
        video = pipe(
            **shown,
            **call_arguments(backbone, prompt, settings),
            **given,
            latents=backbone.initial_latents(noise, condition),
            generator=generator or generator_of(seed, "sampling"),
        ).frames[0]
    check_finite()
    tell_other_count(pipe.scheduler, settings, len(trace.steps))
    if not video.isfinite().all():
        overflown = "the decoded video is not finite; the VAE overflows in half precision, use"
        raise InputError(f"{overflown} {named('dtype', 'float32')}.")
    record = {
        "motionclone": __version__,
        "ai_generated": True,
        "digital_source_type": DIGITAL_SOURCE_TYPE,
        "prompt": prompt,
        "model": model_name(pipe),
        "initial_noise_seed": seed if generator is None else None,
        "settings": settings.model_dump(mode="json"),
        **about_arguments,
        "motion": first.record.values(),
        "condition": None
        if condition is None
        else {"frames": list(condition.frames), "source": list(condition.source)},
        "energies": [round(step.energy, 8) for step in trace.steps],
        "seconds": round(time.monotonic() - began, 2),
        "recomputed": None if trace.recomputed is None else trace.recomputed.values(),
        "dtype": str(backbone.denoiser.dtype).removeprefix("torch."),
        "device": str(device),
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    return Generated(in_form(video.float().cpu(), output_type), tuple(trace.steps), record)
