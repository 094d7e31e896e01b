"""Files of weights from strangers, and tensors into modules: plain numbers, as many as the file has bytes for."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from motionclone.errors import InputError
from motionclone.models.pickles import check_pickle
from motionclone.models.places import WEIGHT_SUFFIXES
from motionclone.models.texts import said

_AROUND = ("state_dict", "controlnet")  # what weights are kept under, beside an epoch and the like
MOST_TENSORS = 5000  # in an original file; with a second copy for averaging Stable Diffusion has 1,800
_HOLES = 2**30  # bytes from which a file that is mostly holes on the disk is told from one that compresses well


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file by name, without what is around them or "module." before their names.

    Entries that are no tensors (epoch, configuration) are dropped.

    Raises:
        InputError: it is not there, damaged, holds anything but plain weights, or claims more numbers than it has.
    """
    check_whole(path)
    suffix = path.suffix.lower()
    if suffix not in WEIGHT_SUFFIXES:
        raise InputError(f"{path} is no weight file: its name should end in one of {', '.join(WEIGHT_SUFFIXES)}.")
    try:
        found = load_file(path) if suffix == ".safetensors" else _load_pickle(path)
    except Exception as error:  # of readers that stumble over what strangers wrote
        raise InputError(
            f"{path} cannot be read as plain weights ({said(error)}): it is damaged, or a pickle of other objects, "
            "which motionclone does not open; download it again, or convert it to .safetensors where you trust it."
        ) from error
    weights = {
        name.removeprefix("module."): value
        for name, value in _unwrapped(found).items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not 0 < len(weights) <= MOST_TENSORS:
        raise InputError(f"{path} holds {len(weights) or 'no'} weights by name; give a file of weights.")
    # A view can repeat one number endlessly, and many names can share one tensor.
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in weights.items()}
    for name, size in sizes.items():
        if size > weights[name].untyped_storage().nbytes():
            raise InputError(f"{path} claims more numbers than it has, in {said(name, 80)}; download it again.")
    if sum(sizes.values()) > 2 * path.stat().st_size:
        raise InputError(f"{path} holds the same numbers under many names; give a file of plain weights.")
    return weights


def check_whole(path: Path) -> None:
    """Refuse a file that is not there, or of which the disk has little: what is left of a download."""
    if not path.is_file():
        raise InputError(f"there is no file {said(path)}.")
    status = path.stat()
    on_disk = 512 * getattr(status, "st_blocks", 0)  # 0 where the file system does not tell
    if status.st_size > _HOLES and 0 < on_disk < status.st_size // 8:
        raise InputError(f"{path} is mostly holes, as downloads that broke off leave behind; download it again.")


def _load_pickle(path: Path) -> Any:
    check_pickle(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _unwrapped(found: Any) -> dict[Any, Any]:
    for _ in range(3):  # files have one such layer; a dictionary may lie in itself
        around = found.keys() & _AROUND if isinstance(found, dict) else ()
        if not around:
            break
        found = found[min(around)]
    return found if isinstance(found, dict) else {}


def floats_in(dtype: torch.dtype, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with floating-point numbers in `dtype`; `fill` refuses others where they are weights."""
    return {name: each.to(dtype) if each.is_floating_point() else each for name, each in weights.items()}


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Make exactly these tensors the weights of `module`: shared, not copied; none may be missing or left over."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    problems = {
        "lacks": [name for name in shapes if name not in weights],
        "has unknown": [name for name in weights if name not in shapes],
        "has another shape of": [name for name in shapes if name in weights and weights[name].shape != shapes[name]],
        "has no finite numbers for": [name for name in shapes if name in weights and not is_finite(weights[name])],
    }
    found = [
        f"{what} {', '.join(said(name, 80) for name in names[:3])}"
        + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for what, names in problems.items()
        if names
    ]
    if found:
        raise InputError(f"{source} does not fit {type(module).__name__}: it {'; it '.join(found)}.")
    module.load_state_dict(dict(weights), assign=True)


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds floating-point numbers, none of them nan or infinite."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.is_floating_point()
    if tensor.element_size() == 1:  # PyTorch does not compare numbers of 8 bits
        tensor = tensor.to(torch.bfloat16)
    least, most = tensor.detach().aminmax()
    return bool(least.isfinite() & most.isfinite())
