"""Commands that make a video again from its record: rerun and verify-run."""

import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from motionclone.cli.jobs import CloneJob, GenerateJob
from motionclone.cli.options import Output, PlaceOptions
from motionclone.cli.outputs import named_after
from motionclone.cli.running import make, run
from motionclone.cli.sources import sources_of
from motionclone.cli.terminal import say
from motionclone.errors import InputError
from motionclone.settings import Settings, parse_settings


def rerun(
    record: Path, *, output: Output = None, place_options: PlaceOptions = PlaceOptions(), overwrite: bool = False
) -> None:
    """Make a video again from the record (.json) that `clone` or `generate` wrote beside it.

    Parameters
    ----------
    record
        The .json file.
    output
        .mp4, .webm or .gif; by default NAME-again, of the kind that the record's video is.
    overwrite
        Replace files that are there.
    """
    from motionclone.media.records import check_belongs
    from motionclone.models import check_reachable

    kept, job, settings = _read(record)
    sources = sources_of(job, record.absolute().parent, place_options)
    check_reachable(sources.model)
    output = output or named_after(record, "again", suffix=_suffix(kept))
    video = _beside(record, kept)
    if video is not None:
        try:
            check_belongs(video, kept)
        except InputError as error:
            say(f"note: {error}")
    run(job, sources, settings, output, overwrite)


def verify_run(record: Path, *, video: Path | None = None, place_options: PlaceOptions = PlaceOptions()) -> None:
    """Make a video again and say whether it still is the same, byte for byte: exit code 0 if so, 1 if not.

    Parameters
    ----------
    record
        The .json file that `clone` or `generate` wrote beside the video.
    video
        The video, if it is not beside the record any more.
    """
    from motionclone.files import scratch_file, sha256_of
    from motionclone.media.records import output_of
    from motionclone.media.writing import check_video, encode_video
    from motionclone.models import check_reachable

    kept, job, settings = _read(record)
    video = video or _beside(record, kept)
    wanted = output_of(kept).get("sha256")
    if video is None and wanted is None:
        raise InputError(f"the video of {record} is not beside it; give it with --video.")
    found = wanted if video is None else sha256_of(video)
    sources = sources_of(job, record.absolute().parent, place_options)
    check_reachable(sources.model)
    suffix = str(video.suffix if video else output_of(kept).get("suffix")).lower()
    name = Path(f"again{suffix}")
    check_video(name)
    made = make(job, sources, settings, name, {})
    with scratch_file(suffix) as again:
        encode_video(again, made.generated.frames, made.fps, made.public)
        now = sha256_of(again)
        what = "the video" if video is None else str(video)
        if now == found:
            say(f"{what} is the same when it is made again, byte for byte")
            return
        why = _difference(video, again) if video else "give it with --video to see in what"
        if now == wanted:
            why += "; the run gives what its record says, so the video has been changed since"
        say(f"{what} is not the same when it is made again: {why}")
    sys.exit(1)


def _read(record: Path) -> tuple[dict[str, Any], CloneJob | GenerateJob, Settings]:
    """A record, the job in it, and the settings."""
    from motionclone.media.records import read_record

    kept = read_record(record)
    try:
        job: CloneJob | GenerateJob = TypeAdapter(CloneJob | GenerateJob).validate_python(kept.get("job"))
    except ValidationError as error:
        first = error.errors()[0]
        why = f"job.{'.'.join(map(str, first['loc']))[:80]}: {first['msg']}"
        raise InputError(
            f"{record} is not a record of `motionclone clone` or `generate`"
            + (
                f" ({why}); give the .json beside a video."
                if "job" in kept or "motion" not in kept
                else ", but of a video that was made otherwise, such as by `motionclone demo`; make that again."
            )
        ) from error
    given = [str(kept[name])[:200] for name in ("arguments", "not_reproducible") if kept.get(name)]
    if given:
        raise InputError(
            f"{record} is of a run with further arguments of the pipeline ({', '.join(given)}), which only Python can "
            "give; make it again there."
        )
    return kept, job, parse_settings(kept.get("settings"), str(record))


def _suffix(kept: dict[str, Any]) -> str:
    """Of the video that a record was written with; older ones do not say."""
    from motionclone.media.records import output_of
    from motionclone.media.writing import VIDEO_SUFFIXES

    suffix = output_of(kept).get("suffix")
    return suffix if suffix in VIDEO_SUFFIXES else VIDEO_SUFFIXES[0]


def _beside(record: Path, kept: dict[str, Any]) -> Path | None:
    """The video that lies beside a record, if it does."""
    from motionclone.media.records import output_of
    from motionclone.media.writing import VIDEO_SUFFIXES

    suffix = output_of(kept).get("suffix")
    suffixes = [suffix] if suffix in VIDEO_SUFFIXES else VIDEO_SUFFIXES
    return next((path for path in map(record.with_suffix, suffixes) if path.is_file()), None)


def _difference(video: Path, again: Path) -> str:
    """In what two videos differ."""
    from motionclone.media.reading import clip_size, read_clip

    try:
        sizes = [clip_size(path) for path in (video, again)]
        if sizes[0] != sizes[1]:
            was, has = (f"{frames} frames of {width}x{height}" for frames, height, width in sizes)
            return f"it has {was}, and now {has}"
        before, after = (read_clip(path, *sizes[0]).frames for path in (video, again))
    except InputError as error:
        return str(error)
    levels = round(float((before - after).abs().max()) * 127.5)
    if levels == 0:
        return "all frames are equal, but their encoding or the file's comment is not"
    return f"frames differ by up to {levels} of 255 levels"
