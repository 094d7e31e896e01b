"""What is in a clip: an object, a ground and a trajectory; how it looks, and what is exactly true of it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.lab.world.texture import intensity, scenery
from motionclone.lab.world.trajectory import Trajectory, random_trajectory, rotation

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.13, 0.13),
    "orange": (0.95, 0.52, 0.08),
    "yellow": (0.93, 0.86, 0.15),
    "green": (0.16, 0.70, 0.22),
    "cyan": (0.12, 0.82, 0.85),
    "blue": (0.15, 0.25, 0.88),
    "purple": (0.60, 0.17, 0.80),
    "white": (0.95, 0.95, 0.95),
}
BACKGROUNDS = {**COLOURS, "gray": (0.50, 0.50, 0.50)}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
TEXTURES = ("plain", "stripes", "checks", "dots", "waves", "clouds", "rocks")
SCENERY = "scenery"
"""A ground of many colours, like a photograph's: it teaches the model what real clips look like when they move."""


def _signed_distance(shape: str, p: Tensor) -> Tensor:
    """Distance to the outline of a shape of radius 1, negative inside. `p` is (..., 2)."""
    x, y = p.unbind(-1)
    if shape == "circle":
        return torch.hypot(x, y) - 0.9
    if shape == "ring":
        return (torch.hypot(x, y) - 0.72).abs() - 0.24
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.78
    if shape == "triangle":
        return torch.maximum(0.866 * x.abs() - 0.5 * y, y) - 0.55
    if shape == "cross":
        long, short = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
        return torch.maximum(long - 1.0, short - 0.32)
    if shape == "star":
        sector = 2 * math.pi / 5
        angle = torch.atan2(x, -y)
        angle = ((angle + sector / 2) % sector - sector / 2).abs()
        radius = torch.hypot(x, y)
        # The edge from the tip (1, 0) to the notch (0.45 at half a sector).
        px, py = radius * angle.cos(), radius * angle.sin()
        nx, ny = 0.45 * math.cos(sector / 2), 0.45 * math.sin(sector / 2)
        length = math.hypot(1 - nx, ny)
        return ((px - 1) * ny - py * (nx - 1)) / length
    raise KeyError(f"unknown shape {shape!r}")


@dataclass(frozen=True)
class Truth:
    """What is exactly known of a clip of f frames, h by w pixels."""

    path: Tensor  # (f, 2) centre of the object, units of half a frame
    flow: Tensor  # (f-1, 2, h, w) where each pixel goes in the next frame, pixels, x then y
    mask: Tensor  # (f, h, w) share of the pixel that the object covers


