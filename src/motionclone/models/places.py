"""Where a part of a model is: a folder or a file here, or a repository on the hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motionclone.errors import InputError
from motionclone.files import check_no_address
from motionclone.hub import HubPlace, fetch
from motionclone.models.texts import said

WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Located:
    """Something that is on this machine now."""

    path: Path
    source: str
    """What a record may say of it: organisation/name@commit, or the name of the file or folder without its path."""


def path_of(place: str | Path) -> Path:
    """A path with ~ replaced. InputError if there cannot be such a path on this machine."""
    try:
        path = Path(place).expanduser()
        path.exists()  # says whether the name is too long
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{said(place, 80)} cannot be a path ({said(error, 120)}); check it.") from error
    return path


def could_be_hub_id(place: str) -> bool:
    """Whether a place has the form organisation/name or organisation/name@revision and is not plainly a file."""
    return HubPlace.parsed(place) is not None and Path(place).suffix.lower() not in WEIGHT_SUFFIXES


def check_place(place: str, what: str) -> None:
    """Refuse what is not here and could not be on the hub. Nothing is fetched."""
    if not place or (not path_of(place).exists() and not could_be_hub_id(place)):
        check_no_address(place)
        raise InputError(f"there is no {what} {said(place, 80)}; give a path, or a hub id (organisation/name).")


def locate(place: str, what: str, files: Sequence[str]) -> Located:
    """Find a place, and fetch these files (patterns) of it if it is on the hub.

    Raises:
        InputError: it is nowhere, or the hub cannot be reached.
    """
    check_place(place, what)
    path = path_of(place)
    if path.exists():
        return Located(path, path.resolve().name)
    hub = HubPlace.parsed(place)
    assert hub is not None  # or check_place had refused it
    folder = fetch(hub, files)
    return Located(folder, f"{hub.hub_id}@{folder.name}")


def locate_part(place: str, file: str | None, what: str, files: Sequence[str]) -> Located:
    """Find a place, or one file of it that is named; without a name, fetch these files (patterns).

    Raises:
        InputError: likewise, or there is no file of that name.
    """
    if file is None:
        return locate(place, what, files)
    found = locate(place, what, [file])
    path = found.path / file
    if not path.is_file():
        why = f"{place} is a file itself" if found.path.is_file() else f"{place} has no {file}"
        raise InputError(f"{why}; {what}_file is the name of a file in a folder or repository, as it is written there.")
    return Located(path, f"{found.source}/{file}")
