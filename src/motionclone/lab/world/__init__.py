"""The procedural world: clips of one coloured shape on a textured ground, whose motion is known exactly.

The mini model is trained on it and motion transfer is measured in it. Positions are in units of half a frame:
x to the right and y downwards, both in [-1, 1] inside the frame. Nothing here knows about diffusion.
"""

from motionclone.lab.world.motions import (
    NAMED_MOTIONS,
    TEST_MOTIONS,
    VALIDATION_MOTIONS,
    MotionKind,
    kind_of,
    named_trajectory,
)
from motionclone.lab.world.pairs import MOTIONS, SEEDS, ScenePair, Split, held_out_pairs, held_out_scenes
from motionclone.lab.world.scene import BACKGROUNDS, COLOURS, SCENERY, SHAPES, TEXTURES, Scene, Truth, random_scene
from motionclone.lab.world.trajectory import Trajectory, random_trajectory

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "MOTIONS",
    "NAMED_MOTIONS",
    "SCENERY",
    "SEEDS",
    "SHAPES",
    "TEST_MOTIONS",
    "TEXTURES",
    "VALIDATION_MOTIONS",
    "MotionKind",
    "Scene",
    "ScenePair",
    "Split",
    "Trajectory",
    "Truth",
    "held_out_pairs",
    "held_out_scenes",
    "kind_of",
    "named_trajectory",
    "random_scene",
    "random_trajectory",
]
