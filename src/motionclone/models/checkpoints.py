"""Original checkpoint files as their authors publish them, into diffusers modules, without the network.

- motion module: `v3_sd15_mm.ckpt` and its older and newer kin (AnimateDiff's own layout);
- domain adapter: `v3_sd15_adapter.ckpt` (a LoRA of the spatial attention);
- SparseCtrl: `v3_sd15_sparsectrl_rgb.ckpt`, `v3_sd15_sparsectrl_scribble.ckpt`;
- DreamBooth: `realisticVisionV60B1_v51VAE.safetensors` and others in the layout of the first Stable Diffusion code.

Files are read as plain weights, never as general pickles, and strictly: a missing or unknown name is an error.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, MotionAdapter, SparseControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from motionclone.errors import InputError

WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

_MOTION_NAMES = {  # AnimateDiff's part of a name -> diffusers'
    ".temporal_transformer.": ".",
    ".attention_blocks.0.pos_encoder.": ".pos_embed.",  # one table for both attentions in diffusers
    ".attention_blocks.0.": ".attn1.",
    ".attention_blocks.1.": ".attn2.",
    ".norms.0.": ".norm1.",
    ".norms.1.": ".norm2.",
    ".ff_norm.": ".norm3.",
}
_MOTION_MODULE = re.compile(r"down_blocks\.(\d+)\.motion_modules\.\d+\.norm\.weight")
_LORA = re.compile(r"(.+\.attn[12])\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
_TEXT_PREFIX = "cond_stage_model.transformer."
_DREAMBOOTH_PREFIXES = ("model.diffusion_model.", "first_stage_model.", _TEXT_PREFIX)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file by name, without what is around them or "module." before their names.

    Entries that are no tensors (epoch, configuration) are dropped.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    suffix = path.suffix.lower()
    if suffix not in WEIGHT_SUFFIXES:
        raise InputError(f"{path} is no weight file: its name should end in one of {', '.join(WEIGHT_SUFFIXES)}.")
    try:
        if suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as plain weights: it is damaged, or a pickle of other objects, which motionclone "
            "does not open; download it again, or convert it to .safetensors where you trust it."
        ) from error
    while isinstance(found, dict) and (around := found.keys() & {"state_dict", "controlnet"}):
        found = found[around.pop()]
    entries = found.items() if isinstance(found, dict) else ()
    weights = {str(name).removeprefix("module."): value for name, value in entries if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"{path} holds no weights by name.")
    return weights


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Make exactly these tensors the weights of `module`: shared, not copied; none may be missing or left over."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    problems = {
        "lacks": [name for name in shapes if name not in weights],
        "has unknown": [name for name in weights if name not in shapes],
        "has another shape of": [name for name in shapes if name in weights and weights[name].shape != shapes[name]],
    }
    said = [
        f"{what} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for what, names in problems.items()
        if names
    ]
    if said:
        raise InputError(f"{source} does not fit {type(module).__name__}: it {'; it '.join(said)}.")
    module.load_state_dict(dict(weights), assign=True)


def load_motion_module(path: Path, dtype: torch.dtype) -> MotionAdapter:
    """AnimateDiff's original motion module file as a MotionAdapter; its configuration is read off the shapes."""
    weights = _with_diffusers_names(read_weights(path), dtype)
    for name in [name for name in weights if name.endswith(".attn2.pos_encoder.pe")]:
        second, first = weights.pop(name), weights.get(name.replace(".attn2.pos_encoder.", ".pos_embed."))
        if first is not None and not torch.equal(first, second):
            raise InputError(f"{path} has two different position tables in one block; diffusers has room for one.")

    modules = [(match[1], len(tensor)) for name, tensor in weights.items() if (match := _MOTION_MODULE.fullmatch(name))]
    positions = weights.get("down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe")
    if not modules or positions is None:
        raise InputError(
            f"{path} is no AnimateDiff motion module: names such as down_blocks.0.motion_modules.0."
            f"temporal_transformer.norm.weight were expected, {next(iter(weights))} was found."
        )
    blocks = sorted({block for block, _ in modules}, key=int)
    layers = [[block for block, _ in modules].count(each) for each in blocks]
    with init_empty_weights():
        adapter = MotionAdapter(
            block_out_channels=tuple(dict(modules)[block] for block in blocks),
            motion_layers_per_block=layers[0] if len(set(layers)) == 1 else tuple(layers),
            motion_max_seq_length=positions.shape[1],
            use_motion_mid_block=any(name.startswith("mid_block.") for name in weights),
            motion_num_attention_heads=8,  # this and the next do not show in the shapes; all published files agree
            motion_norm_num_groups=32,
        )
    fill(adapter, weights, path)
    return adapter


