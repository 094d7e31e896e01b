"""What is compared: methods of cloning, each a change to the preset, and the suites they make up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from motionclone.errors import InputError
from motionclone.lab.world import Split
from motionclone.settings import Settings, parse_settings

Follows = Literal["nothing", "image", "sketch"]
Kind = Literal["clone", "ceiling", "drawn", "heat map"]


@dataclass(frozen=True)
class Method:
    """One way to make a video from a case.

    Attributes:
        name: also the folder of its videos.
        label: for people.
        experiment: the methods of one experiment are shown together.
        about: one sentence.
        changes: to the preset, by section, such as {"guidance": {"weight": 0}}.
        kind: a clone; the reference, or the perfect clone as the world draws it, through the VAE and back; or the heat
            map over the reference. Only the first is generated.
        prompt: what the model is told of the reference: nothing, or its caption.
        follows: besides the motion: nothing, the first frame of the perfect clone, or a sketch of it.
        inversion: representation from noise added once, from DDIM inversion to t_alpha, or from every step's inversion.
    """

    name: str
    label: str
    experiment: str
    about: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: Kind = "clone"
    prompt: Literal["null", "precise"] = "null"
    inversion: Literal["none", "fixed", "every step"] = "none"
    follows: Follows = "nothing"

    def settings(self, base: Settings, seed: int) -> Settings:
        """The preset with this method's changes."""
        data = base.model_dump()
        for section, values in self.changes.items():
            data[section].update(values)
        return parse_settings({**data, "seed": seed}, f"method {self.name}")


@dataclass(frozen=True)
class Suite:
    """Methods on the first `cases` cases of a split."""

    name: str
    split: Split
    cases: int
    methods: tuple[Method, ...]


def suite_named(name: str, base: Settings, blocks: Callable[[], Sequence[str]]) -> Suite:
    """A suite, its methods relative to the preset `base`. InputError names those there are.

    `blocks` are asked for if the suite compares the model's blocks.
    """
    match name:
        case "quick":
            return Suite("quick", "test", 8, main_methods())
        case "paper":
            return Suite("paper", "test", 32, (*main_methods(), *ablations(base, blocks())))
        case "tune":
            return Suite("tune", "validation", 16, (*main_methods(), *candidates(base)))
        case "blocks":
            return Suite("blocks", "validation", 9, (*main_methods(), *single_blocks(base, blocks())))
        case "pictures":
            return Suite("pictures", "test", 16, (*main_methods(), *with_pictures()))
    raise InputError(f"there is no suite {name!r}; there are quick, paper, pictures, tune and blocks.")


def main_methods() -> tuple[Method, ...]:
    """What everything is compared with."""
    return (
        Method("ceiling", "reference, re-encoded", "main", "The reference through the VAE and back.", kind="ceiling"),
        Method("drawn", "perfect clone, drawn", "main", "The scene of the prompt with the true motion.", kind="drawn"),
        Method("unguided", "unguided", "main", "The same noise without guidance.", {"guidance": {"weight": 0.0}}),
        Method("cloned", "cloned", "main", "The preset."),
    )


