"""Train the mini model's AutoencoderKL on single frames of the world: 64 x 64 pixels to 16 x 16 x 8 latents.

    python training/vae.py --out RUN/vae --minutes 10

Learning rate and stopping follow the computing time spent, not a step count.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor

from motionclone.lab.world import random_scene


def frames_batch(clips: int, generator: torch.Generator) -> Tensor:
    """The first and the last frame of each of `clips` random scenes; (2 clips, 3, 64, 64)."""
    return torch.cat([random_scene(2, generator).render(64) for _ in range(clips)])


def build() -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )
    # Residual branches start at 0: the colours get through at once.
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            torch.nn.init.zeros_(module.conv2.weight)
    # Start almost without noise: at the default variance of 1 the decoder learns to ignore the latents.
    torch.nn.init.constant_(vae.quant_conv.bias[8:], -6.0)
    return vae


def loss_of(vae: AutoencoderKL, x: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(x).latent_dist
        reconstruction = vae.decode(posterior.sample(generator=generator)).sample.float()
    absolute = (reconstruction - x).abs().mean()
    edges = sum((torch.diff(reconstruction, dim=d) - torch.diff(x, dim=d)).abs().mean() for d in (-1, -2))
    square = (reconstruction - x).square().mean()
    kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    return absolute + 0.5 * edges + 2 * square + 2e-4 * kl, float(absolute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)

    vae = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    log, spent, step = [], 0.0, 0
    while spent < args.minutes * 60:
        began = time.process_time()
        done = spent / (args.minutes * 60)
        rate = 1e-3 * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, absolute = loss_of(vae, frames_batch(8, generator), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        spent += (time.process_time() - began) / torch.get_num_threads()
        step += 1
        if step % 50 == 0:
            log.append({"step": step, "seconds": round(spent, 1), "loss": loss.item(), "absolute": absolute})
            print(json.dumps(log[-1]), flush=True)

    vae.eval().to(memory_format=torch.contiguous_format)
    held_out = frames_batch(64, torch.Generator().manual_seed(10_000 + args.seed))
    with torch.no_grad():
        posterior = vae.encode(held_out).latent_dist
        error = (vae.decode(posterior.mode()).sample - held_out).abs().mean()
    vae.register_to_config(scaling_factor=round(1 / posterior.sample().std().item(), 4))
    print(f"held-out mean absolute error {error:.4f} of a range of 2; scaling factor {vae.config.scaling_factor}")
    vae.save_pretrained(args.out)
    (args.out / "log.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main()
