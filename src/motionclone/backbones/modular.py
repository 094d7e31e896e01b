"""Modular pipelines of diffusers: their blocks call the denoiser as the classic pipeline of the same parts does."""

import inspect
from typing import Any

from diffusers import (
    ClassifierFreeGuidance,
    DiffusionPipeline,
    HunyuanVideo15ModularPipeline,
    HunyuanVideo15Pipeline,
    LTXModularPipeline,
    LTXPipeline,
    ModularPipeline,
    WanModularPipeline,
    WanPipeline,
)
from diffusers.utils import is_ftfy_available

from motionclone.errors import InputError

# Those from text; a subclass of one calls its denoiser in another way.
_CLASSIC: dict[type, Any] = {
    WanModularPipeline: WanPipeline,
    LTXModularPipeline: LTXPipeline,
    HunyuanVideo15ModularPipeline: HunyuanVideo15Pipeline,
}


def is_modular(pipe: Any) -> bool:
    """Whether a pipeline is made of blocks, and takes what these take."""
    return isinstance(pipe, ModularPipeline)


def classic(pipe: ModularPipeline) -> DiffusionPipeline:
    """The classic pipeline of a modular one's parts, to read motions with and to know the denoiser's calls by.

    Raises:
        InputError: it is not known to call its denoiser as a classic one does, or lacks parts.
    """
    kind, name = _CLASSIC.get(type(pipe)), type(pipe).__name__
    if kind is None:
        known = ", ".join(each.__name__ for each in _CLASSIC)
        raise InputError(f"{name} is not supported; of modular pipelines these are, from text: {known}.")
    if any(each.name == "image" for each in pipe.blocks.inputs):
        raise InputError(
            f"this {name} takes pictures, too, which change the denoiser's calls; make one of "
            'blocks.get_workflow("text2video").'
        )
    guider = pipe.components["guider"]
    if type(guider) is not ClassifierFreeGuidance or guider.guidance_rescale > 0:
        raise InputError(
            f"this {name} is guided by {type(guider).__name__}, which would change the motion's part; give it a "
            "ClassifierFreeGuidance without guidance_rescale."
        )
    if kind is WanPipeline and not is_ftfy_available():  # it alone can do without
        raise InputError(f"{name} needs the package ftfy: pip install ftfy.")
    parameters = inspect.signature(kind.__init__).parameters
    parts = {part: value for part, value in pipe.components.items() if part in parameters and value is not None}
    lacking = [part for part, each in parameters.items() if each.default is each.empty and part not in ("self", *parts)]
    if lacking:
        raise InputError(
            f"this {name} has no {', '.join(lacking)}; load them with load_components, or update_components."
        )
    return kind(**parts)
