"""Tiny pipelines of Wan, of the real classes, with random weights."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from diffusers.pipelines.wan import pipeline_wan_i2v
from tiny_parts import byte_tokenizer, ready
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

CHANNELS = 4
BOUNDARY = 0.875


def unipc() -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def euler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0)


def transformer(**changes: Any) -> WanTransformer3DModel:
    config: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_dim": 16,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 3,
        "rope_max_seq_len": 32,
    }
    return WanTransformer3DModel(**config | changes)


def vae(**changes: Any) -> AutoencoderKLWan:
    config: dict[str, Any] = {
        "base_dim": 4,
        "z_dim": CHANNELS,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
        "latents_mean": [-0.8, 0.1, 0.5, 0.0],
        "latents_std": [2.8, 1.5, 0.5, 1.0],
    }
    return AutoencoderKLWan(**config | changes)


def vae_of_5b() -> AutoencoderKLWan:
    return vae(is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16)


def text_parts() -> dict[str, Any]:
    config = UMT5Config(vocab_size=258, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return {"tokenizer": byte_tokenizer(), "text_encoder": UMT5EncoderModel(config)}


def image_parts() -> dict[str, Any]:
    config = CLIPVisionConfig(
        hidden_size=8, projection_dim=8, num_hidden_layers=2, num_attention_heads=2, image_size=32, intermediate_size=16
    )
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return {"image_encoder": CLIPVisionModel(config), "image_processor": processor}


def wan(scheduler: Any = None) -> WanPipeline:
    torch.manual_seed(0)
    return ready(WanPipeline(**text_parts(), vae=vae(), transformer=transformer(), scheduler=scheduler or unipc()))


def two_experts(scheduler: Any = None) -> WanPipeline:
    """Like Wan 2.2 A14B."""
    torch.manual_seed(0)
    experts = {"transformer": transformer(), "transformer_2": transformer()}
    return ready(
        WanPipeline(**text_parts(), **experts, vae=vae(), scheduler=scheduler or unipc(), boundary_ratio=BOUNDARY)
    )


def expand_timesteps() -> WanPipeline:
    """Like Wan 2.2 TI2V-5B."""
    torch.manual_seed(0)
    parts = {"vae": vae_of_5b(), "transformer": transformer(), "scheduler": unipc()}
    return ready(WanPipeline(**text_parts(), **parts, expand_timesteps=True))


def image_to_video() -> WanImageToVideoPipeline:
    """Like Wan 2.1: a picture in further channels, and to CLIP."""
    torch.manual_seed(0)
    network = transformer(in_channels=2 * CHANNELS + 4, image_dim=8, added_kv_proj_dim=24)
    parts = {"vae": vae(), "transformer": network, "scheduler": unipc()}
    return ready(WanImageToVideoPipeline(**text_parts(), **image_parts(), **parts))


def image_to_video_of_two_experts() -> WanImageToVideoPipeline:
    """Like Wan 2.2 A14B: a picture in further channels."""
    torch.manual_seed(0)
    experts = {name: transformer(in_channels=2 * CHANNELS + 4) for name in ("transformer", "transformer_2")}
    parts = {"vae": vae(), "scheduler": unipc()}
    return ready(WanImageToVideoPipeline(**text_parts(), **experts, **parts, boundary_ratio=BOUNDARY))


def image_to_video_of_5b() -> WanImageToVideoPipeline:
    """Like Wan 2.2 TI2V-5B: a picture in place of the first latent frame."""
    torch.manual_seed(0)
    parts = {"vae": vae_of_5b(), "transformer": transformer(), "scheduler": unipc()}
    return ready(WanImageToVideoPipeline(**text_parts(), **parts, expand_timesteps=True))


def without_ftfy(patch: pytest.MonkeyPatch) -> None:
    """The image-to-video pipeline passes prompts through ftfy, which the tests do without."""
    patch.setattr(pipeline_wan_i2v, "ftfy", SimpleNamespace(fix_text=str), raising=False)
    patch.setattr("motionclone.backbones.wan.is_ftfy_available", lambda: True)
