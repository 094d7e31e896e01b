"""Train the mini model's AutoencoderKL on single frames of the world: 64 x 64 pixels to 16 x 16 x 8 latents.

    python training/vae.py --run RUN --minutes 90

Half of the time the decoder sees the latents turned, mirrored or at half their size and is to make the frames so, too
(EQ-VAE, arXiv:2502.09509): such latents are easier to learn, and may themselves be mirrored while a denoiser learns.

Writes RUN/vae and RUN/vae.pt, from which a second call goes on. `--start-from` another VAE roughly keeps the meaning of
its latents, so that a denoiser that was trained on them can be trained on.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from loop import add_device, mixed_precision, optimizers_for, train
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from variety import FIRST_SEED, training_scene


class Frames(IterableDataset):
    """The first and the last frame of random scenes, half of them drawn finer; batches (2 scenes, 3, 64, 64)."""

    def __init__(self, scenes: int, seed: int) -> None:
        self.scenes, self.seed = scenes, seed

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        generator = torch.Generator().manual_seed(self.seed + (worker.id if worker else 0))
        while True:
            drawn = [training_scene(2, generator).render(samples=1 + i % 2) for i in range(self.scenes)]
            yield torch.cat(drawn)


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


def changed(latents: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Both turned and mirrored alike, or both at half their size."""
    how = int(torch.randint(10, ()))
    if how >= 8:
        return functional.avg_pool2d(latents, 2), functional.avg_pool2d(frames, 2)
    latents, frames = (torch.rot90(each, how % 4, (2, 3)) for each in (latents, frames))
    return (latents.flip(3), frames.flip(3)) if how >= 4 else (latents, frames)


def loss_of(vae: AutoencoderKL, x: Tensor) -> Tensor:
    with mixed_precision(x.device):
        posterior = vae.encode(x).latent_dist
        latents = posterior.sample()
        if torch.rand(()) < 0.5:
            latents, x = changed(latents, x)
        reconstruction = vae.decode(latents).sample.float()
    absolute = (reconstruction - x).abs().mean()
    edges = sum((torch.diff(reconstruction, dim=d) - torch.diff(x, dim=d)).abs().mean() for d in (-1, -2))
    square = (reconstruction - x).square().mean()
    kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    return absolute + edges + 2 * square + 2e-4 * kl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=8, help="scenes, of two frames each")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw")
    parser.add_argument("--start-from", type=Path, help="VAE whose weights to begin with")
    add_device(parser)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    checkpoint = args.run / "vae.pt"

    vae = (
        build()
        if args.start_from is None
        else AutoencoderKL.from_pretrained(args.start_from, torch_dtype=torch.float32)
    )
    vae.train().to(args.device, memory_format=torch.channels_last)
    frames = frames_of(args.batch, args.seed, checkpoint, args.workers)

    def loss(_step: int) -> tuple[str, Tensor]:
        return "vae", loss_of(vae, next(frames).to(args.device))

    train(
        vae,
        optimizers_for(vae),
        loss,
        torch.Generator(),
        checkpoint=checkpoint,
        minutes=args.minutes,
        rate=args.rate,
        seed=args.seed,
    )
    vae.load_state_dict(torch.load(checkpoint, weights_only=True)["ema"])
    vae.eval().to(memory_format=torch.contiguous_format)
    held_out = next(iter(Frames(32, FIRST_SEED - 1)))
    with torch.no_grad():
        posterior = vae.encode(held_out.to(args.device)).latent_dist
        error = (vae.decode(posterior.mode()).sample.cpu() - held_out).abs().mean()
    vae.register_to_config(scaling_factor=round(1 / posterior.sample().std().item(), 4), _name_or_path="")
    print(f"held-out mean absolute error {error:.4f} of a range of 2; scaling factor {vae.config.scaling_factor}")
    vae.save_pretrained(args.run / "vae")


def frames_of(scenes: int, seed: int, checkpoint: Path, workers: int) -> Iterator[Tensor]:
    """Batches of frames; others than before where training goes on."""
    step = 0
    if checkpoint.exists():
        step = torch.load(checkpoint, weights_only=True, map_location="cpu")["state"]["step"]
    return iter(DataLoader(Frames(scenes, FIRST_SEED + 1000 * (seed + step)), batch_size=None, num_workers=workers))


if __name__ == "__main__":
    main()
