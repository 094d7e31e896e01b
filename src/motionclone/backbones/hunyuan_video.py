"""HunyuanVideo and HunyuanVideo-1.5: full attention over the video's tokens and then the text's; flow prediction."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline, HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import extract_glyph_texts
from torch import Tensor

from motionclone.backbones.backbone import Call
from motionclone.backbones.transformer import Transformer, check_length
from motionclone.settings import Sampling

# Those of the pipeline by default: the scale told to the network, which was distilled from guided ones, and the length.
EMBEDDED_GUIDANCE = 6.0
LONGEST_PROMPT = 256


@dataclass(frozen=True)
class HunyuanVideo(Transformer):
    """HunyuanVideo, text to video.

    Blocks of two streams, one for the text, come before those of one stream. The guidance scale is told to the network;
    the pipeline uses a negative prompt only if it is given a `true_cfg_scale`, too, and calls for it second.
    """

    stacks: ClassVar[tuple[str, ...]] = ("transformer_blocks", "single_transformer_blocks")
    attention = "attn"
    text_tokens = "last"

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family."""
        return isinstance(pipe, HunyuanVideoPipeline)

    def token_grid(self, call: Call) -> tuple[int, int, int]:
        """Latents in patches."""
        config = self.config
        frames, height, width = call["hidden_states"].shape[2:]
        return frames // config.patch_size_t, height // config.patch_size, width // config.patch_size

    def split(self, call: Call) -> tuple[Call | None, Call]:
        """A call is never stacked, whatever its batch."""
        return None, call

    @property
    def channels(self) -> int:
        """Those of the VAE."""
        count: int = self.pipe.vae.config.latent_channels
        return count

    def check_prompt(self, prompt: str) -> None:
        """See `Backbone.check_prompt`. CLIP, which is asked for a summary only, reads the first 77 tokens."""
        check_length(self.pipe.tokenizer, prompt, LONGEST_PROMPT)

    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """See `Backbone.encode_video`. The posterior is sampled."""
        vae = self.pipe.vae
        video = frames.movedim(0, 1)[None].to(self.pipe._execution_device, vae.dtype)
        latents: Tensor = vae.encode(video).latent_dist.sample(generator) * vae.config.scaling_factor
        return latents

    def decode_video(self, latents: Tensor) -> Tensor:
        """See `Backbone.decode_video`."""
        vae = self.pipe.vae
        decoded: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample[0]
        return decoded.float().movedim(0, 1)

    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """See `Backbone.denoiser_call`."""
        device, dtype = latents.device, self.pipe.transformer.dtype
        words, summary, mask = self.pipe.encode_prompt(prompt, device=device, max_sequence_length=LONGEST_PROMPT)
        return {
            "hidden_states": latents.to(dtype),
            "timestep": torch.tensor([timestep], device=device, dtype=torch.float32),
            "encoder_hidden_states": words.to(dtype),
            "encoder_attention_mask": mask.to(dtype),
            "pooled_projections": summary.to(dtype),
            "guidance": torch.tensor([EMBEDDED_GUIDANCE * 1000], device=device, dtype=dtype),
        }

    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """See `Backbone.pipeline_arguments`. There is no negative prompt."""
        return {"guidance_scale": sampling.guidance_scale}


@dataclass(frozen=True)
class HunyuanVideo15(HunyuanVideo):
    """HunyuanVideo-1.5, text to video.

    All blocks have two streams. The denoiser is given latents, those of a picture and their mask, the latter two empty
    here, as channels. The pipeline's guider knows the guidance scale; only the plain one, which calls for the prompt
    and then for the negative prompt and forms u + s (c - u), leaves an increment as it is.
    """

    stacks = ("transformer_blocks",)

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family."""
        return isinstance(pipe, HunyuanVideo15Pipeline) and isinstance(pipe.guider, ClassifierFreeGuidance)

    def denoised(self, gradient: Tensor) -> Tensor:
        """See `Backbone.denoised`. The first channels are the latents."""
        return gradient[:, : self.config.out_channels]

    def check_prompt(self, prompt: str) -> None:
        """See `Backbone.check_prompt`. What stands in quotation marks is to be seen as letters, and read by ByT5."""
        check_length(self.pipe.tokenizer, prompt, self.pipe.tokenizer_max_length)
        check_length(self.pipe.tokenizer_2, extract_glyph_texts(prompt) or "", self.pipe.tokenizer_2_max_length)

    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """See `Backbone.denoiser_call`."""
        pipe, device, dtype = self.pipe, latents.device, self.pipe.transformer.dtype
        words, mask, letters, letters_mask = pipe.encode_prompt(prompt, device=device, dtype=dtype)
        latents = latents.to(dtype)
        return {
            "hidden_states": torch.cat([latents, *pipe.prepare_cond_latents_and_mask(latents, dtype, device)], dim=1),
            "timestep": torch.tensor([timestep], device=device, dtype=dtype),
            "encoder_hidden_states": words,
            "encoder_attention_mask": mask,
            "encoder_hidden_states_2": letters,
            "encoder_attention_mask_2": letters_mask,
            "image_embeds": latents.new_zeros(1, pipe.vision_num_semantic_tokens, pipe.vision_states_dim),
        }

    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """See `Backbone.pipeline_arguments`. The guidance scale is the guider's."""
        return {"negative_prompt": sampling.negative_prompt}
