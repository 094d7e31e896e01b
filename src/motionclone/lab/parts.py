"""Count what the parts of a named model weigh, and what its VAE has in memory at once, on the meta device."""

from dataclasses import dataclass
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn

from motionclone.lab.peaks import peak_of
from motionclone.models import HubModel, load_pipeline, named_models
from motionclone.models.mini_words import MINI_MODELS
from motionclone.settings import Sampling

# The text encoders that come with each pipeline, where their configurations differ from the defaults of their classes.
_T5_XXL = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}
_CLIP_L = ("CLIPTextModel", {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12})
_LLAMA_8B = {"intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128320}
_QWEN_7B = {
    "text_config": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
    "vision_config": {"out_hidden_size": 3584},
}
_BYT5_SMALL = {"d_model": 1472, "d_ff": 3584, "num_layers": 12, "num_heads": 6, "vocab_size": 1510}
_GEMMA_12B = {
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 262208,
    },
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
    },
}
_TEXT_ENCODERS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "CogVideoXPipeline": [("T5EncoderModel", {**_T5_XXL, "vocab_size": 32128})],
    "WanPipeline": [("UMT5EncoderModel", {**_T5_XXL, "vocab_size": 256384})],
    "LTXPipeline": [("T5EncoderModel", {**_T5_XXL, "vocab_size": 32128})],
    "LTX2Pipeline": [("Gemma3ForConditionalGeneration", _GEMMA_12B)],
    "HunyuanVideoPipeline": [("LlamaModel", _LLAMA_8B), _CLIP_L],
    "HunyuanVideo15Pipeline": [
        ("Qwen2_5_VLTextModel", _QWEN_7B["text_config"]),
        ("T5EncoderModel", {**_BYT5_SMALL, "feed_forward_proj": "gated-gelu"}),
    ],
}


@dataclass(frozen=True)
class Parts:
    """Bytes."""

    denoiser: int  # of one expert
    text_encoders: int
    vae: int
    others: int
    encode: int  # what the VAE has at once beyond its weights, for one video of the preset's size
    decode: int
    tiled: int  # the larger of both, on tiles


def parts_of(name: str, sampling: Sampling) -> Parts:
    """What the parts of a named model weigh in the numbers that they are loaded as on a GPU.

    Raises:
        InputError: if the VAE cannot take the size.
    """
    model = named_models()[name]
    if not isinstance(model, HubModel):
        return _of_pipeline(name, sampling) if name in MINI_MODELS else _of_stable_diffusion(name, sampling)
    dtype = getattr(torch, model.dtype)
    exact = torch.float32 if model.autoencoder == "AutoencoderKLWan" else dtype  # as `load_pipeline` does
    encoders = _TEXT_ENCODERS[model.pipeline]
    with torch.device("meta"):
        network = getattr(diffusers, model.network)(**model.transformer).to(dtype)
        vae = getattr(diffusers, model.autoencoder)(**model.vae).to(exact).eval()
        texts = [_text_encoder(kind, config).to(dtype) for kind, config in encoders]
        others = _of_sound() if model.pipeline == "LTX2Pipeline" else []
    video = torch.empty(1, 3, sampling.num_frames, sampling.height, sampling.width, device="meta", dtype=exact)
    return Parts(_weight(network), _weight(*texts), _weight(vae), _weight(*others), *_peaks(vae, video))


def _text_encoder(kind: str, config: dict[str, Any]) -> nn.Module:
    found = getattr(transformers, kind)
    return found(found.config_class(**config))  # type: ignore[no-any-return]


def _of_sound() -> list[nn.Module]:
    """LTX-2's further networks."""
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder

    return [part().to(torch.bfloat16) for part in (diffusers.AutoencoderKLLTX2Audio, LTX2TextConnectors, LTX2Vocoder)]


def _of_stable_diffusion(name: str, sampling: Sampling) -> Parts:
    """Stable Diffusion 1.5; AnimateDiff's VAE works on the frames of a video together."""
    pipe = load_pipeline(name, device="cpu", weights=False)
    with torch.device("meta"):
        text = _text_encoder(*_CLIP_L).half()
    video = torch.empty(sampling.num_frames, 3, sampling.height, sampling.width, device="meta", dtype=torch.float16)
    return Parts(_weight(pipe.unet), _weight(text), _weight(pipe.vae), 0, *_peaks(pipe.vae, video))


def _of_pipeline(name: str, sampling: Sampling) -> Parts:
    pipe = load_pipeline(name, device="cpu")
    pipe.to("meta")
    denoiser = pipe.unet if "unet" in pipe.components else pipe.transformer
    shape = (sampling.num_frames, 3) if "unet" in pipe.components else (1, 3, sampling.num_frames)
    video = torch.empty(*shape, sampling.height, sampling.width, device="meta")
    return Parts(_weight(denoiser), _weight(pipe.text_encoder), _weight(pipe.vae), 0, *_peaks(pipe.vae, video))


def _peaks(vae: Any, video: Tensor) -> tuple[int, int, int]:
    """Of encoding, decoding, and the larger of both on tiles."""
    with torch.no_grad():
        latents = vae.encode(video).latent_dist.mode()
    timed = getattr(vae.config, "timestep_conditioning", None) is not None
    rest = (torch.zeros(1, device="meta"),) if timed else ()
    calls = (lambda: vae.encode(video), lambda: vae.decode(latents, *rest))
    whole = [peak_of(call) for call in calls]
    vae.enable_tiling()
    for blend in ("blend_v", "blend_h", "blend_t"):  # row by row and in place: no memory, but thousands of operations
        if hasattr(vae, blend):
            setattr(vae, blend, lambda _before, tile, _extent: tile)
    return whole[0], whole[1], max(map(peak_of, calls))


def _weight(*parts: nn.Module) -> int:
    return sum(weight.nbytes for part in parts for weight in (*part.parameters(), *part.buffers()))