def _with_diffusers_names(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in weights.items():
        for original, ours in _MOTION_NAMES.items():
            name = name.replace(original, ours)
        renamed[name] = tensor.to(dtype)
    return renamed


def load_sparse_control(path: Path, dtype: torch.dtype) -> SparseControlNetModel:
    """AnimateDiff's original SparseCtrl file; its configuration is read off the shapes."""
    weights = _with_diffusers_names(read_weights(path), dtype)
    simplified = "controlnet_cond_embedding.weight" in weights  # RGB, which takes latents
    first = weights.get(
        "controlnet_cond_embedding.weight" if simplified else "controlnet_cond_embedding.conv_in.weight"
    )
    blocks = _numbered(weights, "down_blocks.{}.resnets.0.conv2.weight")
    words = weights.get("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    if first is None or words is None or not blocks or "conv_in.weight" not in weights:
        raise InputError(
            f"{path} is no SparseCtrl: names such as controlnet_cond_embedding.weight and down_blocks.0.resnets.0."
            f"conv2.weight were expected, {next(iter(weights))} was found."
        )
    embedding = _numbered(weights, "controlnet_cond_embedding.blocks.{}.weight")
    positions = weights.get("down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe")
    with init_empty_weights():
        network = SparseControlNetModel(
            in_channels=weights["conv_in.weight"].shape[1],
            conditioning_channels=first.shape[1] - 1,  # the last is the mask of the frames that are given
            down_block_types=tuple(
                "CrossAttnDownBlockMotion"
                if f"down_blocks.{i}.attentions.0.norm.weight" in weights
                else "DownBlockMotion"
                for i in range(len(blocks))
            ),
            block_out_channels=tuple(len(block) for block in blocks),
            layers_per_block=len(_numbered(weights, "down_blocks.0.resnets.{}.conv1.weight")),
            cross_attention_dim=words.shape[1],
            conditioning_embedding_out_channels=(len(first), *(len(layer) for layer in embedding[1::2])),
            motion_max_seq_length=32 if positions is None else positions.shape[1],
            use_simplified_condition_embedding=simplified,
        )
    # Published files leave the tables of positions out; they are computed, not learned.
    tables = {name: table.to(dtype) for name, table in network.state_dict().items() if name.endswith(".pos_embed.pe")}
    fill(network, tables | weights, path)
    return network


def _numbered(weights: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    """The tensors whose name is the pattern with 0, with 1, ..., as far as there are some."""
    found: list[Tensor] = []
    while (tensor := weights.get(pattern.format(len(found)))) is not None:
        found.append(tensor)
    return found


def load_dreambooth(
    path: Path, base: str, dtype: torch.dtype
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """UNet, VAE and text encoder of a single-file Stable Diffusion 1.x checkpoint.

    `base` (folder or hub id) gives the configurations; its weights are not read.
    """
    weights = {n: tensor.to(dtype) for n, tensor in read_weights(path).items() if n.startswith(_DREAMBOOTH_PREFIXES)}
    if not weights:
        raise InputError(f"{path} is no Stable Diffusion checkpoint: no name starts with {_DREAMBOOTH_PREFIXES[0]}*.")
    unet_config = UNet2DConditionModel.load_config(base, subfolder="unet")
    vae_config = AutoencoderKL.load_config(base, subfolder="vae")
    text_config = CLIPTextConfig.from_pretrained(base, subfolder="text_encoder")
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(unet_config)
        vae = AutoencoderKL.from_config(vae_config)
        text_encoder = CLIPTextModel(text_config)
    fill(unet, convert_ldm_unet_checkpoint(weights, unet.config), path)
    fill(vae, convert_ldm_vae_checkpoint(weights, vae.config), path)
    # transformers and checkpoint files agree on the names up to "text_model.", which both have in some versions only.
    # Files hold more than the encoder needs (position_ids, text_projection); that may be left over.
    words = {
        name.removeprefix(_TEXT_PREFIX).removeprefix("text_model."): tensor
        for name, tensor in weights.items()
        if name.startswith(_TEXT_PREFIX)
    }
    names = {name: name.removeprefix("text_model.") for name in text_encoder.state_dict()}
    fill(text_encoder, {name: words[short] for name, short in names.items() if short in words}, path)
    return unet, vae, text_encoder


def merge_domain_adapter(unet: nn.Module, path: Path, scale: float) -> None:
    """Add a LoRA file to the attention layers it names: W += scale * up @ down."""
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_weights(path).items():
        match = _LORA.fullmatch(name)
        if match is None:
            raise InputError(f"{path} is no domain adapter: {name} is no LoRA weight of an attention layer.")
        layer = match[2].replace("to_out", "to_out.0")
        halves.setdefault(f"{match[1]}.{layer}.weight", {})[match[3]] = tensor.float()
    for name, half in halves.items():
        if len(half) == 1:
            raise InputError(f"{path} has only the {next(iter(half))} half of the LoRA of {name}.")
        change = half["up"] @ half["down"]
        try:
            weight = unet.get_parameter(name)
        except AttributeError as error:
            raise InputError(f"{path} does not fit the base model, which has no {name}.") from error
        if weight.shape != change.shape:
            raise InputError(
                f"{path} does not fit the base model, where {name} is {tuple(weight.shape)}, not {tuple(change.shape)}."
            )
        weight.data = (weight.float() + scale * change).to(weight.dtype)
