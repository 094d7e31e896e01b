"""Values of strangers' files: plain, not deeply nested, and nothing that stands for more than it says."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

LARGEST_NUMBER = 2**53  # what JSON can be trusted with
DEEPEST = 32


def parse_yaml(text: str) -> Any:
    """YAML without aliases and tags, whose values still are to be checked.

    Raises:
        ValueError: it has them, is nested too deeply, or says something twice.
        yaml.YAMLError: it is no YAML.
    """
    import yaml  # not when help is asked for

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
    depth = 0
    for event in yaml.parse(text, loader):
        # An alias may stand for aliases, a few lines for a billion; PyYAML takes a tag at its word.
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise ValueError("aliases (*name) and tags (!name) are not read; write out what they stand for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        _check_value(depth, None)

    class Loader(loader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            unique((key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of pairs. ValueError if a name stands there twice: one of the values would be lost in silence."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:80]} stands there twice")
        found[name] = value
    return found


def check_plain(values: Any) -> None:
    """ValueError if a value is nested too deeply, or no such number or text as JSON can hold."""
    for depth, value in _all_values(values):
        _check_value(depth, value)


def _all_values(values: Any) -> Iterator[tuple[int, Any]]:
    """Every key and value with its depth; a loop, so that no depth is too much for it."""
    waiting: list[tuple[int, Any]] = [(0, values)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(depth + 1, each) for each in inner]


def _check_value(depth: int, value: Any) -> None:
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(value, float) and math.isnan(value):  # infinite is what some schedulers' limits are
        raise ValueError("a number in it is none (nan)")
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise ValueError("a number in it is larger than 2^53")
    if isinstance(value, str) and b"\0" in value.encode():  # which also refuses half a surrogate pair
        raise ValueError("a text in it has a zero byte")
