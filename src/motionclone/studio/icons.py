"""Small drawings of the ready motions: the way of the object, or what the camera sees first and last."""

import torch

from motionclone.lab.world import kind_of, named_trajectory
from motionclone.lab.world.trajectory import Trajectory, rotation

_CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def icon(motion: str) -> str:
    """SVG of a named motion of the world, in the colour of the text around it."""
    course = named_trajectory(motion, 33)
    drawn = _path(course) if kind_of(motion) == "object" else _views(course)
    return f'<svg class="mc-icon" viewBox="0 0 40 40" aria-hidden="true">{drawn}</svg>'


def _path(course: Trajectory) -> str:
    points = course.position * 22 + 20
    x, y = points[-1].tolist()
    return f'<polyline points="{_points(points)}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'


def _views(course: Trajectory) -> str:
    views = []
    for at in (0, 16, 32):  # a screen point s shows pan + R(roll) s / zoom
        turned = (rotation(course.roll[at]) @ _CORNERS.T).T / course.zoom[at]
        views.append(course.pan[at] + turned)
    every = torch.cat(views)
    low, high = every.amin(0), every.amax(0)
    scale = 34 / (high - low).max()
    placed = [(view - (low + high) / 2) * scale + 20 for view in views]
    return "".join(f'<polygon class="mc-view{number}" points="{_points(view)}"/>' for number, view in enumerate(placed))


def _points(points: torch.Tensor) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())
