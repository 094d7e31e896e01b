"""Read the parts of a model, and say in one sentence what is wrong with one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from motionclone.errors import InputError


@contextmanager
def reading(place: str, part: str = "") -> Iterator[None]:
    """Say in one sentence what went wrong when diffusers, transformers or the hub cannot read `place`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and not Path(place).exists():
            raise InputError(
                f"{place} is no folder here and could not be fetched from the Hugging Face hub; "
                "check the id and the connection, or download it and give its folder."
            ) from error
        what = f"the {part} of {place}" if part else place
        raise InputError(f"{what} cannot be read ({said(error)}).") from error


def load_part(kind: Any, place: str, subfolder: str, dtype: torch.dtype) -> Any:
    """A network in diffusers' or transformers' layout; these would only log that weights are missing and go on."""
    with reading(place, subfolder):
        network, report = kind.from_pretrained(place, subfolder=subfolder, dtype=dtype, output_loading_info=True)
    missing = sorted(set(report["missing_keys"]) & {name for name, _ in network.named_parameters()})
    if missing:
        raise InputError(f"{place} lacks weights of its {kind.__name__}, such as {missing[0]}.")
    return network


def said(error: Exception) -> str:
    """An exception's message, on one line and without its full stop."""
    return " ".join(str(error).split()).rstrip(".")
