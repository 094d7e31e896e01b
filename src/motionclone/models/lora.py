"""AnimateDiff's domain adapter: a LoRA of the spatial attention, merged into the weights."""

import re
from pathlib import Path

from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from torch import Tensor, nn

from motionclone.errors import InputError
from motionclone.models.texts import said
from motionclone.models.weights import is_finite, read_weights

# Names of single files of LoRAs in folders and on the hub.
LORA_FILES = ("diffusion_pytorch_model.safetensors", "pytorch_lora_weights.safetensors")
_HALF = re.compile(r"(?:unet\.)?(.+)\.lora_([AB])\.weight")


def merge_domain_adapter(unet: nn.Module, path: Path, scale: float) -> None:
    """Add a LoRA to the layers it names: W += scale * up @ down.

    Args:
        unet: changed in place.
        path: a file such as v3_sd15_adapter.ckpt, or a folder with one of `LORA_FILES`; names as in the original, as
            diffusers' `unet.`, or as PEFT's.
        scale: of the change; 1 is what the authors use.

    Raises:
        InputError: it is no LoRA, or of other layers or sizes.
    """
    path = _lora_file(path)
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in convert_unet_state_dict_to_peft(read_weights(path)).items():
        match = _HALF.fullmatch(name)
        if match is None:
            raise InputError(f"{path} is no domain adapter: {said(name, 80)} is no LoRA weight of an attention layer.")
        if tensor.ndim != 2 or not is_finite(tensor):
            raise InputError(f"{path} has no finite matrix for {said(name, 80)}; download it again.")
        halves.setdefault(f"{match[1]}.weight", {})[match[2]] = tensor.float()
    for name, half in halves.items():
        layer = said(name, 80)
        if len(half) == 1:
            raise InputError(f"{path} has only the {'down' if 'A' in half else 'up'} half of the LoRA of {layer}.")
        down, up = half["A"], half["B"]
        try:
            weight = unet.get_parameter(name)
        except AttributeError as error:
            raise InputError(f"{path} does not fit the base model, which has no {layer}.") from error
        if up.shape[1] != down.shape[0]:
            raise InputError(f"{path} has halves of ranks {down.shape[0]} and {up.shape[1]} for {layer}.")
        change = (up.shape[0], down.shape[1])
        if weight.shape != change:
            raise InputError(
                f"{path} does not fit the base model, where {layer} is {tuple(weight.shape)}, not {change}."
            )
        weight.data = (weight.float() + scale * (up @ down)).to(weight.dtype)


def _lora_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in LORA_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} has no LoRA; {' or '.join(LORA_FILES)} was expected there.")
