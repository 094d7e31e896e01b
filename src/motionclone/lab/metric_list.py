"""The list of metrics. A new one is an entry here: it is computed, kept and reported from then on."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.lab.cases import CaseKind
from motionclone.lab.metric import Goal, Metric, Video
from motionclone.lab.metrics import (
    Agreement,
    Attribute,
    appearance_similarity,
    camera_agreement,
    camera_cosine,
    flow_agreement,
    flow_cosine,
    line_agreement,
    motion_fidelity,
    motion_fidelity_dmt,
    path_agreement,
    path_correlation,
    path_roughness,
    picture_correlation,
    seen_fraction,
    shows,
    temporal_consistency,
    text_alignment,
)
from motionclone.media.pictures import outlines
from motionclone.motion import Motion, heat_map

_ATTRIBUTES: dict[Attribute, str] = {
    "colour": "object has the colour asked for",
    "shape": "object has the shape asked for",
    "texture": "ground has the texture asked for",
    "background": "ground has the colour asked for",
}


def heat_correlation(motion: Motion, flow: Tensor) -> float | None:
    """Rank correlation, over positions, of the heat map (Fig. 3) with how fast a flow (f-1, 2, h, w) moves there."""
    heat = heat_map(motion)
    speed = flow.norm(dim=1).mean(0)
    speed = functional.adaptive_avg_pool2d(speed[None, None], (heat.shape[0], heat.shape[1]))[0, 0]
    if float(speed.std()) < 1e-3 * float(speed.mean()):
        return None
    ranks = torch.stack([x.flatten().argsort().argsort().double() for x in (heat, speed)])
    return float(torch.corrcoef(ranks)[0, 1])


def _path(video: Video, goal: Goal) -> float | None:
    own, other = video.motion.path, goal.motion.path
    return None if own is None or other is None else path_correlation(own, other)


def _camera(video: Video, goal: Goal) -> float:
    return camera_cosine(video.motion.camera, goal.motion.camera, *video.motion.flow.shape[-2:])


def _path_agreement(video: Video, goal: Goal) -> Agreement | None:
    own, other = video.motion.path, goal.motion.path
    return None if own is None or other is None else path_agreement(own, other)


def _camera_agreement(video: Video, goal: Goal) -> Agreement:
    return camera_agreement(video.motion.camera, goal.motion.camera, *video.motion.flow.shape[-2:])


def _flow_agreement(video: Video, goal: Goal) -> Agreement:
    return flow_agreement(video.motion.flow, goal.motion.flow)


_MOTIONS: dict[str, tuple[str, str, Callable[[Video, Goal], Agreement | None], tuple[CaseKind, ...]]] = {
    "path": ("path", "the object's path", _path_agreement, ("object", "both")),
    "camera": ("camera", "the camera's share of the motion", _camera_agreement, ("camera", "both", "real")),
    "flow": ("flow", "the dense flow", _flow_agreement, ("object", "camera", "both", "real")),
}


def _explained(motion: str) -> Metric:
    title, what, agree, kinds = _MOTIONS[motion]
    return Metric(
        f"{motion}_explained",
        f"explained {title}",
        f"How much of {what} in the reference is there, direction and speed: 1 is all, a still video has 0, below 0 it "
        "is worse than none.",
        "higher",
        "Motion at its speed",
        lambda video, goal: None if (found := agree(video, goal)) is None else found.explained,
        floor="reference",
        kinds=kinds,
        statistic="median",
        main=True,
        plotted=True,
        before=motion,
    )


def _gain(motion: str) -> Metric:
    title, what, agree, kinds = _MOTIONS[motion]
    return Metric(
        f"{motion}_gain",
        f"{title} gain",
        f"Speed of {what} along that of the reference: 1 is the same, 0 stands still or goes elsewhere.",
        None,
        "Motion at its speed",
        lambda video, goal: None if (found := agree(video, goal)) is None else found.gain,
        floor="reference",
        kinds=kinds,
        statistic="median",
    )


def _of_path(measure: Callable[[Tensor], float], video: Video, goal: Goal) -> float | None:
    return None if video.motion.path is None else measure(video.motion.path)


def _shows(attribute: Attribute, video: Video, goal: Goal) -> float | None:
    assert video.target is not None
    answer = shows(video.judge, video.images, video.target, attribute)
    return None if answer is None else float(answer)


def _picture(video: Video, goal: Goal) -> float:
    assert goal.picture is not None
    return picture_correlation(video.frames[0], goal.picture)


def _lines(video: Video, goal: Goal) -> float:
    assert goal.picture is not None
    return line_agreement(outlines(video.frames[0]), outlines(goal.picture))


def _heat(video: Video, goal: Goal) -> float | None:
    assert video.heat is not None
    return heat_correlation(video.heat, goal.motion.flow)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *map(_explained, _MOTIONS),
        *map(_gain, _MOTIONS),
        Metric(
            "path",
            "object path",
            "Correlation of the object's path with the path in the reference, from -1 to 1.",
            "higher",
            "Motion",
            _path,
            floor="reference",
            kinds=("object", "both"),
            statistic="median",
            main=True,
            plotted=True,
        ),
        Metric(
            "camera",
            "camera",
            "Cosine between the camera's share of the motion and that of the reference, from -1 to 1.",
            "higher",
            "Motion",
            _camera,
            floor="reference",
            kinds=("camera", "both", "real"),
            main=True,
            plotted=True,
        ),
        Metric(
            "flow",
            "dense flow",
            "Cosine of the dense optical flows, pixel by pixel, from -1 to 1.",
            "higher",
            "Motion",
            lambda video, goal: flow_cosine(video.motion.flow, goal.motion.flow),
            floor="reference",
            main=True,
            plotted=True,
        ),
        Metric(
            "motion_fidelity",
            "motion fidelity",
            "How like tracked points move to points nearby in the reference, and those to them, from -1 to 1.",
            "higher",
            "Motion",
            lambda video, goal: motion_fidelity(video.motion.tracks, goal.motion.tracks),
            floor="reference",
            main=True,
        ),
        Metric(
            "mf_dmt",
            "motion fidelity (DMT)",
            "The same as the code released with DMT computes it, to compare with published numbers; far above 0 for "
            "unrelated motions.",
            "higher",
            "Motion",
            lambda video, goal: motion_fidelity_dmt(video.motion.carried, goal.motion.carried),
            floor="reference",
        ),
        Metric(
            "roughness",
            "roughness",
            "Root mean square change of the object's step from frame to frame, in half frames; 0 is even motion.",
            "lower",
            "Motion",
            partial(_of_path, path_roughness),
            needs="target",
            kinds=("object", "both"),
            form="z.3f",
        ),
        Metric(
            "seen",
            "object seen",
            "Share of the frames in which the object is found.",
            "higher",
            "Motion",
            partial(_of_path, seen_fraction),
            needs="target",
            kinds=("object", "both"),
        ),
        Metric(
            "text",
            "text",
            "Mean cosine between the frames and the prompt, as CLIP sees them.",
            "higher",
            "Words and pictures",
            lambda video, goal: None if goal.words is None else text_alignment(video.images, goal.words),
            floor="words",
            form="z.3f",
            main=True,
        ),
        Metric(
            "consistency",
            "consistency",
            "Mean cosine between neighbouring frames, as CLIP sees them; a still video has 1.",
            "higher",
            "Words and pictures",
            lambda video, goal: temporal_consistency(video.images),
            form="z.3f",
            main=True,
        ),
        Metric(
            "leakage",
            "leakage",
            "Mean cosine between the frames and those of the reference, as CLIP sees them; what is more than the "
            "unguided video has leaked.",
            "lower",
            "Words and pictures",
            lambda video, goal: appearance_similarity(video.images, goal.look),
            floor="reference",
            form="z.3f",
            main=True,
        ),
        *(
            Metric(
                attribute,
                attribute,
                f"Share of the videos whose {whose}.",
                "higher",
                "Words and pictures",
                partial(_shows, attribute),
                needs="target",
                form=".0%",
            )
            for attribute, whose in _ATTRIBUTES.items()
        ),
        Metric(
            "picture",
            "first frame",
            "Correlation of the first frame's pixels with those of the picture to follow, from -1 to 1.",
            "higher",
            "The picture to follow",
            _picture,
            needs="picture",
            main=True,
        ),
        Metric(
            "lines",
            "first outlines",
            "How well the outlines of the first frame lie on the picture's: harmonic mean of precision and recall.",
            "higher",
            "The picture to follow",
            _lines,
            needs="picture",
            main=True,
        ),
        Metric(
            "heat",
            "heat map",
            "Rank correlation of the heat map, where the representation sees motion, with how fast things truly move "
            "there, from -1 to 1.",
            "higher",
            "Heat map",
            _heat,
            needs="heat",
            plotted=True,
        ),
    )
}
