"""What a batch would be, before anything is made: everything that can be refused, and what it takes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.batch.storage import MOTIONS, Storage
from motionclone.cli.batch_times import Work
from motionclone.cli.foretelling import memory_told
from motionclone.cli.jobs import CloneJob
from motionclone.cli.reading import load_model
from motionclone.cli.rows import Refused, Rows, Task
from motionclone.cli.running import prepared
from motionclone.errors import InputError, printable

if TYPE_CHECKING:
    from motionclone.settings import Settings

_VIDEO, _RECORD, _ENTRY = 0.25, 2e4, 3  # bytes of a pixel, of a record, and of what a motion keeps of an attention


@dataclass
class Plan:
    """Sums over all jobs that are not done."""

    forwards: int = 0
    guided: int = 0
    size: float = 0.0
    work: Work = field(default_factory=Work)
    motions: set[str] = field(default_factory=set)
    models: "dict[Any, tuple[Any, Settings, Any]]" = field(default_factory=dict)  # the largest video of each
    refused: list[tuple[str, str]] = field(default_factory=list)  # where in the file, and why


class _Checker:
    """Checks tasks with models without weights; what only differs in seed and words is read once."""

    def __init__(self) -> None:
        self._pipes: dict[Any, Any] = {}
        self._ready: dict[Any, Any] = {}
        self._words: set[Any] = set()

    def _load(self, *options: Any, **more: Any) -> Any:
        key = (options, tuple(more.items()))
        if key not in self._pipes:
            self._pipes[key] = load_model(*options, **more, weights=False)
        return self._pipes[key]

    def check(self, task: Task) -> "tuple[Any, Settings]":
        """The empty pipeline and the settings at the size that will be made. InputError as a run would."""
        from motionclone.cloning import check

        settings = task.settings.model_copy(update={"seed": 0}) if task.motion else task.settings
        alike = (replace(task.job, prompt=""), task.sources, settings.model_dump_json(), tuple(task.typed))
        if alike not in self._ready:
            try:
                ready = prepared(task.job, task.sources, task.settings, Path(task.name), task.typed, self._load)
                self._ready[alike] = ready.pipe, ready.settings
            except (InputError, OSError) as error:
                self._ready[alike] = InputError(str(error))
        found = self._ready[alike]
        if isinstance(found, InputError):
            raise found
        pipe, settings = found
        if (alike, task.job.prompt) not in self._words:
            check(pipe, task.job.prompt, settings)
            self._words.add((alike, task.job.prompt))
        return pipe, settings


def plan_of(rows: Rows, numbers: Sequence[int], done: frozenset[str]) -> Plan:
    """Check every job of these numbers, and count those that are not done."""
    from motionclone.backbones.families import backbone_of

    plan, checker, seen, kept = Plan(), _Checker(), set(done), rows.storage.names(MOTIONS)
    for number in numbers:
        task = rows(number)
        if isinstance(task, Task) and task.name in seen:
            continue
        seen.add(task.name)
        try:
            if isinstance(task, Refused):
                raise InputError(task.reason)
            pipe, settings = checker.check(task)
        except InputError as error:
            plan.refused.append((rows.jobs.where(number), str(error)))
            continue
        backbone, sampling = backbone_of(pipe), settings.sampling
        twice = sampling.guidance_scale > 1 and "negative_prompt" in backbone.pipeline_arguments(sampling)
        gradients = settings.guided_steps * settings.guidance.gradients
        plan.forwards += sampling.steps * (1 + twice) + gradients - settings.guided_steps
        plan.guided += gradients
        plan.work.add(settings, task.job.model_options)
        pixels = sampling.num_frames * sampling.height * sampling.width
        plan.size += _VIDEO * pixels + _RECORD
        fresh = task.motion is not None and task.motion not in plan.motions
        if fresh and task.motion not in kept:
            plan.motions.add(str(task.motion))
            plan.forwards += 1
            latents = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
            sites = len(backbone.sites(settings.extraction.blocks))
            positions = latents[2] * latents[3] * latents[4] / 2
            plan.size += sites * positions * 8 * settings.extraction.k * _ENTRY
        elif isinstance(task.job, CloneJob) and task.motion is None:  # with pictures each reads its own
            plan.forwards += 1
        largest = plan.models.get(task.group)
        if largest is None or pixels > _pixels(largest[1]):
            plan.models[task.group] = pipe, settings, task.job.model_options
    return plan


def _pixels(settings: "Settings") -> int:
    sampling = settings.sampling
    return sampling.num_frames * sampling.height * sampling.width


def show(plan: Plan, storage: Storage, jobs: int, same: int, done: int, failed: int, there: frozenset[str]) -> None:
    """Print it, with the time that it takes by what is `there`. InputError if the disk has no room."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    free = storage.room()
    todo = jobs - same - done - len(plan.refused)
    counts = {"the same as others": same, "done already": done, "to be made": todo, "refused": len(plan.refused)}
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    rows = {
        "jobs": f"{jobs:,}: {told}" + (f"; {failed:,} failed before" if failed else ""),
        "motions": f"{len(plan.motions):,} to be read",
        "denoiser": f"{plan.forwards:,} forwards, {plan.guided:,} of them guided",
        "time": plan.work.told(storage, there),
        "writes": f"about {_bytes(plan.size)} to {storage}" + ("" if free is None else f"; {_bytes(free)} are free"),
    }
    for pipe, settings, options in plan.models.values():
        rows[f"model {options.model}"] = f"each worker {memory_told(pipe, settings, options)}"
    table = Table(title="dry run: nothing was computed or written", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(printable(name)), escape(printable(value)))
    console = Console()
    console.print(table)
    refused = Counter(plan.refused)
    for (where, reason), count in list(refused.items())[:20]:
        many = f" ({count:,} jobs)" if count > 1 else ""
        console.print(escape(printable(f"{where}{many}: {reason}")), soft_wrap=True, highlight=False)
    if len(refused) > 20:
        console.print(f"and {len(refused) - 20:,} more")
    if free is not None and plan.size > free:
        raise InputError(f"{storage} has room for {_bytes(free)} and about {_bytes(plan.size)} are needed; make room.")


def _bytes(size: float) -> str:
    unit = next(each for each in (1e12, 1e9, 1e6, 1e3) if size >= each or each == 1e3)
    return f"{size / unit:.1f} {({1e12: 'TB', 1e9: 'GB', 1e6: 'MB', 1e3: 'kB'})[unit]}"
