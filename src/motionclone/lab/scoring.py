"""Score a video against a reference and words. Pure but for the embedder's model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.evaluation import (
    Embedder,
    Tracks,
    appearance_similarity,
    camera_cosine,
    dense_flow,
    find_object,
    flow_cosine,
    flow_tracks,
    lucas_kanade_tracks,
    motion_fidelity,
    motion_fidelity_dmt,
    path_correlation,
    path_roughness,
    recognised,
    seen_fraction,
    temporal_consistency,
    text_alignment,
)
from motionclone.lab.cases import Kind, Reference
from motionclone.motion import Motion, heat_map
from motionclone.world import BACKGROUNDS, COLOURS, Scene

Scores = dict[str, float | None]
"""Metric to value; None where it says nothing: no object, nothing that moves."""


@dataclass(frozen=True)
class Video:
    """What is measured of a video once, whatever it is compared with."""

    frames: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    shows: Scene | None  # what it should show, if that is a scene

    @cached_property
    def flow(self) -> Tensor:
        """Dense flow, (f-1, 2, h, w)."""
        return dense_flow(self.frames)

    @cached_property
    def tracks(self) -> Tracks:
        """Point tracks."""
        return lucas_kanade_tracks(self.frames)

    @cached_property
    def carried(self) -> Tracks:
        """Points carried by the dense flow."""
        return flow_tracks(self.frames)

    @cached_property
    def path(self) -> Tensor | None:
        """Path of the object, (f, 2), found by its colour."""
        if self.shows is None or self.shows.colour is None:
            return None
        return find_object(self.frames, COLOURS[self.shows.colour], BACKGROUNDS[self.shows.background])


def motion_scores(video: Video, reference: Reference, kind: Kind) -> Scores:
    """How like the motion of a video is to a reference's; `kind` is what moves in the reference."""
    path = video.path if kind in ("object", "both") else None
    return _clean(
        {
            "path": None if path is None or reference.path is None else path_correlation(path, reference.path),
            "flow": flow_cosine(video.flow, reference.flow),
            "camera": None if kind == "object" else camera_cosine(video.flow, reference.flow),
            "motion_fidelity": motion_fidelity(video.tracks, reference.tracks),
            "mf_dmt": motion_fidelity_dmt(video.carried, reference.carried),
        }
    )


def unrelated_scores(video: Video, others: Sequence[tuple[Reference, Kind]]) -> Scores:
    """The floor: the mean of `motion_scores` over references of other motions."""
    found = [motion_scores(video, reference, kind) for reference, kind in others]
    return {name: mean([scores[name] for scores in found]) for name in (found[0] if found else ())}


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    there = [value for value in values if value is not None]
    return round(math.fsum(there) / len(there), 6) if there else None


def appearance_scores(video: Video, prompt: str, reference: Tensor, embedder: Embedder, kind: Kind) -> Scores:
    """How a video looks: like its words, steady, like the reference, and with what in it.

    Args:
        video: the video.
        prompt: its words.
        reference: the reference's embeddings, (f, d).
        embedder: CLIP.
        kind: what moves in the reference; how rough a path is counts where the object moves by itself.
    """
    images = embedder.images(video.frames)
    scores: Scores = {
        "text": text_alignment(images, embedder.texts([prompt])[0]),
        "consistency": temporal_consistency(images),
        "leakage": appearance_similarity(images, reference),
    }
    if video.shows is not None and video.path is not None:
        hits = recognised(embedder, images, video.shows)
        scores |= {name: float(hit) for name, hit in hits.items()}
        scores["seen"] = seen_fraction(video.path)
        scores["roughness"] = path_roughness(video.path) if kind in ("object", "both") else None
    return _clean(scores)


def heat_score(motion: Motion, reference: Reference) -> float | None:
    """Rank correlation, over positions, of the heat map (Fig. 3) with how fast things truly move there."""
    heat = heat_map(motion)
    speed = reference.flow.norm(dim=1).mean(0)
    speed = functional.adaptive_avg_pool2d(speed[None, None], (heat.shape[0], heat.shape[1]))[0, 0]
    if float(speed.std()) < 1e-3 * float(speed.mean()):
        return None
    ranks = torch.stack([x.flatten().argsort().argsort().double() for x in (heat, speed)])
    return float(torch.corrcoef(ranks)[0, 1])


def _clean(scores: Scores) -> Scores:
    return {name: None if v is None or not math.isfinite(v) else round(float(v), 6) for name, v in scores.items()}
