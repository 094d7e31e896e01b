"""Tiny pipelines of HunyuanVideo and HunyuanVideo-1.5, of the real classes, with random weights."""

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tiny_parts import byte_tokenizer, ready, t5
from tokenizers import normalizers
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
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
ATTENTION = {"num_attention_heads": 2, "attention_head_dim": 16, "rope_axes_dim": (4, 6, 6), "mlp_ratio": 2.0}


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """Of bytes, but the pipeline's template has as many tokens as Llama's own tokenizer makes of it."""
    tokenizer = byte_tokenizer()
    before, after = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(before, "." * DEFAULT_PROMPT_TEMPLATE["crop_start"]), normalizers.Replace(after, "")]
    )
    return tokenizer


def hunyuan() -> HunyuanVideoPipeline:
    torch.manual_seed(0)
    return ready(
        HunyuanVideoPipeline(
            text_encoder=LlamaModel(LlamaConfig(**LANGUAGE)),
            tokenizer=llama_tokenizer(),
            text_encoder_2=CLIPTextModel(
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
            tokenizer_2=byte_tokenizer(),
            transformer=HunyuanVideoTransformer3DModel(
                in_channels=4,
                out_channels=4,
                num_layers=2,
                num_single_layers=3,
                num_refiner_layers=1,
                text_embed_dim=16,
                pooled_projection_dim=16,
                **ATTENTION,
            ),
            vae=AutoencoderKLHunyuanVideo(
                latent_channels=4,
                block_out_channels=(8, 8, 8, 8),
                layers_per_block=1,
                norm_num_groups=2,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        )
    )


def hunyuan15() -> HunyuanVideo15Pipeline:
    """With fewer tokens than the real one has for text, letters and picture."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    letters = ByT5Tokenizer(extra_ids=0)
    pipe = HunyuanVideo15Pipeline(
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
            **ATTENTION,
        ),
        vae=AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    )
    tokenizer.chat_template = f"{'.' * pipe.prompt_template_encode_start_idx}{{{{ messages[1]['content'] }}}}"
    pipe.tokenizer_max_length, pipe.tokenizer_2_max_length, pipe.vision_num_semantic_tokens = 64, 32, 8
    return ready(pipe)
