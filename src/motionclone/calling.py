"""What a pipeline is called with: what the settings say, and what a caller adds in the pipeline's own words."""

import inspect
import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin

import torch

from motionclone.backbones.backbone import Backbone
from motionclone.backbones.families import Pipeline, backbone_of
from motionclone.backbones.modular import is_modular
from motionclone.errors import InputError, either
from motionclone.settings import Settings

# What diffusers' pipelines call the pictures that they cannot do without, though most have a default, None.
PICTURES = ("image", "video", "conditioning_frames")

_CALL_IT = "read the motion with extract_motion and call the pipeline yourself inside motion_guidance"
# Arguments that are not a caller's here, since they say what settings and others say, and what to do instead.
_SAID_ELSEWHERE = {
    "num_inference_steps": "set sampling.steps",
    **{name: f"set sampling.{name}" for name in ("num_frames", "height", "width", "guidance_scale")},
    **dict.fromkeys(PICTURES, "give a condition"),
    "controlnet_frame_indices": "give a condition",
    "controlnet_conditioning_scale": "set conditioning.scale",
    "latents": "give a generator, or set seed and sampling.shared_noise",
}
# What pipelines say of plain arguments, to what that is in words. Many a whole number may be a fraction, too.
_PLAIN: dict[Any, tuple[str, type]] = {
    int: ("a number", Real),
    float: ("a number", Real),
    bool: ("True or False", bool),
    str: ("a text", str),
    dict: ("a dict", Mapping),
}
_COUNTS = {"decode_chunk_size": 1, "max_sequence_length": 1, "clip_skip": 0}  # to the least of each
_FRACTIONS = ("eta", "guidance_rescale", "decode_timestep")  # 0 to 1
_OF_THE_CALL = ("return_dict", "num_videos_per_prompt", "ip_adapter_image", "ip_adapter_image_embeds")


def caller_of(pipe: Pipeline) -> Backbone:
    """The backbone of a pipeline that can be called from here. InputError for a modular one."""
    if is_modular(pipe):
        raise InputError(f"{type(pipe).__name__} says itself what it takes and gives; {_CALL_IT}.")
    return backbone_of(pipe)


