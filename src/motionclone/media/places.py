"""Find again what a record names, on the machine that wrote it or where it was handed on with its files.

Records and motion files are meant to be shared, so they say of a file what it is (name, hash), and where it lies only
if that is in their own folder. Where else things lie, each user's cache remembers for themselves, by their hashes. And
a record of a stranger is followed no further: it cannot make anyone read what it was not handed on with.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from motionclone.errors import InputError
from motionclone.files import sha256_of, whole_file


def kept_name(path: Path, folder: Path) -> str:
    """What a record in `folder` says of `path`: the way from there, with slashes, if it leads down, or its name."""
    home, root, place = _home().resolve(), folder.resolve(), path.resolve()
    # From above someone's home, the way down would tell whose it is.
    if place.is_relative_to(root) and not (home.is_relative_to(root) and home != root):
        return place.relative_to(root).as_posix()
    return path.name


def bare_name(name: str) -> str:
    """The last part of a path, as it is written anywhere."""
    return PureWindowsPath(name).name


def find(name: str, digest: str | None, folder: Path, option: str, measure: Callable[[Path], str] = sha256_of) -> Path:
    """Where the file or folder lies that a record in `folder` speaks of.

    Args:
        name: as the record has it; older ones have absolute paths.
        digest: what `measure` gave when the record was written, if it knows.
        folder: of the record.
        option: with which the user can give it.
        measure: of its content.

    Raises:
        InputError: it is neither in the record's folder nor remembered, or it has changed.
    """
    candidates = [path for path in (_below(folder, name), _remembered(digest)) if path is not None]
    for path in candidates:
        if digest in (None, measure(path)):
            return path
    if candidates:
        raise InputError(
            f"{candidates[0]} has changed since the record was written; restore what it was, or give it with {option}."
        )
    raise InputError(
        f"{bare_name(name)!r}, which the record was made from, is not in its folder, and not known to be elsewhere; "
        f"give it with {option}."
    )


def _below(folder: Path, name: str) -> Path | None:
    """What is there under that name, if it is in the folder; by its name first, so that no other place is touched."""
    root = Path(os.path.normpath(folder.absolute()))
    try:
        path = Path(os.path.normpath(root / name))
        if (
            path != root
            and path.is_relative_to(root)
            and path.exists()
            and path.resolve().is_relative_to(root.resolve())
        ):
            return path
    except (OSError, ValueError, RuntimeError):  # names that are none
        pass
    return None


def remember(digest: str, place: str) -> None:
    """Remember for this user where something lies (an absolute path) or that a hub id has been used.

    Raises:
        InputError: nothing can be written to the user's cache.
    """
    entry = _entry(digest)
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{entry.parent} cannot be made ({error.strerror})") from error
    with whole_file(entry, overwrite=True) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(place, encoding="utf-8")


def has_used(hub_id: str) -> bool:
    """Whether this user has made something with a model of the hub."""
    return _read(hub_digest(hub_id)) == hub_id


def hub_digest(hub_id: str) -> str:
    """Under which the use of a hub id is remembered."""
    return hashlib.sha256(f"hub {hub_id}".encode()).hexdigest()


def _remembered(digest: str | None) -> Path | None:
    place = None if digest is None else _read(digest)
    return Path(place) if place and Path(place).is_absolute() and Path(place).exists() else None


def _read(digest: str) -> str | None:
    if not re.fullmatch("[0-9a-f]{64}", digest):  # a stranger's, perhaps a path
        return None
    try:
        return _entry(digest).read_text(encoding="utf-8")
    except (OSError, ValueError, InputError):
        return None


def _entry(digest: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or _home() / ".cache"
    return Path(cache) / "motionclone" / "places" / digest


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # nobody's
        return Path(os.sep)


def likeness(place: Path) -> str:
    """A digest of a model, file or folder, that takes no time: names, sizes, beginnings and ends of its files."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    digest = hashlib.sha256()
    for path in files:
        size, name = path.stat().st_size, path.relative_to(place).as_posix()
        with path.open("rb") as file:
            start = file.read(_SAMPLE)
            file.seek(max(0, size - _SAMPLE))
            digest.update(f"{len(name)} {name} {size} ".encode("utf-8", "surrogateescape") + start + file.read(_SAMPLE))
    return digest.hexdigest()


_SAMPLE = 2**16
