"""What `clone` and `generate` do; as jobs, which records keep, so that `rerun` can do them again."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.options import ModelOptions, PictureJob, ReferenceOptions, control_kind
from motionclone.cli.reading import (
    fitted_to_model,
    load_model,
    read_pictures,
    read_reference,
    say_notices,
    source_facts,
)
from motionclone.cli.terminal import progress_bars, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from motionclone.cloning import Generated
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
    control: str | None = None  # where SparseCtrl is, if not the model's own


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
    from motionclone.media.writing import check_writable, side_by_side, write_video

    reference, beside = Path(job.reference), output.with_stem(f"{output.stem}-compare")
    sources = {reference.resolve(), *(Path(picture.path).resolve() for picture in job.pictures)}
    for path in (output, beside) if compare else (output,):
        check_writable(path, overwrite)
        if path.resolve() in sources:
            raise InputError(f"{path} is what the video is made from; choose another output.")
    clip = read_reference(reference, job.reference_options, settings)
    if job.sha256 not in (None, clip.sha256):
        raise InputError(f"{reference} has changed since the record was written; restore the file it was.")
    check_writable(output, overwrite, clip.fps)
    pictures, condition, notices = read_pictures(job.pictures, settings)
    job = replace(job, sha256=clip.sha256, pictures=pictures)
    pipe = load_model(job.model_options, job.control or control_kind(job.pictures))
    fitted = fitted_to_model(pipe, settings)
    if fitted != settings:
        settings, clip = fitted, read_reference(reference, job.reference_options, fitted)
        _, condition, notices = read_pictures(pictures, settings)
    say_notices((*clip.notices, *notices))
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
    job = replace(job, control=job.control and _absolute(job.control))
    _write(output, made, clip.fps, job, overwrite)
    if compare:
        labels = ["reference", job.prompt if job.prompt_metadata else "clone"]
        joined = side_by_side([clip.frames, made.frames], labels=labels)
        public = _public(made.record, job.prompt_metadata)
        write_video(beside, joined, clip.fps, provenance=public, overwrite=overwrite)
        say(f"wrote {beside}")


def run_generate(job: GenerateJob, settings: "Settings", output: Path, overwrite: bool) -> None:
    """Do the job, and write what was made."""
    import hashlib

    from motionclone.cloning import generate as generate_from
    from motionclone.media.writing import check_writable
    from motionclone.motion import load_motion

    found = load_motion(job.motion)
    sha256 = hashlib.sha256(Path(job.motion).read_bytes()).hexdigest()
    if job.sha256 not in (None, sha256):
        raise InputError(f"{job.motion} has changed since the record was written; restore the file it was.")
    fps = found.record.source.fps
    check_writable(output, overwrite, fps)
    pipe = load_model(job.model_options)
    with progress_bars() as bar:
        made = generate_from(pipe, found, job.prompt, settings, on_step=lambda step: bar("generating", step))
    _write(output, made, fps, replace(job, sha256=sha256), overwrite)


def _write(output: Path, made: "Generated", fps: float, job: CloneJob | GenerateJob, overwrite: bool) -> None:
    """The video, and its record with the job that asked for it."""
    from motionclone.media.writing import write_sidecar, write_video

    job = replace(job, model_options=replace(job.model_options, model=_absolute(job.model_options.model)))
    write_video(output, made.frames, fps, provenance=_public(made.record, job.prompt_metadata), overwrite=overwrite)
    beside = write_sidecar(output, {**made.record, "job": asdict(job)}, overwrite)
    energies = made.record["energies"]
    fell = f", motion energy {energies[0]:.4f} to {energies[-1]:.4f}" if energies else ""
    say(f"wrote {output} and {beside.name} in {made.record['seconds']:.0f} s{fell}")


def _absolute(place: str) -> str:
    """A model's place as it is found from any folder; names and hub ids stay as they are."""
    from motionclone.models import named_models

    path = Path(place).expanduser()
    known = place in ("image", "sketch", *named_models()) or not path.exists()
    return place if known else str(path.absolute())


def _public(record: dict[str, Any], prompt_metadata: bool) -> dict[str, Any]:
    """What goes into the video file: the record without paths and, if so wished, without prompts."""
    motion = dict(record["motion"])
    motion["source"] = {name: value for name, value in motion.get("source", {}).items() if name != "path"}
    public = {**record, "motion": motion}
    if not prompt_metadata:
        del public["prompt"]
        sampling = {name: value for name, value in record["settings"]["sampling"].items() if "prompt" not in name}
        public["settings"] = {**record["settings"], "sampling": sampling}
    return public
