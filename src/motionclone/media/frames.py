"""Frames that are given as values, in any of the forms that diffusers takes, to the one that is used here."""

import math
import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from motionclone.errors import InputError

OutputType = Literal["pil", "np", "pt"]
"""Forms of frames, as diffusers' pipelines name them."""

# By how much a value may leave its range: resizing and 16-bit types round. What is beyond was never in it.
_ROUNDING = 1e-3


def as_frames(value: Any, *, what: str = "frames") -> Tensor:
    """Frames (f, 3, h, w), RGB in [-1, 1], of any of the forms below.

    ==============================================  =========================================
    given                                           values
    ==============================================  =========================================
    tensor (f, 3, h, w), floating point             [-1, 1], as everywhere in this library
    tensor (f, 3, h, w), uint8                      0 to 255
    NumPy array (f, h, w, 3), floating point        [0, 1], as diffusers has them
    NumPy array (f, h, w, 3), uint8                 0 to 255
    list of PIL images of one size                  of any 8-bit mode; converted to RGB
    list of NumPy arrays (h, w, 3), or of tensors   each as above, without f
        (3, h, w)
    ==============================================  =========================================

    The axes and the range go by the container, as in diffusers, since values alone do not tell: a tensor of floats in
    [0, 1] (`output_type="pt"`) is taken for a pale clip in [-1, 1]; double it and subtract 1 before.

    Args:
        value: the frames.
        what: their name in a message.

    Returns:
        Floating point, at least 32 bits, on the device of a tensor that was given, else on the CPU. Values that
        rounding has carried over the edge are clipped.

    Raises:
        InputError: another type, shape or range, no frames, NaN or infinity; the sentence says how to convert them.
    """
    import numpy as np

    if isinstance(value, Tensor):
        return _from_tensor(value, what)
    if isinstance(value, np.ndarray):
        return _from_array(value, what)
    if isinstance(value, list | tuple):
        return _from_list(value, what)
    remedy = "give a tensor, a NumPy array or a list of pictures"
    if isinstance(value, str | os.PathLike):
        remedy = "read the file with read_clip, and give its frames"
    elif hasattr(value, "frames"):
        remedy = "give its .frames"
    elif hasattr(value, "convert"):
        remedy = "give a list of pictures, even of one"
    raise InputError(f"{what} must be (n, 3, h, w) with values in [-1, 1], not {type(value).__name__}; {remedy}.")


def check_output_type(output_type: str | None) -> None:
    """InputError if there is no such form."""
    if output_type not in (None, *get_args(OutputType)):
        raise InputError(f"output_type is one of {', '.join(get_args(OutputType))}, or None, not {output_type!r}.")


def in_form(pixels: Tensor, output_type: OutputType | None) -> Any:
    """Frames (f, 3, h, w) in [0, 1] as a pipeline of diffusers gives them; None is this library's own, [-1, 1]."""
    if output_type is None:
        return pixels * 2 - 1
    if output_type == "pt":
        return pixels
    array = pixels.permute(0, 2, 3, 1).numpy()
    if output_type == "np":
        return array
    from PIL import Image

    return [Image.fromarray(frame) for frame in (array * 255).round().astype("uint8")]


def _from_tensor(value: Tensor, what: str) -> Tensor:
    if value.is_nested or value.layout != torch.strided or value.is_meta:
        raise InputError(
            f"{what} must be a dense tensor with values, not {value.layout} on {value.device}; convert it."
        )
    shape = tuple(value.shape)
    if len(shape) != 4 or shape[1] != 3 or 0 in shape:
        raise InputError(f"{what} must be (n, 3, h, w), one or more, not {shape}; {_rearranged(shape, what)}.")
    if value.dtype == torch.uint8:
        return value.float() / 127.5 - 1
    if not value.is_floating_point():
        raise InputError(f"{what} must be floating point or uint8, not {value.dtype}; use uint8 for 0 to 255.")
    wide = value if value.dtype in (torch.float32, torch.float64) else value.float()
    low, high = _range(wide, what)
    if max(-low, high) > 1 + max(_ROUNDING, torch.finfo(value.dtype).eps):
        remedy = "clamp them, if they are a decoder's"
        if max(-low, high) > 2:
            remedy = "divide them by 127.5 and subtract 1, or give uint8" if low >= 0 and high <= 255 else "scale them"
        raise InputError(f"{what} must have values in [-1, 1], not from {low:g} to {high:g}; {remedy}.")
    return wide if max(-low, high) <= 1 else wide.clamp(-1, 1)


