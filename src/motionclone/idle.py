"""Settings that do not act with a model, its scheduler, pictures or a motion: refused or told, never ignored.

Values of a preset, and defaults, may lie idle in silence. What a person typed is refused, before anything slow, by
`refuse_idle`; what a person set in Python is told by a `GuidanceWarning`.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from motionclone.backbones.backbone import Backbone
from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import takes_per_frame_norm
from motionclone.errors import GuidanceWarning, InputError, named
from motionclone.media.conditions import Condition
from motionclone.motion import Motion
from motionclone.schedule import keeps_its_steps
from motionclone.settings import Extraction, Guidance, Settings

# By guidance itself; the number once it is known whether as many were guided, since settings of few steps must say one.
TOLD_ELSEWHERE = (
    *("guidance.weight", "guidance.update", "guidance.match_direction", "guidance.warm_up", "guidance.cool_down"),
    *("guidance.inner_steps", "sampling.guided_steps"),
)


def idle(
    pipe: Any, settings: Settings, *, motion: Motion | None = None, condition: Condition | None = None
) -> dict[str, str]:
    """Fields of the settings that do not act, by name, such as `sampling.guided_steps`; and why, and what to do.

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        settings: checked, as by `check`.
        motion: that guides, if it has been read already.
        condition: the pictures that are followed.
    """
    backbone = backbone_of(pipe)
    found = _steps(backbone, settings) | _words(backbone, settings) | _pictures(backbone, settings, motion, condition)
    return found if motion is None else found | _of_the_motion(settings, motion)


def refuse_idle(
    pipe: Any,
    settings: Settings,
    typed: Mapping[str, str],
    *,
    motion: Motion | None = None,
    condition: Condition | None = None,
) -> None:
    """Raise InputError if something that a person typed does not act.

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        settings: checked, as by `check`.
        typed: the fields that were typed, and what they are called there: {"conditioning.scale": "--condition-scale"}.
            `per_frame_norm`, of a model, may be among them.
        motion: that guides, if it has been read already.
        condition: the pictures that are followed.
    """
    backbone = backbone_of(pipe)
    found = _unguided(backbone, settings) | idle(backbone, settings, motion=motion, condition=condition)
    if not takes_per_frame_norm(backbone.denoiser):
        found["per_frame_norm"] = "does not act: this model has no motion modules; leave it out"
    for field, name in typed.items():
        if field in found:
            raise InputError(f"{name} {found[field]}.")


def tell_idle(backbone: Backbone, settings: Settings, motion: Motion, condition: Condition | None) -> None:
    """Warn of what a person set that does not act in a generation; what its guidance itself tells is left to it."""
    for unused, why in backbone.unused_parts().items():
        warnings.warn(
            f"the pipeline's {unused} {why}, and clone and generate have no place for that; to have it, read the "
            "motion with extract_motion and call the pipeline yourself inside motion_guidance.",
            GuidanceWarning,
            stacklevel=4,
        )
    for field, why in idle(backbone, settings, motion=motion, condition=condition).items():
        section, _, name = field.rpartition(".")
        part = getattr(settings, section) if section else settings
        if name in part.model_fields_set and field not in TOLD_ELSEWHERE:
            warnings.warn(f"{named(field)} {why}.", GuidanceWarning, stacklevel=4)


def tell_idle_guidance(settings: Guidance) -> None:
    """Warn of what contradicts itself in settings of guidance."""
    for name, why in (_beside_strength(settings) | _beside_weight(settings)).items():
        if name in settings.model_fields_set:
            warnings.warn(f"{named(name)} {why}.", GuidanceWarning, stacklevel=4)
    matched = settings.match_direction and settings.update == "direction"
    if settings.strength is None and matched and not settings.off:
        warnings.warn(f"{named('match_direction')} {_matched()}.", GuidanceWarning, stacklevel=4)


def tell_idle_scale_factor(settings: Guidance) -> None:
    """Warn if a person set a factor for classifier-free guidance, of which no guided call held both halves."""
    if settings.guidance_scale_factor != 1 and "guidance_scale_factor" in settings.model_fields_set:
        warnings.warn(
            f"{named('guidance_scale_factor')} does not act: no guided call held both halves of classifier-free "
            "guidance; leave it out, and raise the pipeline's guidance_scale.",
            GuidanceWarning,
            stacklevel=4,
        )


def tell_other_count(scheduler: Any, settings: Settings, guided: int) -> None:
    """Warn if a person set how many steps are to be guided, and another number were."""
    sampling = settings.sampling
    asked = "guided_steps" in sampling.model_fields_set and keeps_its_steps(scheduler) and guided > 0
    if asked and sampling.guided_steps != guided:
        warnings.warn(
            f"{named('sampling.guided_steps')} is {sampling.guided_steps} and {guided} were guided: it "
            f"{_kept(scheduler)}.",
            GuidanceWarning,
            stacklevel=4,
        )


_READ = "does not act: the motion has been read {}; leave it out, or extract the motion again"
_NO_PICTURE = "does not act: no picture is followed; give one, or leave it out"


def _matched() -> str:
    return f"does not act: it is for {named('update')} = noise; leave it out, or set that"


def _beside_strength(guidance: Guidance) -> dict[str, str]:
    """What a strength leaves nothing to decide."""
    if guidance.strength is None or guidance.off:
        return {}
    why = f"does not act: {named('strength')} is {guidance.strength:g}; leave one of them out"
    return dict.fromkeys(("weight", "update", "match_direction"), why)


def _beside_weight(guidance: Guidance) -> dict[str, str]:
    """What needs a strength, by which alone it is known how far a step leads."""
    if guidance.strength is not None or guidance.inner_steps == 1 or guidance.off:
        return {}
    return {"inner_steps": f"does not act: by weight a guided step has one gradient; set {named('strength')}"}


def _kept(scheduler: Any) -> str:
    fraction = named("guidance.guided_fraction")
    return f"does not act: {type(scheduler).__name__} keeps its own steps; leave it out, and set {fraction}"


def _steps(backbone: Backbone, settings: Settings) -> dict[str, str]:
    scheduler, guidance, count = backbone.pipe.scheduler, settings.guidance, settings.sampling.guided_steps
    found = {}
    if keeps_its_steps(scheduler):
        found["sampling.guided_steps"] = _kept(scheduler)
    elif not guidance.off and guidance.strength is None and guidance.warm_up + guidance.cool_down > count + 1:
        for name in ("warm_up", "cool_down"):
            ramps = f"{named('warm_up')} {guidance.warm_up} and {named('cool_down')} {guidance.cool_down}"
            found[f"guidance.{name}"] = (
                f"is too long: {ramps} leave none of the {count} guided steps at full weight; set them to "
                f"{(count + 1) // 2} or less"
            )
    if guidance.match_direction and guidance.update == "direction":
        found["guidance.match_direction"] = _matched()
    beside = _beside_strength(guidance) | _beside_weight(guidance)
    return found | {f"guidance.{name}": why for name, why in beside.items()}


def _words(backbone: Backbone, settings: Settings) -> dict[str, str]:
    sampling, pipe = settings.sampling, backbone.pipe
    scale = sampling.guidance_scale
    found = _scale_factor(backbone, settings)
    if "negative_prompt" not in backbone.pipeline_arguments(sampling):  # the scale is told to the network
        config: Any = backbone.denoiser.config
        if not config.get("guidance_embeds", True):
            found["sampling.guidance_scale"] = "does not act: this model is told no guidance scale; leave it out"
        return found
    guider = getattr(pipe, "guider", None)
    if sampling.negative_prompt and (scale == 1 if guider is not None else scale <= 1):
        found["sampling.negative_prompt"] = (
            f"does not act: at {named('guidance_scale')} {scale:g} there is no classifier-free guidance; raise that "
            "above 1, or leave it out"
        )
    if guider is None and scale < 1:
        found["sampling.guidance_scale"] = (
            "does not act below 1, where there is no classifier-free guidance; set it to 1 if that is meant"
        )
    return found


def _scale_factor(backbone: Backbone, settings: Settings) -> dict[str, str]:
    """Of classifier-free guidance there must be some, and both its halves at hand."""
    sampling = settings.sampling
    if not backbone.halves_together:
        why = f"does not act: {type(backbone.pipe).__name__} asks its network for each half of classifier-free guidance"
        return {"guidance.guidance_scale_factor": f"{why} alone; leave it out, and raise {named('guidance_scale')}"}
    if sampling.guidance_scale > 1:
        return {}
    why = f"does not act: at {named('guidance_scale')} {sampling.guidance_scale:g} there is no classifier-free guidance"
    return {"guidance.guidance_scale_factor": f"{why}; raise that above 1, or leave it out"}


def _pictures(
    backbone: Backbone, settings: Settings, motion: Motion | None, condition: Condition | None
) -> dict[str, str]:
    if condition is None:
        return {"conditioning.scale": _NO_PICTURE, "conditioning.at_extraction": _NO_PICTURE}
    found, at_extraction, strength = {}, settings.conditioning.at_extraction, 0.5
    told = backbone.pipeline_condition(condition, strength).values()
    if not any(isinstance(each, float) and each == strength for each in told):
        found["conditioning.scale"] = "does not act: this model knows no strength of pictures; leave it out"
    if backbone.shown_frames:
        if not at_extraction:
            found["conditioning.at_extraction"] = "does not act: this model has to be shown a picture; leave it out"
    elif motion is not None and at_extraction != bool(motion.record.shown_frames):
        found["conditioning.at_extraction"] = _READ.format("without pictures" if at_extraction else "with pictures")
    return found


def _of_the_motion(settings: Settings, motion: Motion) -> dict[str, str]:
    record, found = motion.record, {}
    for name in Extraction.model_fields:
        kept = getattr(record, name)
        if kept is not None and kept != getattr(settings.extraction, name):
            found[f"extraction.{name}"] = _READ.format(f"with {kept!r}")
    if settings.sampling.shared_noise:
        if record.seed is None:
            found["sampling.shared_noise"] = "does not act: the motion does not know its noise; switch it off"
        elif record.seed != settings.seed:
            found["seed"] = (
                f"does not act: the video starts from the noise of the motion, whose seed is {record.seed}; leave it "
                f"out, or switch {named('sampling.shared_noise')} off"
            )
    return found


def _unguided(backbone: Backbone, settings: Settings) -> dict[str, str]:
    """What goes idle with guidance. In Python, to switch that off is to say so."""
    found = {}
    if settings.guidance.off:
        switch = "guidance.weight" if settings.guidance.weight == 0 else "guidance.strength"
        for section, part in (("guidance", Guidance), ("extraction", Extraction)):
            for name in part.model_fields:
                found[f"{section}.{name}"] = f"does not act: {named(switch)} is 0; raise that, or leave it out"
        del found[switch]
        if not keeps_its_steps(backbone.pipe.scheduler):
            del found["guidance.guided_fraction"]
    return found
