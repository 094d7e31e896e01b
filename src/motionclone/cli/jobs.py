"""What `clone` and `generate` do; as jobs, which records keep, so that `rerun` can do them again."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from motionclone.cli.files import load_model, public_record, read_pictures, read_reference, source_facts, write_made
from motionclone.cli.options import ModelOptions, PictureJob, ReferenceOptions, control_kind
from motionclone.cli.terminal import progress_bars, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from motionclone.settings import Settings


@dataclass(frozen=True)
class CloneJob:
    """What `clone` was asked for, kept in the record so that `rerun` can ask for it again."""

    reference: str
    prompt: str
    reference_options: ReferenceOptions
    model_options: ModelOptions
    prompt_metadata: bool
    sha256: str | None = None  # of the reference
    pictures: tuple[PictureJob, ...] = ()


@dataclass(frozen=True)
class GenerateJob:
    """What `generate` was asked for, likewise."""

    motion: str
    prompt: str
    model_options: ModelOptions
    prompt_metadata: bool
    sha256: str | None = None  # of the motion file


def run_clone(job: CloneJob, settings: "Settings", output: Path, overwrite: bool, compare: bool) -> None:
    """Do the job, and write what was made."""

    from motionclone.cloning import clone as clone_motion
    from motionclone.video_writing import check_writable, side_by_side, write_video

    reference, beside = Path(job.reference), output.with_stem(f"{output.stem}-compare")
    for path in (output, beside) if compare else (output,):
        check_writable(path, overwrite)
        if path.absolute() == reference:
            raise InputError(f"{path} is the reference itself; choose another output.")
    clip = read_reference(reference, job.reference_options, settings)
    if job.sha256 not in (None, clip.sha256):
        raise InputError(f"{reference} has changed since the record was written; restore the file it was.")
    check_writable(output, overwrite, clip.fps)
    pictures, condition = read_pictures(job.pictures, settings)
    job = replace(job, sha256=clip.sha256, pictures=pictures)
    pipe = load_model(job.model_options, control_kind(job.pictures))
    source = source_facts(reference, clip, job.reference_options)
    with progress_bars() as bar:
        made = clone_motion(
            pipe,
            clip.frames,
            job.prompt,
            settings,
            condition=condition,
            source=source,
            on_step=lambda step: bar("cloning", step),
        )
    write_made(output, made, clip.fps, asdict(job), job.prompt_metadata, overwrite)
    if compare:
        labels = ["reference", job.prompt if job.prompt_metadata else "clone"]
        joined = side_by_side([clip.frames, made.frames], labels=labels)
        public = public_record(made.record, job.prompt_metadata)
        write_video(beside, joined, clip.fps, provenance=public, overwrite=overwrite)
        say(f"wrote {beside}")


def run_generate(job: GenerateJob, settings: "Settings", output: Path, overwrite: bool) -> None:
    """Do the job, and write what was made."""
    import hashlib

    from motionclone.cloning import generate as generate_from
    from motionclone.motion import load_motion
    from motionclone.video_writing import check_writable

    found = load_motion(job.motion)
    sha256 = hashlib.sha256(Path(job.motion).read_bytes()).hexdigest()
    if job.sha256 not in (None, sha256):
        raise InputError(f"{job.motion} has changed since the record was written; restore the file it was.")
    fps = float(found.record.get("source", {}).get("fps", 8.0))
    check_writable(output, overwrite, fps)
    pipe = load_model(job.model_options)
    with progress_bars() as bar:
        made = generate_from(pipe, found, job.prompt, settings, on_step=lambda step: bar("generating", step))
    write_made(output, made, fps, asdict(replace(job, sha256=sha256)), job.prompt_metadata, overwrite)
