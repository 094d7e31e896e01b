"""What the paper tries (Secs. 3.2, 4.5, 4.6, A.2), each a change of one thing; and curves, compared at equal words."""

import re
from typing import Any

from motionclone.lab.facts import ModelFacts
from motionclone.lab.methods import ConditionKind, Method, more_or_less
from motionclone.settings import Settings

PRESET = "preset"
"""The curve of the preset itself, whose point of factor 1 is the method `cloned`."""


def ablations(base: Settings, facts: ModelFacts) -> tuple[Method, ...]:
    """The paper's experiments (Secs. 3.2, 4.6, A.2), each a change of one thing."""
    extraction, frames, guided_by = base.extraction, facts.attention_frames, more_or_less(base, 1)[0]
    return (
        Method(
            "plain", f"k = {frames}: plain control", "k (Figs. 2, 8)", "All weights.", {"extraction": {"k": frames}}
        ),
        *(
            Method(f"k-{k}", f"k = {k}", "k (Figs. 2, 8)", "The k largest weights of a row.", {"extraction": {"k": k}})
            for k in (1, 2, 4, 8)
            if k != extraction.k and k < frames
        ),
        *(
            Method(f"t-{t}", f"t_alpha = {t}", "t_alpha (Fig. 8)", "Where it is read.", {"extraction": {"t_alpha": t}})
            for t in (100, 200, 400, 600, 800, 900)
            if t != extraction.t_alpha
        ),
        *(
            Method(block, block, "block (Figs. 9, 11)", "This block alone.", {"extraction": {"blocks": (block,)}})
            for block in facts.blocks
            if (block,) != extraction.blocks
        ),
        Method("precise", "precise prompt", "prompt (Fig. 9)", "Read with the reference's caption.", prompt="precise"),
        Method(
            "inversion-1",
            "Inversion_1: every step's",
            "inversion (Fig. 9)",
            "A representation for every guided step, from DDIM inversion.",
            inversion="every step",
        ),
        Method(
            "inversion-2",
            "Inversion_2: at t_alpha",
            "inversion (Fig. 9)",
            "One representation, from DDIM inversion to t_alpha.",
            inversion="fixed",
        ),
        Method(
            "independent-noise",
            "independent noise",
            "initial noise",
            "Starts from other noise than was added to the reference.",
            {"sampling": {"shared_noise": False}},
        ),
        Method(
            "independent-unguided",
            "independent noise, unguided",
            "initial noise",
            "What other noise gives without guidance.",
            {"sampling": {"shared_noise": False}, "guidance": {"weight": 0.0}},
        ),
        Method(
            "noise-update",
            "Eq. 2 as printed",
            "update rule (Eq. 2)",
            "The noise estimate moves, same weight.",
            {"guidance": {"update": "noise", "match_direction": False}},
        ),
        Method(
            "noise-matched",
            "Eq. 2, weights matched",
            "update rule (Eq. 2)",
            "As printed, each step weighed to equal the direction rule.",
            {"guidance": {"update": "noise", "match_direction": True}},
        ),
        *_schedules(base, facts),
        *(
            Method(
                f"{guided_by}-{factor:g}",
                f"{guided_by} x {factor:g}",
                guided_by,
                "Stronger or weaker guidance.",
                more_or_less(base, factor)[1],
            )
            for factor in (0.25, 4)
        ),
        *(
            Method(
                f"heat-{t}",
                f"heat map at {t}",
                "heat map (Fig. 3)",
                "Where the representation sees motion.",
                {"extraction": {"t_alpha": t}},
                kind="heat map",
            )
            for t in (200, 400, 600, 800)
        ),
    )


def _schedules(base: Settings, facts: ModelFacts) -> tuple[Method, ...]:
    """Where the guided steps lie, and how many they are, which is nothing to a scheduler that keeps its own steps."""
    steps = base.sampling.steps
    counts = dict.fromkeys(max(1, n) for n in (steps // 8, steps // 4, steps * 3 // 4))
    counted = tuple(
        Method(
            f"guided-{n}",
            f"{n} of {steps} steps guided",
            "guided steps",
            "More or fewer steps over the same guided part of the schedule.",
            {"sampling": {"guided_steps": n}},
        )
        for n in counts
    )
    papers = (("camera", 0.3, "half", steps // 2), ("object", 0.4, "0.6", round(steps * 0.6)))
    return counted + tuple(
        Method(
            f"schedule-{name}",
            f"{name}: fraction {fraction}" + ("" if facts.own_steps else f", {share} of the steps"),
            "schedule (Sec. 4.1)",
            f"The paper's {name} schedule at this number of steps.",
            {
                "guidance": {"guided_fraction": fraction},
                **({} if facts.own_steps else {"sampling": {"guided_steps": max(1, guided)}}),
            },
        )
        for name, fraction, share, guided in papers
    )


def with_pictures() -> tuple[Method, ...]:
    """SparseCtrl (Sec. 4.5): does the first frame follow the picture, and the motion the reference?"""
    kinds: tuple[ConditionKind, ...] = ("image", "sketch")
    return tuple(
        Method(f"{kind}-{name}", f"{kind}, {label}", f"{kind} (Sec. 4.5)", about, changes, condition=kind)
        for kind in kinds
        for name, label, about, changes in (
            ("unguided", "unguided", "The picture alone.", {"guidance": {"weight": 0.0}}),
            ("cloned", "cloned", "The picture and the motion.", {}),
            (
                "read-without",
                "cloned, read without",
                "The motion is read without showing SparseCtrl the reference's frame.",
                {"conditioning": {"at_extraction": False}},
            ),
        )
    )


def curves(base: Settings, facts: ModelFacts) -> tuple[Method, ...]:
    """What the paper compares at one weight, each over a range of weights or strengths.

    The energy is a mean over the k kept entries, so that a larger k is weaker at the same weight; it is made up for.
    """
    extraction, frames = base.extraction, facts.attention_frames
    guided_by = more_or_less(base, 1)[0]
    widely = (0.25, 1.0, 4.0, 16.0) if guided_by == "weight" else (0.5, 1.0, 2.0, 4.0)
    variants: list[tuple[str, str, str, dict[str, Any], float]] = [(PRESET, "preset", "The preset.", {}, 1.0)]
    for k in (*(k for k in (1, 2, 4, 8) if k < frames), frames):
        label = f"k = {k}" if k < frames else f"k = {k}: plain control"
        diluted = k / extraction.k if guided_by == "weight" else 1.0
        about = "The k largest weights of a row" + (f", at {diluted:g} times the weight." if diluted != 1 else ".")
        variants.append((label, "k (Figs. 2, 8)", about, {"k": k}, diluted))
    variants += [
        (f"t_alpha = {t}", "t_alpha (Fig. 8)", "Where it is read.", {"t_alpha": t}, 1.0)
        for t in (100, 200, 400, 600, 800, 900)
    ]
    variants += [(name, "block (Figs. 9, 11)", "This block alone.", {"blocks": (name,)}, 1.0) for name in facts.blocks]
    return tuple(
        Method(
            f"{re.sub(r'[^a-z0-9.]+', '-', label.lower())}-x{factor:g}",
            f"{label}, {guided_by} x {factor:g}",
            experiment,
            about,
            {**({"extraction": changes} if changes else {}), **more_or_less(base, factor * more)[1]},
            curve=label,
            factor=factor,
        )
        for label, experiment, about, changes, more in variants
        for factor in ((0.25, 0.5, 2.0, 4.0) if label == PRESET else widely)
        if any(getattr(extraction, name) != value for name, value in changes.items()) or label == PRESET
    )
