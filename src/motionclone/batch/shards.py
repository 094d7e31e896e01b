"""Parts of a batch that need not know of each other: every n-th job, in the order of the file."""

import re

from motionclone.errors import InputError


def shard_of(words: str | None) -> slice:
    """Which jobs `3/8` are; all without words.

    Raises:
        InputError: they are no such part.
    """
    if words is None:
        return slice(None)
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", words)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"a shard is 1/8 to 8/8, for eight in all, not {words!r}; count from 1.")
    return slice(int(match[1]) - 1, None, int(match[2]))
