"""Tiny pipelines of HunyuanVideo and HunyuanVideo-1.5, of the real classes, with random weights."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import (
    DEFAULT_PROMPT_TEMPLATE as PICTURE_TEMPLATE,
)
from tiny_parts import byte_tokenizer, ready, t5
from tokenizers import normalizers
from transformers import (
    ByT5Tokenizer,
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

LANGUAGE = {
    "vocab_size": 258,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ATTENTION = {"num_attention_heads": 2, "attention_head_dim": 16, "rope_axes_dim": (4, 6, 6), "mlp_ratio": 2.0}


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """Of bytes, but the pipeline's template has as many tokens as Llama's own tokenizer makes of it."""
    tokenizer = byte_tokenizer()
    before, after = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(before, "." * DEFAULT_PROMPT_TEMPLATE["crop_start"]), normalizers.Replace(after, "")]
    )
    return tokenizer


def llava_tokenizer() -> PreTrainedTokenizerFast:
    """Of bytes, but the picture and the prompt are where Llama's own tokenizer puts them in the pipeline's template."""
    tokenizer = byte_tokenizer()
    special = ["<image>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    template = PICTURE_TEMPLATE["template"]
    description = template[template.index("Describe") : template.index("<|eot_id|>")]
    before = template[: template.index("{}")].replace("system", "s")
    filler = "." * (PICTURE_TEMPLATE["crop_start"] - len(tokenizer(before.replace(description, "")).input_ids) + 1)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace("system", "s"), normalizers.Replace(description, filler)]
    )
    return tokenizer


def llava(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """As many tokens for a picture as the pipeline counts on, 24x24, one for each pixel."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=8, image_size=24, patch_size=1),
        text_config=LlamaConfig(**LANGUAGE | {"vocab_size": len(tokenizer)}),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaForConditionalGeneration(config)


def hunyuan(kind: Any = HunyuanVideoPipeline, network: dict[str, Any] | None = None, **parts: Any) -> Any:
    """`network` and `parts` stand in place of what text to video has."""
    torch.manual_seed(0)
    usual = {
        "text_encoder": LlamaModel(LlamaConfig(**LANGUAGE)),
        "tokenizer": llama_tokenizer(),
        "text_encoder_2": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=258,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=1,
            )
        ),
        "tokenizer_2": byte_tokenizer(),
        "transformer": HunyuanVideoTransformer3DModel(
            **{"in_channels": 4, "out_channels": 4} | (network or {}),
            num_layers=2,
            num_single_layers=3,
            num_refiner_layers=1,
            text_embed_dim=16,
            pooled_projection_dim=16,
            **ATTENTION,
        ),
        "vae": AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=2,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
    }
    return ready(kind(**usual | parts))


def hunyuan_from_a_picture(**network: Any) -> HunyuanVideoImageToVideoPipeline:
    """The picture replaces the first latent frame."""
    torch.manual_seed(0)
    tokenizer = llava_tokenizer()
    return hunyuan(
        HunyuanVideoImageToVideoPipeline,
        {"image_condition_type": "token_replace"} | network,
        tokenizer=tokenizer,
        text_encoder=llava(tokenizer),
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}),
    )


def hunyuan_with_a_picture_in_channels() -> HunyuanVideoImageToVideoPipeline:
    """Like HunyuanVideo-I2V-33ch, which is told no guidance scale."""
    return hunyuan_from_a_picture(in_channels=9, image_condition_type="latent_concat", guidance_embeds=False)


def hunyuan15(kind: Any = HunyuanVideo15Pipeline, **parts: Any) -> Any:
    """With fewer tokens than the real one has for text, letters and picture."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    letters = ByT5Tokenizer(extra_ids=0)
    pipe = kind(
        text_encoder=Qwen2_5_VLTextModel(
            Qwen2_5_VLTextConfig(
                **LANGUAGE, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
            )
        ),
        tokenizer=tokenizer,
        text_encoder_2=t5(words=len(letters)),
        tokenizer_2=letters,
        transformer=HunyuanVideo15Transformer3DModel(
            in_channels=9,
            out_channels=4,
            num_layers=3,
            num_refiner_layers=1,
            text_embed_dim=16,
            text_embed_2_dim=16,
            image_embed_dim=16,
            target_size=40,
            **ATTENTION,
        ),
        vae=AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        **parts,
    )
    tokenizer.chat_template = f"{'.' * pipe.prompt_template_encode_start_idx}{{{{ messages[1]['content'] }}}}"
    pipe.tokenizer_max_length, pipe.tokenizer_2_max_length, pipe.vision_num_semantic_tokens = 64, 32, 4
    return ready(pipe)


def hunyuan15_from_a_picture() -> HunyuanVideo15ImageToVideoPipeline:
    """Its sizes are those of about 40x40 pixels, 48x32 among them."""
    torch.manual_seed(0)
    return hunyuan15(
        HunyuanVideo15ImageToVideoPipeline,
        image_encoder=SiglipVisionModel(SiglipVisionConfig(**VISION, image_size=32, patch_size=16)),
        feature_extractor=SiglipImageProcessorPil(size={"height": 32, "width": 32}),
    )
