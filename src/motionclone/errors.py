"""The one exception and the one warning that users are meant to see, and how others are told in them."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LONGEST_WORD, LONGEST_SENTENCE = 300, 2000


class InputError(ValueError):
    """Bad input: one sentence that says what was expected, what was got and what to do.

    The command line prints it and exits with code 2; no file is left half written. What it quotes of names and files,
    which may be a stranger's, is cut to what a person reads, and signs that are none are escaped.
    """

    def __init__(self, sentence: str) -> None:
        words = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: _cut(word[0], LONGEST_WORD), printable(sentence))
        super().__init__(_cut(words, LONGEST_SENTENCE))


def printable(text: str) -> str:
    """The text on one line, every other sign escaped: what strangers wrote cannot steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, most: int) -> str:
    """Beginning and end of what is too long."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} ... {text[-most // 4 :]}"


class GuidanceWarning(UserWarning):
    """Something that was asked for does not act, or not as far: one sentence that says what, why and what to do."""


def in_one_line(error: Exception, known: Iterable[str] = ()) -> str:
    """What an exception says, for a place in a sentence; of a validation, every problem with where it is.

    Args:
        error: of any kind.
        known: names that may stand there, for one that is unknown.
    """
    problems: list[dict[str, Any]] = getattr(error, "errors", list)() if hasattr(error, "error_count") else []
    told, names = [], list(known)
    for each in problems:
        where = ".".join(map(str, each["loc"])) or "the whole"
        meant = f"; {choice(where, names)}" if names and each["type"] == "extra_forbidden" else ""
        told.append(f"{where}: {each['msg']}{meant}")
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


def _in_python(argument: str, value: Any) -> str:
    return argument if value is ... else f"{argument}={value!r}"


_naming: ContextVar[Callable[[str, Any], str]] = ContextVar("naming", default=_in_python)


def named(argument: str, value: Any = ...) -> str:
    """An argument or setting as the reader of the sentence gives it: `overwrite=True`, or at a shell --overwrite."""
    return _naming.get()(argument, value)


@contextmanager
def naming(how: Callable[[str, Any], str] = _in_python) -> Iterator[None]:
    """Inside the `with`, arguments are named so; as in Python by default."""
    token = _naming.set(how)
    try:
        yield
    finally:
        _naming.reset(token)


def choice(word: str, known: Iterable[str]) -> str:
    """What to say to a word that is none of those known: "did you mean camera?", or all of them."""
    names = list(known)
    plain = {name: _plain(name) for name in names}
    wanted = _plain(word)
    near = [name for name in names if plain[name] == wanted]
    near = near or [name for name in names if len(wanted) > 2 and wanted in plain[name]]
    if not near:
        like = {name: difflib.SequenceMatcher(None, wanted, plain[name]).ratio() for name in names}
        least = max(0.6, max(like.values(), default=0) - 0.1)
        near = sorted((name for name in names if like[name] >= least), key=lambda name: -like[name])[:3]
    return f"did you mean {either(near)}?" if 0 < len(near) < len(names) else f"there are {', '.join(names)}"


def either(names: Iterable[str]) -> str:
    """A, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _plain(name: str) -> str:
    """As people remember it: "Wan_2.1" is "wan21"."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
