"""AnimateDiff on Stable Diffusion XL, tiny: three blocks, two readers of a prompt, sizes told to the UNet."""

from pathlib import Path

import torch
from diffusers import (
    AnimateDiffSDXLPipeline,
    AutoencoderKL,
    MotionAdapter,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tiny import animatediff_scheduler, byte_tokenizer, fill
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

CHANNELS = (32, 32, 64)
PROJECTION = 24  # of the second reader's summary
WIDTHS = (32, 48)  # of the two readers


def sdxl_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 8),
        cross_attention_dim=sum(WIDTHS),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + PROJECTION,
        use_linear_projection=True,
        sample_size=16,
    )
    fill(unet)
    return unet.eval()


def sdxl_adapter() -> MotionAdapter:
    adapter = MotionAdapter(
        block_out_channels=CHANNELS, motion_layers_per_block=1, use_motion_mid_block=False, motion_max_seq_length=32
    )
    fill(adapter)
    return adapter.eval()


def _reader(kind: type, width: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=PROJECTION,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    reader = kind(config)
    fill(reader, f"text_encoder.{width}.")
    return reader.eval()


def _base_parts(folder: Path) -> dict[str, object]:
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=0.13025,
        force_upcast=True,
    )
    fill(vae, "vae.")
    return {
        "vae": vae.eval(),
        "text_encoder": _reader(CLIPTextModel, WIDTHS[0]),
        "text_encoder_2": _reader(CLIPTextModelWithProjection, WIDTHS[1]),
        "tokenizer": byte_tokenizer(folder),
        "tokenizer_2": byte_tokenizer(folder),
        "unet": sdxl_unet(),
        "scheduler": animatediff_scheduler(),
    }


def sdxl_base(folder: Path) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(**_base_parts(folder), add_watermarker=False)


def sdxl_pipe(folder: Path) -> AnimateDiffSDXLPipeline:
    parts = _base_parts(folder)
    pipe = AnimateDiffSDXLPipeline(**parts, motion_adapter=sdxl_adapter())
    pipe.unet.add_embedding.load_state_dict(parts["unet"].add_embedding.state_dict())  # which diffusers 0.42 forgets
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe
