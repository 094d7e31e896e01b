"""Train the mini model's judge: a small CLIP on frames of the world and their captions.

    python training/probe.py --run RUN --out src/motionclone/mini/clip --minutes 6

A quarter of the scenes has gone through the VAE, as generated ones have; frames are turned and flipped. Beside the
usual contrast with the other captions of the batch, each frame is told from captions that are wrong in one word, so
that colours, shapes and textures are recognised one by one. Prints the accuracy on scenes of the validation split.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from muon import Muon, is_matrix
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from motionclone.lab.metrics.embeddings import load_embedder
from motionclone.lab.metrics.recognition import ATTRIBUTES, alternatives, recognised
from motionclone.lab.world import Scene, held_out_scenes, random_scene

FRAMES = 4  # drawn of each scene
TOKENS = 16  # the longest caption and its marks; CLIP's text encoder is causal, so that padding does not matter


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
    vision = {**shared, "num_hidden_layers": 4, "image_size": 64, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    model.set_attn_implementation("eager")
    return model


@torch.no_grad()
def draw(vae: AutoencoderKL, count: int, seed: int) -> tuple[list[Scene], Tensor]:
    """Scenes and frames (count, 4, 3, 64, 64) as bytes; of every fourth scene, after the VAE."""
    generator = torch.Generator().manual_seed(seed)
    scenes, frames = [], []
    for i in range(count):
        scene = random_scene(FRAMES, generator)
        drawn = scene.render(samples=1)
        if i % 4 == 0:
            with torch.autocast("cpu", torch.bfloat16):
                drawn = vae(drawn).sample.float()
        scenes.append(scene)
        frames.append(((drawn + 1) * 127.5).round().clamp(0, 255).byte())
    return scenes, torch.stack(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--start-from", type=Path, help="folder of an earlier one")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    vae = AutoencoderKL.from_pretrained(args.run / "vae").eval()
    scenes, frames = draw(vae, args.scenes, args.seed)
    tokenizer = CLIPTokenizer.from_pretrained(args.run / "tokenizer")
    processor = CLIPImageProcessor(
        size={"shortest_edge": 64},
        crop_size={"height": 64, "width": 64},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    model = judge(tokenizer)
    if args.start_from is not None:
        model.load_state_dict(load_embedder(args.start_from).model.state_dict())
    model.train()
    named = list(model.named_parameters())
    optimizers = [
        Muon([{"params": [w for name, w in named if is_matrix(name, w)]}], lr=args.rate),
        torch.optim.AdamW([w for name, w in named if not is_matrix(name, w)], lr=args.rate, betas=(0.9, 0.98)),
    ]

    def embed(captions: list[str]) -> Tensor:
        tokens = tokenizer(captions, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
        return functional.normalize(model.get_text_features(input_ids=tokens).pooler_output, dim=-1)

    def wrong(scene: Scene) -> list[str]:
        """The caption with another word, one for each attribute."""
        captions = []
        for attribute in ATTRIBUTES:
            others = [c for c in alternatives(scene, attribute).values() if c != scene.caption]
            pick = int(torch.randint(max(len(others), 1), (1,), generator=generator))
            captions.append(others[pick] if others else "")
        return captions

    total, spent, step = args.minutes * 60, 0.0, 0
    while spent < total:
        began = time.process_time()
        chosen = torch.randint(len(scenes), (args.batch,), generator=generator).tolist()
        which = torch.randint(FRAMES, (args.batch,), generator=generator)
        turns, flip = torch.randint(4, (2,), generator=generator).tolist()
        pixels = torch.rot90(frames[chosen, which].float() / 127.5 - 1, turns, (2, 3))
        pixels = pixels.flip(3) if flip % 2 else pixels
        batch = [scenes[i] for i in chosen]
        captions = [scene.caption for scene in batch]
        with torch.autocast("cpu", torch.bfloat16):
            texts = embed(captions + [c for scene in batch for c in wrong(scene)]).float()
            found = model.get_image_features(pixel_values=pixels).pooler_output.float()
        right, others = texts[: args.batch], texts[args.batch :].view(args.batch, len(ATTRIBUTES), -1)
        images = functional.normalize(found, dim=-1)
        scale = model.logit_scale.exp().clamp(max=50)
        same = torch.tensor([[a == b for b in captions] for a in captions])
        logits = (scale * images @ right.T).masked_fill(same & ~torch.eye(args.batch, dtype=torch.bool), -1e4)
        hard = torch.cat([logits.diagonal()[:, None], scale * torch.einsum("bd,bnd->bn", images, others)], 1)
        target = torch.arange(args.batch)
        loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        loss = loss + 2 * functional.cross_entropy(hard, torch.zeros_like(target))
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.rate * min(1, (step + 1) / 100) * max(0.02, 1 - spent / total)
            optimizer.step()
        step += 1
        spent += (time.process_time() - began) / torch.get_num_threads()
        if step % 100 == 0:
            print(json.dumps({"step": step, "seconds": round(spent), "loss": round(loss.item(), 3)}), flush=True)

    model.half().save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    processor.save_pretrained(args.out)
    embedder = load_embedder(args.out)
    held_out = [scene for scene in held_out_scenes("validation", 200, FRAMES) if scene.shape is not None]
    for name, through in (("drawn", lambda x: x), ("after the VAE", lambda x: vae(x).sample)):
        hits = []
        with torch.no_grad():
            for scene in held_out:
                hits.append(recognised(embedder, embedder.images(through(scene.render())), scene))
        rates = {a: round(sum(h[a] for h in hits if a in h) / sum(a in h for h in hits), 3) for a in ATTRIBUTES}
        print(f"recognised in {len(hits)} held-out scenes, {name}: {rates}", flush=True)


if __name__ == "__main__":
    main()
