"""Networks in diffusers' or transformers' layout: a configuration beside its weights, neither believed alone.

The network is first built on the meta device, where numbers take no memory, and no further than its weights reach: a
configuration with a million layers, or with none, is told in a moment.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ConfigMixin
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from motionclone.errors import InputError, named
from motionclone.models.configs import read_config
from motionclone.models.texts import read_mapping, said
from motionclone.models.weights import check_whole, is_finite, read_weights

LARGEST_TABLES = 2**26  # numbers in tables that are computed, such as those of positions; CogVideoX-5b has 55 million


@dataclass(frozen=True)
class Stored:
    """What the weight files of a network hold."""

    tensors: int
    numbers: int


def files_of(part: str = "", pickled: bool = False) -> list[str]:
    """Patterns of the files of a part: its configuration or words, and its weights without variants such as fp16."""
    names = ["*.json", "*.txt", "*.model"]
    for stem in ("diffusion_pytorch_model", "model"):
        names += [f"{stem}.safetensors", f"{stem}-?????-of-?????.safetensors"]
    if pickled:
        names += ["diffusion_pytorch_model.bin", "pytorch_model.bin"]
    return [f"{part}/{name}".removeprefix("/") for name in names]


def load_part(kind: Any, folder: Path, part: str, dtype: torch.dtype, pickled: bool = False) -> Any:
    """A network of a class of diffusers or transformers from `folder`/`part`, complete, or InputError.

    These would only log that weights are missing and go on. With `pickled`, weights may be .bin files.
    """
    place = folder / part
    with reading(f"the {part} of {folder}" if part else folder):
        config = read_config(kind, place)
        stored, safe = stored_weights(kind, place, pickled)
        check_described(kind, config, stored, place)
        network, report = kind.from_pretrained(
            str(place),
            dtype=dtype,
            use_safetensors=safe,
            local_files_only=True,
            output_loading_info=True,
        )
        missing = sorted(set(report["missing_keys"]) & {name for name, _ in network.named_parameters()})
        if missing:
            raise InputError(f"{place} lacks weights of its {kind.__name__}, such as {said(missing[0], 80)}.")
        # The classes of transformers read parts of a file, those of diffusers all of it.
        unused = len(report["unexpected_keys"]) if issubclass(kind, ConfigMixin) else 0
        if unused > stored.tensors // 4:
            raise InputError(f"{place} describes a {kind.__name__} without {unused} of its weights; fetch it again.")
        check_finite(network, place, packed="quantization_config" in config)
    return network


@contextmanager
def reading(place: str | Path) -> Iterator[None]:
    """Say in one sentence what went wrong when diffusers or transformers read `place`, which strangers wrote."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever a value of a wrong kind leads to
        raise InputError(f"{place} cannot be read ({type(error).__name__}: {said(error)}); fetch it again.") from error


def stored_weights(kind: Any, place: Path, pickled: bool) -> tuple[Stored, bool]:
    """What the files of a network hold, by their headers; and whether these are safetensors.

    Raises:
        InputError: there are none, or only pickled ones and these were not asked for.
    """
    stem, old = ("diffusion_pytorch_model",) * 2 if issubclass(kind, ConfigMixin) else ("model", "pytorch_model")
    single, index = place / f"{stem}.safetensors", place / f"{stem}.safetensors.index.json"
    pickle = place / f"{old}.bin"
    if not single.is_file() and not index.is_file():
        if not pickle.is_file():
            raise InputError(f"{place} has no weights; {single.name} was expected there.")
        if not pickled:
            raise InputError(
                f"{place} has its weights in {pickle.name} only, a pickle; where you trust it, say so "
                f"({named('pickled', True)}), or convert it to .safetensors."
            )
        weights = read_weights(pickle)
        return Stored(len(weights), sum(each.numel() for each in weights.values())), False
    tensors = numbers = 0
    for file in [single] if single.is_file() else _shards(index):
        check_whole(file)
        with safe_open(file, framework="pt") as header:
            for name in header.keys():  # noqa: SIM118
                tensors += 1
                numbers += int(torch.Size(header.get_slice(name).get_shape()).numel())
    return Stored(tensors, numbers), True


def _shards(index: Path) -> list[Path]:
    """The files that an index names, which lie beside it."""
    names = set(read_mapping(index)["weight_map"].values())
    if any(Path(name).name != name for name in names):
        raise InputError(f"{index} names files outside its folder; fetch it again.")
    return [index.parent / name for name in sorted(names)]


def empty_network(kind: Any, config: dict[str, Any], stored: Stored, place: Path) -> nn.Module:
    """The network that a configuration describes, its weights on the meta device, its computed tables at hand.

    Raises:
        InputError: there is no such network, or it has far more weights than are stored.
    """
    with reading(place):
        check_described(kind, config, stored, place)
        with init_empty_weights():
            return _built(kind, config, place)


def check_described(kind: Any, config: dict[str, Any], stored: Stored, place: Path) -> None:
    """Refuse a configuration that describes no network, or one with far more weights than are stored."""
    with torch.device("meta"), _no_larger_than(stored, kind.__name__, place), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers without channels and the like, which end in an error or a sentence
        _built(kind, config, place)


def _built(kind: Any, config: dict[str, Any], place: Path) -> nn.Module:
    network: nn.Module
    if issubclass(kind, ConfigMixin):
        network = kind.from_config(config)
    else:
        network = kind(kind.config_class.from_pretrained(str(place), local_files_only=True))
    return network


@contextmanager
def _no_larger_than(stored: Stored, name: str, place: str | Path) -> Iterator[None]:
    """Inside the `with`, networks that this thread builds end in an InputError once they outgrow what is stored."""
    thread = threading.get_ident()
    # Generous, since weights may be tied, and since modules without weights belong to a network as well.
    left = {
        "modules": 20 * stored.tensors + 2000,
        "numbers": 4 * stored.numbers + 2**20,
        "tables": LARGEST_TABLES + stored.numbers,
    }

    def counting(what: str) -> Any:
        def hook(_module: nn.Module, _name: str, value: Tensor | nn.Module | None) -> None:
            if value is None or threading.get_ident() != thread:
                return
            left[what] -= value.numel() if isinstance(value, Tensor) else 1
            if left[what] < 0:
                raise InputError(f"{place} describes a far larger {name} than its weights are; fetch it again.")

        return hook

    with ExitStack() as hooks:
        for handle in (
            register_module_module_registration_hook(counting("modules")),
            register_module_parameter_registration_hook(counting("numbers")),
            register_module_buffer_registration_hook(counting("tables")),
        ):
            hooks.callback(handle.remove)
        yield


def check_finite(network: nn.Module, place: str | Path, packed: bool) -> None:
    """Refuse weights that are not finite, or no floating-point numbers unless they are packed."""
    for name, weight in network.named_parameters():
        if not is_finite(weight) and (weight.is_floating_point() or not packed):
            raise InputError(f"{place} has no finite numbers for {name}; fetch it again, or use dtype float32.")
