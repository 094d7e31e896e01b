"""Where what a job names lies on this machine, and what its record says instead."""

from dataclasses import dataclass, replace
from pathlib import Path

from motionclone.cli.jobs import CloneJob, GenerateJob
from motionclone.cli.options import PlaceOptions
from motionclone.cli.reading import is_local
from motionclone.cli.terminal import say
from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.media.places import bare_name, find, has_used, hub_digest, kept_name, likeness, remember


@dataclass(frozen=True)
class Sources:
    """Files and folders that a job reads; a model or a SparseCtrl may also be a name or a hub id."""

    model: str
    material: Path  # the clip that is cloned, or the motion file
    pictures: tuple[Path, ...] = ()
    control: str | None = None

    def files(self) -> list[Path]:
        """All that lies here, a model's parts included: none of it may be overwritten."""
        from motionclone.models import ModelDescription, named_models, read_model_description
        from motionclone.models.description import PLACES

        places = [place for place in (self.model, self.control) if place is not None and is_local(place)]
        found = [Path(place).expanduser() for place in places]
        model = named_models().get(self.model)
        if is_local(self.model) and found[0].suffix in (".toml", ".yaml", ".yml"):
            model = read_model_description(found[0])
        if isinstance(model, ModelDescription):
            found += [Path(place) for name in PLACES if (place := getattr(model, name)) is not None]
        return [*found, self.material, *self.pictures]


def sources_of(job: CloneJob | GenerateJob, folder: Path, places: PlaceOptions) -> Sources:
    """Where the things lie that a record in `folder` names: where the user says, or else where `find` finds them.

    Raises:
        InputError: something is not found, or is not what it was.
    """
    own_control = isinstance(job, GenerateJob) or job.control in (None, "image", "sketch")
    named = {"model", "motion"} if isinstance(job, GenerateJob) else {"model", "reference", "picture", "control"}
    for option, given in vars(places).items():
        if given is not None and (option not in named or (option == "control" and own_control)):
            raise InputError(f"the record names no {option}; leave out --{option}.")
    model = _model(job.model_options.model, job.model_sha256, folder, places.model, "--model")
    if isinstance(job, GenerateJob):
        return Sources(model, places.motion or find(job.motion, job.sha256, folder, "--motion"))
    shown = {sha256_of(path): path for path in places.picture or ()}
    pictures = tuple(
        shown.get(each.sha256 or "") or find(each.path, each.sha256, folder, "--picture") for each in job.pictures
    )
    if unused := [path for path in shown.values() if path not in pictures]:
        raise InputError(f"{unused[0]} is none of the pictures that the record was made with; leave it out.")
    control = job.control
    if control is not None and not own_control:
        control = _model(control, job.control_sha256, folder, places.control, "--control")
    reference = places.reference or find(job.reference, job.sha256, folder, "--reference")
    return Sources(model, reference, pictures, control)


def _model(name: str, digest: str | None, folder: Path, given: str | None, option: str) -> str:
    """Where a model or SparseCtrl is."""
    from motionclone.models import named_models
    from motionclone.models.places import could_be_hub_id

    hub_id = name.partition("@")[0]
    known, on_hub = hub_id in named_models(), digest is None and could_be_hub_id(name)
    if given is not None:
        same = digest is None or (is_local(given) and likeness(Path(given).expanduser()) == digest)
        if known or not same or (on_hub and not is_local(given) and given.partition("@")[0] != hub_id):
            raise InputError(f"{given} is not what the record was made with, which is {bare_name(name)}.")
        return name if given == hub_id else given
    if known:
        return name
    if on_hub:
        if not has_used(hub_id):
            raise InputError(
                f"the record was made with {name} of the hub, new to you; to use it, give {option} {name}."
            )
        return name
    return str(find(name, digest, folder, option, likeness))


def job_for_record(job: CloneJob | GenerateJob, sources: Sources, folder: Path) -> CloneJob | GenerateJob:
    """The job as a record in `folder` has it, names instead of places; the places are remembered for this user."""
    model, model_sha256 = _model_kept(sources.model, job.model_options.model, folder)
    job = replace(job, model_options=replace(job.model_options, model=model), model_sha256=model_sha256)
    if isinstance(job, GenerateJob):
        return replace(job, motion=_file_kept(sources.material, job.motion, job.sha256, folder))
    if sources.control is not None and job.control is not None:
        control, control_sha256 = _model_kept(sources.control, job.control, folder)
        job = replace(job, control=control, control_sha256=control_sha256)
    places = zip(job.pictures, sources.pictures, strict=True)
    pictures = tuple(replace(each, path=_file_kept(path, each.path, each.sha256, folder)) for each, path in places)
    return replace(job, pictures=pictures, reference=_file_kept(sources.material, job.reference, job.sha256, folder))


def _file_kept(path: Path, name: str, digest: str | None, folder: Path) -> str:
    remember_place(digest, str(path.absolute()), name)
    way = kept_name(path, folder)
    return way if bare_name(way) == bare_name(name) else bare_name(name)


def _model_kept(place: str, name: str, folder: Path) -> tuple[str, str | None]:
    """Its name, and its digest if it lies here."""
    from motionclone.models import named_models

    if is_local(place):
        path = Path(place).expanduser()
        digest = likeness(path)
        return _file_kept(path, name, digest, folder), digest
    hub_id = place.partition("@")[0]  # whatever its revision
    if hub_id not in ("image", "sketch", *named_models()):
        remember_place(hub_digest(hub_id), hub_id, hub_id)
    return name, None


def remember_place(digest: str | None, place: str, name: str) -> None:
    """Remember where something is; if that cannot be, it is said."""
    try:
        if digest is not None:
            remember(digest, place)
    except InputError as error:
        say(f"note: `motionclone rerun` will have to be told where {name} is ({error})")
