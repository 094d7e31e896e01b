"""What is kept aside from training: scenes by seed, and the motions to clone with the looks to clone them into."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from motionclone.lab.world.scene import BACKGROUNDS, COLOURS, SHAPES, TEXTURES, Scene, random_scene
from motionclone.lab.world.trajectory import CAMERA_MOTIONS, OBJECT_MOTIONS, TEST_MOTIONS, named_trajectory

Split = Literal["train", "validation", "test"]
MotionKind = Literal["object", "camera", "both"]

SEEDS: dict[Split, int] = {"train": 1, "validation": 2_000_000, "test": 3_000_000}
"""First seed of each split. Choices are made on validation; what is reported is measured on test."""


@dataclass(frozen=True)
class ScenePair:
    """A reference, and what the new video shall show: nothing of the reference but its motion."""

    name: str
    motion: str
    kind: MotionKind
    reference: Scene
    target: Scene  # the same trajectory with other shape, colours and texture


def kind_of(motion: str) -> MotionKind:
    """Whether one of `TEST_MOTIONS` moves the object, the camera or both."""
    return "object" if motion in OBJECT_MOTIONS else "camera" if motion in CAMERA_MOTIONS else "both"


def held_out_scenes(split: Split, count: int, num_frames: int = 16) -> list[Scene]:
    """Scenes with random motions, as in training but none of its."""
    generator = torch.Generator().manual_seed(SEEDS[split])
    return [random_scene(num_frames, generator) for _ in range(count)]


def held_out_pairs(split: Split = "test", count: int = 32, num_frames: int = 16) -> list[ScenePair]:
    """Pairs that go through `TEST_MOTIONS` again and again. Where the camera moves, both grounds have a texture."""
    generator = torch.Generator().manual_seed(SEEDS[split] + 1)
    motions = list(TEST_MOTIONS)
    return [_pair(motions[i % len(motions)], i // len(motions), num_frames, generator) for i in range(count)]


def _pair(motion: str, number: int, num_frames: int, generator: torch.Generator) -> ScenePair:
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

    reference, target = (look(colour) for colour in both)
    return ScenePair(f"{motion}-{number}", motion, kind, reference, target)


def _shuffled(names: tuple[str, ...], generator: torch.Generator) -> Iterator[str]:
    return (names[i] for i in torch.randperm(len(names), generator=generator).tolist())