def _rearranged(shape: tuple[int, ...], what: str) -> str:
    """What to do with a tensor of another shape."""
    if 0 in shape:
        return "give some"
    if len(shape) == 5:
        return f"give one clip of the batch, {what}[0]"
    if len(shape) == 4 and shape[-1] == 3:
        return "put its channels second, with permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[0] == 3:
        return "put its channels second, with transpose(0, 1)"
    if len(shape) == 4 and shape[1] == 1:
        return "repeat its grey channel, with expand(-1, 3, -1, -1)"
    if len(shape) == 4 and shape[1] == 4:
        return f"leave its fourth channel out, with {what}[:, :3]"
    if len(shape) == 3 and shape[0] == 3:
        return f"one is {what}[None]"
    return "bring it to this shape"


def _from_array(value: Any, what: str) -> Tensor:
    import numpy as np

    shape = tuple(value.shape)
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        remedy = "give some" if 0 in shape else "bring it to this shape"
        if len(shape) == 5:
            remedy = f"give one clip of the batch, {what}[0]"
        elif len(shape) == 4 and shape[1] == 3:
            remedy = "put its channels last, with transpose(0, 2, 3, 1), or give a tensor"
        elif len(shape) == 4 and shape[-1] == 4:
            remedy = f"leave its fourth channel out, with {what}[..., :3]"
        raise InputError(f"{what} in a NumPy array must be (n, h, w, 3), one or more, not {shape}; {remedy}.")
    if value.dtype == np.uint8:
        return torch.from_numpy(np.array(value)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if value.dtype.kind != "f":
        raise InputError(f"{what} must be floating point or uint8, not {value.dtype}; use uint8 for 0 to 255.")
    found = torch.from_numpy(np.array(value, dtype=np.float32)).permute(0, 3, 1, 2)
    low, high = _range(found, what)
    if not -_ROUNDING <= low <= high <= 1 + _ROUNDING:
        remedy = "scale them"
        if -1 - _ROUNDING <= low < 0 and high <= 1 + _ROUNDING:
            remedy = "add 1 and divide by 2, or give a tensor (n, 3, h, w), which is in [-1, 1]"
        elif low >= 0 and high <= 255:
            remedy = "divide them by 255, or give uint8"
        raise InputError(
            f"{what} in a NumPy array must have values in [0, 1], as in diffusers, not from {low:g} to {high:g}; "
            f"{remedy}."
        )
    return found.clamp(0, 1) * 2 - 1


def _range(values: Tensor, what: str) -> tuple[float, float]:
    """The lowest and the highest value."""
    low, high = (float(each) for each in values.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN goes through to both
        raise InputError(f"{what} hold NaN or infinity, and finite values were expected; make them again in float32.")
    return low, high


def _from_list(value: Sequence[Any], what: str) -> Tensor:
    import numpy as np
    from PIL import Image

    if not value:
        raise InputError(f"{what} must be one or more, not an empty list; give some.")
    for kind in (Tensor, np.ndarray, Image.Image):
        if all(isinstance(each, kind) for each in value):
            break
    else:
        kinds = " and ".join(sorted({type(each).__name__ for each in value}))
        raise InputError(
            f"{what} in a list must be all PIL images, all NumPy arrays (h, w, 3) or all tensors (3, h, w), not "
            f"{kinds}; convert them, or give one clip."
        )
    sizes = list(dict.fromkeys(each.size if kind is Image.Image else tuple(each.shape) for each in value))
    if len(sizes) > 1:
        raise InputError(f"{what} must be of one size, not {sizes[0]} and {sizes[1]}; resize them.")
    if kind is Image.Image:
        return _from_array(np.stack([_rgb(picture, number, what) for number, picture in enumerate(value)]), what)
    if len(dtypes := {str(each.dtype) for each in value}) > 1:
        raise InputError(f"{what} must be of one type, not {' and '.join(sorted(dtypes))}; convert them.")
    return _from_tensor(torch.stack(list(value)), what) if kind is Tensor else _from_array(np.stack(value), what)


def _rgb(picture: Any, number: int, what: str) -> Any:
    """A PIL image as (h, w, 3) uint8."""
    import numpy as np

    if picture.mode.startswith(("I", "F")):
        raise InputError(
            f"{what} must have 8 bits a channel, and number {number} is of mode {picture.mode}; convert it to RGB."
        )
    try:
        return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # it is only read now
        raise InputError(f"number {number} of {what} cannot be read ({error}); open another file.") from error
