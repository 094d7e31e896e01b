"""What a model is, whatever the place it lies in; and texts without the places of somebody's files."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from motionclone.errors import printable
from motionclone.models import named_models, read_model_description
from motionclone.models.description import PLACES

LARGEST_CONFIGURATION = 1 << 20
"""Bytes of a .json file that are hashed; of larger files, which hold weights or words, only the size counts."""


def public_name(place: str) -> str:
    """The name or hub id of a model as it is; of a path on this machine the last part."""
    path = Path(place).expanduser()
    here = place not in named_models() and (path.is_absolute() or path.exists())
    return path.absolute().name if here else place


def content_of(place: str) -> str | None:
    """A hash of a model's files here, of their names, sizes and configurations; None for a name or a hub id."""
    path = Path(place).expanduser()
    if place in named_models() or not path.exists():
        return None
    if path.is_dir():
        return _hash(list(_files(path)))
    size = path.stat().st_size
    own = [size, _sha256(path) if size < LARGEST_CONFIGURATION else None]
    described = read_model_description(path) if path.suffix in (".toml", ".yaml", ".yml") else None
    parts = [getattr(described, name, None) for name in PLACES]
    return _hash([own, [part and (content_of(part) or part) for part in parts]])


def _files(folder: Path) -> Iterator[tuple[str, int, str | None]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            size = path.stat().st_size
            small = path.suffix == ".json" and size < LARGEST_CONFIGURATION
            yield path.relative_to(folder).as_posix(), size, _sha256(path) if small else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def shortened(text: object) -> str:
    """What a sentence can hold of a text: printable, and no more than 300 signs of it."""
    return printable(str(text)[:300])


# A path: perhaps ~ or a drive, then parts behind slashes; what is kept is the part behind the last of them.
_PATH = re.compile(r"(?<![\w:/\\.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\":;,()<>|]+)*[/\\](?=[^\s/\\'\":;,()<>|])")


def without_places(text: str) -> str:
    """A message in which every absolute path is its last part, so that it can be handed on."""
    return _PATH.sub("", text.replace(str(Path.home()), "/~"))