def with_arguments(settings: Settings, arguments: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """The settings, changed by those arguments that they have a word for, and the other arguments.

    Raises:
        InputError: an argument and something that was set contradict each other.
    """
    others, changes = dict(arguments), {}
    if "negative_prompt" in others:
        changes["negative_prompt"] = others.pop("negative_prompt") or ""
        if not isinstance(changes["negative_prompt"], str):
            raise InputError("negative_prompt must be one text, as one video is made; give a string.")
    if others.get("generator", 0) is None:
        del others["generator"]
    if "generator" in others:
        sampling = settings.sampling
        if not isinstance(others["generator"], torch.Generator):
            raise InputError("generator must be one torch.Generator, as one video is made; give torch.Generator().")
        if sampling.shared_noise and "shared_noise" in sampling.model_fields_set:
            raise InputError(
                "a generator makes the noise that the video starts from, and sampling.shared_noise takes the "
                "reference's; leave one of them out."
            )
        changes["shared_noise"] = False
    return settings.model_copy(update={"sampling": settings.sampling.model_copy(update=changes)}), others


def call_arguments(backbone: Backbone, prompt: str, settings: Settings) -> dict[str, Any]:
    """Of the pipeline, but for pictures and noise. InputError if there is something that it would ignore."""
    own = {"prompt": positive(prompt, settings), "num_inference_steps": settings.sampling.steps, "output_type": "pt"}
    return backbone.pipeline_arguments(settings.sampling) | own


def positive(prompt: str, settings: Settings) -> str:
    """The prompt with the positive prompt behind it."""
    return ", ".join(part for part in (prompt, settings.sampling.positive_prompt) if part)


def check_call(backbone: Backbone, own: Mapping[str, Any], added: Mapping[str, Any]) -> None:
    """InputError if the pipeline cannot be called so.

    Either it takes other arguments than its `own`, or needs more: it is for another task, as video to video; or a
    caller `added` what it does not take, or what is said elsewhere.
    """
    kind = type(backbone.pipe).__name__
    parameters = inspect.signature(type(backbone.pipe).__call__).parameters
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = {name for name, parameter in parameters.items() if parameter.kind in named} - {"self"}
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    brought = (*own, "latents", "generator")
    strange = [name for name in brought if name not in takes and not anything]
    needed = [
        parameter.name
        for parameter in parameters.values()
        if parameter.name not in ("self", *brought, *backbone.picture_arguments)
        and parameter.kind in named
        and (parameter.name in PICTURES or parameter.default is parameter.empty)
    ]
    if strange or needed:
        wants = [f"needs {', '.join(needed)}"] * bool(needed) + [f"takes no {', '.join(strange)}"] * bool(strange)
        raise InputError(f"{kind} {' and '.join(wants)}, so it cannot be called from here; {_CALL_IT}.")
    for name in added:
        if name not in takes:  # **kwargs of a pipeline are for what it has given up, and swallow the rest
            near = get_close_matches(name, takes, 1)
            remedy = f"did you mean {near[0]}" if near else "leave it out"
            raise InputError(f"{kind} takes no argument {name}; {remedy}.")
        if name in _SAID_ELSEWHERE:
            raise InputError(f"{name} is no argument here; {_SAID_ELSEWHERE[name]}.")
        if name in own or name in _OF_THE_CALL or ("prompt" in name and "embeds" in name):
            raise InputError(f"{name} is set here and no argument; leave it out, or {_CALL_IT}.")
        _check_value(backbone.pipe, name, added[name], parameters[name])
    check_function("callback_on_step_end", added.get("callback_on_step_end"))


def check_function(name: str, given: object) -> None:
    """InputError for an argument of that name that can neither be called nor is None."""
    if given is not None and not callable(given):
        raise InputError(f"{name} must be a function, not {given!r}; give one, or leave it out.")


def _check_value(pipe: Any, name: str, value: Any, parameter: inspect.Parameter) -> None:
    """InputError for a plain value of another kind or range than the pipeline means: it fails late, or not at all."""
    said = parameter.annotation
    kinds = {
        get_origin(each) or each for each in (get_args(said) if get_origin(said) in (Union, UnionType) else (said,))
    }
    if value is parameter.default or type(value) in kinds - _PLAIN.keys() or not kinds <= {*_PLAIN, type(None)}:
        return
    wanted = either(dict.fromkeys(_PLAIN[kind][0] for kind in _PLAIN if kind in kinds))
    fits = any(isinstance(value, _PLAIN[kind][1]) for kind in kinds & _PLAIN.keys())
    if isinstance(value, bool):
        fits = bool in kinds
    elif isinstance(value, Real):
        number = float(value)
        fits = fits and math.isfinite(number)
        if name in _COUNTS:
            layers = getattr(getattr(getattr(pipe, "text_encoder", None), "config", None), "num_hidden_layers", None)
            least, most = _COUNTS[name], layers if name == "clip_skip" else None
            wanted = f"a whole number, {least} {f'to {most}' if most else 'or more'}"
            fits = isinstance(value, Integral) and least <= number <= (most or number)
        elif name in _FRACTIONS:
            wanted, fits = "a number from 0 to 1", 0 <= number <= 1
    if not fits:
        raise InputError(f"{name} must be {wanted}, not {value!r}; change it, or leave it out.")


def recorded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of arguments that a caller added, before the call: `arguments`, and `not_reproducible`.

    The first holds plain JSON values and fresh generators, the second the names of all others.
    """
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, torch.Generator):
            seed = value.initial_seed()
            if torch.equal(value.get_state(), torch.Generator(value.device).manual_seed(seed).get_state()):
                kept[name] = {"seed": seed, "device": str(value.device)}
            continue
        try:
            kept[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError):  # a function, a tensor, pictures
            continue
    return {"arguments": kept, "not_reproducible": [name for name in arguments if name not in kept]}
