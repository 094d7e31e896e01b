"""Which colour, shape, texture and ground a video shows, as CLIP sees it among all that the world has."""

from dataclasses import replace
from typing import Any, Literal, get_args

from torch import Tensor

from motionclone.lab.metrics.embeddings import Embedder
from motionclone.lab.world import BACKGROUNDS, COLOURS, SCENERY, SHAPES, TEXTURES, Scene

Attribute = Literal["colour", "shape", "texture", "background"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
_KNOWN = {"colour": tuple(COLOURS), "shape": SHAPES, "texture": TEXTURES, "background": tuple(BACKGROUNDS)}


def alternatives(scene: Scene, attribute: Attribute) -> dict[str, str]:
    """Captions of the scene with each value that the attribute could have.

    Empty if it has no such attribute: colour and shape of an object that is not there, texture and colour of scenery.
    """
    objectless = scene.shape is None and attribute in ("colour", "shape")
    if objectless or (scene.texture == SCENERY and attribute in ("texture", "background")):
        return {}
    changes: list[dict[str, Any]] = [{attribute: value} for value in _KNOWN[attribute]]
    return {change[attribute]: replace(scene, **change).caption for change in changes}


def shows(embedder: Embedder, images: Tensor, target: Scene, attribute: Attribute) -> bool | None:
    """Whether the target's own value of an attribute is the likeliest, the others given; None if it has none.

    Args:
        embedder: CLIP.
        images: unit embeddings of the frames, (f, d); the frames decide together.
        target: the scene that was asked for.
        attribute: which.
    """
    captions = alternatives(target, attribute)
    if not captions:
        return None
    likeness = (images @ embedder.texts(list(captions.values())).T).mean(0)
    return list(captions)[int(likeness.argmax())] == str(getattr(target, attribute))


def recognised(embedder: Embedder, images: Tensor, target: Scene) -> dict[Attribute, bool]:
    """Every attribute that the target has, and whether a video `shows` it."""
    answers = {attribute: shows(embedder, images, target, attribute) for attribute in ATTRIBUTES}
    return {attribute: answer for attribute, answer in answers.items() if answer is not None}
