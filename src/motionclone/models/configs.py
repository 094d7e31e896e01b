"""Configurations of diffusers' and transformers' classes, checked as far as can be without building anything."""

import inspect
import math
import types
import typing
from pathlib import Path
from typing import Any

from diffusers import ConfigMixin

from motionclone.errors import InputError
from motionclone.models.texts import read_mapping, said

# In the names of values that are small numbers in every network: of its parts, and of what these take.
COUNTS = ("layers", "blocks", "depth", "head", "groups", "_padding")
MOST = 1000  # the largest models have about a hundred


# What networks and pipelines divide by, once all steps are done; and choices that are looked at only in a step.
_DIVISORS = ("scaling_factor", "latents_std")
_CHOICES = {
    "controlnet_conditioning_channel_order": ("rgb", "bgr"),
    "global_pool_conditions": (False, None),  # a SparseCtrl that says True fails in its first step
}


def read_config(kind: Any, place: Path, name: str = "config.json") -> dict[str, Any]:
    """A configuration of a class.

    Raises:
        InputError: it is not there, not JSON, of another class, or has a value of a wrong kind.
    """
    config = read_mapping(place / name)
    found = config.get("_class_name", kind.__name__)
    if found not in [each.__name__ for each in kind.__mro__]:
        raise InputError(f"{place} is a {said(found, 80)}, not a {kind.__name__}; give one that is.")
    for key, value in config.items():
        if any(word in key for word in COUNTS) and not _few(value):
            raise InputError(f"{place / name} has {said(value, 40)} as {said(key, 80)}, which no model has.")
    if issubclass(kind, ConfigMixin):
        _check_kinds(kind, config, place / name)
    for key, value in config.items():
        divides = key in _DIVISORS and value is not None
        if (divides and not _positive(value)) or (key in _CHOICES and value not in _CHOICES[key]):
            choices = [] if divides else [str(each) for each in _CHOICES[key] if each is not None]
            wanted = " or ".join(choices) or "a positive number"
            raise InputError(f"{place / name} has {said(repr(value), 40)} as {key}, not {wanted}; fetch it again.")
    return config


def _positive(value: Any) -> bool:
    """Whether this is a number above 0, or a list of such."""
    if isinstance(value, list):
        return bool(value) and all(map(_positive, value))
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _few(value: Any) -> bool:
    """Whether all whole numbers in a value, however nested, are as small as in all models."""
    if isinstance(value, list):
        return all(map(_few, value))
    return not isinstance(value, int) or 0 <= value <= MOST


def _check_kinds(kind: Any, config: dict[str, Any], source: Path) -> None:
    """Refuse text for a number, nothing for something and the like; the classes would stumble over it later."""
    hints = typing.get_type_hints(kind.__init__)
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        value, default = config.get(name, parameter.default), parameter.default
        if name not in config or (value == default and type(value) is type(default)):
            continue
        emptied = value == [] and isinstance(default, tuple | list) and len(default) > 0
        endless = isinstance(value, float) and math.isinf(value)
        if not emptied and not endless and (_fits(value, hints.get(name, Any)) or _alike(value, default)):
            continue
        raise InputError(f"{source} has {said(repr(value), 40)} as {name}, which is of another kind; fetch it again.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON is what a type hint says; lists of any length stand for tuples."""
    origin, inner = typing.get_origin(hint), [each for each in typing.get_args(hint) if each is not ...]
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin in (list, tuple) or hint in (list, tuple):
        return isinstance(value, list) and (not inner or all(any(_fits(v, each) for each in inner) for v in value))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if hint in (str, bool, types.NoneType):
        return isinstance(value, hint)
    return True


def _alike(value: Any, default: Any) -> bool:
    """Whether a value is of the kind of the default; hints are not always right, and null is false in older files."""
    if value is None:
        return isinstance(default, bool | str | None)
    if isinstance(default, tuple | list):
        return isinstance(value, list) and bool(default) and all(_alike(each, default[0]) for each in value)
    return type(value) is type(default) or (type(value) is int and type(default) is float)
