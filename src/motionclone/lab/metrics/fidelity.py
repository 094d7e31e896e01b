"""How like the tracks of two videos move: motion fidelity as others compute it, and corrected."""

import torch

from motionclone.errors import InputError
from motionclone.lab.metrics.tracks import Tracks


def motion_fidelity_dmt(tracks: Tracks, reference: Tracks) -> float:
    """Motion fidelity as the code released with DMT computes it ("mf_dmt"), to compare with what others print.

    mean_i max_j (S - I)_ij, where S_ij is the mean over steps of the cosine between the displacements of track i of
    the new video and track j of the reference (arXiv:2311.17009; the paper's own formula has both directions). Its
    defects are kept: the identity hides the track from the same place, so identical videos score below 1; any track
    anywhere may be the best one, so unrelated videos score far above 0, and the more the shorter they are; speed and
    visibility do not count; motion of the reference that is missing costs nothing.

    Args:
        tracks: of the new video.
        reference: tracks of the reference; as many frames, or InputError is raised.

    Returns:
        At most 1; NaN if one track of either video stands exactly still for one step, as there.
    """
    _check_lengths(tracks, reference)
    a, b = (each.positions.double().diff(dim=0) for each in (tracks, reference))
    a, b = (v / v.norm(dim=-1, keepdim=True) for v in (a, b))
    similarity = torch.einsum("fic,fjc->ij", a, b) / len(a)
    return float((similarity - torch.eye(*similarity.shape)).max(1).values.mean())


def motion_fidelity(tracks: Tracks, reference: Tracks, radius: float = 0.3, still: float = 0.006) -> float:
    """Motion fidelity without the defects of `motion_fidelity_dmt`.

    Every track of one video is held against its best match in the other among the tracks that start near it, and the
    two directions are averaged: the first asks whether what moves in the new video moves so in the reference, the
    second whether what moves in the reference moves so in the new video. For displacements v and w of one step

        similarity = 1 - |v - w|² / (|v|² + |w|² + still²) = (2 v·w + still²) / (|v|² + |w|² + still²),

    so two still points are alike (1), a still and a moving one are not (near 0), four times the speed gives 8/17 and
    the opposite motion near -1. A pair is judged on the steps in which both points are visible, and is a pair only if
    these are at least half of those in which the judged point is; a track without any pair counts 0.

    Tracks count by the length of their visible path. Were they all equal, a small object on a still ground would be
    outvoted by the ground, which agrees with any still ground: the wrong path would score high. A tenth of `still` a
    step is added to the length, so that a video in which nothing moves has a score too.

    Args:
        tracks: of the new video.
        reference: tracks of the reference; as many frames, or InputError is raised.
        radius: how far apart two tracks may start, in half frames.
        still: speed that is as good as none, in half frames a step; 0.006 is 0.3 % of the frame.

    Returns:
        In [-1, 1], and exactly 1 for identical tracks; NaN if no point of a video is seen twice.
    """
    _check_lengths(tracks, reference)
    precision, recall = _matched(tracks, reference, radius, still), _matched(reference, tracks, radius, still)
    return (precision + recall) / 2


def _matched(tracks: Tracks, others: Tracks, radius: float, still: float) -> float:
    """Mean similarity of `tracks` to their best matches among `others`."""
    a, b = (each.positions.double().diff(dim=0) for each in (tracks, others))
    a_seen, b_seen = (each.visible[1:] & each.visible[:-1] for each in (tracks, others))
    total = torch.zeros(a.shape[1], b.shape[1], dtype=torch.float64)
    for v, w, v_seen, w_seen in zip(a, b, a_seen, b_seen, strict=True):  # a loop keeps it to one matrix of pairs
        apart = (v[:, None] - w).square().sum(-1)
        size = v.square().sum(-1)[:, None] + w.square().sum(-1) + still**2
        total += (1 - apart / size) * (v_seen[:, None] & w_seen)
    shared = a_seen.double().T @ b_seen.double()
    near = torch.cdist(tracks.positions[0].double(), others.positions[0].double()) <= radius
    pair = near & (shared > 0) & (shared >= a_seen.sum(0)[:, None] / 2)
    best = (total / shared).masked_fill(~pair, -torch.inf).max(1).values
    best = best.masked_fill(~pair.any(1), 0)
    weight = ((a.norm(dim=-1) + still / 10) * a_seen).sum(0)
    return float((weight * best).sum() / weight.sum())


def _check_lengths(tracks: Tracks, reference: Tracks) -> None:
    """Raise InputError if the videos differ in length."""
    one, other = len(tracks.positions), len(reference.positions)
    if one != other:
        raise InputError(f"the videos have {one} and {other} frames; read both with the same length.")
