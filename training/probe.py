"""Train the mini model's judge: a small CLIP on frames of the world and their captions.

    python training/probe.py --run RUN --out src/motionclone/mini/clip --minutes 90

A quarter of the scenes has gone through the VAE, as generated ones have; frames are turned and flipped. Beside the
usual contrast with the other captions of the batch, each frame is told from captions that are wrong in one word, every
other shape among them, so that colours, shapes and textures are recognised one by one. Writes RUN/judge.pt, from which
a second call goes on. Prints the accuracy on scenes of the validation split.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from loop import add_device, mixed_precision, optimizers_for, train
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
from variety import FIRST_SEED, training_scene

from motionclone.lab.metrics.embeddings import load_embedder
from motionclone.lab.metrics.recognition import ATTRIBUTES, alternatives, recognised
from motionclone.lab.world import SHAPES, Scene, held_out_scenes

FRAMES = 4  # drawn of each scene
TOKENS = 16  # the longest caption and its marks; CLIP's text encoder is causal, so that padding does not matter
WRONG = len(SHAPES) - 1 + len(ATTRIBUTES) - 1  # captions of each scene with one wrong word


def judge(tokenizer: CLIPTokenizer) -> CLIPModel:
    shared = {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "projection_dim": 64}
    text = {
        **shared,
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    # Patches of 4 pixels: with 8, a circle was taken for a square in one of five scenes.
    vision = {**shared, "num_hidden_layers": 4, "image_size": 64, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


class Scenes(Dataset):
    """Frames (4, 3, 64, 64) in [-1, 1] of scenes, each with a seed of its own."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        return self.scene(number).render(samples=1 + number % 2)

    def scene(self, number: int) -> Scene:
        generator = torch.Generator().manual_seed(FIRST_SEED + 1_000_000 * self.seed + number)
        return training_scene(FRAMES, generator)


@torch.no_grad()
def draw(vae: AutoencoderKL, count: int, seed: int, workers: int) -> tuple[list[Scene], Tensor]:
    """Scenes and frames (count, 4, 3, 64, 64) as bytes; of every fourth pair of scenes, after the VAE."""
    scenes, frames = Scenes(count, seed), []
    for number, drawn in enumerate(DataLoader(scenes, batch_size=None, num_workers=workers)):
        if number // 2 % 4 == 0:
            with mixed_precision(vae.device):
                drawn = vae(drawn.to(vae.device)).sample.float().cpu()
        frames.append(((drawn + 1) * 127.5).round().clamp(0, 255).byte())
    return [scenes.scene(number) for number in range(count)], torch.stack(frames)


def wrong(scene: Scene, generator: torch.Generator) -> list[str]:
    """The caption with one other word: every other shape, and one value of each other attribute."""
    captions = []
    for attribute in ATTRIBUTES:
        others = [c for c in alternatives(scene, attribute).values() if c != scene.caption]
        if attribute == "shape":
            captions += others or [""] * (len(SHAPES) - 1)
        else:
            pick = int(torch.randint(max(len(others), 1), (1,), generator=generator))
            captions.append(others[pick] if others else "")
    return captions


def contrast(model: CLIPModel, pixels: Tensor, tokens: Tensor, same: Tensor) -> Tensor:
    """CLIP's loss, and that of telling each caption from its wrong ones.

    Args:
        model: the judge.
        pixels: (n, 3, 64, 64).
        tokens: (n + n WRONG, TOKENS) of the captions, then of each frame's wrong ones.
        same: (n, n), which captions are alike.
    """
    count = len(pixels)
    with mixed_precision(pixels.device):
        texts = model.get_text_features(input_ids=tokens).pooler_output.float()
        images = model.get_image_features(pixel_values=pixels).pooler_output.float()
    texts, images = functional.normalize(texts, dim=-1), functional.normalize(images, dim=-1)
    right, others = texts[:count], texts[count:].view(count, WRONG, -1)
    scale = model.logit_scale.exp().clamp(max=50)
    target = torch.arange(count, device=pixels.device)
    logits = (scale * images @ right.T).masked_fill(same & (target != target[:, None]), -1e4)
    hard = torch.cat([logits.diagonal()[:, None], scale * torch.einsum("bd,bnd->bn", images, others)], 1)
    loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    return loss + 2 * functional.cross_entropy(hard, torch.zeros_like(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--scenes", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw")
    add_device(parser)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    vae = AutoencoderKL.from_pretrained(args.run / "vae").eval().to(args.device)
    scenes, frames = draw(vae, args.scenes, args.seed, args.workers)
    tokenizer = CLIPTokenizer.from_pretrained(args.run / "tokenizer")
    model = judge(tokenizer).train().to(args.device)
    if args.device.type == "cpu":  # where SDPA is slow backwards
        model.set_attn_implementation("eager")

    def loss(_step: int) -> tuple[str, Tensor]:
        chosen = torch.randint(len(scenes), (args.batch,), generator=generator).tolist()
        which = torch.randint(FRAMES, (args.batch,), generator=generator)
        turns, flip = torch.randint(4, (2,), generator=generator).tolist()
        pixels = torch.rot90(frames[chosen, which].to(args.device).float() / 127.5 - 1, turns, (2, 3))
        pixels = pixels.flip(3) if flip % 2 else pixels
        captions = [scenes[i].caption for i in chosen]
        every = captions + [c for i in chosen for c in wrong(scenes[i], generator)]
        tokens = tokenizer(every, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
        same = torch.tensor([[a == b for b in captions] for a in captions])
        return "judge", contrast(model, pixels, tokens.to(args.device), same.to(args.device))

    checkpoint = args.run / "judge.pt"
    train(
        model,
        optimizers_for(model),
        loss,
        generator,
        checkpoint=checkpoint,
        minutes=args.minutes,
        rate=args.rate,
        seed=args.seed,
    )
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["ema"])
    model.half().cpu().save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    processor = CLIPImageProcessor(
        size={"shortest_edge": 64},
        crop_size={"height": 64, "width": 64},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor.save_pretrained(args.out)
    report(args.out, vae.cpu())


@torch.no_grad()
def report(folder: Path, vae: AutoencoderKL) -> None:
    """Print what an exported judge recognises in held-out scenes."""
    embedder = load_embedder(folder)
    held_out = [scene for scene in held_out_scenes("validation", 200, FRAMES) if scene.shape is not None]
    for name, through in (("drawn", lambda x: x), ("after the VAE", lambda x: vae(x).sample)):
        hits = [recognised(embedder, embedder.images(through(scene.render())), scene) for scene in held_out]
        rates = {a: round(sum(h[a] for h in hits if a in h) / sum(a in h for h in hits), 3) for a in ATTRIBUTES}
        print(f"recognised in {len(hits)} held-out scenes, {name}: {rates}", flush=True)


if __name__ == "__main__":
    main()