def ablations(base: Settings, blocks: Sequence[str]) -> tuple[Method, ...]:
    """The paper's experiments (Secs. 3.2, 4.6, A.2), each a change of one thing."""
    extraction, guidance, sampling = base.extraction, base.guidance, base.sampling
    steps, guided = sampling.steps, sampling.guided_steps
    plain = sampling.num_frames
    return (
        Method("plain", f"k = {plain}: plain control", "k (Figs. 2, 8)", "All weights.", {"extraction": {"k": plain}}),
        *(
            Method(f"k-{k}", f"k = {k}", "k (Figs. 2, 8)", "The k largest weights of a row.", {"extraction": {"k": k}})
            for k in (1, 2, 4, 8)
            if k != extraction.k
        ),
        *(
            Method(f"t-{t}", f"t_alpha = {t}", "t_alpha (Fig. 8)", "Where it is read.", {"extraction": {"t_alpha": t}})
            for t in (100, 200, 400, 600, 800, 900)
            if t != extraction.t_alpha
        ),
        *(
            Method(block, block, "block (Figs. 9, 11)", "This block alone.", {"extraction": {"blocks": (block,)}})
            for block in blocks
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
            {"guidance": {"update": "noise"}},
        ),
        Method(
            "noise-matched",
            "Eq. 2, weights matched",
            "update rule (Eq. 2)",
            "As printed, each step weighed to equal the direction rule.",
            {"guidance": {"update": "noise", "match_direction": True}},
        ),
        *(
            Method(
                f"guided-{n}",
                f"{n} of {steps} steps guided",
                "guided steps",
                "More or fewer steps over the same guided part of the schedule.",
                {"sampling": {"guided_steps": n}},
            )
            for n in (steps // 8, steps // 4, steps * 3 // 4)
            if n != guided
        ),
        Method(
            "schedule-camera",
            "camera: fraction 0.3, half of the steps",
            "schedule (Sec. 4.1)",
            "The paper's camera schedule at this number of steps.",
            {"guidance": {"guided_fraction": 0.3}, "sampling": {"guided_steps": steps // 2}},
        ),
        Method(
            "schedule-object",
            "object: fraction 0.4, 0.6 of the steps",
            "schedule (Sec. 4.1)",
            "The paper's object schedule at this number of steps.",
            {"guidance": {"guided_fraction": 0.4}, "sampling": {"guided_steps": round(steps * 0.6)}},
        ),
        *(
            Method(
                f"weight-{factor:g}",
                f"weight x {factor:g}",
                "weight",
                "Stronger or weaker guidance.",
                {"guidance": {"weight": guidance.weight * factor}},
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


def with_pictures() -> tuple[Method, ...]:
    """SparseCtrl (Sec. 4.5): does the first frame follow the picture, and the motion the reference?"""
    kinds: tuple[Follows, ...] = ("image", "sketch")
    return tuple(
        Method(f"{kind}-{name}", f"{kind}, {label}", f"{kind} (Sec. 4.5)", about, changes, follows=kind)
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


def single_blocks(base: Settings, blocks: Sequence[str]) -> tuple[Method, ...]:
    """Each block alone, at three weights: one weight would favour the blocks that it suits."""
    weight = base.guidance.weight
    return tuple(
        Method(
            f"{block}-x{factor:g}",
            f"{block}, weight x {factor:g}",
            "block (Figs. 9, 11)",
            "This block alone.",
            {"extraction": {"blocks": (block,)}, "guidance": {"weight": weight * factor}},
        )
        for block in blocks
        for factor in (0.25, 1, 4)
    )


def candidates(base: Settings) -> tuple[Method, ...]:
    """What the preset of the bundled model is chosen from, on the validation split."""
    weight, sampling, blocks = base.guidance.weight, base.sampling, base.extraction.blocks
    steps, scale = sampling.steps, sampling.guidance_scale
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "weight x 0.5": {"guidance": {"weight": weight / 2}},
        "weight x 2": {"guidance": {"weight": weight * 2}},
        **{f"{block} alone": {"extraction": {"blocks": (block,)}} for block in blocks if len(blocks) > 1},
        "k x 2": {"extraction": {"k": base.extraction.k * 2}},
        "t_alpha x 0.5": {"extraction": {"t_alpha": base.extraction.t_alpha // 2}},
        "t_alpha x 2": {"extraction": {"t_alpha": base.extraction.t_alpha * 2}},
        "guided fraction 0.1 more": {"guidance": {"guided_fraction": base.guidance.guided_fraction + 0.1}},
        "guided fraction 0.1 less": {"guidance": {"guided_fraction": base.guidance.guided_fraction - 0.1}},
        "steps x 2/3": {"sampling": {"steps": steps * 2 // 3, "guided_steps": steps // 3}},
        "steps x 4/3, weight x 0.5": {
            "sampling": {"steps": steps * 4 // 3, "guided_steps": steps * 2 // 3},
            "guidance": {"weight": weight / 2},
        },
        "guidance scale x 1.5": {"sampling": {"guidance_scale": scale * 1.5}},
        "guidance scale x 2": {"sampling": {"guidance_scale": scale * 2}},
        "guidance scale x 2, weight x 0.5": {
            "sampling": {"guidance_scale": scale * 2},
            "guidance": {"weight": weight / 2},
        },
    }
    return tuple(
        Method(label.replace(" ", "-").replace("/", "-"), label, "candidates", "A change of the preset.", change)
        for label, change in changes.items()
    )
