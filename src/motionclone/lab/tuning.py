"""What presets are chosen from."""

from collections.abc import Sequence
from typing import Any

from motionclone.lab.methods import Method, in_steps, more_or_less
from motionclone.settings import Settings


def single_blocks(base: Settings, blocks: Sequence[str]) -> tuple[Method, ...]:
    """Each block alone, at three weights or strengths: one would favour the blocks that it suits."""
    return tuple(
        Method(
            f"{block}-x{factor:g}",
            f"{block}, {more_or_less(base, factor)[0]} x {factor:g}",
            "block (Figs. 9, 11)",
            "This block alone.",
            {"extraction": {"blocks": (block,)}, **more_or_less(base, factor)[1]},
        )
        for block in blocks
        for factor in (0.25, 1, 4)
    )


def strengths(base: Settings) -> tuple[Method, ...]:
    """Whether a strength is the same in other numbers of steps, and what more and less of it does."""
    experiment = "strength"
    shares = tuple(
        Method(
            f"x{factor:g}",
            f"{more_or_less(base, 1)[0]} x {factor:g}",
            experiment,
            "More or less.",
            more_or_less(base, factor)[1],
        )
        for factor in (0.5, 1.5, 2)
    )
    plain = {"guidance": {"guidance_scale_factor": 1.0}}
    if base.guidance.guidance_scale_factor != 1:
        shares += (Method("factor-1", "no factor", experiment, "Words count as in the unguided steps.", plain),)
    return shares + tuple(
        Method(
            f"steps-{count}",
            f"{count} steps",
            experiment,
            "As large a share of them guided; in fewer, by more gradients each, and words count less more.",
            in_steps(base, count),
        )
        for count in (8, 50)
    )


def candidates(base: Settings) -> tuple[Method, ...]:
    """What the preset of the bundled model is chosen from, on the validation split."""
    sampling, blocks = base.sampling, base.extraction.blocks
    steps, scale = sampling.steps, sampling.guidance_scale
    fewer, more = max(1, steps * 2 // 3), steps * 4 // 3
    guided_by, half = more_or_less(base, 0.5)
    changes: dict[str, dict[str, dict[str, Any]]] = {
        f"{guided_by} x 0.5": half,
        f"{guided_by} x 2": more_or_less(base, 2)[1],
        **{f"{block} alone": {"extraction": {"blocks": (block,)}} for block in blocks if len(blocks) > 1},
        "k x 2": {"extraction": {"k": base.extraction.k * 2}},
        "t_alpha x 0.5": {"extraction": {"t_alpha": base.extraction.t_alpha // 2}},
        "t_alpha x 2": {"extraction": {"t_alpha": base.extraction.t_alpha * 2}},
        "guided fraction 0.1 more": {"guidance": {"guided_fraction": base.guidance.guided_fraction + 0.1}},
        "guided fraction 0.1 less": {"guidance": {"guided_fraction": base.guidance.guided_fraction - 0.1}},
        "steps x 2/3": in_steps(base, fewer),
        f"steps x 4/3, {guided_by} x 0.5": {
            **(longer := in_steps(base, more)),
            "guidance": {**longer["guidance"], **half["guidance"]},
        },
        "guidance scale x 1.5": {"sampling": {"guidance_scale": scale * 1.5}},
        "guidance scale x 2": {"sampling": {"guidance_scale": scale * 2}},
        f"guidance scale x 2, {guided_by} x 0.5": {"sampling": {"guidance_scale": scale * 2}, **half},
    }
    return tuple(
        Method(label.replace(" ", "-").replace("/", "-"), label, "candidates", "A change of the preset.", change)
        for label, change in changes.items()
    )
