"""Do jobs, and write what was made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from motionclone.cli.jobs import CloneJob, GenerateJob
from motionclone.cli.options import control_kind
from motionclone.cli.reading import (
    fitted_to_model,
    is_local,
    load_model,
    read_pictures,
    read_reference,
    say_notices,
    source_facts,
)
from motionclone.cli.sources import Sources, job_for_record
from motionclone.cli.terminal import progress_bars, say
from motionclone.errors import InputError
from motionclone.media.places import bare_name
from motionclone.settings import Settings, check_text

if TYPE_CHECKING:
    from torch import Tensor

    from motionclone.cloning import Generated

Job = TypeVar("Job", CloneJob, GenerateJob)


@dataclass(frozen=True)
class Made:
    """A video that is not written yet."""

    job: CloneJob | GenerateJob  # with the hashes of what was read
    generated: "Generated"
    fps: float
    reference: "Tensor | None"  # (f, 3, h, w), if the job was to clone one

    @property
    def record(self) -> dict[str, Any]:
        """The record without places on a disk, which older motion files have."""
        record = self.generated.record
        motion = {**record["motion"], "source": dict(record["motion"].get("source", {}))}
        motion["source"].pop("path", None)
        if Path(str(motion.get("model"))).is_absolute():
            motion["model"] = bare_name(str(motion["model"]))
        return {**record, "motion": motion}

    @property
    def public(self) -> dict[str, Any]:
        """What goes into the video file: the record without, if so wished, the prompts."""
        return self.record if self.job.prompt_metadata else _without_prompts(self.record)


def _without_prompts(record: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in record.items() if "prompt" not in name}
    return {name: _without_prompts(value) if isinstance(value, dict) else value for name, value in kept.items()}


def run(
    job: CloneJob | GenerateJob,
    sources: Sources,
    settings: Settings,
    output: Path,
    overwrite: bool,
    compare: bool = False,
    typed: Mapping[str, str] | None = None,
) -> None:
    """Do a job, and write the video, its record and, to `compare`, the reference beside it; all or nothing.

    What was `typed` and does not act is refused.
    """
    from motionclone.files import check_not_input, claimed
    from motionclone.media.records import check_outputs, comparison_of, record_of, write_run
    from motionclone.media.writing import check_video, side_by_side

    check_video(output)
    with claimed(output, comparison_of(output)):
        check_outputs(output, overwrite, compare)
        outputs = [output, record_of(output), *([comparison_of(output)] if compare else [])]
        check_not_input(outputs, sources.files())
        made = make(job, sources, settings, output, typed or {})
        kept = job_for_record(made.job, sources, output.absolute().parent)
        comparison = None
        if compare and made.reference is not None:
            labels = ["reference", job.prompt if job.prompt_metadata else "clone"]
            comparison = side_by_side([made.reference, made.generated.frames], labels=labels)
        record = made.record
        if isinstance(kept, CloneJob):
            record["motion"]["source"]["path"] = kept.reference
        write_run(
            output,
            made.generated.frames,
            made.fps,
            {**record, "job": asdict(kept)},
            public=made.public,
            comparison=comparison,
            overwrite=overwrite,
        )
    energies = record["energies"]
    fell = f", motion energy {energies[0]:.4f} to {energies[-1]:.4f}" if energies else ""
    names = " and ".join(path.name for path in outputs[1:])
    say(f"wrote {output} and {names} in {record['seconds']:.0f} s{fell}")


def make(
    job: CloneJob | GenerateJob,
    sources: Sources,
    settings: Settings,
    output: Path,
    typed: Mapping[str, str],
) -> Made:
    """Do the job.

    Args:
        job: what was asked for.
        sources: where what it names lies.
        settings: of the engine.
        output: by its suffix, what the video will be.
        typed: as `refuse_idle` takes it.
    """
    check_text(job.prompt)
    if isinstance(job, CloneJob):
        return _clone(job, sources, settings, output, typed)
    return _generate(job, sources, settings, output, typed)


def _clone(job: CloneJob, sources: Sources, settings: Settings, output: Path, typed: Mapping[str, str]) -> Made:
    from motionclone.cloning import clone as clone_motion
    from motionclone.idle import refuse_idle
    from motionclone.media.writing import check_video

    reference = sources.material
    clip, settings = read_reference(reference, job.reference_options, settings, sources.model, typed.keys())
    _check_same(reference, clip.sha256, job.sha256)
    check_video(output, clip.fps)
    pictures, condition, notices = read_pictures(job.pictures, sources.pictures, settings)
    pipe = load_model(job.model_options, sources.control or control_kind(job.pictures), place=sources.model)
    job = _with_revision(job, sources, pipe)
    fitted = fitted_to_model(pipe, settings)
    if fitted != settings:
        clip, settings = read_reference(reference, job.reference_options, fitted, sources.model)
        _, condition, notices = read_pictures(pictures, sources.pictures, settings)
    refuse_idle(pipe, settings, typed, condition=condition)
    say_notices((*clip.notices, *notices))
    with progress_bars() as bar:
        made = clone_motion(
            pipe,
            clip.frames,
            job.prompt,
            settings,
            condition=condition,
            source=source_facts(bare_name(job.reference), clip, job.reference_options),
            on_step=lambda step: bar("cloning", step),
        )
    return Made(replace(job, sha256=clip.sha256, pictures=pictures), made, clip.fps, clip.frames)


def _generate(job: GenerateJob, sources: Sources, settings: Settings, output: Path, typed: Mapping[str, str]) -> Made:
    from motionclone.cloning import generate as generate_from
    from motionclone.files import sha256_of
    from motionclone.idle import refuse_idle
    from motionclone.media.writing import check_video
    from motionclone.motion import load_motion

    found = load_motion(sources.material)
    sha256 = sha256_of(sources.material)
    _check_same(sources.material, sha256, job.sha256)
    fps = found.record.source.fps
    check_video(output, fps)
    pipe = load_model(job.model_options, place=sources.model)
    job = _with_revision(job, sources, pipe)
    refuse_idle(pipe, settings, typed, motion=found)
    with progress_bars() as bar:
        made = generate_from(pipe, found, job.prompt, settings, on_step=lambda step: bar("generating", step))
    return Made(replace(job, sha256=sha256), made, fps, None)


def _with_revision(job: Job, sources: Sources, pipe: Any) -> Job:
    """The job with its model as it is to be found again: what has no place here is called by its name and revision."""
    if is_local(sources.model):
        return job
    return replace(job, model_options=replace(job.model_options, model=pipe.config["_name_or_path"]))


def _check_same(path: Path, found: str, wanted: str | None) -> None:
    if wanted not in (None, found):
        raise InputError(f"{path} has changed since the record was written; restore the file it was.")
