"""From the options to what they name, read and checked; and the video with its record."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.options import ModelOptions, PictureJob, ReferenceOptions
from motionclone.cli.terminal import quiet_libraries, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from motionclone.cloning import Generated
    from motionclone.conditions import Condition
    from motionclone.settings import Settings
    from motionclone.video import Clip


def load_model(options: ModelOptions, control: str | None = None) -> Any:
    """The pipeline; with SparseCtrl where `control` is "image" or "sketch"."""
    import torch

    from motionclone.pipelines import load_pipeline

    quiet_libraries()
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    pipe = load_pipeline(
        options.model,
        device=options.device,
        dtype=dtype,
        offload=options.offload,
        per_frame_norm=options.per_frame_norm,
        control=(options.control or control) if control else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def read_reference(reference: Path, options: ReferenceOptions, settings: "Settings") -> "Clip":
    """The clip, at the size of the settings; what is noteworthy is said."""
    from motionclone.video import read_clip

    s = settings.sampling
    clip = read_clip(
        reference,
        s.num_frames,
        s.height,
        s.width,
        start=options.start,
        end=options.end,
        fps=options.fps,
        fit=options.fit,
    )
    for notice in clip.notices:
        say(f"note: {notice}")
    return clip


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
) -> "tuple[tuple[PictureJob, ...], Condition | None]":
    """The pictures with their hashes, and what they make of them together."""
    from dataclasses import replace

    import torch

    from motionclone.conditions import Condition
    from motionclone.pictures import read_picture, read_sketch, sketch_from

    if not pictures:
        return (), None
    readers = {"image": read_picture, "sketch": read_sketch, "sketch_from": sketch_from}
    size = settings.sampling.height, settings.sampling.width
    found = []
    for wanted in pictures:
        picture = readers[wanted.kind](Path(wanted.path), *size)
        if wanted.sha256 not in (None, picture.sha256):
            raise InputError(f"{wanted.path} has changed since the record was written; restore the file it was.")
        for notice in picture.notices:
            say(f"note: {notice}")
        found.append(picture)
    facts = tuple(
        {"name": Path(wanted.path).name, "kind": wanted.kind, "sha256": picture.sha256}
        for wanted, picture in zip(pictures, found, strict=True)
    )
    frames = tuple(wanted.frame for wanted in pictures)
    condition = Condition(torch.stack([picture.pixels for picture in found]), frames, facts)
    condition.check_fits(settings.sampling.num_frames, *size)
    hashed = (replace(wanted, sha256=picture.sha256) for wanted, picture in zip(pictures, found, strict=True))
    return tuple(hashed), condition


def write_made(
    output: Path, made: "Generated", fps: float, job: dict[str, Any], prompt_metadata: bool, overwrite: bool
) -> None:
    """The video, and its record with the job that asked for it."""
    from motionclone.video_writing import write_sidecar, write_video

    public = public_record(made.record, prompt_metadata)
    write_video(output, made.frames, fps, provenance=public, overwrite=overwrite)
    beside = write_sidecar(output, {**made.record, "job": job}, overwrite)
    energies = made.record["energies"]
    fell = f", motion energy {energies[0]:.4f} to {energies[-1]:.4f}" if energies else ""
    say(f"wrote {output} and {beside.name} in {made.record['seconds']:.0f} s{fell}")


def public_record(record: dict[str, Any], prompt_metadata: bool) -> dict[str, Any]:
    """What goes into the video file: the record without paths and, if so wished, without prompts."""
    motion = dict(record["motion"])
    motion["source"] = {name: value for name, value in motion.get("source", {}).items() if name != "path"}
    public = {**record, "motion": motion}
    if not prompt_metadata:
        del public["prompt"]
        sampling = {name: value for name, value in record["settings"]["sampling"].items() if "prompt" not in name}
        public["settings"] = {**record["settings"], "sampling": sampling}
    return public
