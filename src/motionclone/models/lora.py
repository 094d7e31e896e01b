"""LoRAs, merged into a network's weights: AnimateDiff's domain adapter, and those that make few steps enough.

Names are the original's of AnimateDiff, diffusers' (`unet.`, `transformer.`), PEFT's, those of kohya's scripts
(`lora_unet_`), or Wan's own (`diffusion_model.`).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from diffusers import WanPipeline
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from torch import Tensor, nn

from motionclone.errors import InputError
from motionclone.models.networks import reading
from motionclone.models.texts import said
from motionclone.models.weights import is_finite, read_weights

# Names of single files of LoRAs in folders and on the hub.
LORA_FILES = ("diffusion_pytorch_model.safetensors", "pytorch_lora_weights.safetensors")
_PART = re.compile(r"(?:unet\.|transformer\.)?(.+)\.(lora_A\.weight|lora_B\.weight|lora_B\.bias|alpha)")
_KOHYA = "lora_unet_"
_WAN = "diffusion_model."


def merge_lora(network: nn.Module, path: Path, scale: float, what: str = "LoRA") -> None:
    """Add a LoRA to the layers it names: W += scale * alpha / rank * up @ down; alpha is the rank where it is not said.

    Args:
        network: changed in place.
        path: a file such as v3_sd15_adapter.ckpt, or a folder with one of `LORA_FILES`.
        scale: of the change; 1 is what it was trained for, unless its authors say other.
        what: it is called.

    Raises:
        InputError: it is no LoRA, or of other layers or sizes.
    """
    path = _lora_file(path)
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _in_our_names(network, read_weights(path), path).items():
        match = _PART.fullmatch(name)
        if match is None:
            raise InputError(f"{path} is no {what}: {said(name, 80)} is no LoRA weight of a layer.")
        layer, part = match.groups()
        if tensor.ndim not in ((2, 4) if part.endswith("weight") else (0, 1)) or not is_finite(tensor):
            raise InputError(f"{path} has no finite matrix for {said(name, 80)}; download it again.")
        layers.setdefault(layer, {})[part] = tensor.float()
    for layer, parts in layers.items():
        _merge(network, layer, parts, scale, path)


def _merge(network: nn.Module, layer: str, parts: dict[str, Tensor], scale: float, path: Path) -> None:
    name = said(layer, 80)
    down, up = (parts.get(f"lora_{half}.weight") for half in "AB")
    if down is None and up is None:
        raise InputError(f"{path} is no LoRA: {name}.{said(next(iter(parts)), 20)} is no LoRA weight of a layer.")
    if down is None or up is None:
        raise InputError(f"{path} has only the {'up' if down is None else 'down'} half of the LoRA of {name}.")
    try:
        weight = network.get_parameter(f"{layer}.weight")
        bias = network.get_parameter(f"{layer}.bias") if "lora_B.bias" in parts else None
    except AttributeError as error:
        raise InputError(f"{path} does not fit the base model, which has no {name} to change.") from error
    if up.shape[1] != down.shape[0]:
        raise InputError(f"{path} has halves of ranks {down.shape[0]} and {up.shape[1]} for {name}.")
    change = (up.shape[0], *down.shape[1:])
    if weight.shape != change or up[0, 0].numel() != 1:
        raise InputError(f"{path} does not fit the base model, where {name} is {tuple(weight.shape)}, not {change}.")
    alpha = parts.get("alpha")
    factor = scale if alpha is None else scale * float(alpha) / len(down)
    weight.data = (weight.float() + factor * (up.flatten(1) @ down.flatten(1)).view(change)).to(weight.dtype)
    if bias is not None:
        if bias.shape != parts["lora_B.bias"].shape:
            raise InputError(f"{path} does not fit the base model, where the bias of {name} has another size.")
        bias.data = (bias.float() + factor * parts["lora_B.bias"]).to(bias.dtype)


def _in_our_names(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights by the network's layers, as PEFT names the parts of a LoRA."""
    if any(name.startswith(_KOHYA) for name in weights):
        known = {layer.replace(".", "_"): layer for layer, _ in network.named_modules()}
        parts = {".lora_down.": ".lora_A.", ".lora_up.": ".lora_B."}
        renamed = {}
        for name, tensor in weights.items():
            layer, dot, part = name.removeprefix(_KOHYA).partition(".")
            for theirs, ours in parts.items():
                part = f".{part}".replace(theirs, ours)[1:]
            renamed[known.get(layer, layer) + dot + part] = tensor
        return renamed
    if any(name.startswith(_WAN) for name in weights):
        changed = [name for name, each in weights.items() if "norm" in name and ".diff" in name and each.any()]
        if changed:  # diffusers leaves them out
            raise InputError(f"{path} changes {said(changed[0], 80)}, which no LoRA can; give another file.")
        with reading(path):
            converted: dict[str, Tensor] = WanPipeline.lora_state_dict(dict(weights))
        return converted
    return dict(convert_unet_state_dict_to_peft(dict(weights)))


def _lora_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in LORA_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} has no LoRA; {' or '.join(LORA_FILES)} was expected there.")
