"""The command that shows what is in a motion file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.terminal import say
from motionclone.errors import InputError, printable

if TYPE_CHECKING:
    from motionclone.motion import Motion


def inspect(
    motion: Path, *, heatmap: Path | None = None, reference: Path | None = None, overwrite: bool = False
) -> None:
    """Show what is in a motion file.

    Parameters
    ----------
    motion
        A file made by `motionclone extract`.
    heatmap
        Write where it sees motion over the reference (the paper's Fig. 3): .png for the first, middle and last frame,
        .mp4, .webm or .gif for all.
    reference
        The clip it was extracted from, if it is no longer where it was.
    overwrite
        Replace a file that is there.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from motionclone.motion import load_motion, motion_file

    table = Table(title=escape(printable(str(motion))), show_header=False)
    motion = motion_file(motion)
    found = load_motion(motion)
    record = found.record
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    facts: dict[str, Any] = {
        "model": record.model,
        "reference": record.source.name,
        "frames": found.video_frames,
        "pixels": "x".join(str(n) for n in reversed(record.size or ())),
        "t_alpha": record.t_alpha,
        "k": found.k,
        "seed": record.seed,
        "per-frame norm": record.per_frame_norm,
        "made with": f"motionclone {record.motionclone}",
        "bytes": f"{motion.stat().st_size:,}",
    }
    for name, value in facts.items():
        table.add_row(name, escape(printable(str(value))))
    sites = Table("attention", "heads", "grid", "weight", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for site, m in found.maps.items():
        _, height, width = found.grid[site]
        top = f"{m.values.float().mean():.3f}"
        sites.add_row(escape(printable(site)), str(m.values.shape[1]), f"{height}x{width}", top)
    for column in sites.columns:
        column.overflow = "fold"
    if heatmap is not None:
        _write_heatmap(found, motion, heatmap, reference, overwrite)
    Console().print(table, sites)


def _write_heatmap(found: "Motion", motion: Path, path: Path, reference: Path | None, overwrite: bool) -> None:
    import torch

    from motionclone.files import check_free, check_not_input
    from motionclone.media.overlay import overlay
    from motionclone.media.places import find
    from motionclone.media.reading import read_clip
    from motionclone.media.writing import VIDEO_SUFFIXES, side_by_side, write_image, write_video

    if path.suffix.lower() not in (".png", *VIDEO_SUFFIXES):
        raise InputError(f"a heat map must end in .png or {' or '.join(VIDEO_SUFFIXES)}, got {path}; rename it.")
    check_free(path, overwrite)
    source, size = found.record.source, found.record.size
    if size is None:
        raise InputError(f"{motion} does not say at which size its reference was read; extract it again.")
    sha256 = source.sha256 or None
    clip_path = reference or find(source.path or source.name, sha256, motion.absolute().parent, "--reference")
    check_not_input([path], [clip_path, motion], "the heat map")
    clip = read_clip(
        clip_path,
        found.video_frames,
        *size,
        start=source.start,
        end=source.end,
        fps=source.asked_fps,
        fit=source.fit,
        crop=source.crop,
        flip=source.flip,
    )
    if sha256 not in (None, clip.sha256):
        raise InputError(f"{clip_path} is not the clip that the motion was read from; give that with --reference.")
    pictures = side_by_side([clip.frames, overlay(found, clip.frames)])
    if path.suffix.lower() == ".png":
        shown = [pictures[i] for i in (0, len(pictures) // 2, -1)]
        write_image(path, torch.cat(shown, dim=-2), overwrite)
    else:
        write_video(path, pictures, clip.fps, overwrite=overwrite)
    say(f"wrote {path}")
