"""Say where along the noise levels a denoiser loses the shapes of objects.

    python training/outlines.py --run RUN --checkpoint RUN/video.pt

Frames of RUN's last folder of latents get noise up to a timestep and are denoised from there, with their captions; a
small classifier of latents, trained on the other folders for some minutes (RUN/outlines.pt), says whether their shape
is the caption's. From clean latents on, a perfect denoiser keeps them all.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import torch
from denoiser import Model, angles_of, build, landed, scheduler
from diffusers import UNetMotionModel
from loop import mixed_precision, train
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTokenizer

from motionclone.lab.world import SHAPES

STEPS = 24  # of DDIM, from pure noise


def shown(folder: Path) -> tuple[Tensor, list[str], Tensor]:
    """Of clips with an object: latents (n, f, 8, 16, 16), captions and numbers of shapes."""
    captions = [caption.split() for caption in json.loads((folder / "captions.json").read_text())]
    found = {i: shape for i, words in enumerate(captions) for shape in SHAPES if shape in words}
    latents = load_file(folder / "latents.safetensors")["latents"][list(found)]
    return latents, [" ".join(captions[i]) for i in found], torch.tensor([SHAPES.index(s) for s in found.values()])


class Classifier(nn.Module):
    """Shapes of latents (n, 8, 16, 16)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [8, 64, 96, 96, 96, 128, 128]
        layers = [
            layer
            for number, (before, after) in enumerate(pairwise(widths))
            for layer in (nn.Conv2d(before, after, 3, 2 if number == 3 else 1, 1), nn.GroupNorm(8, after), nn.ReLU())
        ]
        self.layers, self.out = nn.Sequential(*layers), nn.Linear(2 * widths[-1], len(SHAPES))

    def forward(self, latents: Tensor) -> Tensor:
        seen = self.layers(latents).flatten(2)
        return self.out(torch.cat([seen.amax(2), seen.mean(2)], 1))


def classifier(checkpoint: Path, folders: list[Path], minutes: float, seed: int) -> Classifier:
    network, generator = Classifier(), torch.Generator().manual_seed(seed)
    parts = [shown(folder) for folder in folders]
    latents, shapes = torch.cat([part[0] for part in parts]), torch.cat([part[2] for part in parts])

    def loss(_step: int) -> tuple[str, Tensor]:
        chosen = torch.randint(len(latents), (256,), generator=generator)
        frames = latents[chosen, torch.randint(latents.shape[1], (256,), generator=generator)].float()
        noise = 0.15 * torch.rand(256, 1, 1, 1, generator=generator) * torch.randn(frames.shape, generator=generator)
        return "outlines", functional.cross_entropy(network(frames + noise), shapes[chosen], label_smoothing=0.05)

    optimizer = torch.optim.AdamW([{"params": list(network.parameters()), "scale": 1.0}], lr=0.0, weight_decay=0.05)
    train(network, [optimizer], loss, generator, checkpoint=checkpoint, minutes=minutes, rate=2e-3, seed=seed)
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["ema"])
    return network.eval()


@torch.no_grad()
def denoised(model: Model, noisy: Tensor, tokens: Tensor, begin: int, scale: float) -> Tensor:
    """Latents (n, 8, 16, 16) at a timestep, by DDIM; `tokens` are of the captions, then of none."""
    angles, words = angles_of(scheduler().alphas_cumprod), model.text(tokens).last_hidden_state
    steps = max(4, round(begin / 1000 * STEPS))
    times = [round(begin - begin * i / steps) for i in range(steps)]
    of_clips = isinstance(model.denoiser, UNetMotionModel)
    for now, after in zip(times, [*times[1:], -1], strict=True):
        both = torch.cat([noisy, noisy])
        with mixed_precision(noisy.device):
            v = model.denoiser(both.unsqueeze(2) if of_clips else both, now, encoder_hidden_states=words).sample
        told, plain = v.float().view_as(both).chunk(2)
        noisy = landed(noisy, plain + scale * (told - plain), angles[after] - angles[now])
    return noisy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="images.pt or video.pt")
    parser.add_argument("--last", action="store_true", help="its last weights, not the averages of some thousand steps")
    parser.add_argument("--minutes", type=float, default=6, help="for the classifier")
    parser.add_argument("--frames", type=int, default=288)
    parser.add_argument("--seed", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    *folders, last = sorted(args.run.glob("latents*/"))
    tell = classifier(args.run / "outlines.pt", folders, args.minutes, args.seed)
    weights = torch.load(args.checkpoint, weights_only=True, map_location="cpu")["model" if args.last else "ema"]
    tokenizer = CLIPTokenizer.from_pretrained(args.run / "tokenizer")
    model = build("video" if any("motion_modules" in name for name in weights) else "images", None, len(tokenizer))
    model.load_state_dict(weights)
    model.eval()
    clips, captions, shapes = (part[: args.frames] for part in shown(last))
    frames = clips[:, clips.shape[1] // 2].float()
    words = [*captions, *[""] * len(captions)]
    tokens = tokenizer(words, padding="max_length", max_length=77, return_tensors="pt").input_ids
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(args.seed))
    alpha_bar = scheduler().alphas_cumprod

    def right(latents: Tensor) -> str:
        hits = (tell(latents).argmax(1) == shapes).float()
        each = {shape: f"{hits[shapes == i].mean():.2f}" for i, shape in enumerate(SHAPES)}
        return f"{hits.mean():.3f} {each}"

    with torch.no_grad():
        print(f"shapes right of {len(frames)} frames: {right(frames)}", flush=True)
        for begin, scale in ((200, 3.0), (400, 3.0), (600, 3.0), (800, 3.0), (999, 3.0), (999, 6.0)):
            kept = 0.0 if begin == 999 else alpha_bar[begin].sqrt()  # from pure noise nothing of the frame is left
            noisy = kept * frames + (1 - kept**2) ** 0.5 * noise
            print(
                f"from {begin}, guidance scale {scale:g}: {right(denoised(model, noisy, tokens, begin, scale))}",
                flush=True,
            )


if __name__ == "__main__":
    main()
