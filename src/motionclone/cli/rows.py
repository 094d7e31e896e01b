"""From the jobs of a job file to what is to be done for each, by the same options and settings as `clone`'s."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.batch.folder import Listed, digest_of, video_name
from motionclone.batch.jobfile import Jobs, as_given
from motionclone.batch.schema import Part, as_field
from motionclone.batch.storage import Folder, Storage
from motionclone.cli.extracting import settings_for
from motionclone.cli.foretelling import check_model, check_prompt
from motionclone.cli.jobs import CloneJob, GenerateJob
from motionclone.cli.options import (
    ConditioningOptions,
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    PictureOptions,
    ReferenceOptions,
    SettingsOptions,
    control_kind,
    settings_from,
    typed,
)
from motionclone.cli.outputs import named_after
from motionclone.cli.reading import is_local, public_name
from motionclone.cli.sources import Sources
from motionclone.errors import InputError
from motionclone.files import as_path, check_no_address, sha256_of
from motionclone.settings import FLAT_NAMES, Settings

if TYPE_CHECKING:
    from motionclone.motion import Motion

MAKING = 1
"""Raised whenever the same job would give another video than before, which then is made anew."""


@dataclass(frozen=True)
class Task:
    """One video; goes to a worker."""

    name: str
    storage: Storage  # in which it is kept
    job: CloneJob | GenerateJob  # with the hashes of what is to be read
    sources: Sources
    settings: Settings
    typed: Mapping[str, str]
    motion: str | None  # name of the file that the reference's motion is kept in, if it is

    @property
    def group(self) -> tuple[Any, ...]:
        """What must be loaded for it."""
        pictures = self.job.pictures if isinstance(self.job, CloneJob) else ()
        return self.job.model_options, self.sources.model, self.sources.control or control_kind(pictures)


@dataclass(frozen=True)
class Refused:
    """A job that cannot be done as it is."""

    name: str
    reason: str


@dataclass(frozen=True)
class _Found:
    """What a job comes to, what decides it besides what all have, and what decides its motion, if that is kept."""

    job: CloneJob | GenerateJob
    sources: Sources
    settings: Settings
    decides: Mapping[str, Any]
    read: Mapping[str, Any] | None


class Rows:
    """The jobs of a file, resolved for where they are kept; of what several have in common, everything is read once."""

    def __init__(self, jobs: Jobs, storage: Storage) -> None:
        self.jobs = jobs
        # Workers may stand elsewhere.
        self.storage = Folder(storage.path.absolute()) if isinstance(storage, Folder) else storage
        self._sha256, self._model = cache(_sha256), cache(_model_digest)
        few = lru_cache(1000)
        self._settings, self._motion_settings = few(self._settings_of), few(self._settings_of_motion)

    def __call__(self, number: int) -> Task | Refused:
        """What is to be done for a job of the file."""
        job = self.jobs[number]
        try:
            return self._resolved(job)
        except (InputError, OSError) as error:
            return Refused(video_name(_label(job), as_given(job), _suffix(job)), str(error))

    def listed(self, number: int, name: str) -> Listed:
        """As the folder's list has a job."""
        job = self.jobs[number]
        source = Path(job.reference or job.motion or "").name
        try:
            model = _public_name(self._local(job.model))
        except (InputError, OSError):
            model = Path(job.model).name
        seed = job.overrides().get("seed")
        return Listed(name=name, prompt=job.prompt[:1000], source=source[:1000], model=model[:1000], seed=seed)

    def _resolved(self, job: Part) -> Task:
        options = self._model_options(job)
        named = replace(options, model=_public_name(options.model))
        changed = job.overrides()
        common = {
            "making": MAKING,
            "model": self._model(options.model),
            "held": [job.device, job.dtype, job.vae_tiling, job.per_frame_norm],
        }
        given = _typed(job, options)
        found = (self._of_reference if job.motion is None else self._of_motion)(job, options.model, named, changed)
        decides = {
            **common,
            **found.decides,
            "prompt": job.prompt,
            "prompt_metadata": job.prompt_metadata,
            "settings": found.settings.model_dump(mode="json"),
            "suffix": _suffix(job),
        }
        name = video_name(_label(job), decides, _suffix(job))
        motion = None if found.read is None else f"{digest_of({**common, **found.read})}.safetensors"
        return Task(name, self.storage, found.job, found.sources, found.settings, given, motion)

    def _of_motion(self, job: Part, model: str, named: ModelOptions, changed: dict[str, Any]) -> "_Found":
        check_prompt(job.prompt, changed.get("positive_prompt"))
        settings, path, sha256 = self._motion_settings(
            model, Path(self._local(str(job.motion))), job.preset, tuple(changed.items())
        )
        made = GenerateJob(path.name, job.prompt, named, job.prompt_metadata, sha256=sha256)
        return _Found(made, Sources(model, path), settings, {"motion": sha256, "name": path.name}, None)

    def _of_reference(self, job: Part, model: str, named: ModelOptions, changed: dict[str, Any]) -> "_Found":
        pictures, control = self._pictures(job)
        check_prompt(job.prompt, changed.get("positive_prompt"), pictured=bool(pictures))
        path = self._place(str(job.reference))
        sha256 = self._sha256(path)
        seedless = tuple((name, value) for name, value in changed.items() if name != "seed")
        settings = self._settings(model, job.preset, seedless, control_kind(pictures) or "camera")
        if "seed" in changed:
            settings = settings.model_copy(update={"seed": changed["seed"]})
        part = ReferenceOptions(job.start, job.end, job.fps, job.fit, job.crop, job.flip)
        clip = {"reference": sha256, "name": path.name, "part": part.part()}
        shown = [(each.kind, each.frame, Path(each.path).name, each.sha256) for each in pictures]
        made = CloneJob(
            path.name,
            job.prompt,
            part,
            named,
            job.prompt_metadata,
            sha256,
            pictures,
            control and _public_name(control),
        )
        sources = Sources(model, path, tuple(Path(each.path) for each in pictures), control)
        decides = {**clip, "pictures": shown, "control": control and self._model(control)}
        sampling = settings.sampling
        read = {
            **clip,
            "extraction": settings.extraction.model_dump(mode="json"),
            "size": [sampling.num_frames, sampling.height, sampling.width],
            "seed": settings.seed,
        }
        return _Found(made, sources, settings, decides, None if pictures else read)

    def _model_options(self, job: Part) -> ModelOptions:
        held = {each.name: getattr(job, each.name) for each in fields(ModelOptions)}
        options = ModelOptions(**{**held, "model": self._local(job.model)})
        _reachable(options)
        return options

    def _pictures(self, job: Part) -> tuple[tuple[Any, ...], str | None]:
        """The pictures with their hashes, and the SparseCtrl for them."""
        control = job.control if job.control in (None, "image", "sketch") else self._local(str(job.control))
        places = {
            kind: [self._place(each) for each in getattr(job, kind)] or None
            for kind in ("image", "sketch", "sketch_from")
        }
        steered = any(job.overrides().get(name) is not None for name in ("condition_scale", "condition_extraction"))
        found = PictureOptions(**places, control=control).pictures(steered)
        return tuple(replace(each, sha256=self._sha256(Path(each.path))) for each in found), control

    def _place(self, path: str) -> Path:
        """Where something lies that the job file names."""
        from motionclone.models.places import path_of

        check_no_address(path)
        return self.jobs.folder / path_of(path)

    def _local(self, place: str) -> str:
        """A model or SparseCtrl: what is there, seen from the job file, or else a name or hub id."""
        here = self._place(place)
        return str(here) if place not in _names() and here.exists() else place

    def _settings_of(self, model: str, preset: str | None, changed: tuple[Any, ...], kind: str) -> Settings:
        common, others = _options(preset, dict(changed))
        return settings_from(model, common, *others.values(), otherwise=kind)

    def _settings_of_motion(
        self, model: str, path: Path, preset: str | None, changed: tuple[Any, ...]
    ) -> tuple[Settings, Path, str]:
        """The settings, the motion file, and its hash."""
        path, motion, sha256 = _motion(path)
        common, others = _options(preset, dict(changed))
        return settings_for(motion, model, common, others["generation"]), path, sha256


