"""A clip and what is measured of it once, whatever it is compared with."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from motionclone.lab.metrics import Tracks, camera_flow, dense_flow, find_object, flow_tracks, lucas_kanade_tracks
from motionclone.lab.world import BACKGROUNDS, COLOURS, Scene


@dataclass(frozen=True)
class Measured:
    """A clip; what is not known of it is measured when it is first asked for."""

    frames: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    shows: Scene | None = None  # what it should show, if that is a scene
    known_path: Tensor | None = None  # (f, 2) of the object
    known_flow: Tensor | None = None  # (f-1, 2, h, w) pixels

    @cached_property
    def flow(self) -> Tensor:
        """Dense flow, (f-1, 2, h, w)."""
        return dense_flow(self.frames) if self.known_flow is None else self.known_flow

    @cached_property
    def camera(self) -> Tensor:
        """The camera's share of the flow, (f-1, 2, h, w)."""
        return camera_flow(self.flow)

    @cached_property
    def tracks(self) -> Tracks:
        """Point tracks, always measured."""
        return lucas_kanade_tracks(self.frames)

    @cached_property
    def carried(self) -> Tracks:
        """Points carried by the measured dense flow: `mf_dmt` knows no lost points."""
        return flow_tracks(self.frames)

    @cached_property
    def path(self) -> Tensor | None:
        """Path of the object, (f, 2), found by its colour where it is not known."""
        if self.known_path is not None or self.shows is None or self.shows.colour is None:
            return self.known_path
        return find_object(self.frames, COLOURS[self.shows.colour], BACKGROUNDS[self.shows.background])
