"""What a worker of a batch does: one video after the other, with a model that stays loaded."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.batch.folder import error_of, is_done
from motionclone.batch.pools import Busy, Failed, OnStep
from motionclone.batch.schema import as_field
from motionclone.batch.storage import MOTIONS, PAUSE, Storage, UnusableError
from motionclone.cli.extracting import extracted, prepared_to_extract
from motionclone.cli.jobs import CloneJob, GenerateJob
from motionclone.cli.reading import load_model
from motionclone.cli.rows import Refused, Task
from motionclone.cli.running import make, write
from motionclone.cli.sources import Sources
from motionclone.cli.terminal import warnings_said
from motionclone.errors import InputError, naming
from motionclone.files import TakenError

if TYPE_CHECKING:
    from motionclone.cloning import Step
    from motionclone.settings import Settings

_NO_MORE = {ENOSPC, EDQUOT, EROFS}


@dataclass(frozen=True)
class Done:
    """A video is there; and what a single run would have said of it."""

    notes: tuple[str, ...]


class Worker:
    """Does tasks; the last model that was loaded is kept."""

    def __init__(self) -> None:
        self._loaded: tuple[Any, Any] = (None, None)

    def load(self, *options: Any, **more: Any) -> Any:
        """As `load_model`."""
        key = (options, tuple(more.items()))
        if self._loaded[0] != key:
            self._loaded = (None, None)  # two do not fit beside each other
            self._loaded = (key, load_model(*options, **more))
        return self._loaded[1]

    def __call__(self, task: Task | Refused, on_step: OnStep) -> Done | Failed | Busy:
        """Make a video, unless it is there. InputError for what would stop every other, too."""
        if isinstance(task, Refused):
            return Failed(task.reason)
        said = io.StringIO()
        with redirect_stderr(said), naming(as_field), warnings_said():
            try:
                self._make(task, on_step)
            except TakenError:
                time.sleep(PAUSE)
                return Busy()
            except Exception as error:
                if _stops_all(error, task.storage):
                    raise
                told = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                return Failed(told)
        notes = [line.removeprefix("note: ") for line in said.getvalue().splitlines() if line.startswith("note: ")]
        return Done(tuple(notes))

    def _make(self, task: Task, on_step: OnStep) -> None:
        @contextmanager
        def progress() -> "Iterator[Callable[[str, Step], None]]":
            yield lambda _, step: on_step(step.index, step.steps)

        with task.storage.output(task.name) as output:
            if is_done(task.storage, task.name):
                return
            job, sources, settings = task.job, task.sources, task.settings
            if task.motion is not None:
                job, sources, settings = self._from_motion(task, output.parent / MOTIONS / task.motion)
            made = make(job, sources, settings, output, task.typed, self.load, progress)
            # By its name it can be no other video than one that was left without its record.
            write(made, sources, output, overwrite=True)
        task.storage.remove(error_of(task.name))

    def _from_motion(self, task: Task, path: Path) -> "tuple[GenerateJob, Sources, Settings]":
        """The job as one that generates from the motion of its reference, which is read if nobody has."""
        from motionclone.motion import load_motion

        assert isinstance(task.job, CloneJob)
        task.storage.obtain(path, lambda: self._extract(task, path))
        motion, sampling = load_motion(path), task.settings.sampling
        height, width = motion.record.size or (sampling.height, sampling.width)
        size = {"num_frames": motion.video_frames, "height": height, "width": width}
        settings = task.settings.model_copy(update={"sampling": sampling.model_copy(update=size)})
        job = GenerateJob(path.name, task.job.prompt, task.job.model_options, task.job.prompt_metadata)
        return job, replace(task.sources, material=path), settings

    def _extract(self, task: Task, path: Path) -> None:
        from motionclone.media.places import kept_name

        assert isinstance(task.job, CloneJob)
        options, reference = task.job.model_options, task.sources.material
        part = task.job.reference_options
        ready = prepared_to_extract(task.sources, part, task.settings, options, task.typed, self.load)
        if ready.clip.sha256 != task.job.sha256:
            raise _changed(str(reference))
        extracted(ready, reference.name, kept_name(reference, path.parent)).save(path)


def _changed(what: str) -> InputError:
    return InputError(f"{what} has changed since the batch began; call it again.")


def _stops_all(error: BaseException | None, storage: Storage) -> bool:
    """Whether nothing more can be written, so that every job to come would fail, too."""
    while error is not None:
        if isinstance(error, UnusableError):
            return True
        if isinstance(error, OSError) and (error.errno in _NO_MORE or storage.is_lost()):
            return True
        error = error.__cause__ or error.__context__
    return False
