"""Which videos to score against which clips: from a list, or from the records beside the videos of a folder."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from motionclone.errors import InputError, named
from motionclone.files import sha256_of
from motionclone.lab.cases import CLIP_SUFFIXES
from motionclone.lab.identity import shortened
from motionclone.media.fitting import Crop
from motionclone.media.places import find
from motionclone.media.records import check_belongs, read_record

LARGEST = 1 << 24
"""Bytes of a list or a record."""
MOST_VIDEOS = 10_000


def _name(name: str) -> str:
    if Path(name).name != name or "\0" in name or "\\" in name:
        raise ValueError("should be the name of a file, without its folder")
    return name


def _path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("should be a path, which has no zeros")
    return path


Seconds = Annotated[float, Field(ge=0)]
Given = Annotated[Path, AfterValidator(_path)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class ListedVideo(_Strict, extra="forbid"):
    """A video, the clip whose motion it should have, and its words. Paths are relative to the list they stand in."""

    video: Given
    reference: Given
    prompt: Annotated[str, Field(max_length=10_000)]
    start: Seconds = 0.0
    end: Seconds | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    fit: Literal["crop", "squash"] = "crop"
    crop: Annotated[Crop | None, Field(strict=False)] = None
    flip: bool = False

    @property
    def name(self) -> str:
        """The video as an output may name it: never where on this machine it lies."""
        return self.video.name


class _File(_Strict):
    """A file, wherever it is."""

    name: Annotated[str, AfterValidator(_name)]
    sha256: str


class _Source(_Strict):
    """What a record says of the reference; its file is not named if its frames were drawn, or given as values."""

    name: Annotated[str, AfterValidator(_name)] | None = None
    sha256: str | None = None
    start: Seconds = 0.0
    end: Seconds | None = None
    asked_fps: Annotated[float, Field(gt=0)] | None = None
    fit: Literal["crop", "squash"] = "crop"
    crop: Annotated[Crop | None, Field(strict=False)] = None
    flip: bool = False


class _Motion(_Strict):
    source: _Source


class _Output(_Strict):
    reference: _File | None = None  # that was written beside the video, as the demo does


class _Record(_Strict):
    """As far as it is needed here."""

    motion: _Motion
    output: _Output = _Output()
    prompt: Annotated[str, Field(max_length=10_000)]


def listed_videos(place: Path, references: Path | None = None) -> list[ListedVideo]:
    """Videos from a .jsonl list, or from the records (.json) beside a video that motionclone made, or a folder of them.

    A record is not believed where its reference lies: that is looked for, by its name and hash, among the videos and in
    the folder of `references`.

    Raises:
        InputError: if there are none, or one is damaged or leads to a file that is not there.
    """
    if place.suffix == ".jsonl":
        if references is not None:
            raise InputError(f"{place} says itself where the references are; leave its folder of references out.")
        videos = _of_list(place)
    else:
        videos = _of_folder(place, references)
    if not videos and place.suffix == ".jsonl":
        raise InputError(f"{place} is empty; write one JSON object of video, reference and prompt a line.")
    if not videos:
        raise InputError(
            f"there are no videos with a record (.json) in {place}; give a list (.jsonl) of video, reference, prompt."
        )
    for video in videos:
        for path in (video.video, video.reference):
            if not _is_file(path):
                raise InputError(
                    f"{place} speaks of {shortened(path)}, which is not there; restore it or take the line out."
                )
    return videos


def inputs_of(place: Path, videos: Sequence[ListedVideo]) -> Iterator[Path]:
    """Every file that is read, so that none is written over."""
    if place.suffix == ".jsonl":
        yield place
    for video in videos:
        yield from (video.video, video.reference, video.video.with_suffix(".json"))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _of_list(place: Path) -> list[ListedVideo]:
    lines = [line for line in _content(place).removeprefix(BOM_UTF8).split(b"\n") if line.strip()]
    if len(lines) > MOST_VIDEOS:
        raise InputError(f"{place} has {len(lines)} lines; score {MOST_VIDEOS} at a time.")
    videos = []
    for number, line in enumerate(lines, 1):
        try:
            video = ListedVideo.model_validate_json(line)
        except ValidationError as error:
            raise InputError(
                f"{place} is not a list of video, reference and prompt, one JSON object a line: line {number} has "
                f"{_first(error)}."
            ) from error
        at = {"video": place.parent / video.video, "reference": place.parent / video.reference}
        videos.append(video.model_copy(update=at))
    return videos


def _of_folder(place: Path, references: Path | None) -> list[ListedVideo]:
    single = place.suffix.lower() in CLIP_SUFFIXES and place.is_file()
    for each in (None if single else place, references):
        if each is not None and not each.is_dir():
            raise InputError(f"there is no folder {each}; give a folder of videos or a list (.jsonl).")
    videos: dict[Path, ListedVideo] = {}
    for path in [place] if single else sorted(place.iterdir()):
        record = path.with_suffix(".json")
        if path.suffix.lower() not in CLIP_SUFFIXES or not record.exists():
            continue
        if record in videos:
            one, other = shortened(path), shortened(videos[record].video)
            raise InputError(f"{one} and {other} have one record, {shortened(record)}; move one elsewhere.")
        try:
            whole = read_record(record)
            kept = _Record.model_validate(whole)
        except ValidationError as error:
            raise InputError(
                f"{shortened(record)} is not a record of a cloned video ({_first(error)}); move the video elsewhere."
            ) from error
        check_belongs(path, whole)
        source = kept.motion.source
        videos[record] = ListedVideo(
            video=path,
            reference=_reference(kept, path, references),
            prompt=kept.prompt,
            start=source.start,
            end=source.end,
            fps=source.asked_fps,
            fit=source.fit,
            crop=source.crop,
            flip=source.flip,
        )
    return list(videos.values())


def _reference(record: _Record, video: Path, references: Path | None) -> Path:
    """The clip of that name and hash: among the references, with the videos, or where this user has read it."""
    source, clip = record.motion.source, record.output.reference
    if source.name is not None and source.sha256 is not None:
        clip = _File(name=source.name, sha256=source.sha256)
    if clip is None:
        raise InputError(
            f"the record of {shortened(video)} names no file that its motion was read from; give a list (.jsonl) of "
            "video, reference, prompt."
        )
    given = None if references is None else references / clip.name
    if given is not None and _is_file(given):
        if sha256_of(given) != clip.sha256:
            raise InputError(f"{given} is not the clip that a record names, by its hash; restore that very file.")
        return given
    return find(clip.name, clip.sha256, video.parent, named("references"))


def _content(path: Path) -> bytes:
    name = shortened(path)
    try:
        if not path.is_file():
            raise InputError(f"there is no file {name}; give a folder of videos or a list (.jsonl).")
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{name} has {size / 1e6:.0f} MB, and a list or record has at most {LARGEST / 1e6:.0f}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror}); make it readable.") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = shortened(".".join(map(str, first["loc"])))
    return f"{where}: {shortened(first['msg'])}" if where else shortened(first["msg"])
