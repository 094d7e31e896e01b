"""From the options to what they name: the model, the reference, the pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.options import ModelOptions, PictureJob, ReferenceOptions
from motionclone.cli.terminal import quiet_libraries, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from motionclone.media.conditions import Condition
    from motionclone.media.reading import Clip
    from motionclone.settings import Settings


def load_model(options: ModelOptions, control: str | None = None) -> Any:
    """The pipeline; `control` is as in `load_pipeline`."""
    import torch

    from motionclone.models import load_pipeline

    quiet_libraries()
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    pipe = load_pipeline(
        options.model,
        device=options.device,
        dtype=dtype,
        offload=options.offload,
        vae_tiling=options.vae_tiling,
        per_frame_norm=options.per_frame_norm,
        control=control,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def fitted_to_model(pipe: Any, settings: "Settings") -> "Settings":
    """The settings at the nearest size that the model takes; if that is another, it is said."""
    from motionclone.cloning import fitting

    found = fitting(pipe, settings)
    if found != settings:
        before, after = (f"{s.num_frames} frames of {s.width}x{s.height}" for s in (settings.sampling, found.sampling))
        say(f"note: this model does not make {before}; it will be {after}")
    return found


def read_reference(reference: Path, options: ReferenceOptions, settings: "Settings") -> "Clip":
    """The clip, at the size of the settings."""
    from motionclone.media.reading import read_clip

    s = settings.sampling
    return read_clip(
        reference,
        s.num_frames,
        s.height,
        s.width,
        start=options.start,
        end=options.end,
        fps=options.fps,
        fit=options.fit,
    )


def say_notices(notices: "Iterable[str]") -> None:
    """Tell what was done to what was read."""
    for notice in notices:
        say(f"note: {notice}")


def source_facts(reference: Path, clip: "Clip", options: ReferenceOptions) -> dict[str, Any]:
    """What a motion file remembers of its reference."""
    return {
        "name": reference.name,
        "path": str(reference.absolute()),
        "sha256": clip.sha256,
        "fps": clip.fps,
        "start": options.start,
        "end": options.end,
        "asked_fps": options.fps,
        "fit": options.fit,
    }


def read_pictures(
    pictures: tuple[PictureJob, ...], settings: "Settings"
) -> "tuple[tuple[PictureJob, ...], Condition | None, list[str]]":
    """The pictures with their hashes, what they make together, and notices."""
    from dataclasses import replace

    import torch

    from motionclone.media.conditions import Condition
    from motionclone.media.pictures import read_picture, read_sketch, sketch_from

    if not pictures:
        return (), None, []
    readers = {"image": read_picture, "sketch": read_sketch, "sketch_from": sketch_from}
    size = settings.sampling.height, settings.sampling.width
    found = []
    for wanted in pictures:
        picture = readers[wanted.kind](Path(wanted.path), *size)
        if wanted.sha256 not in (None, picture.sha256):
            raise InputError(f"{wanted.path} has changed since the record was written; restore the file it was.")
        found.append(picture)
    hashed = tuple(replace(wanted, sha256=picture.sha256) for wanted, picture in zip(pictures, found, strict=True))
    condition = Condition(
        torch.stack([picture.pixels for picture in found]),
        tuple(each.frame for each in hashed),
        tuple({"name": Path(each.path).name, "kind": each.kind, "sha256": each.sha256} for each in hashed),
    )
    condition.check_fits(settings.sampling.num_frames, *size)
    return hashed, condition, [notice for picture in found for notice in picture.notices]
