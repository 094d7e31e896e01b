"""A tiny pipeline of LTX-2, of the real classes, with random weights and the real compression of 8x32x32."""

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from tiny_parts import byte_tokenizer, ready
from transformers import Gemma3TextConfig, Gemma3TextModel

STG = {"spatio_temporal_guidance_blocks": [1]}  # of the real model, block 28


def ltx2() -> LTX2Pipeline:
    """Put together as LTX-2.3 is. Of Gemma 3 only the part that reads text."""
    torch.manual_seed(0)
    channels, sound_channels, mel_bins = 8, 4, 8
    vae = AutoencoderKLLTX2Video(
        latent_channels=channels,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.randn(channels))
    vae.latents_std.copy_(torch.rand(channels) + 0.5)
    audio_vae = AutoencoderKLLTX2Audio(
        base_channels=sound_channels * mel_bins // 4,
        num_res_blocks=1,
        latent_channels=sound_channels,
        mel_bins=mel_bins,
    )
    return ready(
        LTX2Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                base_image_seq_len=1024,
                max_image_seq_len=4096,
                base_shift=0.95,
                max_shift=2.05,
                shift_terminal=0.1,
            ),
            vae=vae,
            audio_vae=audio_vae,
            text_encoder=Gemma3TextModel(
                Gemma3TextConfig(
                    vocab_size=258,
                    hidden_size=16,
                    intermediate_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    num_key_value_heads=1,
                    head_dim=8,
                )
            ),
            tokenizer=byte_tokenizer(),
            connectors=LTX2TextConnectors(
                caption_channels=16,
                text_proj_in_factor=3,
                video_connector_num_attention_heads=2,
                video_connector_attention_head_dim=16,
                video_connector_num_layers=1,
                audio_connector_num_attention_heads=2,
                audio_connector_attention_head_dim=8,
                audio_connector_num_layers=1,
                rope_type="split",
                per_modality_projections=True,
                video_hidden_dim=32,
                audio_hidden_dim=16,
            ),
            transformer=LTX2VideoTransformer3DModel(
                in_channels=channels,
                out_channels=channels,
                num_attention_heads=2,
                attention_head_dim=16,
                cross_attention_dim=32,
                gated_attn=True,
                cross_attn_mod=True,
                audio_in_channels=audio_vae.config.base_channels,
                audio_out_channels=audio_vae.config.base_channels,
                audio_num_attention_heads=2,
                audio_attention_head_dim=8,
                audio_cross_attention_dim=16,
                audio_gated_attn=True,
                audio_cross_attn_mod=True,
                num_layers=3,
                rope_type="split",
                use_prompt_embeddings=False,
                perturbed_attn=True,
            ),
            vocoder=LTX2Vocoder(
                in_channels=2 * mel_bins,
                hidden_channels=8,
                upsample_kernel_sizes=[4],
                upsample_factors=[2],
                resnet_kernel_sizes=[3],
                resnet_dilations=[[1]],
            ),
        )
    )
