"""How much of a reference's motion a video has, its speed included; cosines and correlations see only the direction.

A motion is a vector: of all positions of a path about their mean, or of a flow at all frames and pixels. v is the
video's, r the reference's.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from motionclone.lab.metrics.camera import camera_fields
from motionclone.lab.metrics.flow import check_same_size
from motionclone.lab.metrics.path import seen_together

STILL = 0.1
"""Pixels a frame, root mean square: a flow that is less is what measuring makes of a clip that stands still."""


class Agreement(NamedTuple):
    """The same motion has 1 and 1, none 0 and 0, half of it 0.5 and 0.75, the opposite -1 and -3."""

    gain: float
    """<v, r> / |r|^2: how fast the video moves along the reference's motion; 1 is the same speed."""
    explained: float
    """1 - |v - r|^2 / |r|^2, at most 1; below 0 it is worse than a still video."""


def agreement_of(pairs: Iterable[tuple[Tensor, Tensor]], still: float = 0.0) -> Agreement:
    """Of two motions that come in pieces, each the video's and the reference's; NaN if the reference stands still.

    Flows stand still if their vectors, on the first dimension, are no longer than `still`, root mean square.
    """
    product = missed = energy = 0.0
    vectors = 0
    for v, r in pairs:
        v, r = v.double(), r.double()
        product += float((v * r).sum())
        missed += float((v - r).square().sum())
        energy += float(r.square().sum())
        vectors += r[0].numel()
    if energy <= still**2 * vectors:
        return Agreement(float("nan"), float("nan"))
    return Agreement(product / energy, 1 - missed / energy)


def path_agreement(path: Tensor, reference: Tensor) -> Agreement:
    """Of two paths (f, 2) about their means, over the frames in which both are known; NaN if those are fewer than 3."""
    pair = seen_together(path, reference)
    return agreement_of([] if pair is None else [pair])


def camera_agreement(parameters: Tensor, reference: Tensor, height: int, width: int) -> Agreement:
    """Of the flows that two cameras' parameters (f-1, 4) make in a frame of that size."""
    fields = (camera_fields(each, height, width) for each in (parameters, reference))
    return agreement_of(zip(*fields, strict=True), STILL)


def flow_agreement(flow: Tensor, reference: Tensor) -> Agreement:
    """Of two flows (f-1, 2, h, w). Raises InputError if the videos differ in length or size."""
    check_same_size(flow, reference)
    return agreement_of(zip(flow, reference, strict=True), STILL)
