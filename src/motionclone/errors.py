"""The one exception and the one warning that users are meant to see, and how others are told in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """Bad input: one sentence that says what was expected, what was got and what to do.

    The command line prints it and exits with code 2; no file is left half written.
    """


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
