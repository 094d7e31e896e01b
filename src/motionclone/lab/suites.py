"""The suites: which methods, on how many cases of which split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from motionclone.errors import InputError, choice
from motionclone.lab.experiments import ablations, curves, with_pictures
from motionclone.lab.facts import ModelFacts
from motionclone.lab.methods import Method, main_methods
from motionclone.lab.tuning import candidates, single_blocks, strengths
from motionclone.lab.world import Split
from motionclone.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """How a suite is made for a model."""

    split: Split
    cases: int
    methods: Callable[[Settings, ModelFacts], Sequence[Method]]  # relative to the preset


SUITES: dict[str, Recipe] = {
    "quick": Recipe("test", 8, lambda base, facts: main_methods()),
    "paper": Recipe("test", 64, lambda base, facts: (*main_methods(), *ablations(base, facts))),
    "curves": Recipe("test", 16, lambda base, facts: (*main_methods(), *curves(base, facts))),
    "pictures": Recipe("test", 16, lambda base, facts: (*main_methods(), *with_pictures())),
    "tune": Recipe("validation", 16, lambda base, facts: (*main_methods(), *candidates(base))),
    "strength": Recipe("validation", 12, lambda base, facts: (*main_methods(), *strengths(base))),
    "blocks": Recipe("validation", 9, lambda base, facts: (*main_methods(), *single_blocks(base, facts.blocks))),
}
"""All suites by name; a new one is an entry here."""


@dataclass(frozen=True)
class LeftOut:
    """A method that is not run, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Suite:
    """The methods that a suite has for one model."""

    name: str
    methods: tuple[Method, ...]
    left_out: tuple[LeftOut, ...] = ()


def recipe_named(name: str) -> Recipe:
    """How a suite is made. InputError names those there are."""
    if name not in SUITES:
        raise InputError(f"there is no suite {name!r}; {choice(name, SUITES)}")
    return SUITES[name]


def suite_for(name: str, base: Settings, facts: ModelFacts, *, drawn: bool = True) -> Suite:
    """A suite for one model, without methods that would make the same videos as an earlier one, or as the preset.

    Args:
        name: of the suite.
        base: the preset.
        facts: of the model.
        drawn: whether somebody can draw the perfect clone, as in the world.
    """
    methods = recipe_named(name).methods(base, facts)
    same: dict[str, Method] = {}
    kept: list[Method] = []
    left_out: list[LeftOut] = []
    # The preset first, so that it is never the one that is left out.
    for method in sorted(methods, key=lambda each: each.name != "cloned"):
        twin = same.setdefault(_what_acts(method, base, facts), method)
        if method.kind == "drawn" and not drawn:
            left_out.append(LeftOut(method.label, "nobody can draw the perfect clone of an unknown motion."))
        elif twin is not method:
            left_out.append(LeftOut(method.label, f"the same as {twin.label} on this model."))
        else:
            kept.append(method)
    return Suite(name, tuple(method for method in methods if method in kept), tuple(left_out))


def _what_acts(method: Method, base: Settings, facts: ModelFacts) -> str:
    """All that decides a method's videos; methods whose settings make no sense are like no other."""
    try:
        settings = method.settings(base, base.seed)
    except InputError:
        return method.name
    guidance, sampling = settings.guidance, settings.sampling
    if facts.own_steps:
        sampling = sampling.model_copy(update={"guided_steps": base.sampling.guided_steps})
    if guidance.strength is not None:  # of the weight it acts only whether it is 0
        guidance = guidance.model_copy(update={"weight": min(guidance.weight, 1.0), "update": guidance.rule})
    if guidance.rule != "noise":
        guidance = guidance.model_copy(update={"match_direction": False})
    acting: dict[str, Any] = {"clone": (settings.extraction, guidance, sampling), "heat map": settings.extraction}
    others = (method.kind, method.prompt, method.inversion, method.condition)
    return repr((acting.get(method.kind), settings.conditioning, *others))
