"""A video and what belongs to it: the record beside it (`out.mp4`: `out.json`) and the comparison (`out-compare.mp4`).

They are written together or not at all, and the record holds the hashes of the others, so that it tells whether they
belong together still.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from motionclone.errors import InputError, named
from motionclone.files import check_free, check_kind, read_json, sha256_of, sweep, whole_files
from motionclone.media.places import bare_name
from motionclone.media.writing import VIDEO_SUFFIXES, check_writable, encode_video


def record_of(video: Path) -> Path:
    """Where the record of a video is."""
    return video.with_suffix(".json")


def comparison_of(video: Path) -> Path:
    """Where the reference and a video are shown side by side."""
    return video.with_stem(f"{video.stem}-compare")


def read_record(path: Path) -> dict[str, Any]:
    """A record; if a run died while it put it in its place, that is finished first.

    Raises:
        InputError: it is missing, or no JSON object.
    """
    check_kind(path, "record")
    sweep(path.absolute().parent)
    record = read_json(path, "a record")
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a record (it holds no object); give the .json beside a video.")
    return record


def without_places(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a record without places on a disk, which older motion files have."""
    motion = {**record["motion"], "source": dict(record["motion"].get("source", {}))}
    motion["source"].pop("path", None)
    if Path(str(motion.get("model"))).is_absolute():
        motion["model"] = bare_name(str(motion["model"]))
    return {**record, "motion": motion}


def output_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of the files it was written with: `suffix` and `sha256` of the video, `comparison`; or {}."""
    output = record.get("output")
    return output if isinstance(output, dict) else {}


def check_belongs(video: Path, record: Mapping[str, Any]) -> None:
    """Refuse a video that is not the one its record was written with; older records cannot tell."""
    wanted = output_of(record).get("sha256")
    if wanted is not None and wanted != sha256_of(video):
        raise InputError(f"{video} is not the video that its record was written with; restore one of the two.")


def check_outputs(video: Path, overwrite: bool, compare: bool) -> None:
    """Refuse a video whose files could not be written later, or would part others. Changes nothing.

    Raises:
        InputError: as `check_writable`; or a record that is another video's, or a comparison that shows another video,
            would stand beside this one.
    """
    check_writable(video, overwrite)
    beside = comparison_of(video)
    if compare:
        check_free(beside, overwrite)
        if record_of(beside).exists():
            raise InputError(f"{beside} has a record of its own, and is no comparison; choose another name")
    else:
        _comparison_to_go(video, overwrite)
    record = record_of(video)
    others = [video.with_suffix(suffix) for suffix in VIDEO_SUFFIXES if suffix != video.suffix.lower()]
    other = next((path for path in others if path.is_file()), None)
    if other and record.is_file() and _said_by(record).get("suffix", other.suffix) == other.suffix:
        raise InputError(f"{record} is the record of {other}; choose another name, or remove both")


def _comparison_to_go(video: Path, overwrite: bool) -> Path | None:
    """The comparison of an older video, which goes with it; one that is not known to be that is not touched."""
    beside = comparison_of(video)
    if not os.path.lexists(beside) or record_of(beside).exists():  # then it is a video by itself
        return None
    known = overwrite and record_of(video).is_file() and beside.is_file()
    if known and _said_by(record_of(video)).get("comparison") == sha256_of(beside):
        return beside
    raise InputError(
        f"{beside} would stay beside a video that it does not show; move it, or pass {named('compare', True)}"
    )


def _said_by(record: Path) -> dict[str, Any]:
    try:
        return output_of(read_record(record))
    except InputError:  # not ours
        return {}


def write_run(
    video: Path,
    frames: Tensor,
    fps: float,
    record: Mapping[str, Any],
    *,
    public: Mapping[str, Any],
    comparison: Tensor | None = None,
    overwrite: bool = False,
) -> None:
    """Write a video, its record and, if there is one, its comparison.

    Args:
        video: output file, .mp4, .webm or .gif.
        frames: (f, 3, h, w) RGB in [-1, 1].
        fps: frames per second.
        record: plain JSON values; `output` is added.
        public: of it, what the video's own comment shall hold.
        comparison: (f, 3, H, W), likewise.
        overwrite: replace files that are there; an older comparison goes if there is no new one.

    Raises:
        InputError: as `check_outputs` and `write_video`.
    """
    compare = comparison is not None
    check_outputs(video, overwrite, compare)
    gone = None if compare else _comparison_to_go(video, overwrite)
    targets = [video, record_of(video), *([comparison_of(video)] if compare else [])]
    with whole_files(*targets, overwrite=overwrite, gone=[gone] if gone else []) as (new, new_record, *new_comparison):
        encode_video(new, frames, fps, public)
        output: dict[str, Any] = {"suffix": video.suffix.lower(), "sha256": sha256_of(new), "comparison": None}
        if comparison is not None:
            encode_video(new_comparison[0], comparison, fps, public)
            output["comparison"] = sha256_of(new_comparison[0])
        new_record.write_text(json.dumps({**record, "output": output}, indent=2) + "\n", encoding="utf-8")
