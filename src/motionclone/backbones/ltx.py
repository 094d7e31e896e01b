"""LTX-Video: full attention over the video's tokens alone, text by cross attention; flow prediction."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import LTXImageToVideoPipeline, LTXPipeline
from torch import Tensor, nn
from typing_extensions import override

from motionclone.backbones.backbone import Call
from motionclone.backbones.transformer import Transformer, check_length
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling


@dataclass(frozen=True)
class LTX(Transformer):
    """LTX-Video. Its latents go through pipeline and denoiser as tokens, (b, f h w, c).

    The image-to-video pipeline keeps the first latent frame, that of the picture, as it is: the denoiser is told that
    its tokens are at timestep 0, and whatever it says of them is dropped before the scheduler's step, the increment
    with it. With `guidance_rescale` the pipelines rescale the guided output, the increment with it.
    """

    # The pipelines' defaults: frames per second, by which the rotary embedding spaces latent frames, and tokens.
    frame_rate: ClassVar[float] = 25
    longest_prompt: ClassVar[int] = 128

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family; others of LTX-Video call the same denoiser in other ways."""
        return isinstance(pipe, LTXPipeline | LTXImageToVideoPipeline)

    @property
    @override
    def shown_frames(self) -> tuple[int, ...]:
        return (0,) if isinstance(self.pipe, LTXImageToVideoPipeline) else ()

    @override
    def token_grid(self, call: Call) -> tuple[int, int, int]:
        """As the denoiser is told."""
        return call["num_frames"], call["height"], call["width"]

    @override
    def heavy_blocks(self) -> list[nn.Module]:
        """All blocks, and the rotary embedding, which is as large as a block's input and cheap to compute again."""
        return [self.denoiser.get_submodule("rope"), *super().heavy_blocks()]

    def _pack(self, latents: Tensor) -> Tensor:
        pipe = self.pipe
        packed: Tensor = pipe._pack_latents(
            latents, pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size
        )
        return packed

    @override
    def unpacked(self, output: Tensor, call: Call) -> Tensor:
        pipe = self.pipe
        latents: Tensor = pipe._unpack_latents(
            output, *self.token_grid(call), pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size
        )
        return latents

    @property
    @override
    def kept_frames(self) -> int:
        """That of the picture."""
        return len(self.shown_frames)

    @property
    @override
    def compression(self) -> tuple[int, int]:
        return self.pipe.vae_temporal_compression_ratio, self.pipe.vae_spatial_compression_ratio

    @property
    @override
    def channels(self) -> int:
        """Of the latents before packing."""
        count: int = self.config.in_channels
        return count

    @override
    def check_prompt(self, prompt: str) -> None:
        check_length(self.pipe.tokenizer, prompt, self.longest_prompt)

    @override
    def encode_video(self, frames: Tensor, generator: torch.Generator | None) -> Tensor:
        """The posterior is sampled; without a generator, by the global one."""
        vae = self.pipe.vae
        video = frames.movedim(0, 1)[None].to(self.pipe._execution_device, vae.dtype)
        latents = vae.encode(video).latent_dist.sample(generator).float()
        scaled: Tensor = self.pipe._normalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        )
        return scaled

    @override
    def decode_video(self, latents: Tensor) -> Tensor:
        """A decoder that denoises is told that there is no noise left."""
        vae = self.pipe.vae
        latents = self.pipe._denormalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        ).to(vae.dtype)
        timestep = latents.new_zeros(len(latents)) if vae.config.timestep_conditioning else None
        decoded: Tensor = vae.decode(latents, timestep, return_dict=False)[0][0]
        return decoded.float().movedim(0, 1)

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        pipe = self.pipe
        device, dtype = latents.device, self.pipe.transformer.dtype
        words, mask, *_ = pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self.longest_prompt, device=device
        )
        temporal, spatial = pipe.vae_temporal_compression_ratio, pipe.vae_spatial_compression_ratio
        frames, height, width = latents.shape[2:]
        return {
            "hidden_states": self._pack(latents).to(dtype),
            "encoder_hidden_states": words.to(dtype),
            "timestep": torch.tensor([float(timestep)], device=device),
            "encoder_attention_mask": mask,
            "num_frames": frames,
            "height": height,
            "width": width,
            "rope_interpolation_scale": (temporal / self.frame_rate, spatial, spatial),
        }

    @override
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """The first latent frame is clean and its tokens are at timestep 0."""
        noisy = call["hidden_states"]
        clean = self._pack(latents[:, :, :1]).to(noisy)
        count = clean.shape[1]
        timestep = call["timestep"][:, None].repeat(1, noisy.shape[1])
        timestep[:, :count] = 0
        return {**call, "hidden_states": torch.cat([clean, noisy[:, count:]], dim=1), "timestep": timestep}

    @override
    def initial_latents(self, noise: Tensor, condition: Condition | None = None) -> Tensor:
        """A pipeline that is given latents takes the picture to be in them.

        It makes its mask where they are, and so wants them where it computes.
        """
        if condition is not None:
            picture = self.encode_video(condition.pictures, None).to(noise.dtype)
            noise = torch.cat([picture, noise[:, :, 1:].to(picture.device)], dim=2)
        return self._pack(noise)

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        own = {"frame_rate": self.frame_rate, "max_sequence_length": self.longest_prompt}
        return super().pipeline_arguments(sampling) | own
