"""The bundled transformer: CogVideoX's class and pipeline around the mini model's VAE and text encoder."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from motionclone.models.networks import load_part


class FramewiseAutoencoder(AutoencoderKL):  # type: ignore[misc]
    """An image VAE that takes videos, (b, c, f, h, w), frame by frame, as CogVideoX's pipeline wants its VAE."""

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """Posterior of the latents (b, c, f, h, w) of videos (b, 3, f, H, W) in [-1, 1]."""
        posterior = super().encode(x.transpose(1, 2).flatten(0, 1)).latent_dist
        parameters = posterior.parameters.unflatten(0, (len(x), -1)).transpose(1, 2)
        found = DiagonalGaussianDistribution(parameters)
        return AutoencoderKLOutput(latent_dist=found) if return_dict else (found,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Videos (b, 3, f, H, W) of latents (b, c, f, h, w)."""
        frames = super().decode(z.transpose(1, 2).flatten(0, 1)).sample
        video = frames.unflatten(0, (len(z), -1)).transpose(1, 2)
        return DecoderOutput(sample=video) if return_dict else (video,)


def assemble_mini_dit(folder: Path, dtype: torch.dtype) -> CogVideoXPipeline:
    """The pipeline of the weights in `folder`: base/{vae, text_encoder, tokenizer} and dit/{transformer, scheduler}."""
    base, own = folder / "base", folder / "dit"
    vae = load_part(FramewiseAutoencoder, base, "vae", dtype)
    vae.register_to_config(temporal_compression_ratio=1)
    return CogVideoXPipeline(
        tokenizer=CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"),
        text_encoder=load_part(CLIPTextModel, base, "text_encoder", dtype),
        vae=vae,
        transformer=load_part(CogVideoXTransformer3DModel, own, "transformer", dtype),
        scheduler=CogVideoXDDIMScheduler.from_pretrained(own, subfolder="scheduler"),
    )
