"""Motions of references, read by `extract`, and once by a batch for all videos that move alike; and their settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from motionclone.cli.options import (
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    ReferenceOptions,
    SettingsOptions,
    settings_from,
)
from motionclone.cli.reading import fitted_to_model, read_reference, say_notices, source_facts
from motionclone.cli.sources import Sources
from motionclone.settings import Extraction, Settings

if TYPE_CHECKING:
    from motionclone.cli.running import Load
    from motionclone.media.reading import Clip
    from motionclone.motion import Motion


@dataclass(frozen=True)
class ReadyToExtract:
    """Everything for a motion."""

    options: ReferenceOptions
    settings: Settings
    pipe: Any
    clip: "Clip"


def prepared_to_extract(
    sources: Sources,
    options: ReferenceOptions,
    settings: Settings,
    model_options: ModelOptions,
    typed: Mapping[str, str],
    load: "Load",
) -> ReadyToExtract:
    """All that comes before the first step, and everything that can be refused there; as `prepared`."""
    from motionclone.cloning import check
    from motionclone.idle import refuse_idle

    clip, settings = read_reference(sources.material, options, settings, sources.model, typed.keys())
    pipe = load(model_options, place=sources.model)
    fitted = fitted_to_model(pipe, settings)
    if fitted != settings:
        clip, settings = read_reference(sources.material, options, fitted, sources.model)
    say_notices(clip.notices)
    check(pipe, "", settings)
    refuse_idle(pipe, settings, typed)
    return ReadyToExtract(options, settings, pipe, clip)


def extracted(ready: ReadyToExtract, name: str, path: str) -> "Motion":
    """The motion, whose record calls the reference by its `name`, and the way to it from there `path`."""
    from motionclone.extraction import extract_motion

    source = source_facts(name, ready.clip, ready.options) | {"path": path}
    return extract_motion(
        ready.pipe, ready.clip.frames, ready.settings.extraction, seed=ready.settings.seed, source=source
    )


def settings_for(motion: "Motion", model: str, common: SettingsOptions, generation: GenerationOptions) -> Settings:
    """The settings for a video of a motion: its size and number of frames, and its noise unless a seed is given."""
    size = motion.record.size or (None, None)
    inherited: dict[str, Any] = {"num_frames": motion.video_frames, "height": size[0], "width": size[1]}
    missing = {name: value for name, value in inherited.items() if getattr(common, name) is None}
    if common.seed is not None and generation.shared_noise is None:
        generation = replace(generation, shared_noise=False)
    read_with = {name: getattr(motion.record, name) for name in Extraction.model_fields}
    return settings_from(model, replace(common, **missing), ExtractionOptions(**read_with), generation)
