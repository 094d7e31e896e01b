"""Grounds as functions of scene coordinates: intensity in [0, 1] at every point, or colour."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def _soft(x: Tensor, edge: float) -> Tensor:
    """A step at 0, `edge` wide, so that patterns do not flicker when they move by less than a pixel."""
    return torch.sigmoid(x / edge * 4)


def _noise(points: Tensor, octaves: tuple[int, ...], slope: float, generator: torch.Generator) -> Tensor:
    """Periodic noise of period 4 whose amplitude falls as frequency**-slope; standardised, mapped to [0, 1]."""
    total = torch.zeros(points.shape[:-1])
    for octave in octaves:
        lattice = torch.randn(1, 1, octave, octave, generator=generator)
        lattice = functional.pad(lattice, (1, 2, 1, 2), mode="circular") if octave > 1 else lattice.expand(1, 1, 4, 4)
        where = (points / 4 % 1) * octave + 1  # lattice coordinates, one cell of margin
        grid = where / (octave + 2) * 2 - 1
        total += octave**-slope * functional.grid_sample(
            lattice, grid.reshape(1, -1, 1, 2), mode="bicubic", align_corners=True
        ).reshape(total.shape)
    scale = math.sqrt(sum(octave ** (-2 * slope) for octave in octaves))
    return torch.sigmoid(2.2 * total / scale)


def intensity(texture: str, points: Tensor, wavelength: float, angle: float, generator: torch.Generator) -> Tensor:
    """Intensity of a texture.

    Args:
        texture: one of plain, stripes, checks, dots, waves, clouds, rocks.
        points: (..., 2) scene coordinates.
        wavelength: length of one period, scene units.
        angle: orientation, radians.
        generator: draws the noise of clouds and rocks.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    u = (cos * points[..., 0] + sin * points[..., 1]) / wavelength
    v = (-sin * points[..., 0] + cos * points[..., 1]) / wavelength
    edge = 0.5
    if texture == "plain":
        return torch.full(points.shape[:-1], 0.75)
    if texture == "stripes":
        return _soft(torch.sin(2 * math.pi * u), edge)
    if texture == "checks":
        return _soft(torch.sin(math.pi * u) * torch.sin(math.pi * v), edge / 2)
    if texture == "dots":
        return _soft(0.3 - torch.hypot(u - u.round(), v - v.round()), edge / 4)
    if texture == "waves":
        return _soft(torch.sin(2 * math.pi * (u + 0.25 * torch.sin(2 * math.pi * v * 0.7))), edge)
    if texture == "clouds":
        return _noise(points, (3, 6, 12, 24), 1.0, generator)
    if texture == "rocks":
        return _noise(points, (8, 16, 32), 0.5, generator)
    raise KeyError(f"unknown texture {texture!r}")


def scenery(points: Tensor, generator: torch.Generator) -> Tensor:
    """Colours (..., 3) in [0, 1] of a ground like a photograph's: patches of four colours, shaded by 1/f noise.

    Args:
        points: (..., 2) scene coordinates.
        generator: draws the colours and the noise.
    """
    colours = 0.1 + 0.8 * torch.rand(4, 3, generator=generator)
    left, upper = (
        _soft(_noise(points, (2, 4, 8), 1.0, generator)[..., None] - 0.5, 0.3) for _ in range(2)
    )  # which of the four colours
    patches = left * (upper * colours[0] + (1 - upper) * colours[1]) + (1 - left) * (
        upper * colours[2] + (1 - upper) * colours[3]
    )
    shade = _noise(points, (4, 8, 16, 32), 0.8, generator)[..., None]
    return (patches * (0.4 + 0.9 * shade)).clamp(0, 1)
