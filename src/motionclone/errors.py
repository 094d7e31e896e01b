"""The one exception and the one warning that users are meant to see, and how others are told in them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LONGEST_WORD, LONGEST_SENTENCE = 300, 2000


class InputError(ValueError):
    """Bad input: one sentence that says what was expected, what was got and what to do.

    The command line prints it and exits with code 2; no file is left half written. What it quotes of names and files,
    which may be a stranger's, is cut to what a person reads, and signs that are none are escaped.
    """

    def __init__(self, sentence: str) -> None:
        seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
        words = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: _cut(word[0], LONGEST_WORD), seen)
        super().__init__(_cut(words, LONGEST_SENTENCE))


def _cut(text: str, most: int) -> str:
    """Beginning and end of what is too long."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} ... {text[-most // 4 :]}"


class GuidanceWarning(UserWarning):
    """Something that was asked for does not act, or not as far: one sentence that says what, why and what to do."""


def in_one_line(error: Exception) -> str:
    """What an exception says, for a place in a sentence; of a validation, every problem with where it is."""
    problems: list[dict[str, Any]] = getattr(error, "errors", list)() if hasattr(error, "error_count") else []
    told = [f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in problems]
    return " ".join(("; ".join(told) or str(error)).split()).rstrip(".")


@contextmanager
def from_extra(extra: str, what: str) -> Iterator[None]:
    """Import, inside the `with`, packages that come with an extra of this one, for `what` needs them.

    Raises:
        InputError: one of them cannot be imported; the sentence names the extra.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{what} needs {error.name or 'a package'}, which cannot be imported; pip install 'motionclone[{extra}]'."
        ) from error
