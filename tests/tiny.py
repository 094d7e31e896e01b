"""Tiny models of the real classes, with weights that any machine can make again."""

import json
import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MotionAdapter,
    SparseControlNetModel,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from motionclone.backbones.per_frame_norm import use_per_frame_norm

CHANNELS = (32, 32, 32, 32)


def _weight(name: str, shape: torch.Size) -> np.ndarray:
    """The golden numbers' recipe: each tensor is drawn from PCG64 seeded by its diffusers name, then scaled."""
    normal = np.random.default_rng([20240608, zlib.crc32(name.encode())]).standard_normal(tuple(shape))
    if name.endswith(".bias"):
        return 0.05 * normal
    if len(shape) == 1:
        return 1 + 0.1 * normal
    if "embedding" in name and "time_embedding" not in name and "controlnet_cond" not in name:
        return 0.5 * normal
    gain = 1.0
    if name.endswith(("to_q.weight", "to_k.weight")):
        gain = 1.6 if "motion_modules" in name else 1.2
    return gain * normal / np.sqrt(np.prod(shape[1:]))


@torch.no_grad()
def fill(module: nn.Module, prefix: str = "") -> None:
    for name, parameter in module.named_parameters():
        parameter.copy_(torch.from_numpy(_weight(prefix + name, parameter.shape)))


def byte_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer whose words are single characters."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def tiny_unet(channels: tuple[int, ...] = CHANNELS, layers: int = 1) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=channels,
        layers_per_block=layers,
        cross_attention_dim=32,
        norm_num_groups=32,
        attention_head_dim=8,
        sample_size=16,
    )


def tiny_adapter(channels: tuple[int, ...] = CHANNELS, layers: int = 1) -> MotionAdapter:
    return MotionAdapter(
        block_out_channels=channels,
        motion_layers_per_block=layers,
        motion_num_attention_heads=8,
        motion_norm_num_groups=32,
        motion_max_seq_length=32,
        use_motion_mid_block=False,
    )


def animatediff_scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def tiny_pipe(
    folder: Path,
    *,
    channels: tuple[int, ...] = CHANNELS,
    layers: int = 1,
    per_frame_norm: bool = True,
    prediction_type: str = "epsilon",
) -> AnimateDiffPipeline:
    """An AnimateDiff pipeline of a million parameters; 8 pixels a latent."""
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=128,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=32,
            bos_token_id=512,
            eos_token_id=513,
            pad_token_id=513,
        )
    )
    fill(vae, "vae.")
    fill(text_encoder, "text_encoder.")
    pipe = AnimateDiffPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=byte_tokenizer(folder),
        unet=tiny_unet(channels, layers),
        motion_adapter=tiny_adapter(channels, layers),
        scheduler=animatediff_scheduler(prediction_type),
    )
    fill(pipe.unet)
    for component in (pipe.unet, pipe.vae, pipe.text_encoder):
        component.eval().requires_grad_(False)
    if per_frame_norm:
        use_per_frame_norm(pipe.unet)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_control(kind: str = "image", channels: tuple[int, ...] = CHANNELS, layers: int = 1) -> SparseControlNetModel:
    """SparseCtrl as published: for images it takes latents, for sketches pixels."""
    network = SparseControlNetModel(
        block_out_channels=channels,
        layers_per_block=layers,
        cross_attention_dim=32,
        conditioning_channels=4 if kind == "image" else 3,
        use_simplified_condition_embedding=kind == "image",
    )
    fill(network, "controlnet.")
    return network.eval().requires_grad_(False)


def sparse_pipe(
    folder: Path, kind: str = "image", channels: tuple[int, ...] = CHANNELS, layers: int = 1
) -> AnimateDiffSparseControlNetPipeline:
    """The tiny pipeline with SparseCtrl."""
    parts = tiny_pipe(folder, channels=channels, layers=layers).components
    pipe = AnimateDiffSparseControlNetPipeline(**parts, controlnet=tiny_control(kind, channels, layers))
    use_per_frame_norm(pipe.controlnet)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def leaving_by(end: type[BaseException] | None) -> AbstractContextManager[object]:
    """Expect the block to end by the exception `end`, or normally."""
    import pytest  # not where benchmarks borrow these models

    return nullcontext() if end is None else pytest.raises(end)


def state(module: nn.Module) -> dict[str, dict[str, object]]:
    """All that a hook or a patch could change: attributes, hooks, parameters and children of every module."""
    return {
        name: {
            key: {inner: id(kept) for inner, kept in value.items()} if isinstance(value, dict) else id(value)
            for key, value in vars(part).items()
        }
        for name, part in module.named_modules()
    }
