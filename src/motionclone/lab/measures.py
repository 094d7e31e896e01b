"""What is measured of a video's motion, once, whatever it is compared with."""

from dataclasses import dataclass

from torch import Tensor

from motionclone.lab.metrics import (
    Tracks,
    camera_parameters,
    dense_flow,
    find_object,
    flow_tracks,
    lucas_kanade_tracks,
)
from motionclone.lab.world import BACKGROUNDS, COLOURS, Scene, Truth


@dataclass(frozen=True)
class MotionMeasures:
    """The motion of f frames of h by w pixels."""

    flow: Tensor  # (f-1, 2, h, w) pixels
    camera: Tensor  # (f-1, 4), see `camera_parameters`
    tracks: Tracks
    carried: Tracks  # by the dense flow: `mf_dmt` knows no lost points
    path: Tensor | None  # (f, 2) of the object, if there is one to look for


def measure_motion(frames: Tensor, scene: Scene | None = None, truth: Truth | None = None) -> MotionMeasures:
    """Measure a video (f, 3, h, w), RGB in [-1, 1].

    Args:
        frames: of the video.
        scene: what it should show, if that is known; the object is found by its colour.
        truth: what is exactly known of it takes the place of what would be measured. Tracks are always measured.

    Raises:
        InputError: if the frames are too small.
    """
    flow = dense_flow(frames) if truth is None else truth.flow
    path = None if truth is None else truth.path
    if path is None and scene is not None and scene.colour is not None:
        path = find_object(frames, COLOURS[scene.colour], BACKGROUNDS[scene.background])
    return MotionMeasures(flow, camera_parameters(flow), lucas_kanade_tracks(frames), flow_tracks(frames), path)
