"""The demo: clone a known motion of the procedural world with the bundled model, and measure it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from motionclone.cloning import Generated, Step, check, check_condition, generate, motion_for
from motionclone.errors import InputError, choice
from motionclone.lab.metrics import (
    dense_flow,
    find_object,
    flow_cosine,
    line_agreement,
    path_correlation,
    picture_correlation,
)
from motionclone.lab.world import BACKGROUNDS, COLOURS, NAMED_MOTIONS, SHAPES, TEXTURES, Scene, named_trajectory
from motionclone.media.conditions import Condition
from motionclone.media.pictures import condition_from, outlines
from motionclone.motion import Motion
from motionclone.settings import Settings


@dataclass(frozen=True)
class Words:
    """What the demo clones and shows. Raises InputError for what the world does not have."""

    motion: str  # one of the world's named motions
    colour: str
    shape: str
    background: str
    texture: str

    def __post_init__(self) -> None:
        for name, known in {
            "motion": tuple(NAMED_MOTIONS),
            "colour": tuple(COLOURS),
            "shape": SHAPES,
            "background": tuple(BACKGROUNDS),
            "texture": TEXTURES,
        }.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"the demo has no {name} {getattr(self, name)!r}; {choice(getattr(self, name), known)}"
                )
        if self.colour == self.background:
            raise InputError(f"a {self.colour} {self.shape} is not seen on {self.background}; choose two colours.")


@dataclass(frozen=True)
class Similarity:
    """How like a video's motion is to the known motion of the reference; 1 is the same, unrelated is near 0."""

    path: float  # correlation of the object's path with the true one
    flow: float  # cosine of the dense flow with the true one
    first: float | None  # of the first frame with the picture, or of its outlines with the sketch's, if one was given


@dataclass(frozen=True)
class Demo:
    """A reference, the video cloned from it, and its unguided twin from the same noise."""

    reference: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    motion: Motion
    cloned: Generated
    unguided: Generated
    similarity: dict[str, Similarity]  # of reference, cloned and unguided
    condition: Condition | None  # the picture or sketch that was given


def run_demo(
    pipe: Any,
    words: Words,
    settings: Settings,
    on_step: Callable[[str, Step], None] | None = None,
    *,
    given: Literal["image", "sketch"] | None = None,
) -> Demo:
    """Clone one of the world's named motions into a video of other content.

    Args:
        pipe: the mini model.
        words: the motion, and what the new video shows.
        settings: of the mini model.
        on_step: called with "cloned" or "unguided" and the step.
        given: what `pipe`, with SparseCtrl then, is also given: the new video's first frame, or a sketch of it.
    """
    sampling = settings.sampling
    trajectory = named_trajectory(words.motion, sampling.num_frames)
    # The reference shares neither colours nor shape nor texture with what is asked for.
    filmed = Scene("circle" if words.shape != "circle" else "star", *_other(words), trajectory)
    reference = filmed.render(sampling.height)
    target = Scene(words.shape, words.colour, words.texture, words.background, trajectory)
    picture = target.render(sampling.height)[0]
    condition = None if given is None else condition_from(picture, given)
    check(pipe, target.caption, settings)
    check_condition(pipe, condition, settings)
    source = {"name": f"world: {words.motion}", "caption": filmed.caption}
    motion = motion_for(pipe, reference, settings, condition=condition, source=source)

    made = {}
    unguided = settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"weight": 0.0})})
    for name, chosen in (("cloned", settings), ("unguided", unguided)):

        def report(step: Step, name: str = name) -> None:
            if on_step is not None:
                on_step(name, step)

        made[name] = generate(pipe, motion, target.caption, chosen, condition=condition, on_step=report)

    truth = filmed.truth(sampling.height)
    videos = {
        "reference": (reference, filmed),
        "cloned": (made["cloned"].frames, target),
        "unguided": (made["unguided"].frames, target),
    }
    similarity = {}
    for name, (frames, scene) in videos.items():
        path = find_object(frames, COLOURS[str(scene.colour)], BACKGROUNDS[scene.background])
        first = None
        if given == "image":
            first = picture_correlation(frames[0], picture)
        elif given == "sketch":
            first = line_agreement(outlines(frames[0]), outlines(picture))
        similarity[name] = Similarity(
            path_correlation(path, truth.path), flow_cosine(dense_flow(frames), truth.flow), first
        )
    return Demo(reference, motion, made["cloned"], made["unguided"], similarity, condition)


def _other(words: Words) -> tuple[str, str, str]:
    """Colour, texture and ground of the reference."""
    free = [name for name in COLOURS if name not in (words.colour, words.background)]
    return free[0], "rocks", free[-2]
