"""How the object and the camera move. Pure functions of a frame count and a generator."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    """Pose of object and camera in every frame; f frames.

    A screen point s shows the scene point `pan + R(roll) s / zoom`. The object's pose is given on the screen.
    """

    position: Tensor  # (f, 2) centre of the object on the screen
    scale: Tensor  # (f,) factor on the object's radius
    spin: Tensor  # (f,) rotation of the object, radians
    pan: Tensor  # (f, 2) scene point at the centre of the screen
    zoom: Tensor  # (f,) magnification of the scene
    roll: Tensor  # (f,) rotation of the camera, radians

    @property
    def num_frames(self) -> int:
        """Number of frames f."""
        return self.position.shape[0]


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices (..., 2, 2) of angles in radians."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _still(num_frames: int) -> Trajectory:
    zero, one = torch.zeros(num_frames), torch.ones(num_frames)
    return Trajectory(
        position=torch.zeros(num_frames, 2), scale=one, spin=zero, pan=torch.zeros(num_frames, 2), zoom=one, roll=zero
    )


def _carried_by_the_scene(pan: Tensor, zoom: Tensor, roll: Tensor, scene_point: Tensor) -> Trajectory:
    """Trajectory of an object that stands still in the scene while the camera moves."""
    screen = (rotation(-roll) @ (scene_point - pan)[..., None])[..., 0] * zoom[:, None]
    return Trajectory(position=screen, scale=zoom, spin=-roll, pan=pan, zoom=zoom, roll=roll)


def random_trajectory(num_frames: int, generator: torch.Generator) -> Trajectory:
    """A smooth random motion, as used for training.

    The named test motions do not come out of it as such: a moving camera pans and zooms at once, in random
    directions and proportions, and mostly rolls too; the object's path is an arc or a wave, never a loop, a turn back
    or a bounce.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    def chance(probability: float) -> bool:
        return torch.rand(1, generator=generator).item() < probability

    time = torch.linspace(0, 1, num_frames)
    ease = time + float(uniform(-0.12, 0.12, 1)) * torch.sin(2 * math.pi * time)

    camera_moves = chance(0.65)
    amount = float(uniform(0.2, 1.0, 1)) if camera_moves else 0.0
    direction = uniform(0, 2 * math.pi, 1)
    pan = torch.stack([direction.cos(), direction.sin()], -1) * (amount * uniform(0, 1.6, 1)) * (ease - 0.5)[:, None]
    zoom = torch.exp(amount * uniform(-0.7, 0.7, 1) * (ease - 0.5) * (2 if chance(0.5) else 1))
    roll = amount * uniform(-0.9, 0.9, 1) * ease * (1 if chance(0.6) else 0)

    if camera_moves and chance(0.5):
        # Start where the camera's pan keeps the object in sight.
        return _carried_by_the_scene(pan, zoom, roll, uniform(-0.5, 0.5, 2))

    start, end = uniform(-0.7, 0.7, 2), uniform(-0.7, 0.7, 2)
    if chance(0.1):
        end = start
    across = torch.stack([-(end - start)[1], (end - start)[0]])
    bend = float(uniform(-0.7, 0.7, 1)) * torch.sin(math.pi * time) + float(uniform(-0.3, 0.3, 1)) * torch.sin(
        2 * math.pi * time
    )
    position = start + (end - start) * ease[:, None] + across * bend[:, None]
    scale = torch.exp(uniform(-0.5, 0.5, 1) * (ease - 0.5) * (1 if chance(0.5) else 0))
    spin = uniform(-2.0, 2.0, 1) * ease * (1 if chance(0.5) else 0)
    return Trajectory(position=position, scale=scale, spin=spin, pan=pan, zoom=zoom, roll=roll)


def _object(path: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[int], Trajectory]:
    def build(num_frames: int) -> Trajectory:
        position = torch.stack(path(torch.linspace(0, 1, num_frames)), -1)
        return replace(_still(num_frames), position=position)

    return build


def _camera(pan: tuple[float, float] = (0, 0), zoom: float = 1.0, roll: float = 0.0) -> Callable[[int], Trajectory]:
    """Camera that travels by `pan`, magnifies by `zoom` in all and turns by `roll`; the object stays in the scene."""

    def build(num_frames: int) -> Trajectory:
        time = torch.linspace(-0.5, 0.5, num_frames)
        return _carried_by_the_scene(
            torch.tensor(pan) * time[:, None], zoom**time, roll * (time + 0.5), torch.tensor([0.15, 0.1])
        )

    return build


OBJECT_MOTIONS: dict[str, Callable[[int], Trajectory]] = {
    "right": _object(lambda t: (-0.65 + 1.3 * t, 0 * t)),
    "down": _object(lambda t: (0 * t, -0.65 + 1.3 * t)),
    "diagonal": _object(lambda t: (-0.6 + 1.2 * t, 0.6 - 1.2 * t)),
    "circle": _object(lambda t: (0.5 * torch.cos(2 * math.pi * t), 0.5 * torch.sin(2 * math.pi * t))),
    "figure-eight": _object(lambda t: (0.6 * torch.sin(2 * math.pi * t), 0.4 * torch.sin(4 * math.pi * t))),
    "bounce": _object(lambda t: (-0.65 + 1.3 * t, 0.5 - 0.9 * (math.pi * 2 * t).sin().abs())),
    "turn-back": _object(lambda t: (-0.6 + 1.2 * (1 - (2 * t - 1).abs()), 0 * t)),
}
CAMERA_MOTIONS: dict[str, Callable[[int], Trajectory]] = {
    "zoom-in": _camera(zoom=2.0),
    "zoom-out": _camera(zoom=0.5),
    "pan-left": _camera(pan=(-1.0, 0)),
    "pan-right": _camera(pan=(1.0, 0)),
    "pan-up": _camera(pan=(0, -1.0)),
    "pan-down": _camera(pan=(0, 1.0)),
    "roll": _camera(roll=1.0),
}
"""`pan-left` names the camera's way: the picture moves to the right."""


def _both(thing: str, camera: str) -> Callable[[int], Trajectory]:
    """The object's path, on the screen, of one motion, and the camera of another."""

    def build(num_frames: int) -> Trajectory:
        seen, filmed = OBJECT_MOTIONS[thing](num_frames), CAMERA_MOTIONS[camera](num_frames)
        return replace(seen, pan=filmed.pan, zoom=filmed.zoom, roll=filmed.roll)

    return build


COMBINED_MOTIONS: dict[str, Callable[[int], Trajectory]] = {
    "circle-and-pan": _both("circle", "pan-right"),
    "turn-back-and-zoom": _both("turn-back", "zoom-in"),
}
TEST_MOTIONS = {**OBJECT_MOTIONS, **CAMERA_MOTIONS, **COMBINED_MOTIONS}
"""The held-out motions."""


def named_trajectory(name: str, num_frames: int) -> Trajectory:
    """One of `TEST_MOTIONS`. Raises KeyError with the known names."""
    if name not in TEST_MOTIONS:
        raise KeyError(f"unknown motion {name!r}; known are {', '.join(TEST_MOTIONS)}")
    return TEST_MOTIONS[name](num_frames)
