"""Tiny pipelines of diffusion transformers, of the real classes, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel


@dataclass(frozen=True)
class Tiny:
    """A family's tiny pipeline, and the smallest video that says something about it."""

    make: Callable[[], Any]
    block: str
    num_frames: int
    weight: float = 100.0
    height: int = 32
    width: int = 48
    steps: int = 8


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Words are bytes; </s> ends the text, as T5's do."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def t5(width: int = 16) -> T5EncoderModel:
    config = T5Config(vocab_size=258, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return T5EncoderModel(config)


def ready(pipe: Any) -> Any:
    """Random weights large enough that attention is not uniform; evaluation mode, frozen, quiet."""
    torch.manual_seed(1)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    for name, weight in pipe.transformer.named_parameters():
        if weight.ndim > 1 and ("to_q" in name or "to_k" in name):
            weight.mul_(3)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def cogvideox(scheduler: Any = None, **changes: Any) -> CogVideoXPipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 8,
        "text_embed_dim": 16,
        "num_layers": 3,
        "sample_width": 6,
        "sample_height": 4,
        "sample_frames": 9,
        "max_text_seq_length": 16,
        "spatial_interpolation_scale": 1.0,
    }
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    schedule = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    return ready(
        CogVideoXPipeline(
            tokenizer=byte_tokenizer(),
            text_encoder=t5(),
            vae=vae,
            transformer=CogVideoXTransformer3DModel(**config | changes),
            scheduler=scheduler or CogVideoXDDIMScheduler(**schedule, snr_shift_scale=3.0),
        )
    )


def dpm() -> CogVideoXDPMScheduler:
    return CogVideoXDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )


ROTARY = {"use_rotary_positional_embeddings": True}

FAMILIES: dict[str, Tiny] = {
    "cogvideox-2b": Tiny(cogvideox, "transformer_blocks.1", 13),
    "cogvideox-5b": Tiny(lambda: cogvideox(dpm(), **ROTARY), "transformer_blocks.1", 13),
    "cogvideox-1.5": Tiny(lambda: cogvideox(dpm(), patch_size_t=2, **ROTARY), "transformer_blocks.1", 17),
}
