"""From the options to what they name: the model, the reference, the pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.options import ModelOptions, PictureJob, ReferenceOptions
from motionclone.cli.terminal import quiet_libraries, say
from motionclone.errors import InputError
from motionclone.media.places import bare_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from motionclone.media.conditions import Condition
    from motionclone.media.reading import Clip
    from motionclone.settings import Settings


def is_local(place: str) -> bool:
    """Whether a model or SparseCtrl is a file or folder here, no name or hub id. InputError if it can be neither."""
    from motionclone.models import named_models
    from motionclone.models.places import path_of

    return place not in ("image", "sketch", *named_models()) and path_of(place).exists()


def public_name(place: str) -> str:
    """What is said of a model or SparseCtrl: its name, without where it lies."""
    return Path(place).expanduser().resolve().name if is_local(place) else place


def load_model(
    options: ModelOptions, control: str | None = None, *, place: str | None = None, weights: bool = True
) -> Any:
    """The pipeline.

    Args:
        options: which, and how it is held in memory.
        control: as in `load_pipeline`.
        place: where the model is, if its name in the options does not say.
        weights: as in `load_pipeline`.
    """
    import torch

    from motionclone.models import load_pipeline

    quiet_libraries()
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    place = place or options.model
    pipe = load_pipeline(
        place,
        device=options.device,
        dtype=dtype,
        offload=options.offload,
        vae_tiling=options.vae_tiling,
        per_frame_norm=options.per_frame_norm,
        control=control,
        pickled=options.pickled,
        weights=weights,
    )
    pipe.set_progress_bar_config(disable=True)
    # Records and motion files say what it is called, not where it lies; and of the hub, which revision it was.
    moved = place != options.model and is_local(place)
    called = bare_name(options.model) if moved else public_name(place)
    source = str(pipe.config.get("_motionclone_sources", {}).get("model", ""))
    revised = not is_local(place) and source.partition("@")[0] == place.partition("@")[0]
    pipe.register_to_config(_name_or_path=source if revised else called)
    return pipe


def fitted_to_model(pipe: Any, settings: "Settings") -> "Settings":
    """The settings at the nearest size that the model takes, as far as only the loaded one tells; it is said."""
    from motionclone.cloning import fitting

    found = fitting(pipe, settings)
    if found != settings:
        before, after = (f"{s.num_frames} frames of {s.width}x{s.height}" for s in (settings.sampling, found.sampling))
        say(f"note: {after} are what this model makes, not {before}")
    return found


def read_reference(
    reference: Path, options: ReferenceOptions, settings: "Settings", model: str, typed: "Collection[str]" = ()
) -> "tuple[Clip, Settings]":
    """The clip, and the settings at a size that the model makes and the clip has frames for; what is changed is said.

    Args:
        reference: where it lies.
        options: of its part and fit.
        settings: as they were asked for.
        model: where it is; nothing but its configuration is read.
        typed: the settings that were typed: a number of frames that the clip has not, but the model makes, is refused.
    """
    from motionclone.media.reading import read_clip
    from motionclone.models.sizes import sizes_of

    sizes, before = sizes_of(model), settings.sampling
    frames, height, width = sizes.nearest(before.num_frames, before.height, before.width)
    refuse = "sampling.num_frames" in typed and frames <= before.num_frames
    clip = read_clip(
        reference,
        frames,
        height,
        width,
        **options.part(),
        fewer=sizes.most,
        shorten=not refuse,
    )
    size = {"num_frames": len(clip.frames), "height": height, "width": width}
    fitted = settings.model_copy(update={"sampling": before.model_copy(update=size)})
    if (len(clip.frames), height, width) != (before.num_frames, before.height, before.width):
        asked, made = (f"{s.num_frames} frames of {s.width}x{s.height}" for s in (before, fitted.sampling))
        why = "so short a clip has room for" if len(clip.frames) < frames else "this model makes"
        say(f"note: {made} are what {why}, not {asked}")
    if "k" in fitted.extraction.model_fields_set and fitted.extraction.k > len(clip.frames):
        raise InputError(f"--k is {fitted.extraction.k}, more than the {len(clip.frames)} frames; use at most those.")
    return clip, fitted


def say_notices(notices: "Iterable[str]") -> None:
    """Tell what was done to what was read."""
    for notice in notices:
        say(f"note: {notice}")


def source_facts(name: str, clip: "Clip", options: ReferenceOptions) -> dict[str, Any]:
    """What a motion file remembers of its reference."""
    part = options.part()
    return {"name": name, "sha256": clip.sha256, "fps": clip.fps, "asked_fps": part.pop("fps"), **part}


def read_pictures(
    pictures: tuple[PictureJob, ...], places: "Sequence[Path]", settings: "Settings"
) -> "tuple[tuple[PictureJob, ...], Condition | None, list[str]]":
    """The pictures, which lie at `places`, with their hashes; what they make together; and notices."""
    from dataclasses import replace

    import torch

    from motionclone.media.conditions import Condition
    from motionclone.media.pictures import read_picture, read_sketch, sketch_from

    if not pictures:
        return (), None, []
    readers = {"image": read_picture, "sketch": read_sketch, "sketch_from": sketch_from}
    size = settings.sampling.height, settings.sampling.width
    found = []
    for wanted, place in zip(pictures, places, strict=True):
        picture = readers[wanted.kind](place, *size)
        if wanted.sha256 not in (None, picture.sha256):
            raise InputError(f"{place} has changed since the record was written; restore the file it was.")
        found.append(picture)
    hashed = tuple(replace(wanted, sha256=picture.sha256) for wanted, picture in zip(pictures, found, strict=True))
    condition = Condition(
        torch.stack([picture.pixels for picture in found]),
        tuple(each.frame for each in hashed),
        tuple({"name": bare_name(each.path), "kind": each.kind, "sha256": each.sha256} for each in hashed),
    )
    condition.check_fits(settings.sampling.num_frames, *size)
    return hashed, condition, [notice for picture in found for notice in picture.notices]
