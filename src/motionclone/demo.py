"""The demo: clone a known motion of the procedural world with the bundled model, and measure it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from motionclone.cloning import Generated, Step, check, generate
from motionclone.errors import InputError
from motionclone.evaluation import dense_flow, find_object, flow_cosine, path_correlation
from motionclone.extraction import extract_motion
from motionclone.motion import Motion
from motionclone.settings import Settings
from motionclone.world import BACKGROUNDS, COLOURS, TEST_MOTIONS, Scene, named_trajectory


@dataclass(frozen=True)
class Similarity:
    """How like a video's motion is to the known motion of the reference; 1 is the same, unrelated is near 0."""

    path: float  # correlation of the object's path with the true one
    flow: float  # cosine of the dense flow with the true one


@dataclass(frozen=True)
class Demo:
    """A reference, the video cloned from it, and its unguided twin from the same noise."""

    reference: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    motion: Motion
    cloned: Generated
    unguided: Generated
    similarity: dict[str, Similarity]  # of reference, cloned and unguided


def run_demo(
    pipe: Any,
    motion_name: str,
    colour: str,
    shape: str,
    background: str,
    texture: str,
    settings: Settings,
    on_step: Callable[[str, Step], None] | None = None,
) -> Demo:
    """Clone one of the world's test motions into a video of other content.

    Args:
        pipe: the mini model.
        motion_name: one of `motionclone.world.TEST_MOTIONS`.
        colour: of the new object.
        shape: of the new object.
        background: colour of the new ground.
        texture: of the new ground.
        settings: of the mini model.
        on_step: called with "cloned" or "unguided" and the step.
    """
    if motion_name not in TEST_MOTIONS:
        raise InputError(f"no motion {motion_name!r} in the demo; there are {', '.join(TEST_MOTIONS)}.")
    sampling = settings.sampling
    trajectory = named_trajectory(motion_name, sampling.num_frames)
    # The reference shares neither colours nor shape nor texture with what is asked for.
    seen = Scene("circle" if shape != "circle" else "star", *_other(colour, background), trajectory)
    reference = seen.render(sampling.height)
    wanted = Scene(shape, colour, texture, background, trajectory)
    check(pipe, wanted.caption, settings)
    source = {"world": motion_name, "caption": seen.caption}
    motion = extract_motion(pipe, reference, settings.extraction, seed=settings.seed, source=source)

    made = {}
    for name, weight in (("cloned", settings.guidance.weight), ("unguided", 0.0)):
        chosen = settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"weight": weight})})

        def report(step: Step, name: str = name) -> None:
            if on_step is not None:
                on_step(name, step)

        made[name] = generate(pipe, motion, wanted.caption, chosen, on_step=report)

    truth = seen.truth(sampling.height)
    videos = {
        "reference": (reference, seen),
        "cloned": (made["cloned"].frames, wanted),
        "unguided": (made["unguided"].frames, wanted),
    }
    similarity = {}
    for name, (frames, scene) in videos.items():
        path = find_object(frames, COLOURS[str(scene.colour)], BACKGROUNDS[scene.background])
        similarity[name] = Similarity(path_correlation(path, truth.path), flow_cosine(dense_flow(frames), truth.flow))
    return Demo(reference, motion, made["cloned"], made["unguided"], similarity)


def _other(colour: str, background: str) -> tuple[str, str, str]:
    """Colour, texture and ground of the reference."""
    free = [name for name in COLOURS if name not in (colour, background)]
    return free[0], "rocks", free[-2]
