"""What is wrong with settings, told in our words rather than pydantic's."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from motionclone.errors import choice

_WANTED = {  # by pydantic's name for what is wrong
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "{le:g} or less",
    "less_than": "less than {lt:g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "literal_error": "{expected}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list of texts",
    "too_short": "one or more",
    "model_type": "{class_name} or a mapping",
    "model_attributes_type": "{class_name} or a mapping",
}


def in_our_words(error: ValidationError, kind: Any, whole: Any, called: Callable[[str], str]) -> str:
    """What is wrong with settings of a kind, but for the full stop.

    Args:
        error: that pydantic raised.
        kind: the model that refused.
        whole: the model of all settings, by section.
        called: what a setting is called, by section and name.
    """
    # A default that is made of other values waits for them.
    found = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
    problems = [_problem(each, kind, whole, called) for each in found]
    return "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")


def _problem(error: Any, kind: Any, whole: Any, called: Callable[[str], str]) -> str:
    """What is wrong with one of them."""
    where = ".".join(map(str, error["loc"]))[:80]
    name = called(where) if where else "settings"
    if error["type"] in _WANTED:
        wanted = _WANTED[error["type"]].format(**error.get("ctx", {}))
        got = error["input"]
        return f"{name} must be {wanted}, got {str(repr(got) if isinstance(got, str) else got)[:80]}"
    if error["type"] == "value_error":  # of our own checks, which name what they are about
        said = str(error["msg"]).removeprefix("Value error, ")
        return f"{name}: {said}" if "." in where else said
    if error["type"] == "extra_forbidden":
        part = {"": kind, **{each: info.annotation for each, info in kind.model_fields.items()}}
        known = getattr(part.get(where.rpartition(".")[0]), "model_fields", {})
        word = where.rpartition(".")[2]
        for section, info in whole.model_fields.items():
            if word in getattr(info.annotation, "model_fields", {}):
                return f"{name} is unknown here; it is one of {section}'s"
        return f"{name} is unknown; {choice(word, known)}" if known else f"{name} is unknown"
    return f"{name}: {error['msg']}"
