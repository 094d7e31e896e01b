"""Distil the mini model into four steps without classifier-free guidance (phased consistency, arXiv:2405.18407).

    python training/distil.py --run RUN --mini RUN/mini --minutes 60
    python training/distil.py --run RUN --mini RUN/mini --export RUN/mini/lcm

The noise levels are cut into as many phases as there are to be steps. From anywhere in a phase the student is to land,
at the phase's end, where it would land from one step of the guided teacher's DDIM further on. Only the images' layers
change, by matrices of low rank (a LoRA); motion modules, text encoder and VAE are kept. Reads every RUN/latents*;
writes RUN/distil.pt, from which a second call goes on.
"""

import argparse
from pathlib import Path
from typing import Literal

import torch
from denoiser import Data, angles_of, landed, noised, scheduler
from diffusers.models.attention_processor import AttnProcessor
from loop import add_device, mixed_precision, train
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from motionclone.models import load_pipeline
from motionclone.settings import preset

RANK = 16
SCALE = preset("mini").sampling.guidance_scale
"""Of the teacher's classifier-free guidance."""
PHASES = 4
STRIDE = 50
"""Of the teacher's step, in timesteps: five to a phase, so that what the student learns has no long way to go."""
FRAMES = 8
"""In a row, of a clip: the layers that change see each by itself, so that more clips tell more than more frames."""
FOLLOW = 0.05
"""Of the way to the student goes, in every step, the slow student that sets its targets: one that is its own target
may run after its errors."""
FILE = "pytorch_lora_weights.safetensors"


Who = Literal["teacher", "student", "slow student"]


class Change(nn.Module):
    """A matrix of low rank that is added to a weight, or not: 0 at first."""

    slow_down: Tensor
    slow_up: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows = weight.flatten(1)
        self.down = nn.Parameter(torch.randn(RANK, rows.shape[1]) / rows.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(rows.shape[0], RANK))
        self.register_buffer("slow_down", self.down.detach().clone())
        self.register_buffer("slow_up", self.up.detach().clone())
        self.who: Who = "student"

    def forward(self, weight: Tensor) -> Tensor:
        if self.who == "teacher":
            return weight
        up, down = (self.up, self.down) if self.who == "student" else (self.slow_up, self.slow_down)
        return weight + (up @ down).view_as(weight)

    @torch.no_grad()
    def follow(self) -> None:
        """Bring the slow student a little nearer."""
        self.slow_down.lerp_(self.down, FOLLOW)
        self.slow_up.lerp_(self.up, FOLLOW)


class Student(nn.Module):
    """The changes of a denoiser, which is frozen, by layer."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        denoiser.requires_grad_(False)
        self.denoiser = [denoiser]  # no part of it: its weights are nobody's to keep
        self.layers = [
            name
            for name, layer in denoiser.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv2d) and "motion_modules" not in name and "conv_" not in name
        ]
        self.changes = nn.ModuleList([Change(denoiser.get_submodule(name).weight) for name in self.layers])
        for name, change in zip(self.layers, self.changes, strict=True):
            parametrize.register_parametrization(denoiser.get_submodule(name), "weight", change)

    def forward(self, noisy: Tensor, timesteps: Tensor, words: Tensor, who: Who) -> Tensor:
        """v of noisy latents (b, c, f, h, w) and words (b, n, d)."""
        for change in self.changes:
            change.who = who
        repeated = words.repeat_interleave(noisy.shape[2], dim=0)
        with mixed_precision(noisy.device):
            return self.denoiser[0](noisy, timesteps, encoder_hidden_states=repeated).sample.float()

    def export(self, folder: Path) -> None:
        """As a LoRA in PEFT's names, fp16."""
        weights = {}
        for name, change in zip(self.layers, self.changes, strict=True):
            shape = self.denoiser[0].get_submodule(name).weight.shape
            down, up = change.down.view(RANK, *shape[1:]), change.up.view(shape[0], RANK, *[1] * (len(shape) - 2))
            weights |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: weight.detach().half().contiguous() for name, weight in weights.items()}, folder / FILE)


def loss_of(student: Student, latents: Tensor, words: Tensor, none: Tensor, alpha_bar: Tensor, chance: torch.Generator):
    """Squared distance of the student's v from the one with which it would land where it is to."""
    now = torch.randint(0, 1000, (len(latents),), generator=chance)
    end = now // (1000 // PHASES) * (1000 // PHASES) - 1
    after = torch.maximum(now - STRIDE, end)
    noisy, _ = noised(latents, now, alpha_bar, chance)
    device = next(student.parameters()).device
    angles = angles_of(alpha_bar)
    step, rest, whole = (
        (angles[to] - angles[of]).view(-1, 1, 1, 1, 1).to(device) for of, to in ((now, after), (after, end), (now, end))
    )
    noisy, now, after = (each.to(device) for each in (noisy, now, after.clamp(min=0)))
    with torch.no_grad():
        plain = student(noisy, now, none.expand_as(words), "teacher")
        v = plain + SCALE * (student(noisy, now, words, "teacher") - plain)
        further = landed(noisy, v, step)
        place = landed(further, student(further, after, words, "slow student"), rest)  # `rest` is 0 at the end
        wanted = (place - whole.cos() * noisy) / whole.sin()
    return (student(noisy, now, words, "student") - wanted).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--mini", default="mini", help="exported model that is distilled")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--export", type=Path, help="only put what was trained into this folder, as fp16")
    add_device(parser)
    args = parser.parse_args()
    checkpoint = args.run / "distil.pt"
    torch.manual_seed(args.seed)
    pipe = load_pipeline(args.mini, device=args.device, dtype=torch.float32)
    student = Student(pipe.unet).to(args.device)
    if args.export is not None:
        student.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["ema"])
        student.export(args.export)
        return
    pipe.unet.to(memory_format=torch.channels_last)
    if args.device.type == "cpu":  # where SDPA is slow backwards
        pipe.unet.set_attn_processor(AttnProcessor())
    data, alpha_bar = Data(args.run, args.seed), scheduler().alphas_cumprod
    empty = data.tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids

    @torch.no_grad()
    def read(tokens: Tensor) -> Tensor:
        return pipe.text_encoder(tokens.to(args.device)).last_hidden_state

    none = read(empty)

    def loss(_step: int) -> tuple[str, Tensor]:
        for change in student.changes:
            change.follow()
        latents, _, tokens = data.batch("video", args.batch)
        first = int(torch.randint(latents.shape[2] - FRAMES + 1, (1,), generator=data.generator))
        latents = latents[:, :, first : first + FRAMES]
        return "distil", loss_of(student, latents, read(tokens), none, alpha_bar, data.generator)

    groups = [{"params": list(student.parameters()), "scale": 1.0}]
    train(
        student,
        [torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)],
        loss,
        data.generator,
        checkpoint=checkpoint,
        minutes=args.minutes,
        rate=args.rate,
        seed=args.seed,
    )


if __name__ == "__main__":
    main()
