"""What is compared: ways of making a video from a case, each a change to the preset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from motionclone.settings import Settings, parse_settings

ConditionKind = Literal["none", "image", "sketch"]
MethodKind = Literal["clone", "ceiling", "drawn", "heat map"]


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
        condition: what is followed besides the motion: nothing, the perfect clone's first frame, or a sketch of it.
        inversion: representation from noise added once, from DDIM inversion to t_alpha, or from every step's inversion.
        curve: label of the curve that this is a point of, if it is one.
        factor: by how much the preset's weight or strength is multiplied there.
    """

    name: str
    label: str
    experiment: str
    about: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: MethodKind = "clone"
    prompt: Literal["null", "precise"] = "null"
    inversion: Literal["none", "fixed", "every step"] = "none"
    condition: ConditionKind = "none"
    curve: str = ""
    factor: float = 1.0

    def settings(self, base: Settings, seed: int) -> Settings:
        """The preset with this method's changes. InputError if they make no sense together."""
        data = base.model_dump()
        for section, values in self.changes.items():
            data[section].update(values)
        return parse_settings({**data, "seed": seed}, f"method {self.name}")


def more_or_less(base: Settings, factor: float) -> tuple[str, dict[str, dict[str, Any]]]:
    """What the preset guides by, its strength or its weight, and the change to `factor` times as much."""
    guidance = base.guidance
    if guidance.strength is None:
        return "weight", {"guidance": {"weight": guidance.weight * factor}}
    return "strength", {"guidance": {"strength": guidance.strength * factor}}


def in_steps(base: Settings, count: int) -> dict[str, dict[str, Any]]:
    """The changes to the preset that another number of steps makes."""
    few = base.in_steps(count)
    return {
        "sampling": {"steps": count, "guided_steps": few.sampling.guided_steps},
        "guidance": few.guidance.model_dump(include={"warm_up", "cool_down", "guidance_scale_factor", "inner_steps"}),
    }


def main_methods() -> tuple[Method, ...]:
    """What everything is compared with."""
    return (
        Method("ceiling", "reference, re-encoded", "main", "The reference through the VAE and back.", kind="ceiling"),
        Method("drawn", "perfect clone, drawn", "main", "The scene of the prompt with the true motion.", kind="drawn"),
        Method("unguided", "unguided", "main", "The same noise without guidance.", {"guidance": {"weight": 0.0}}),
        Method("cloned", "cloned", "main", "The preset."),
    )