@dataclass(frozen=True)
class Scene:
    """One clip, before it is drawn. `shape` and `colour` are None for a ground without an object.

    `texture` is one of TEXTURES in the colour `background`, or SCENERY, which has colours of its own.
    """

    shape: str | None
    colour: str | None
    texture: str
    background: str
    trajectory: Trajectory
    radius: float = 0.3  # of the object, units of half a frame
    wavelength: float = 0.6
    angle: float = 0.4
    seed: int = 0  # of the noise in the texture and the shades of the colours

    @property
    def caption(self) -> str:
        """What is in the clip, in words; never how it moves."""
        if self.texture == SCENERY:
            ground = SCENERY
        else:
            ground = f"plain {self.background}" if self.texture == "plain" else f"{self.background} {self.texture}"
        return ground if self.shape is None else f"a {self.colour} {self.shape} on {ground}"

    def _screen(self, height: int, width: int) -> Tensor:
        """Centres of the pixels, (h, w, 2)."""
        y = (torch.arange(height) + 0.5) / height * 2 - 1
        x = (torch.arange(width) + 0.5) / width * 2 - 1
        return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)

    def _coverage(self, height: int, width: int) -> Tensor:
        """Share of each pixel covered by the object, (f, h, w)."""
        t = self.trajectory
        if self.shape is None:
            return torch.zeros(t.num_frames, height, width)
        offset = self._screen(height, width) - t.position[:, None, None]
        radius = (self.radius * t.scale)[:, None, None]
        local = torch.einsum("fij,fhwj->fhwi", rotation(-t.spin), offset) / radius[..., None]
        softness = 1.5 / height  # an edge about one and a half pixels wide
        return torch.sigmoid(-_signed_distance(self.shape, local) * radius / softness * 2)

    def _seen(self, size: int) -> Tensor:
        """The scene point that each of size x size pixels shows, (f, size, size, 2)."""
        t = self.trajectory
        turned = torch.einsum("fij,hwj->fhwi", rotation(t.roll), self._screen(size, size))
        return turned / t.zoom[:, None, None, None] + t.pan[:, None, None]

    def _ground(self, size: int, shade: Tensor, generator: torch.Generator) -> Tensor:
        """The frames (f, 3, size, size), RGB about [0, 1], without the object."""
        points = self._seen(size)
        if self.texture == SCENERY:
            return scenery(points, generator).permute(0, 3, 1, 2)
        level = intensity(self.texture, points, self.wavelength, self.angle, generator)[:, None]
        bright = (torch.tensor(BACKGROUNDS[self.background]) + shade[0]).view(3, 1, 1)
        dark = (0.3 * bright.flatten() + shade[1].abs()).view(3, 1, 1)
        return dark + (bright - dark) * level

    def render(self, size: int = 64, samples: int = 2) -> Tensor:
        """Frames (f, 3, size, size), RGB in [-1, 1], antialiased by samples x samples a pixel."""
        fine = samples * size
        generator = torch.Generator().manual_seed(self.seed)
        shade = 0.06 * torch.randn(3, 3, generator=generator)
        frames = self._ground(fine, shade, generator)
        if self.colour is not None:
            cover = self._coverage(fine, fine)[:, None]
            frames = frames + cover * ((torch.tensor(COLOURS[self.colour]) + shade[2] / 2).view(3, 1, 1) - frames)
        return functional.avg_pool2d(frames.clamp(0, 1), samples) * 2 - 1

    def truth(self, size: int = 64) -> Truth:
        """Exact path, flow and masks at `size` pixels. The path goes on where it leaves the frame."""
        t, screen = self.trajectory, self._screen(size, size)
        mask = self._coverage(size, size)
        ground = torch.einsum("fij,fhwj->fhwi", rotation(-t.roll[1:]), self._seen(size)[:-1] - t.pan[1:, None, None])
        ground = ground * t.zoom[1:, None, None, None] - screen
        growth = (t.scale[1:] / t.scale[:-1])[:, None, None, None]
        offset = screen - t.position[:-1, None, None]
        turned = torch.einsum("fij,fhwj->fhwi", rotation(t.spin[1:] - t.spin[:-1]), offset) * growth
        thing = turned + t.position[1:, None, None] - screen
        flow = torch.where(mask[:-1, ..., None] > 0.5, thing, ground) * size / 2
        return Truth(path=t.position, flow=flow.permute(0, 3, 1, 2), mask=mask)


def random_scene(num_frames: int, generator: torch.Generator) -> Scene:
    """A random clip for training; one in five has scenery for its ground, one in seven no object."""

    def pick(names: tuple[str, ...]) -> str:
        return names[int(torch.randint(len(names), (1,), generator=generator))]

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=generator).item()

    trajectory = random_trajectory(num_frames, generator)
    background = pick(tuple(BACKGROUNDS))
    natural = uniform(0, 1) < 0.2
    empty = uniform(0, 1) < (0.3 if natural else 0.1)
    return Scene(
        shape=None if empty else pick(SHAPES),
        colour=None if empty else pick(tuple(c for c in COLOURS if c != background)),
        texture=SCENERY if natural else pick(TEXTURES),
        background=background,
        trajectory=trajectory,
        radius=uniform(0.28, 0.46),
        wavelength=uniform(0.4, 0.8),
        angle=uniform(0, math.pi),
        seed=int(torch.randint(2**31, (1,), generator=generator)),
    )
