"""Score a video against a reference and words. Pure but for the embedder's model."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.lab.cases import Kind
from motionclone.lab.measured import Measured
from motionclone.lab.metrics import (
    Embedder,
    appearance_similarity,
    flow_cosine,
    line_agreement,
    motion_fidelity,
    motion_fidelity_dmt,
    path_correlation,
    path_roughness,
    picture_correlation,
    recognised,
    seen_fraction,
    temporal_consistency,
    text_alignment,
)
from motionclone.media.pictures import outlines
from motionclone.motion import Motion, heat_map

Scores = dict[str, float | None]
"""Metric to value; None where it says nothing: no object, nothing that moves."""


def motion_scores(video: Measured, reference: Measured, kind: Kind) -> Scores:
    """How like the motion of a video is to a reference's; `kind` is what moves in the reference."""
    path = video.path if kind in ("object", "both") else None
    return _clean(
        {
            "path": None if path is None or reference.path is None else path_correlation(path, reference.path),
            "flow": flow_cosine(video.flow, reference.flow),
            "camera": None if kind == "object" else flow_cosine(video.camera, reference.camera),
            "motion_fidelity": motion_fidelity(video.tracks, reference.tracks),
            "mf_dmt": motion_fidelity_dmt(video.carried, reference.carried),
        }
    )


def unrelated_scores(video: Measured, others: Sequence[tuple[Measured, Kind]]) -> Scores:
    """The floor: the mean of `motion_scores` over references of other motions."""
    found = [motion_scores(video, reference, kind) for reference, kind in others]
    return {name: mean([scores[name] for scores in found]) for name in (found[0] if found else ())}


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    there = [value for value in values if value is not None]
    return round(math.fsum(there) / len(there), 6) if there else None


def appearance_scores(images: Tensor, words: Tensor | None, reference: Tensor) -> Scores:
    """How a video looks: like its words, steady, and like the reference.

    Args:
        images: the video's embeddings, (f, d).
        words: its prompt's embedding, (d,), if it has one.
        reference: the reference's embeddings, (f, d).
    """
    return _clean(
        {
            "text": None if words is None else text_alignment(images, words),
            "consistency": temporal_consistency(images),
            "leakage": appearance_similarity(images, reference),
        }
    )


def appearance_floor(images: Tensor, words: Sequence[Tensor], references: Sequence[Tensor]) -> Scores:
    """The floor: the mean over words and references that a video has nothing to do with."""
    return {
        "text": mean([text_alignment(images, other) for other in words]),
        "leakage": mean([appearance_similarity(images, other) for other in references]),
    }


def object_scores(video: Measured, images: Tensor, embedder: Embedder, kind: Kind) -> Scores:
    """Whether a video shows what it should, as `embedder` sees it, and one object on a smooth path.

    How rough a path is counts where the object moves by itself, as `kind` tells of the reference.
    """
    if video.shows is None or video.path is None:
        return {}
    scores: Scores = {name: float(hit) for name, hit in recognised(embedder, images, video.shows).items()}
    scores["seen"] = seen_fraction(video.path)
    scores["roughness"] = path_roughness(video.path) if kind in ("object", "both") else None
    return _clean(scores)


def picture_scores(video: Measured, picture: Tensor) -> Scores:
    """How like the first frame is to a picture (3, h, w), and its outlines to the picture's."""
    frame = video.frames[0]
    return _clean(
        {
            "picture": picture_correlation(frame, picture),
            "lines": line_agreement(outlines(frame), outlines(picture)),
        }
    )


def heat_score(motion: Motion, reference: Measured) -> float | None:
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
