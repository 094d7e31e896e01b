"""Original checkpoint files as their authors publish them, into diffusers modules, without the network.

- motion module: `v3_sd15_mm.ckpt` and its older and newer kin (AnimateDiff's own layout);
- SparseCtrl: `v3_sd15_sparsectrl_rgb.ckpt`, `v3_sd15_sparsectrl_scribble.ckpt`;
- DreamBooth: `realisticVisionV60B1_v51VAE.safetensors` and others in the layout of the first Stable Diffusion code.

Files are read as plain weights, never as general pickles, and strictly: a missing or unknown name is an error.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, MotionAdapter, SparseControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor
from transformers import CLIPTextModel

from motionclone.errors import InputError
from motionclone.models.configs import read_config
from motionclone.models.networks import Stored, empty_network, reading
from motionclone.models.texts import said
from motionclone.models.weights import fill, floats_in, read_weights

_MOTION_NAMES = {  # AnimateDiff's part of a name -> diffusers'
    ".temporal_transformer.": ".",
    ".attention_blocks.0.pos_encoder.": ".pos_embed.",  # one table for both attentions in diffusers
    ".attention_blocks.0.": ".attn1.",
    ".attention_blocks.1.": ".attn2.",
    ".norms.0.": ".norm1.",
    ".norms.1.": ".norm2.",
    ".ff_norm.": ".norm3.",
}
_MOTION_MODULE = re.compile(r"down_blocks\.(\d{1,2})\.motion_modules\.\d{1,2}\.norm\.weight")
_POSITIONS = "down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"
_TEXT_PREFIX = "cond_stage_model.transformer."
_DREAMBOOTH_PREFIXES = ("model.diffusion_model.", "first_stage_model.", _TEXT_PREFIX)


def load_motion_module(path: Path, dtype: torch.dtype) -> MotionAdapter:
    """AnimateDiff's original motion module file as a MotionAdapter; its configuration is read off the shapes."""
    weights = _with_diffusers_names(read_weights(path), dtype)
    for name in [name for name in weights if name.endswith(".attn2.pos_encoder.pe")]:
        second, first = weights.pop(name), weights.get(name.replace(".attn2.pos_encoder.", ".pos_embed."))
        if first is not None and not torch.equal(first, second):
            raise InputError(f"{path} has two different position tables in one block; diffusers has room for one.")

    modules = [
        (match[1], len(each)) for name, each in _of_rank(1, weights) if (match := _MOTION_MODULE.fullmatch(name))
    ]
    positions = dict(_of_rank(3, weights)).get(_POSITIONS)
    if not modules or positions is None:
        raise InputError(
            f"{path} is no AnimateDiff motion module: names such as down_blocks.0.motion_modules.0."
            f"temporal_transformer.norm.weight were expected, {said(next(iter(weights)), 80)} was found."
        )
    blocks = sorted({block for block, _ in modules}, key=int)
    layers = [[block for block, _ in modules].count(each) for each in blocks]
    config = {
        "block_out_channels": tuple(dict(modules)[block] for block in blocks),
        "motion_layers_per_block": layers[0] if len(set(layers)) == 1 else tuple(layers),
        "motion_max_seq_length": positions.shape[1],
        "use_motion_mid_block": any(name.startswith("mid_block.") for name in weights),
        "motion_num_attention_heads": 8,  # this and the next do not show in the shapes; all published files agree
        "motion_norm_num_groups": 32,
    }
    adapter = empty_network(MotionAdapter, config, _stored(weights), path)
    fill(adapter, weights, path)
    return adapter


def _of_rank(rank: int, weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in weights.items() if tensor.ndim == rank]


def _stored(weights: Mapping[str, Tensor]) -> Stored:
    return Stored(len(weights), sum(tensor.numel() for tensor in weights.values()))


def _with_diffusers_names(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in weights.items():
        for original, ours in _MOTION_NAMES.items():
            name = name.replace(original, ours)
        renamed[name] = tensor
    return floats_in(dtype, renamed)


def load_sparse_control(path: Path, dtype: torch.dtype) -> SparseControlNetModel:
    """AnimateDiff's original SparseCtrl file; its configuration is read off the shapes."""
    weights = _with_diffusers_names(read_weights(path), dtype)
    simplified = "controlnet_cond_embedding.weight" in weights  # RGB, which takes latents
    convolutions = dict(_of_rank(4, weights))
    first = convolutions.get(
        "controlnet_cond_embedding.weight" if simplified else "controlnet_cond_embedding.conv_in.weight"
    )
    blocks = _numbered(convolutions, "down_blocks.{}.resnets.0.conv2.weight")
    words = dict(_of_rank(2, weights)).get("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    if first is None or words is None or not blocks or "conv_in.weight" not in convolutions:
        raise InputError(
            f"{path} is no SparseCtrl: names such as controlnet_cond_embedding.weight and down_blocks.0.resnets.0."
            f"conv2.weight were expected, {said(next(iter(weights)), 80)} was found."
        )
    embedding = _numbered(convolutions, "controlnet_cond_embedding.blocks.{}.weight")
    positions = dict(_of_rank(3, weights)).get(_POSITIONS)
    config = {
        "in_channels": convolutions["conv_in.weight"].shape[1],
        "conditioning_channels": first.shape[1] - 1,  # the last is the mask of the frames that are given
        "down_block_types": tuple(
            "CrossAttnDownBlockMotion" if f"down_blocks.{i}.attentions.0.norm.weight" in weights else "DownBlockMotion"
            for i in range(len(blocks))
        ),
        "block_out_channels": tuple(len(block) for block in blocks),
        "layers_per_block": len(_numbered(convolutions, "down_blocks.0.resnets.{}.conv1.weight")),
        "cross_attention_dim": words.shape[1],
        "conditioning_embedding_out_channels": (len(first), *(len(layer) for layer in embedding[1::2])),
        "motion_max_seq_length": 32 if positions is None else positions.shape[1],
        "use_simplified_condition_embedding": simplified,
    }
    network = empty_network(SparseControlNetModel, config, _stored(weights), path)
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
    path: Path, base: Path, dtype: torch.dtype
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """UNet, VAE and text encoder of a single-file Stable Diffusion 1.x checkpoint.

    `base`, a folder in diffusers' layout, gives the configurations; its weights are not read.
    """
    found = {name: tensor for name, tensor in read_weights(path).items() if name.startswith(_DREAMBOOTH_PREFIXES)}
    weights = floats_in(dtype, found)
    if not weights:
        raise InputError(f"{path} is no Stable Diffusion checkpoint: no name starts with {_DREAMBOOTH_PREFIXES[0]}*.")
    unet, vae, text_encoder = (
        empty_network(kind, read_config(kind, base / part), _stored(weights), base / part)
        for kind, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder"))
    )
    with reading(path):
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
