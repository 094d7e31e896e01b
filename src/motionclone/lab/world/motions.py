"""The motions that have names: those of the validation split, on which choices are made, and those of the test split.

No motion is in both. Positions are in half frames, as everywhere in the world; t runs from 0 to 1.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from motionclone.lab.world.trajectory import Trajectory, carried_by_the_scene, still

MotionKind = Literal["object", "camera", "both"]
Motion = Callable[[int], Trajectory]
"""Of so many frames."""


def _object(path: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Motion:
    def build(num_frames: int) -> Trajectory:
        position = torch.stack(path(torch.linspace(0, 1, num_frames)), -1)
        return replace(still(num_frames), position=position)

    return build


def _corners(*points: tuple[float, float]) -> Motion:
    """The object goes straight from point to point at an even speed."""
    corners = torch.tensor(points)
    ends = torch.cat([torch.zeros(1), corners.diff(dim=0).norm(dim=1).cumsum(0)])
    ends = ends / ends[-1].item()

    def along(t: Tensor) -> tuple[Tensor, Tensor]:
        leg = (torch.searchsorted(ends, t, right=True) - 1).clamp(0, len(points) - 2)
        done = ((t - ends[leg]) / (ends[leg + 1] - ends[leg]))[:, None]
        x, y = (corners[leg] + done * (corners[leg + 1] - corners[leg])).unbind(-1)
        return x, y

    return _object(along)


def _camera(pan: tuple[float, float] = (0, 0), zoom: float = 1.0, roll: float = 0.0) -> Motion:
    """Camera that travels by `pan`, magnifies by `zoom` in all and turns by `roll`; the object stays in the scene."""

    def build(num_frames: int) -> Trajectory:
        time = torch.linspace(-0.5, 0.5, num_frames)
        return carried_by_the_scene(
            torch.tensor(pan) * time[:, None], zoom**time, roll * (time + 0.5), torch.tensor([0.15, 0.1])
        )

    return build


Course = Callable[[Tensor], Tensor]


def _film(
    x: Course = torch.zeros_like, y: Course = torch.zeros_like, zoom: Course = torch.ones_like,
    roll: Course = torch.zeros_like,
) -> Motion:  # fmt: skip
    """Camera whose pan (x, y), magnification and turn follow courses of their own; the object stays in the scene."""

    def build(num_frames: int) -> Trajectory:
        t = torch.linspace(0, 1, num_frames)
        return carried_by_the_scene(torch.stack([x(t), y(t)], -1), zoom(t), roll(t), torch.tensor([0.1, -0.15]))

    return build


def _both(thing: Motion, camera: Motion) -> Motion:
    """The object's path, on the screen, of one motion, and the camera of another."""

    def build(num_frames: int) -> Trajectory:
        seen, filmed = thing(num_frames), camera(num_frames)
        return replace(seen, pan=filmed.pan, zoom=filmed.zoom, roll=filmed.roll)

    return build


def _wave(turns: float, phase: float = 0.0) -> Course:
    return lambda t: torch.sin(2 * math.pi * (turns * t + phase))


_OBJECTS: dict[str, Motion] = {
    "right": _object(lambda t: (-0.65 + 1.3 * t, 0 * t)),
    "down": _object(lambda t: (0 * t, -0.65 + 1.3 * t)),
    "diagonal": _object(lambda t: (-0.6 + 1.2 * t, 0.6 - 1.2 * t)),
    "circle": _object(lambda t: (0.5 * torch.cos(2 * math.pi * t), 0.5 * torch.sin(2 * math.pi * t))),
    "figure-eight": _object(lambda t: (0.6 * torch.sin(2 * math.pi * t), 0.4 * torch.sin(4 * math.pi * t))),
    "bounce": _object(lambda t: (-0.65 + 1.3 * t, 0.5 - 0.9 * (math.pi * 2 * t).sin().abs())),
    "turn-back": _object(lambda t: (-0.6 + 1.2 * (1 - (2 * t - 1).abs()), 0 * t)),
}
_CAMERAS: dict[str, Motion] = {
    "zoom-in": _camera(zoom=2.0),
    "zoom-out": _camera(zoom=0.5),
    "pan-left": _camera(pan=(-1.0, 0)),
    "pan-right": _camera(pan=(1.0, 0)),
    "pan-up": _camera(pan=(0, -1.0)),
    "pan-down": _camera(pan=(0, 1.0)),
    "roll": _camera(roll=1.0),
}
VALIDATION_MOTIONS: dict[str, Motion] = {
    **_OBJECTS,
    **_CAMERAS,
    "circle-and-pan": _both(_OBJECTS["circle"], _CAMERAS["pan-right"]),
    "turn-back-and-zoom": _both(_OBJECTS["turn-back"], _CAMERAS["zoom-in"]),
}
"""What choices are made on. `pan-left` names the camera's way: the picture moves to the right."""

