"""Render and encode random clips of the world once, so that training reads latents instead of drawing pixels.

    python training/latents.py --vae RUN/vae --out RUN/latents --clips 6000

Writes captions.json and latents.safetensors: latents (clips, 16, 8, 16, 16), float16, scaled to unit variance, and
masks (clips, 16, 16, 16), which share of a latent the object covers, of 255. Each clip has a seed of its own, so that
it is the same however many processes draw.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from loop import add_device, clock, mixed_precision
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.utils.data import DataLoader, Dataset
from variety import FIRST_SEED, training_scene

from motionclone.lab.world import Scene

FRAMES = 16


class Clips(Dataset):
    """Captions and frames (16, 3, 64, 64) in [-1, 1] of `count` clips."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[str, Tensor]:
        scene = self.scene(number)
        return scene.caption, scene.render(samples=1 + number % 2)

    def scene(self, number: int) -> Scene:
        generator = torch.Generator().manual_seed(FIRST_SEED + 1_000_000 * self.seed + number)
        return training_scene(FRAMES, generator)

    def mask(self, number: int) -> Tensor:
        """Share of each latent that the object covers, (16, 16, 16) uint8."""
        return (255 * avg_pool2d(self.scene(number).truth().mask, 4)).round().to(torch.uint8)


@torch.no_grad()
def encoded(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Latents (f, 8, 16, 16) of frames (f, 3, 64, 64), scaled, float16."""
    with mixed_precision(vae.device):
        latents = vae.encode(frames.to(vae.device)).latent_dist.mode()
    return (latents.float() * vae.config.scaling_factor).half().contiguous().cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of computing, for as many clips as come")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw")
    add_device(parser)
    args = parser.parse_args()

    vae = AutoencoderKL.from_pretrained(args.vae).eval().to(args.device, memory_format=torch.channels_last)
    clips = Clips(args.clips, args.seed)
    captions, latents, masks = [], [], []
    began = clock(args.device)
    for caption, frames in DataLoader(clips, batch_size=None, num_workers=args.workers):
        masks.append(clips.mask(len(captions)))
        captions.append(caption)
        latents.append(encoded(vae, frames))
        if len(captions) % 500 == 0:
            print(len(captions), caption, flush=True)
        if clock(args.device) - began > 60 * args.minutes:
            break
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({"latents": torch.stack(latents), "masks": torch.stack(masks)}, args.out / "latents.safetensors")
    (args.out / "captions.json").write_text(json.dumps(captions))


if __name__ == "__main__":
    main()
