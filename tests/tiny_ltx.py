"""Tiny pipelines of LTX-Video, of the real classes, with random weights and the real compression of 8x32x32."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from tiny_parts import byte_tokenizer, ready, t5


def ltx(kind: Any = LTXPipeline, **vae: Any) -> Any:
    torch.manual_seed(0)
    channels = 8
    coder = AutoencoderKLLTXVideo(
        latent_channels=channels,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        **vae,
    )
    coder.latents_mean.copy_(torch.randn(channels))
    coder.latents_std.copy_(torch.rand(channels) + 0.5)
    transformer = LTXVideoTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        num_layers=3,
        caption_channels=16,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        base_shift=0.95,
        max_shift=2.05,
        shift_terminal=0.1,
    )
    return ready(
        kind(
            scheduler=scheduler,
            vae=coder,
            text_encoder=t5(),
            tokenizer=byte_tokenizer(),
            transformer=transformer,
        )
    )
