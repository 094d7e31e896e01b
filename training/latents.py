"""Render and encode random clips of the world once, so that training reads latents instead of drawing pixels.

    python training/latents.py --vae RUN/vae --out RUN/latents --clips 6000

Writes captions.json and latents.safetensors: (clips, 16, 8, 16, 16) float16, scaled to unit variance.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from motionclone.lab.world import SEEDS, random_scene

FRAMES = 16


@torch.no_grad()
def encoded(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Latents (f, 8, 16, 16) of frames (f, 3, 64, 64), scaled, float16."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(frames).latent_dist.mode()
    return (latents.float() * vae.config.scaling_factor).half().contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=SEEDS["train"])
    args = parser.parse_args()

    vae = AutoencoderKL.from_pretrained(args.vae).eval().to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(args.seed)
    captions, latents = [], []
    for i in range(args.clips):
        scene = random_scene(FRAMES, generator)
        captions.append(scene.caption)
        latents.append(encoded(vae, scene.render(samples=1)))
        if i % 500 == 0:
            print(i, scene.caption, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({"latents": torch.stack(latents)}, args.out / "latents.safetensors")
    (args.out / "captions.json").write_text(json.dumps(captions))


if __name__ == "__main__":
    main()
