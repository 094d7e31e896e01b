"""What kind of file something is, by its first bytes: so that a file in another's place is told from a damaged one."""

import json
import os
import re
import struct
from pathlib import Path
from typing import Literal

from motionclone.errors import InputError

Kind = Literal["video", "GIF", "picture", "motion file", "record", "file of weights", "folder"]

_MADE_BY = {  # what to do with a file of a kind where another is wanted
    ("video", "motion file"): "make a motion file of it with `motionclone extract {}`",
    ("video", "record"): "give the .json that `motionclone clone` wrote beside it{}",
    ("video", "picture"): "save the frame that is meant as a picture",
    ("motion file", "video"): "make a video with it by `motionclone generate {} PROMPT`",
    ("motion file", "record"): "look into it with `motionclone inspect {}`",
    ("record", "video"): "make its video again with `motionclone rerun {}`",
    ("record", "motion file"): "make its video again with `motionclone rerun {}`",
}
_LONGEST_HEADER = 2**20  # bytes of a safetensors file's


def check_kind(path: str | os.PathLike[str], *wanted: Kind) -> None:
    """Refuse an address of the web, and a file that plainly is of another kind; whether it is sound, its reader tells.

    Raises:
        InputError: what it is, what was wanted (the first of these), and what it is good for.
    """
    check_no_address(path)
    found = kind_of(Path(path))
    if found is None or found in wanted:
        return
    like, more = "video" if found == "GIF" else found, str(path)
    remedy = _MADE_BY.get((like, wanted[0]), f"give a {wanted[0]}{' in it' if found == 'folder' else ''}")
    if (like, wanted[0]) == ("video", "record"):
        beside = Path(path).with_suffix(".json")
        more = f", {beside}" if beside.is_file() else ", which is not there"
    raise InputError(f"{path} is a {found}, and a {wanted[0]} was expected; {remedy.format(more)}.")


def check_no_address(path: str | os.PathLike[str]) -> None:
    """InputError for an address of the web; paths have lost one of its slashes."""
    if (found := re.match(r"([a-z][a-z0-9+.-]+):/", str(path), re.IGNORECASE)) is not None:
        rest = re.sub(r":/+", "://", str(path), count=1)
        what = (
            "give the path behind it"
            if found[1].lower() == "file"
            else "give a file, such as what you download from there"
        )
        raise InputError(f"{rest} is an address, and only files on this machine are read and written; {what}.")


def kind_of(path: Path) -> Kind | None:
    """By the first bytes, whatever the name; None for what is not there, not readable, or none of these."""
    try:
        if path.is_dir():
            return "folder"
        if not path.is_file():  # pipes and devices are not opened: they might never end
            return None
        with path.open("rb") as file:
            start = file.read(16)
            if len(start) > 8 and start[8:9] == b"{":
                return _of_safetensors(file.read(_LONGEST_HEADER), struct.unpack("<Q", start[:8])[0], start)
    except (OSError, ValueError):
        return None
    if start[4:8] == b"ftyp":
        return "picture" if start[8:12] in (b"avif", b"heic", b"mif1") else "video"
    if start.startswith(b"GIF8"):
        return "GIF"
    if start.startswith((b"\x1a\x45\xdf\xa3", b"FLV")) or start[8:12] == b"AVI ":
        return "video"
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM")) or start[8:12] == b"WEBP":
        return "picture"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "file of weights"
    return "record" if path.suffix.lower() == ".json" and start.lstrip()[:1] == b"{" else None


def _of_safetensors(rest: bytes, length: int, start: bytes) -> Kind | None:
    if not 2 <= length <= _LONGEST_HEADER:
        return "file of weights" if length < 2**32 else None
    try:
        header = json.loads((start + rest)[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    made = header.get("__metadata__") if isinstance(header, dict) else None
    is_motion = isinstance(made, dict) and str(made.get("format")).startswith("motionclone.motion/")
    return "motion file" if is_motion else "file of weights"
