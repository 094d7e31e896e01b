"""Tiny pipelines of diffusion transformers, of the real classes, with random weights."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DPMSolverMultistepScheduler,
    LTXImageToVideoPipeline,
)
from tiny_hunyuan import (
    hunyuan,
    hunyuan15,
    hunyuan15_from_a_picture,
    hunyuan_from_a_picture,
    hunyuan_with_a_picture_in_channels,
)
from tiny_ltx import ltx
from tiny_ltx2 import STG, ltx2
from tiny_parts import Tiny, byte_tokenizer, ready, t5
from tiny_wan import (
    euler,
    expand_timesteps,
    image_to_video,
    image_to_video_of_5b,
    image_to_video_of_two_experts,
    two_experts,
    wan,
)


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


def cogvideox_from_a_picture(**changes: Any) -> CogVideoXImageToVideoPipeline:
    made = CogVideoXImageToVideoPipeline(**cogvideox(dpm(), in_channels=8, **ROTARY, **changes).components)
    made.set_progress_bar_config(disable=True)
    return made


def dpm_flow() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


FAMILIES: dict[str, Tiny] = {
    "cogvideox-2b": Tiny(cogvideox, "transformer_blocks.1", 13),
    "cogvideox-5b": Tiny(lambda: cogvideox(dpm(), **ROTARY), "transformer_blocks.1", 13),
    "cogvideox-1.5": Tiny(lambda: cogvideox(dpm(), patch_size_t=2, **ROTARY), "transformer_blocks.1", 17),
    "cogvideox-i2v": Tiny(cogvideox_from_a_picture, "transformer_blocks.1", 13),
    "cogvideox-1.5-i2v": Tiny(
        lambda: cogvideox_from_a_picture(patch_size_t=2, ofs_embed_dim=8), "transformer_blocks.1", 17
    ),
    "ltx": Tiny(ltx, "transformer_blocks.1", 25, height=64, width=96),
    "ltx-i2v": Tiny(lambda: ltx(LTXImageToVideoPipeline), "transformer_blocks.1", 25, height=64, width=96),
    "ltx-2": Tiny(ltx2, "transformer_blocks.1", 25, height=64, width=128, arguments=STG | {"guidance_rescale": 0.0}),
    "wan-2.1": Tiny(wan, "blocks.1", 13),
    "wan-2.1-euler": Tiny(lambda: wan(euler()), "blocks.1", 13),
    "wan-2.1-dpm": Tiny(lambda: wan(dpm_flow()), "blocks.1", 13),
    "wan-2.1-i2v": Tiny(image_to_video, "blocks.1", 13),
    "wan-2.2": Tiny(two_experts, "blocks.1", 13),
    "wan-2.2-5b": Tiny(expand_timesteps, "blocks.1", 13, height=64, width=96),
    "wan-2.2-i2v": Tiny(image_to_video_of_two_experts, "blocks.1", 13),
    "wan-2.2-5b-i2v": Tiny(image_to_video_of_5b, "blocks.1", 13, height=64, width=96),
    "hunyuan": Tiny(hunyuan, "transformer_blocks.1", 13, steps=12),
    "hunyuan-single": Tiny(hunyuan, "single_transformer_blocks.1", 13, steps=12),
    "hunyuan-i2v": Tiny(hunyuan_from_a_picture, "transformer_blocks.1", 13, steps=12),
    "hunyuan-i2v-33ch": Tiny(hunyuan_with_a_picture_in_channels, "transformer_blocks.1", 13, steps=12),
    "hunyuan-1.5": Tiny(hunyuan15, "transformer_blocks.1", 13, steps=12),
    "hunyuan-1.5-i2v": Tiny(hunyuan15_from_a_picture, "transformer_blocks.1", 13, steps=12),
}
