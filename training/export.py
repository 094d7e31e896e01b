"""Put a trained run into the package: fp16 safetensors in diffusers' layout, as base model and motion adapter.

python training/export.py --run RUN --out src/motionclone/mini
"""

import argparse
import shutil
from pathlib import Path

import torch
from denoiser import image_denoiser, motion_adapter, scheduler, text_encoder
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    tokenizer = CLIPTokenizer.from_pretrained(args.run / "tokenizer")
    words, images, adapter = text_encoder(len(tokenizer)), image_denoiser(), motion_adapter()
    trained = torch.load(args.run / "video.pt", weights_only=True, map_location="cpu")["ema"]
    text = {k.removeprefix("text."): v for k, v in trained.items() if k.startswith("text.")}
    network = {k.removeprefix("denoiser."): v for k, v in trained.items() if k.startswith("denoiser.")}
    words.load_state_dict(text)
    images.load_state_dict({k: v for k, v in network.items() if "motion_modules" not in k})
    adapter.load_state_dict({k: v for k, v in network.items() if "motion_modules" in k})

    vae = AutoencoderKL.from_pretrained(args.run / "vae")
    vae.register_to_config(_name_or_path="")  # no path of this machine in the package
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=words,
        tokenizer=tokenizer,
        unet=images,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for part in ("base", "motion_adapter"):
        shutil.rmtree(args.out / part, ignore_errors=True)
    pipe.to(dtype=torch.float16).save_pretrained(args.out / "base")
    adapter.half().save_pretrained(args.out / "motion_adapter")
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    print(f"{size / 1e6:.1f} MB in {args.out}")


if __name__ == "__main__":
    main()
