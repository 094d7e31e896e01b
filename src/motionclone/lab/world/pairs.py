"""What is kept aside from training: scenes by seed, and the motions to clone with the looks to clone them into."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from motionclone.lab.world.motions import (
    TEST_MOTIONS,
    VALIDATION_MOTIONS,
    Motion,
    MotionKind,
    kind_of,
    named_trajectory,
)
from motionclone.lab.world.scene import BACKGROUNDS, COLOURS, SHAPES, TEXTURES, Scene, random_scene

Split = Literal["validation", "test"]

SEEDS: dict[Split, int] = {"validation": 2_000_000, "test": 3_000_000}
"""First seed of each split; training draws with others."""
MOTIONS: dict[Split, dict[str, Motion]] = {"validation": VALIDATION_MOTIONS, "test": TEST_MOTIONS}
"""Choices are made on validation; what is reported is measured on test, whose motions are other ones."""


@dataclass(frozen=True)
class ScenePair:
    """A reference, and what the new video shall show: nothing of the reference but its motion."""

    name: str
    noise: int  # pairs of one motion have the same noise twice, with other words
    motion: str
    kind: MotionKind
    reference: Scene
    target: Scene  # the same trajectory with other shape, colours and texture


def held_out_scenes(split: Split, count: int, num_frames: int = 16) -> list[Scene]:
    """Scenes with random motions, as in training but none of its."""
    generator = torch.Generator().manual_seed(SEEDS[split])
    return [random_scene(num_frames, generator) for _ in range(count)]


def held_out_pairs(split: Split = "test", count: int = 64, num_frames: int = 16) -> list[ScenePair]:
    """The first `count` pairs of a split, which goes through its motions again and again.

    Four rounds have every motion with two prompts (and references) and two noises, each with each; the first two have
    other prompts and other noises already. Where the camera moves, both grounds have a texture.
    """
    motions = list(MOTIONS[split])
    generator = torch.Generator().manual_seed(SEEDS[split] + 1)
    fours = -(-count // (4 * len(motions)))
    looks = [[_looks(motion, num_frames, generator) for motion in motions] for _ in range(2 * fours)]
    pairs = []
    for number in range(count):
        turn, place = divmod(number, len(motions))
        four, turn = divmod(turn, 4)
        prompt, noise = 2 * four + turn % 2, 2 * four + (turn in (1, 2))
        name = f"{motions[place]}-{prompt}" + ("" if noise == prompt else "-again")
        reference, target = looks[prompt][place]
        motion, kind = motions[place], kind_of(motions[place])
        pairs.append(ScenePair(name, noise * len(motions) + place, motion, kind, reference, target))
    return pairs


def _looks(motion: str, num_frames: int, generator: torch.Generator) -> tuple[Scene, Scene]:
    """Reference and target."""
    kind = kind_of(motion)
    colours = _shuffled(tuple(COLOURS), generator)
    both = (next(colours), next(colours))
    grounds = (ground for ground in _shuffled(tuple(BACKGROUNDS), generator) if ground not in both)
    shapes = _shuffled(SHAPES, generator)
    textures = (t for t in _shuffled(TEXTURES, generator) if kind == "object" or t != "plain")

    def look(colour: str) -> Scene:
        return Scene(
            shape=next(shapes),
            colour=colour,
            texture=next(textures),
            background=next(grounds),
            trajectory=named_trajectory(motion, num_frames),
            radius=0.36,
            wavelength=0.4 + 0.4 * torch.rand(1, generator=generator).item(),
            angle=math.pi * torch.rand(1, generator=generator).item(),
            seed=int(torch.randint(2**31, (1,), generator=generator)),
        )

    return look(both[0]), look(both[1])


def _shuffled(names: tuple[str, ...], generator: torch.Generator) -> Iterator[str]:
    return (names[i] for i in torch.randperm(len(names), generator=generator).tolist())
