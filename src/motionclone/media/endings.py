"""Whether an animated GIF or PNG ends where its last picture does; neither says in its header how much is to come."""

from pathlib import Path

from av.packet import Packet
from av.stream import Stream

TORN = "it ends in the middle of a picture"


def ends_whole(name: str, last: "Packet[Stream]", path: Path) -> bool:
    """Whether the last packet of a file is whole; true of formats other than `gif` and `apng`."""
    if name == "gif":
        return _gif_picture_ends(bytes(last))
    if name == "apng" and last.pos is not None:
        with path.open("rb") as file:
            file.seek(last.pos + last.size)
            return file.read(8)[4:] == b"IEND"  # the chunk that ends a PNG, after its length
    return True


def _gif_picture_ends(data: bytes) -> bool:
    """Walk the blocks of a GIF from one on: whether there is a picture whose last piece is there."""
    at = 0
    try:
        while data[at] == 0x21:  # an extension
            at = _after_pieces(data, at + 2)
        if data[at] != 0x2C:  # a picture
            return False
        flags = data[at + 9]
        palette = 3 << (flags % 8 + 1) if flags & 0x80 else 0
        return _after_pieces(data, at + 11 + palette) <= len(data)
    except IndexError:
        return False


def _after_pieces(data: bytes, at: int) -> int:
    """Where a row of pieces, each led by its length, has ended with one of length 0."""
    while data[at]:
        at += data[at] + 1
    return at + 1