def _options(preset: str | None, changed: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Settings by their flat names as the options of the command line."""
    kinds = {"extraction": ExtractionOptions, "generation": GenerationOptions, "conditioning": ConditioningOptions}
    made = {name: kind(**_own(kind, changed)) for name, kind in kinds.items()}
    return SettingsOptions(preset=preset, **_own(SettingsOptions, changed)), made


def _own(kind: Any, changed: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name: FLAT_NAMES.get(each.name, each.name) for each in fields(kind) if each.name != "preset"}
    return {name: changed.get(flat) for name, flat in names.items()}


def _typed(job: Part, model: ModelOptions) -> dict[str, str]:
    """As `typed`, in the words of a job file."""
    common, others = _options(None, job.overrides())
    if job.motion is not None:  # as `generate`, which has no options for the rest
        others = {"generation": others["generation"]}
        unused = {**_own(ExtractionOptions, {}), **_own(ConditioningOptions, {})}
        if idle := [as_field(name) for name in unused if as_field(name) in job.overrides()]:
            raise InputError(f"{idle[0]} does not act: the motion has been read, without pictures; leave it out.")
    return {field: as_field(field) for field in typed(model, common, *others.values())}


def _suffix(job: Part) -> str:
    from motionclone.media.writing import VIDEO_SUFFIXES

    suffix = Path(job.output or "").suffix.lower()
    return suffix if suffix in VIDEO_SUFFIXES else VIDEO_SUFFIXES[0]


def _label(job: Part) -> str:
    """What a name begins with."""
    if job.output is None:
        return str(named_after(Path(job.reference or job.motion or ""), job.prompt, suffix=""))
    return job.output[: -len(_suffix(job))] if job.output.lower().endswith(_suffix(job)) else job.output


@cache
def _names() -> tuple[str, ...]:
    from motionclone.models import named_models

    return tuple(named_models())


_public_name = cache(public_name)


@cache
def _reachable(options: ModelOptions) -> None:
    check_model(options)


@lru_cache(4)
def _motion(path: Path) -> "tuple[Path, Motion, str]":
    from motionclone.motion import load_motion, motion_file

    found = motion_file(path)
    return found, load_motion(found), sha256_of(found)


def _sha256(path: Path) -> str:
    """Of a clip or a picture: a file, or a folder of pictures."""
    from motionclone.media.folder import sha256_of_folder
    from motionclone.media.paths import is_folder

    path = as_path(path)
    return (sha256_of_folder if is_folder(path) else sha256_of)(path)


def _model_digest(place: str) -> list[str]:
    """What a model or SparseCtrl is: the likeness of its files, or its name or hub id."""
    from motionclone.media.places import likeness

    if not is_local(place):
        return [place]
    parts = [path for path in Sources(place, Path(place)).files()[:-1] if path.exists()]
    return [likeness(path) for path in parts]
