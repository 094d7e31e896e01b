"""Look at a mini model where it may fail: what the VAE loses, what the judge mistakes, what videos show, by class.

    python training/examine.py --model RUN/mini --judge RUN/mini/clip --sheet sheet.png

Everything is of the validation split. The sheet shows, for each of the first 24 prompts, a scene as it should look and
four frames of the unguided video.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from denoiser import noised, scheduler
from latents import FRAMES, encoded
from loop import mixed_precision
from PIL import Image
from torch import Tensor

from motionclone.lab.metrics import Embedder, alternatives, load_embedder, temporal_consistency
from motionclone.lab.metrics.recognition import ATTRIBUTES, Attribute
from motionclone.lab.world import Scene, held_out_pairs, held_out_scenes
from motionclone.models import load_pipeline

Counts = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--judge", default="mini")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--videos", type=int, default=48, help="two or more")
    parser.add_argument("--guidance-scale", type=float, default=3.0)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    pipe, judge = load_pipeline(args.model, device="cpu", dtype=torch.float32), load_embedder(args.judge)
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        show("mean absolute error of the VAE, of a range of 2", reconstruction(pipe, args.scenes))
        show("v loss at a timestep", denoising(pipe, 24))
        for name, through in (("drawn", lambda x: x), ("after the VAE", lambda x: pipe.vae(x).sample.clamp(-1, 1))):
            scenes = held_out_scenes("validation", args.scenes, 2)
            told(f"the judge on scenes, {name}", judge, [(scene, through(scene.render())) for scene in scenes])
        told("unguided videos", judge, videos(pipe, args.videos, args.guidance_scale, args.sheet))


def show(title: str, values: Counts) -> None:
    print(title, {name: round(sum(v) / len(v), 4) for name, v in sorted(values.items())}, flush=True)


def reconstruction(pipe: Any, count: int) -> Counts:
    """Of frames by their texture, and of the outlines and the inside of objects by their shape."""
    errors: Counts = defaultdict(list)
    for scene in held_out_scenes("validation", count, 2):
        frames, mask = scene.render(), scene.truth().mask
        error = (pipe.vae(frames).sample.clamp(-1, 1) - frames).abs().mean(1)
        errors[scene.texture].append(error.mean().item())
        parts = {"edge of": (mask > 0.02) & (mask < 0.98), "inside": mask > 0.98}
        for part, where in parts.items():
            if where.any():
                errors[f"{part} {scene.shape}"].append(error[where].mean().item())
    return errors


def denoising(pipe: Any, count: int) -> Counts:
    generator = torch.Generator().manual_seed(5)
    losses: Counts = defaultdict(list)
    for scene in held_out_scenes("validation", count, FRAMES):
        latents = encoded(pipe.vae, scene.render()).float().transpose(0, 1)[None]
        tokens = pipe.tokenizer([scene.caption], padding="max_length", max_length=77, return_tensors="pt").input_ids
        words = pipe.text_encoder(tokens).last_hidden_state.repeat_interleave(FRAMES, dim=0)
        for timestep in (100, 300, 500, 700, 850, 950):
            noisy, wanted = noised(latents, torch.tensor([timestep]), scheduler().alphas_cumprod, generator)
            with mixed_precision(latents.device):
                predicted = pipe.unet(noisy, timestep, encoder_hidden_states=words).sample
            losses[f"{timestep:03}"].append((predicted.float() - wanted).square().mean().item())
    return losses


def videos(pipe: Any, count: int, scale: float, sheet: Path | None) -> list[tuple[Scene, Tensor]]:
    made, rows = [], []
    for number, pair in enumerate(held_out_pairs("validation", count)):
        with mixed_precision(pipe.vae.device):
            frames = pipe(
                prompt=pair.target.caption,
                num_frames=FRAMES,
                height=64,
                width=64,
                num_inference_steps=24,
                guidance_scale=scale,
                generator=torch.Generator().manual_seed(number),
                output_type="pt",
            ).frames[0]
        video = frames.float().clamp(0, 1) * 2 - 1
        made.append((pair.target, video))
        rows.append(torch.cat([pair.target.render()[FRAMES // 2], *video[[0, 5, 10, 15]]], 2))
    if sheet is not None:
        rows = rows[: min(24, len(rows)) // 2 * 2]
        picture = torch.cat([torch.cat(rows[::2], 1), torch.cat(rows[1::2], 1)], 2)
        pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.kron(pixels, np.ones((2, 2, 1), np.uint8))).save(sheet)
    return made


def told(title: str, judge: Embedder, shown: list[tuple[Scene, Tensor]]) -> None:
    """Print what the judge takes each attribute for, and how steady it finds the frames."""
    right: Counts = defaultdict(list)
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for scene, frames in shown:
        images = judge.images(frames)
        right["consistency"].append(temporal_consistency(images))
        for attribute in ATTRIBUTES:
            answer = likeliest(judge, images, scene, attribute)
            if answer is not None:
                right[attribute].append(float(answer == getattr(scene, attribute)))
                if attribute == "shape":
                    taken[str(scene.shape)][answer] += 1
    show(f"{title}:", right)
    for shape, answers in sorted(taken.items()):
        print(f"  {shape} taken for {dict(answers)}", flush=True)


def likeliest(judge: Embedder, images: Tensor, scene: Scene, attribute: Attribute) -> str | None:
    captions = alternatives(scene, attribute)
    if not captions:
        return None
    return list(captions)[int((images @ judge.texts(list(captions.values())).T).mean(0).argmax())]


if __name__ == "__main__":
    main()
