"""CogVideoX 2B, 5B and 1.5: full attention over the text's tokens and then the video's; v prediction."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import CogVideoXImageToVideoPipeline, CogVideoXPipeline, CogVideoXVideoToVideoPipeline
from torch import Tensor
from typing_extensions import override

from motionclone.backbones.backbone import Call
from motionclone.backbones.transformer import Transformer, check_length
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling


@dataclass(frozen=True)
class CogVideoX(Transformer):
    """CogVideoX. Its latents go through pipeline and denoiser as (b, f, c, h, w).

    Image-to-video models are given the picture's latents in channels behind those of the video's.
    """

    text_tokens = "first"

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family."""
        return isinstance(pipe, CogVideoXPipeline | CogVideoXImageToVideoPipeline | CogVideoXVideoToVideoPipeline)

    @property
    @override
    def shown_frames(self) -> tuple[int, ...]:
        return (0,) if isinstance(self.pipe, CogVideoXImageToVideoPipeline) else ()

    @property
    @override
    def input_channels(self) -> int:
        return self.channels * (1 + len(self.shown_frames))

    @override
    def token_grid(self, call: Call) -> tuple[int, int, int]:
        """Latents in patches, in 1.5 along time, too."""
        config = self.config
        _, frames, _, height, width = call["hidden_states"].shape
        return frames // (config.patch_size_t or 1), height // config.patch_size, width // config.patch_size

    def _padding(self, frames: int) -> int:
        """Latent frames that 1.5 puts before the others, to fill the first patch, and takes away in the end."""
        return -frames % (self.config.patch_size_t or 1)

    @override
    def nearest_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """1.5 knows no positions beyond its largest size, and learned ones are of one.

        That one includes the number of frames: for another, diffusers would compute positions in place of the learned.
        """
        nearest = super().nearest_size(num_frames, height, width)
        highest, widest = (side * self.compression[1] for side in (self.config.sample_height, self.config.sample_width))
        if self.config.use_learned_positional_embeddings:
            return self.config.sample_frames, highest, widest
        if self.config.patch_size_t is not None:
            return nearest[0], min(nearest[1], highest), min(nearest[2], widest)
        return nearest

    @override
    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        """With the padding."""
        batch, channels, frames, *sides = super().latents_shape(num_frames, height, width)
        return (batch, channels, frames + self._padding(frames), *sides)

    @override
    def video_shape(self, latents: Tensor) -> tuple[int, int, int]:
        """Padding repeats the first latent frame."""
        padded = self._padding(1) > 0 and torch.equal(latents[:, :, 0], latents[:, :, 1])
        return super().video_shape(latents[:, :, padded:])

    @override
    def denoised(self, gradient: Tensor) -> Tensor:
        """The first channels are the latents."""
        return gradient[:, :, : self.config.out_channels]

    @override
    def unpacked(self, output: Tensor, call: Call) -> Tensor:
        return output.transpose(1, 2)

    @override
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """The pipeline's own code says how a first frame is laid out."""
        pipe, noisy = self.pipe, call["hidden_states"]
        height, width = condition.pictures.shape[-2:]
        noisy, shown = pipe.prepare_latents(
            condition.pictures.to(noisy.device, pipe.vae.dtype),
            num_channels_latents=noisy.shape[2],
            num_frames=(noisy.shape[1] - 1) * pipe.vae_scale_factor_temporal + 1,
            height=height,
            width=width,
            dtype=noisy.dtype,
            device=noisy.device,
            generator=torch.Generator().manual_seed(0),
            latents=noisy,
        )
        call = call | {"hidden_states": torch.cat([noisy, shown], dim=2)}
        if self.config.ofs_embed_dim is not None:
            call["ofs"] = noisy.new_full((1,), 2.0)  # what the pipeline always says
        return call

    @override
    def check_prompt(self, prompt: str) -> None:
        check_length(self.pipe.tokenizer, prompt, self.config.max_text_seq_length)

    @override
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """The posterior is sampled; 1.5 has its first latent frame repeated."""
        vae = self.pipe.vae
        video = frames.movedim(0, 1)[None].to(self.pipe._execution_device, vae.dtype)
        latents = vae.encode(video).latent_dist.sample(generator) * vae.config.scaling_factor
        padding = latents[:, :, :1].expand(-1, -1, self._padding(latents.shape[2]), -1, -1)
        return torch.cat([padding, latents], dim=2)

    @override
    def decode_video(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.pipe.decode_latents(latents.to(self.pipe.vae.dtype).transpose(1, 2))[0]
        return decoded.float().movedim(0, 1)

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        pipe, config = self.pipe, self.config
        device, dtype = latents.device, self.pipe.transformer.dtype
        words, _ = pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=config.max_text_seq_length, device=device
        )
        rotary = None
        if config.use_rotary_positional_embeddings:
            height, width = (side * pipe.vae_scale_factor_spatial for side in latents.shape[-2:])
            rotary = pipe._prepare_rotary_positional_embeddings(height, width, latents.shape[2], device)
        return {
            "hidden_states": latents.transpose(1, 2).to(dtype),
            "encoder_hidden_states": words.to(dtype),
            "timestep": torch.tensor([timestep], device=device),
            "image_rotary_emb": rotary,
        }

    @override
    def initial_latents(self, noise: Tensor, condition: Condition | None = None) -> Tensor:
        return noise.transpose(1, 2).to(self.pipe.transformer.dtype)

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        arguments = super().pipeline_arguments(sampling)
        return arguments | {"max_sequence_length": self.config.max_text_seq_length}
