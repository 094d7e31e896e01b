"""Sentences speak of files by their names: where the studio keeps them is nobody's business."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motionclone.errors import InputError


def placeless(said: str, folder: Path) -> str:
    """A sentence with the names of a folder and of what is in it, without where that lies."""
    said = said.replace(f"{folder}/", "").replace(f"{folder}\\", "")
    return said.replace(str(folder), folder.name) if folder.is_absolute() and folder.name else said


@contextmanager
def nameless(*paths: Path | None) -> Iterator[None]:
    """Inside the `with`, what is refused is told without where these files lie."""
    try:
        yield
    except InputError as error:
        said = str(error)
        for path in paths:
            said = said if path is None else placeless(said, path.parent)
        raise InputError(said) from error
