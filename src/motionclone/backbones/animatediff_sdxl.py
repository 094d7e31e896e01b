"""AnimateDiff on Stable Diffusion XL: two readers of the prompt, and a UNet that is told the size of the picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from motionclone.backbones.animatediff import AnimateDiff, check_length
from motionclone.backbones.backbone import Call


@dataclass(frozen=True)
class AnimateDiffSDXL(AnimateDiff):
    """The family of AnimateDiffSDXLPipeline, bound to a pipeline."""

    @staticmethod
    @override
    def fits(pipe: Any) -> bool:
        return AnimateDiff.fits(pipe) and pipe.unet.config.addition_embed_type == "text_time"

    @override
    def check_prompt(self, prompt: str) -> None:
        for tokenizer in (self.pipe.tokenizer, self.pipe.tokenizer_2):
            check_length(tokenizer, prompt)

    @override
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        with self._exact_vae():
            return super().encode_video(frames, generator)

    @override
    def decode_video(self, latents: Tensor) -> Tensor:
        with self._exact_vae():
            return super().decode_video(latents.to(self.pipe.vae.dtype))

    @contextmanager
    def _exact_vae(self) -> Iterator[None]:
        """This VAE overflows in float16: it works in float32, as the pipeline has it for decoding."""
        vae = self.pipe.vae
        if vae.dtype != torch.float16 or not vae.config.force_upcast:
            yield
            return
        vae.to(torch.float32)
        try:
            yield
        finally:
            vae.to(torch.float16)

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """The UNet is told that its picture is of the video's size and was not cut, as the pipeline tells it."""
        device = self.pipe._execution_device
        words, _, summary, _ = self.pipe.encode_prompt(
            prompt, device=device, num_videos_per_prompt=1, do_classifier_free_guidance=False
        )
        size = tuple(side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
        sizes = self.pipe._get_add_time_ids(
            size, (0, 0), size, dtype=words.dtype, text_encoder_projection_dim=summary.shape[-1]
        )
        return {
            "sample": latents.to(self._dtype),
            "timestep": torch.tensor(timestep, device=latents.device),
            "encoder_hidden_states": words.repeat_interleave(latents.shape[2], dim=0),
            "added_cond_kwargs": {"text_embeds": summary, "time_ids": sizes.to(device)},
        }
