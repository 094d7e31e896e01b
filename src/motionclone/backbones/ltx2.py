"""LTX-2: video and sound in one transformer, two streams that attend to each other; flow prediction."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LTX2Pipeline
from torch import Tensor
from typing_extensions import override

from motionclone.backbones.backbone import Call
from motionclone.backbones.ltx import LTX


@dataclass(frozen=True)
class LTX2(LTX):
    """LTX-2, text to video. The video's stream is guided; the sound follows it as far as the model lets it.

    By default a step calls the denoiser three times: for both prompts, with the self attention of some blocks skipped,
    and with the streams apart. The pipeline forms c + a (c - u) + b (c - v) + d (c - w) of them, so an increment on the
    video of every one is that increment on the whole; with `guidance_rescale`, 0.7 by default, it then rescales the
    whole, the increment with it.
    """

    frame_rate = 24.0
    longest_prompt = 1024

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family; others of LTX-2 call the same denoiser in other ways."""
        return isinstance(pipe, LTX2Pipeline)

    def _sound(self, latent_frames: int, timestep: float, device: torch.device) -> Tensor:
        """Packed noise, at the level of the timestep, as long as the video."""
        pipe, config = self.pipe, self.pipe.audio_vae.config
        seconds = ((latent_frames - 1) * self.compression[0] + 1) / self.frame_rate
        a_second = pipe.audio_sampling_rate / pipe.audio_hop_length / pipe.audio_vae_temporal_compression_ratio
        sound: Tensor = pipe.prepare_audio_latents(
            num_channels_latents=config.latent_channels,
            audio_latent_length=round(seconds * a_second),
            num_mel_bins=config.mel_bins,
            dtype=torch.float32,
            device=device,
            generator=torch.Generator().manual_seed(0),
        )
        sound *= timestep / pipe.scheduler.config.num_train_timesteps
        return sound

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """Clips come without sound, so the streams are apart and the video hears none."""
        pipe, device, dtype = self.pipe, latents.device, self.pipe.transformer.dtype
        words, mask, *_ = pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self.longest_prompt, device=device
        )
        seen, heard, mask = pipe.connectors(words, mask, padding_side=pipe.tokenizer.padding_side)
        frames, height, width = latents.shape[2:]
        sound = self._sound(frames, timestep, device)
        level = torch.tensor([float(timestep)], device=device)
        return {
            "hidden_states": self._pack(latents).to(dtype),
            "audio_hidden_states": sound.to(dtype),
            "encoder_hidden_states": seen.to(dtype),
            "audio_encoder_hidden_states": heard.to(dtype),
            "timestep": level,
            "sigma": level,
            "encoder_attention_mask": mask,
            "audio_encoder_attention_mask": mask,
            "num_frames": frames,
            "height": height,
            "width": width,
            "fps": self.frame_rate,
            "audio_num_frames": sound.shape[1],
            "isolate_modalities": True,
        }
