"""Wan 2.1 and 2.2: full attention over the video's tokens, the text beside them in cross attention; flow prediction."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline, WanTransformer3DModel, WanVideoToVideoPipeline
from diffusers.utils import is_ftfy_available
from torch import Tensor, nn
from typing_extensions import override

from motionclone.backbones.backbone import Call
from motionclone.backbones.transformer import Transformer, check_length, zero_in_first
from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling

LONGEST_PROMPT = 512  # tokens; image-to-video models count on the text being padded to so many


@dataclass(frozen=True)
class Wan(Transformer):
    """Wan: 2.1, 2.2 A14B and 2.2 TI2V-5B, from text or from a first frame.

    Of the two experts of A14B the one for high noise is read and guided, so `t_alpha` should be one of its timesteps.
    A first frame comes in channels behind those of the latents; TI2V-5B has it in place of the first latent frame, and
    tells the denoiser the timestep of every token, 0 for those of that frame.
    """

    stacks = ("blocks",)
    halves_together = False

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family."""
        return isinstance(getattr(pipe, "transformer", None), WanTransformer3DModel)

    @property
    @override
    def guided_from(self) -> float:
        """Where the expert for high noise ends."""
        return float((self.pipe.config.get("boundary_ratio") or 0) * self.pipe.scheduler.config.num_train_timesteps)

    @override
    def denoiser_at(self, timestep: float) -> nn.Module:
        """The expert for high noise, or below its range the other."""
        expert: nn.Module = self.denoiser if timestep >= self.guided_from else self.pipe.transformer_2
        return expert

    @property
    @override
    def shown_frames(self) -> tuple[int, ...]:
        return (0,) if isinstance(self.pipe, WanImageToVideoPipeline) else ()

    @property
    @override
    def input_channels(self) -> int:
        """With those of the picture and its mask, unless it is in place of a frame."""
        shown = self.shown_frames and not self._timestep_per_token
        return 2 * self.channels + self.compression[0] if shown else self.channels

    @override
    def check_network(self) -> None:
        super().check_network()
        if self.config.pos_embed_seq_len is not None:
            raise InputError("this model follows two pictures, which is not supported; use one for a first frame.")
        if isinstance(self.pipe, WanVideoToVideoPipeline):
            self._check_ftfy()

    @property
    def _timestep_per_token(self) -> bool:
        return bool(self.pipe.config.get("expand_timesteps"))

    @override
    def token_grid(self, call: Call) -> tuple[int, int, int]:
        """Latents in patches."""
        (*_, frames, height, width), (long, high, wide) = call["hidden_states"].shape, self.config.patch_size
        return frames // long, height // high, width // wide

    @override
    def split(self, call: Call) -> tuple[Call | None, Call]:
        """A call is never stacked, whatever its batch."""
        return None, call

    @property
    @override
    def kept_frames(self) -> int:
        """TI2V-5B has the picture in place of the first."""
        return len(self.shown_frames) if self._timestep_per_token else 0

    @override
    def denoised(self, gradient: Tensor) -> Tensor:
        """Of the latents' channels; 0 in a first frame that stands in place of the latents'."""
        return zero_in_first(gradient[:, : self.config.out_channels], self.kept_frames)

    @property
    @override
    def patch(self) -> int:
        """Patches are as wide as high."""
        size: int = self.config.patch_size[1]
        return size

    @override
    def check_prompt(self, prompt: str) -> None:
        check_length(self.pipe.tokenizer, prompt, LONGEST_PROMPT)

    @override
    def check_condition(self, condition: Condition | None) -> None:
        super().check_condition(condition)
        if condition is not None:
            self._check_ftfy()

    def _check_ftfy(self) -> None:
        """Of Wan's pipelines only text-to-video can do without."""
        if not is_ftfy_available():
            raise InputError(f"{type(self.pipe).__name__} needs the package ftfy: pip install ftfy.")

    @override
    def pipeline_condition(self, condition: Condition, scale: float) -> dict[str, Any]:
        """There is no strength."""
        return {"image": self._picture(condition)}

    @override
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """The pipeline's own code says how a first frame is laid out."""
        pipe, noisy, dtype = self.pipe, call["hidden_states"], self.pipe.transformer.dtype
        height, width = condition.pictures.shape[-2:]
        picture = self._picture(condition)
        noisy, shown, *free = pipe.prepare_latents(
            image=pipe.video_processor.preprocess(picture, height=height, width=width).to(noisy.device, torch.float32),
            batch_size=1,
            num_channels_latents=noisy.shape[1],
            height=height,
            width=width,
            num_frames=(noisy.shape[2] - 1) * pipe.vae_scale_factor_temporal + 1,
            dtype=torch.float32,
            device=noisy.device,
            latents=noisy,
        )
        if free:
            (mask,), (long, high, wide) = free, self.config.patch_size
            timestep = call["timestep"] * mask[0, 0, ::long, ::high, ::wide].flatten()
            return call | {"hidden_states": ((1 - mask) * shown + mask * noisy).to(dtype), "timestep": timestep}
        call = call | {"hidden_states": torch.cat([noisy, shown], dim=1).to(dtype)}
        if self.config.image_dim is not None:
            call["encoder_hidden_states_image"] = pipe.encode_image(picture, noisy.device).to(dtype)
        return call

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each of the VAE's channels."""
        config = self.pipe.vae.config
        mean, deviation = torch.tensor([config.latents_mean, config.latents_std], device=device)[..., None, None, None]
        return mean, deviation

    @override
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """The posterior's mode, as the pipeline takes it of a first frame."""
        vae = self.pipe.vae
        video = frames.movedim(0, 1)[None].to(self.pipe._execution_device, vae.dtype)
        mean, deviation = self._statistics(video.device)
        latents: Tensor = (vae.encode(video).latent_dist.mode().float() - mean) / deviation
        return latents

    @override
    def decode_video(self, latents: Tensor) -> Tensor:
        mean, deviation = self._statistics(latents.device)
        decoded: Tensor = self.pipe.vae.decode((latents * deviation + mean).to(self.pipe.vae.dtype)).sample[0]
        return decoded.float().movedim(0, 1)

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        # Wan keeps its first parameters in float32, whatever its own type is.
        device, dtype = latents.device, self.pipe.transformer.dtype
        words, _ = self.pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=LONGEST_PROMPT, device=device
        )
        call = {
            "hidden_states": latents.to(dtype),
            "timestep": torch.tensor([timestep], device=device),
            "encoder_hidden_states": words.to(dtype),
        }
        if self._timestep_per_token:
            frames, height, width = self.token_grid(call)
            call["timestep"] = call["timestep"][None].expand(1, frames * height * width)
        return call

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        return super().pipeline_arguments(sampling) | {"max_sequence_length": LONGEST_PROMPT}
