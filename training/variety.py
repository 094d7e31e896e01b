"""What the mini models learn from: the world's scenes, and wider ones, whose cameras move as fast as a real clip's.

A third of the clips are the world's own (`random_scene`). In the others the camera pans by up to one and a quarter
frames, zooms by up to three and turns by up to 85 degrees in 16 frames, objects are larger, and much of the
scenery is made of leaves (overlapping discs, as in the dead leaves model of natural images) or lies at two depths that
pass at different speeds. As in the world, a moving camera always pans and zooms at once, and an object's path is an arc
or a wave, so that the named motions do not come out of it as such.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionclone.lab.world import BACKGROUNDS, COLOURS, SCENERY, SHAPES, TEXTURES, Scene, Trajectory, random_scene
from motionclone.lab.world.texture import intensity, scenery
from motionclone.lab.world.trajectory import random_trajectory, rotation

FIRST_SEED = 10_000_000
"""Training draws clip n from `FIRST_SEED` + n or later; what is kept aside for tests has seeds below."""


@dataclass(frozen=True)
class DeepScene(Scene):
    """Scenery of leaves, or at two depths."""

    leaves: bool = False
    depth: float = 1.0  # speed of far things where near ones have 1; with 1, all is near

    def _ground(self, size: int, shade: Tensor, generator: torch.Generator) -> Tensor:
        draw = _leaves if self.leaves else scenery
        near = draw(self._seen(size), generator)
        if self.depth < 1:
            t = self.trajectory
            slower = replace(t, pan=self.depth * t.pan, zoom=t.zoom**self.depth)
            far = draw(replace(self, trajectory=slower)._seen(size), generator)
            hides = intensity("clouds", self._seen(size), 1.0, 0.0, generator)[..., None]
            near = far + torch.sigmoid((hides - 0.5) * 60) * (near - far)
        return near.permute(0, 3, 1, 2)


def _leaves(points: Tensor, generator: torch.Generator) -> Tensor:
    """Colours (..., 3) in [0, 1] of overlapping discs of all sizes, shaded by noise, at scene points (..., 2)."""
    few = 0.05 + 0.9 * torch.rand(6, 3, generator=generator)
    colours = few[torch.randint(6, (50,), generator=generator)] + 0.08 * torch.randn(50, 3, generator=generator)
    radii = 0.15 / (0.04 + 0.96 * torch.rand(50, generator=generator)).sqrt()
    centres = 4 * torch.rand(50, 2, generator=generator)
    drawn = colours[0].expand(*points.shape[:-1], 3).clone()
    for centre, radius, colour in zip(centres, radii, colours, strict=True):
        offset = (points - centre + 2) % 4 - 2  # the ground repeats itself, as the world's noise does
        cover = torch.sigmoid((radius - offset.norm(dim=-1, keepdim=True)) * 60)
        drawn += cover * (colour - drawn)
    shade = intensity("rocks", points, 1.0, 0.0, generator)[..., None]
    return (drawn * (0.7 + 0.5 * shade)).clamp(0, 1)


def training_scene(num_frames: int, generator: torch.Generator) -> Scene:
    """A clip to learn from."""
    if torch.rand(1, generator=generator).item() < 1 / 3:
        scene = random_scene(num_frames, generator)
        return replace(scene, radius=1.2 * scene.radius)

    def pick(names: tuple[str, ...]) -> str:
        return names[int(torch.randint(len(names), (1,), generator=generator))]

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=generator).item()

    background = pick(tuple(BACKGROUNDS))
    natural = uniform(0, 1) < 0.25
    empty = uniform(0, 1) < (0.3 if natural else 0.05)
    scene = Scene(
        shape=None if empty else pick(SHAPES),
        colour=None if empty else pick(tuple(c for c in COLOURS if c != background)),
        texture=SCENERY if natural else pick(TEXTURES),
        background=background,
        trajectory=wide_trajectory(num_frames, generator),
        radius=0.32 * 1.9 ** uniform(0, 1),
        wavelength=uniform(0.35, 0.9),
        angle=uniform(0, math.pi),
        seed=int(torch.randint(2**31, (1,), generator=generator)),
    )
    if natural and uniform(0, 1) < 0.75:
        look = {name: getattr(scene, name) for name in Scene.__dataclass_fields__}
        return DeepScene(**look, leaves=uniform(0, 1) < 0.6, depth=uniform(0.3, 0.7) if uniform(0, 1) < 0.5 else 1.0)
    return scene


def wide_trajectory(num_frames: int, generator: torch.Generator) -> Trajectory:
    """A smooth random motion like the world's, with a faster camera where it moves, which is in three of four."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=generator).item()

    base = random_trajectory(num_frames, generator)
    if uniform(0, 1) < 0.25:
        return base
    time = torch.linspace(0, 1, num_frames)
    ease = time + uniform(-0.12, 0.12) * torch.sin(2 * math.pi * time) - 0.5
    bend = uniform(-0.4, 0.4) * torch.sin(math.pi * time) if uniform(0, 1) < 0.4 else 0 * time
    angle = uniform(0, 2 * math.pi)
    along = torch.tensor([math.cos(angle), math.sin(angle)])
    # Either of pan and zoom may be small beside the other, but none is 0.
    lead = uniform(0, 1)
    pan = uniform(0.8, 2.5) if lead < 0.6 else uniform(0.08, 0.5)
    zoom = uniform(0.4, 1.1) if lead > 0.4 else uniform(0.05, 0.3)
    roll = uniform(-1.5, 1.5) if uniform(0, 1) < 0.35 else 0.0
    place = pan * (ease[:, None] * along + bend[:, None] * along.flip(0) * torch.tensor([-1.0, 1.0]))
    camera = {
        "pan": place,
        "zoom": torch.exp((zoom if uniform(0, 1) < 0.5 else -zoom) * ease),
        "roll": roll * ease,
    }
    if uniform(0, 1) < 0.5:
        return replace(base, **camera)
    # The object stands in the scene, where it is seen in the middle of the clip.
    point = place[num_frames // 2] + torch.tensor([uniform(-0.5, 0.5), uniform(-0.5, 0.5)])
    seen = (rotation(-camera["roll"]) @ (point - place)[..., None])[..., 0] * camera["zoom"][:, None]
    return Trajectory(position=seen, scale=camera["zoom"], spin=-camera["roll"], **camera)