_OTHER_OBJECTS: dict[str, Motion] = {
    "left-high": _object(lambda t: (0.65 - 1.3 * t, -0.4 + 0 * t)),
    "up-aside": _object(lambda t: (-0.4 + 0 * t, 0.65 - 1.3 * t)),
    "falling-diagonal": _object(lambda t: (-0.6 + 1.2 * t, -0.6 + 1.2 * t)),
    "steep": _object(lambda t: (0.25 - 0.5 * t, 0.65 - 1.3 * t)),
    "speeding-up": _object(lambda t: (0.65 - 1.3 * t.square(), 0.2 + 0 * t)),
    "slowing-down": _object(lambda t: (0.3 + 0 * t, -0.65 + 1.3 * (1 - (1 - t).square()))),
    "stop-and-go": _object(lambda t: (-0.65 + 1.3 * (t - _wave(2)(t) / (4 * math.pi)), 0.3 - 0.6 * t)),
    "ellipse": _object(lambda t: (0.3 * torch.cos(2 * math.pi * t), -0.6 * torch.sin(2 * math.pi * t))),
    "spiral": _object(lambda t: ((0.1 + 0.5 * t) * _wave(1.5)(t), (0.1 + 0.5 * t) * _wave(1.5, 0.25)(t))),
    "wave": _object(lambda t: (0.65 - 1.3 * t, 0.4 * _wave(2)(t))),
    "swing": _object(lambda t: (0.6 * _wave(1.5)(t), 0.4 - 0.5 * _wave(1.5)(t).square())),
    "loop": _object(lambda t: (-0.5 + t + 0.35 * _wave(1)(t), 0.4 * _wave(1, 0.25)(t))),
    "zigzag": _corners((-0.6, 0.5), (-0.2, -0.5), (0.2, 0.5), (0.6, -0.5)),
    "square": _corners((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)),
    "triangle": _corners((0, -0.55), (0.55, 0.45), (-0.55, 0.45), (0, -0.55)),
    "corner": _corners((0.6, -0.5), (-0.5, -0.5), (-0.5, 0.6)),
}
_OTHER_CAMERAS: dict[str, Motion] = {
    "pan-up-right": _camera(pan=(0.8, -0.6)),
    "pan-down-left": _camera(pan=(-0.5, 0.9)),
    "pan-and-return": _film(x=lambda t: 0.8 * torch.sin(math.pi * t)),
    "orbit": _film(x=lambda t: 0.4 * _wave(1)(t), y=lambda t: 0.4 * _wave(1, 0.25)(t)),
    "pan-in-a-wave": _film(x=lambda t: 1.2 * t - 0.6, y=lambda t: 0.3 * _wave(1)(t)),
    "pan-speeding-up": _film(y=lambda t: 1.1 * t.square() - 0.6),
    "zoom-and-return": _film(zoom=lambda t: 1.9 ** torch.sin(math.pi * t)),
    "zoom-in-turning": _camera(zoom=1.7, roll=-0.8),
    "zoom-out-panning": _camera(pan=(-0.7, 0.3), zoom=0.6),
    "roll-left": _camera(roll=-1.2),
    "roll-and-return": _film(roll=lambda t: 0.8 * torch.sin(math.pi * t)),
}
TEST_MOTIONS: dict[str, Motion] = {
    **_OTHER_OBJECTS,
    **_OTHER_CAMERAS,
    "spiral-and-pan": _both(_OTHER_OBJECTS["spiral"], _camera(pan=(0, -0.9))),
    "zigzag-and-zoom": _both(_OTHER_OBJECTS["zigzag"], _camera(zoom=0.6)),
    "ellipse-and-roll": _both(_OTHER_OBJECTS["ellipse"], _camera(roll=0.9)),
    "corner-and-orbit": _both(_OTHER_OBJECTS["corner"], _OTHER_CAMERAS["orbit"]),
    "wave-and-pan": _both(_OTHER_OBJECTS["wave"], _camera(pan=(-0.9, 0))),
}
"""What is reported is measured on these."""

NAMED_MOTIONS = {**VALIDATION_MOTIONS, **TEST_MOTIONS}


def named_trajectory(name: str, num_frames: int) -> Trajectory:
    """One of `NAMED_MOTIONS`. Raises KeyError with the known names."""
    if name not in NAMED_MOTIONS:
        raise KeyError(f"unknown motion {name!r}; known are {', '.join(NAMED_MOTIONS)}")
    return NAMED_MOTIONS[name](num_frames)


def kind_of(motion: str) -> MotionKind:
    """Whether one of `NAMED_MOTIONS` moves the object, the camera or both."""
    if motion in _OBJECTS or motion in _OTHER_OBJECTS:
        return "object"
    return "camera" if motion in _CAMERAS or motion in _OTHER_CAMERAS else "both"
