"""How the object and the camera move, and random ones to train on."""

import math
from dataclasses import dataclass

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


def still(num_frames: int) -> Trajectory:
    """Nothing moves."""
    zero, one = torch.zeros(num_frames), torch.ones(num_frames)
    return Trajectory(
        position=torch.zeros(num_frames, 2), scale=one, spin=zero, pan=torch.zeros(num_frames, 2), zoom=one, roll=zero
    )


def carried_by_the_scene(pan: Tensor, zoom: Tensor, roll: Tensor, scene_point: Tensor) -> Trajectory:
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
        return carried_by_the_scene(pan, zoom, roll, uniform(-0.5, 0.5, 2))

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
