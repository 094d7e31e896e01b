"""The journal of files that take their places together; see `whole`. Everything here happens in one folder."""

import os
import re
from contextlib import suppress
from errno import EINVAL, ENOTSUP
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from motionclone.files.reading import read_json

# .motionclone-KEY.lock, .motionclone-KEY-NUMBER.suffix for files that are not whole yet, .motionclone-KEY.commit.
_OWN_NAME = re.compile(r"\.motionclone-([0-9a-f]{12})(-\d+)?(\.[^/\\]*)?", re.DOTALL)
_PLAIN_NAME = re.compile(r"(?!\.{1,2}$)[^/\\\0]+", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """What becomes of one file; names without folders."""

    temporary: str | None  # None: nothing takes the place of the target
    target: str
    before: tuple[int, int] | None  # size and time of the older file, which the journal of a stranger cannot know


def own(folder: Path, key: str, rest: str) -> Path:
    """The place of a file of our own: a lock, a journal or a temporary file."""
    return folder / f".motionclone-{key}{rest}"


def keys(folder: Path) -> list[str]:
    """Of which runs there are files in a folder; those of other users, who may mean us harm, are theirs."""
    found = [(match[1], folder / match[0]) for match in _own_names(folder)]
    return sorted({key for key, _ in found} - {key for key, path in found if not _is_mine(path)})


def _own_names(folder: Path) -> list[re.Match[str]]:
    """Quick in folders of a hundred thousand files, too."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".motionclone-")]
    return [match for name in names if (match := _OWN_NAME.fullmatch(name))]


def _is_mine(path: Path) -> bool:
    try:
        return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
    except FileNotFoundError:  # the living clean up
        return True


def commit(folder: Path, key: str, moves: list[tuple[Path, Path]], gone: list[str]) -> None:
    """Move temporary files, synced, to their targets, and remove what is `gone` with the older ones.

    Raises:
        OSError: if that cannot be. Either nothing has changed then, or a later `settle` may finish it.
    """
    if len(moves) == 1 and not gone:
        temporary, target = moves[0]
        temporary.replace(target)
        sync(folder)
        return
    named = [(temporary.name, target.name) for temporary, target in moves]
    steps = [Step(old, new, _facts(folder / new)) for old, new in [*named, *((None, name) for name in gone)]]
    journal = own(folder, key, ".commit")
    journal.write_bytes(TypeAdapter(list[Step]).dump_json(steps))
    sync(journal)
    sync(folder)
    try:
        _finish(folder, steps)
    except OSError:
        if all(_waits(folder, step) and _facts(folder / step.target) == step.before for step in steps):
            journal.unlink()
        raise


def settle(folder: Path, key: str) -> None:
    """Finish a commit, if one was begun; then remove all files of this key but its lock, which the caller holds."""
    journal = own(folder, key, ".commit")
    if journal.exists():
        _finish(folder, _steps(journal, key))
        journal.unlink()
    for match in _own_names(folder):
        if match[1] == key and match[3] != ".lock":
            (folder / match[0]).unlink()


def _steps(journal: Path, key: str) -> list[Step]:
    """What a journal says; nothing if it is not whole, or names files of another key, or of other folders."""
    try:
        steps = TypeAdapter(list[Step]).validate_python(read_json(journal, "a journal"))
    except ValueError:
        return []
    temporary = [_OWN_NAME.fullmatch(step.temporary) for step in steps if step.temporary is not None]
    fine = all(match and match[1] == key for match in temporary)
    return steps if fine and all(_PLAIN_NAME.fullmatch(step.target) for step in steps) else []


def _finish(folder: Path, steps: list[Step]) -> None:
    """Put what waits in its place; as often as need be, from wherever it was interrupted."""
    moves = [step for step in steps if step.temporary is not None and _waits(folder, step)]
    if any(_facts(folder / step.target) not in (None, step.before) for step in moves):
        return  # Since then somebody has put another file there, which stays.
    for step in (*moves[1:], *(step for step in steps if step.temporary is None)):
        if _facts(folder / step.target) == step.before:
            (folder / step.target).unlink(missing_ok=True)
    for step in moves:
        (folder / str(step.temporary)).replace(folder / step.target)
    sync(folder)


def _waits(folder: Path, step: Step) -> bool:
    return step.temporary is None or os.path.lexists(folder / step.temporary)


def _facts(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def sync(path: Path) -> None:
    """Wait until a file is on the disk; a folder's list of names as well, where that can be had."""
    if path.is_dir():
        with suppress(OSError):  # Windows, and folders that may not be read
            _fsync(path, os.O_RDONLY)
    else:
        _fsync(path, os.O_RDWR)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # file systems that cannot tell
            raise
    finally:
        os.close(descriptor)
