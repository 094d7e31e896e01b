"""Do jobs, and write what was made."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from motionclone.cli.foretelling import foretell
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

    from motionclone.cloning import Generated, Step
    from motionclone.media.conditions import Condition
    from motionclone.media.reading import Clip
    from motionclone.motion import Motion

Job = TypeVar("Job", CloneJob, GenerateJob)
Load = Callable[..., Any]
"""As `load_model`: who makes several videos keeps a model, and a dry run has an empty one."""
Progress = Callable[[], "AbstractContextManager[Callable[[str, Step], None]]"]
"""As `progress_bars`."""


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
        from motionclone.media.records import without_places

        return without_places(self.generated.record)

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
    dry_run: bool = False,
) -> None:
    """Do a job, and write the video, its record and, to `compare`, the reference beside it; all or nothing.

    What was `typed` and does not act is refused. A `dry_run` refuses what a run would, and says what it would be.
    """
    from motionclone.cloning import tell_words
    from motionclone.files import check_not_input, claimed
    from motionclone.media.records import check_outputs, comparison_of, record_of
    from motionclone.media.writing import check_video

    check_video(output)
    with nullcontext() if dry_run else claimed(output, comparison_of(output)):
        check_outputs(output, overwrite, compare)
        outputs = [output, record_of(output), *([comparison_of(output)] if compare else [])]
        check_not_input(outputs, sources.files())
        if dry_run:
            ready = prepared(job, sources, settings, output, typed or {}, partial(load_model, weights=False))
            pictured = isinstance(ready, ReadyToClone) and ready.condition is not None
            tell_words(ready.pipe, job.prompt, ready.settings, pictured)
            foretell(ready.pipe, ready.settings, ready.job.model_options, outputs)
            return
        made = make(job, sources, settings, output, typed or {})
        write(made, sources, output, overwrite, compare)
    record = made.record
    energies = record["energies"]
    fell = f"; distance from the reference's motion {energies[0]:.4f} to {energies[-1]:.4f}" if energies else ""
    if energies and energies[-1] >= energies[0]:
        fell += ", no nearer: guide more steps"
    *others, last = [str(output), *(path.name for path in outputs[1:])]
    say(f"wrote {', '.join(others)} and {last} in {record['seconds']:.0f} s{fell}")


def write(made: Made, sources: Sources, output: Path, overwrite: bool = False, compare: bool = False) -> None:
    """Write a video, its record and, to `compare`, the reference beside it; all or nothing."""
    from motionclone.media.records import write_run
    from motionclone.media.writing import side_by_side

    kept = job_for_record(made.job, sources, output.absolute().parent)
    comparison = None
    if compare and made.reference is not None:
        labels = ["reference", made.job.prompt if made.job.prompt_metadata else "clone"]
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


def make(
    job: CloneJob | GenerateJob,
    sources: Sources,
    settings: Settings,
    output: Path,
    typed: Mapping[str, str],
    load: Load | None = None,
    progress: Progress = progress_bars,
) -> Made:
    """Do the job.

    Args:
        job: what was asked for.
        sources: where what it names lies.
        settings: of the engine.
        output: by its suffix, what the video will be.
        typed: as `refuse_idle` takes it.
        load: the model; `load_model` by default.
        progress: where steps are shown.
    """
    ready = prepared(job, sources, settings, output, typed, load)
    with progress() as bar:
        return _clone(ready, bar) if isinstance(ready, ReadyToClone) else _generate(ready, bar)


def prepared(
    job: CloneJob | GenerateJob,
    sources: Sources,
    settings: Settings,
    output: Path,
    typed: Mapping[str, str],
    load: Load | None = None,
) -> "ReadyToClone | ReadyToGenerate":
    """All that comes before the first step, and everything that can be refused there; as `make`."""
    check_text(job.prompt)
    if isinstance(job, CloneJob):
        return _prepared_to_clone(job, sources, settings, output, typed, load or load_model)
    return _prepared_to_generate(job, sources, settings, output, typed, load or load_model)


@dataclass(frozen=True)
class ReadyToClone:
    """Everything for a clone."""

    job: CloneJob
    settings: Settings
    pipe: Any
    clip: "Clip"
    condition: "Condition | None"


@dataclass(frozen=True)
class ReadyToGenerate:
    """Everything for a video of a motion."""

    job: GenerateJob
    settings: Settings
    pipe: Any
    motion: "Motion"


def _prepared_to_clone(
    job: CloneJob, sources: Sources, settings: Settings, output: Path, typed: Mapping[str, str], load: Load
) -> ReadyToClone:
    from motionclone.cloning import check, check_condition
    from motionclone.idle import refuse_idle
    from motionclone.media.writing import check_video

    reference = sources.material
    clip, settings = read_reference(reference, job.reference_options, settings, sources.model, typed.keys())
    _check_same(reference, clip.sha256, job.sha256)
    check_video(output, clip.fps)
    pictures, condition, notices = read_pictures(job.pictures, sources.pictures, settings)
    control = sources.control or control_kind(job.pictures)
    pipe = load(job.model_options, control, place=sources.model)
    job = _with_revision(job, sources, pipe)
    fitted = fitted_to_model(pipe, settings)
    if fitted != settings:
        clip, settings = read_reference(reference, job.reference_options, fitted, sources.model)
        _, condition, notices = read_pictures(pictures, sources.pictures, settings)
    refuse_idle(pipe, settings, typed, condition=condition)
    say_notices((*clip.notices, *notices))
    check(pipe, job.prompt, settings)
    check_condition(pipe, condition, settings)
    return ReadyToClone(replace(job, sha256=clip.sha256, pictures=pictures), settings, pipe, clip, condition)


def _clone(ready: ReadyToClone, bar: "Callable[[str, Step], None]") -> Made:
    from motionclone.cloning import clone as clone_motion

    job, clip = ready.job, ready.clip
    made = clone_motion(
        ready.pipe,
        clip.frames,
        job.prompt,
        ready.settings,
        condition=ready.condition,
        source=source_facts(bare_name(job.reference), clip, job.reference_options),
        on_step=lambda step: bar("cloning", step),
    )
    return Made(job, made, clip.fps, clip.frames)


def _prepared_to_generate(
    job: GenerateJob, sources: Sources, settings: Settings, output: Path, typed: Mapping[str, str], load: Load
) -> ReadyToGenerate:
    from motionclone.cloning import check, check_motion
    from motionclone.files import sha256_of
    from motionclone.idle import refuse_idle
    from motionclone.media.writing import check_video
    from motionclone.motion import load_motion

    found = load_motion(sources.material)
    sha256 = sha256_of(sources.material)
    _check_same(sources.material, sha256, job.sha256)
    check_video(output, found.record.source.fps)
    pipe = load(job.model_options, place=sources.model)
    job = _with_revision(job, sources, pipe)
    refuse_idle(pipe, settings, typed, motion=found)
    check_motion(pipe, found, settings)
    check(pipe, job.prompt, settings)
    return ReadyToGenerate(replace(job, sha256=sha256), settings, pipe, found)


def _generate(ready: ReadyToGenerate, bar: "Callable[[str, Step], None]") -> Made:
    from motionclone.cloning import generate as generate_from

    made = generate_from(
        ready.pipe,
        ready.motion,
        ready.job.prompt,
        ready.settings,
        on_step=lambda step: bar("generating", step),
    )
    return Made(ready.job, made, ready.motion.record.source.fps, None)


def _with_revision(job: Job, sources: Sources, pipe: Any) -> Job:
    """The job with its model as it is to be found again: what has no place here is called by its name and revision."""
    if is_local(sources.model):
        return job
    return replace(job, model_options=replace(job.model_options, model=pipe.config["_name_or_path"]))


def _check_same(path: Path, found: str, wanted: str | None) -> None:
    if wanted not in (None, found):
        raise InputError(f"{path} has changed since the record was written; restore the file it was.")
