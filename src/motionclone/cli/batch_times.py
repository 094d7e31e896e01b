"""How long the videos of a batch will take, by how long others of its kind took, as their records say."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motionclone.batch.storage import Storage
from motionclone.errors import InputError
from motionclone.media.places import bare_name
from motionclone.settings import Settings

if TYPE_CHECKING:
    from motionclone.cli.options import ModelOptions

Kind = tuple[str, int, int, int]
"""A model and a size (frames, height, width), at which a step takes its time."""
MOST_READ = 50
"""Records; of more videos, every so manyth is looked at."""
_LARGEST_RECORD = 2**24  # bytes


class _Options(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str


class _Job(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model_options: _Options


class _Record(BaseModel):
    """What is needed of a record, which may be a stranger's."""

    model_config = ConfigDict(extra="ignore")
    settings: Settings
    seconds: float = Field(gt=0, le=1e7, allow_inf_nan=False)
    job: _Job


@dataclass
class Work:
    """What is to be done, in units of an unguided step."""

    videos: Counter[Kind] = field(default_factory=Counter)
    units: Counter[Kind] = field(default_factory=Counter)

    def add(self, settings: Settings, options: "ModelOptions") -> None:
        """One video more."""
        kind = _kind(settings, options.model)
        self.videos[kind] += 1
        self.units[kind] += _units(settings)

    def told(self, storage: Storage, done: Iterable[str]) -> str:
        """How long it takes one worker, as far as that is known."""
        seconds = _seconds(storage, sorted(done))
        alike = seconds.keys() & self.units.keys()
        known = sum(self.units[kind] * median(seconds[kind]) for kind in alike)
        looked_at = sum(len(seconds[kind]) for kind in alike)
        unknown = sum(count for kind, count in self.videos.items() if kind not in seconds)
        if unknown == self.videos.total():
            return "nothing to be made" if not unknown else "known once the first video is done; then ask again"
        more = f", and {unknown:,} videos of models or sizes that are not there yet" if unknown else ""
        return f"about {_time(known)} for one worker, by {looked_at:,} of the videos that are there{more}"


def _kind(settings: Settings, model: str) -> Kind:
    sampling = settings.sampling
    return bare_name(model.partition("@")[0]), sampling.num_frames, sampling.height, sampling.width


def _units(settings: Settings) -> int:
    """A guided step with one gradient takes about as long as three."""
    return settings.sampling.steps + 2 * settings.guided_steps * settings.guidance.gradients


def _seconds(storage: Storage, done: list[str]) -> dict[Kind, list[float]]:
    """Of a unit, by kind, each as a record has it."""
    found: dict[Kind, list[float]] = defaultdict(list)
    for name in done[:: -(-len(done) // MOST_READ) or 1]:
        try:
            record = _Record.model_validate_json(
                storage.read(Path(name).with_suffix(".json").name, "a record", _LARGEST_RECORD)
            )
        except (InputError, ValidationError):  # of another version, perhaps
            continue
        found[_kind(record.settings, record.job.model_options.model)].append(record.seconds / _units(record.settings))
    return found


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60):,} h"
