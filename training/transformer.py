"""Train the mini transformer, of CogVideoX's class, on latents of the world; VAE and words are the mini model's.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -- training/transformer.py --run RUN --minutes 90
    python training/transformer.py --run RUN --export src/motionclone/mini/dit

Reads every RUN/latents* and RUN/tokenizer; writes RUN/transformer.pt, from which a second call goes on. v prediction
with CogVideoX's betas down to zero SNR. The first steps see single frames, which teach what things look like, and
later every fourth does.
"""

import argparse
from pathlib import Path
from typing import cast

import torch
from denoiser import SHARES, STILLS, TEXT_WIDTH, Data, loss_weights, noised, text_encoder, timesteps_of
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from loop import add_device, compiled, mixed_precision, optimizers_for, start_processes, train
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from motionclone.models import load_pipeline

WORDS = 32  # tokens of a prompt, of which captions of the world need fewer than half
HEAD = 64
GRID = 8  # patches along the height and the width of a frame


def scheduler() -> CogVideoXDDIMScheduler:
    return CogVideoXDDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )


def transformer() -> CogVideoXTransformer3DModel:
    network = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=HEAD,
        in_channels=8,
        out_channels=8,
        time_embed_dim=128,
        text_embed_dim=TEXT_WIDTH,
        num_layers=6,
        sample_width=2 * GRID,
        sample_height=2 * GRID,
        sample_frames=16,
        patch_size=2,
        patch_size_t=2,
        temporal_compression_ratio=1,
        max_text_seq_length=WORDS,
        spatial_interpolation_scale=1.0,
        use_rotary_positional_embeddings=True,
    )
    for block in network.transformer_blocks:  # a new block changes nothing
        for norm in (block.norm1, block.norm2):
            nn.init.zeros_(norm.linear.weight)
            nn.init.zeros_(norm.linear.bias)
    nn.init.zeros_(network.proj_out.weight)
    nn.init.zeros_(network.proj_out.bias)
    return network


def words_of(place: str, vocabulary: int) -> CLIPTextModel:
    """The text encoder of an exported model, or of what the images stage learned so far."""
    if not place.endswith(".pt"):
        return cast(CLIPTextModel, load_pipeline(place, device="cpu").text_encoder)
    weights = torch.load(place, weights_only=True, map_location="cpu")["ema"]
    text = text_encoder(vocabulary).eval().requires_grad_(False)
    text.load_state_dict({k.removeprefix("text."): v for k, v in weights.items() if k.startswith("text.")})
    return text


def rotary(frames: int) -> tuple[Tensor, Tensor]:
    """As CogVideoX-1.5's pipeline makes them, for latents of `frames` frames."""
    size = (GRID, GRID)
    cos, sin = get_3d_rotary_pos_embed(HEAD, None, size, frames // 2, grid_type="slice", max_size=size)
    return cos, sin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=4, help="clips of one process")
    parser.add_argument("--stills", type=int, default=500, help="first steps, on single frames")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start-from", type=Path, help="exported folder whose weights to begin with")
    parser.add_argument("--mini", default="mini", help="exported model, or checkpoint (.pt), whose words these are")
    parser.add_argument("--export", type=Path, help="only put what was trained into this folder, as fp16")
    add_device(parser)
    parser.add_argument("--compile", action="store_true", help="faster steps, after minutes of compiling")
    args = parser.parse_args()
    checkpoint = args.run / "transformer.pt"
    network = transformer()
    if args.export is not None:
        network.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["ema"])
        network.half().save_pretrained(args.export / "transformer")
        scheduler().save_pretrained(args.export / "scheduler")
        return

    rank = start_processes()
    seed = args.seed + 1_000_000 * rank
    torch.manual_seed(args.seed)
    network = transformer().train().to(args.device)
    if args.start_from is not None:
        network.load_state_dict(load_file(args.start_from / "transformer" / "diffusion_pytorch_model.safetensors"))
    if rank == 0:
        print(f"{sum(p.numel() for p in network.parameters()):,} parameters", flush=True)
    data = Data(args.run, seed)
    text = words_of(args.mini, len(data.tokenizer)).to(args.device)
    alpha_bar = scheduler().alphas_cumprod.float()
    denoise = compiled(network) if args.compile else network

    def loss(step: int) -> tuple[str, Tensor]:
        kind = "stills" if step < args.stills or step % STILLS == 0 else "video"
        size = args.batch if kind == "video" else 8 * args.batch
        *both, tokens = data.batch("video" if kind == "video" else "images", size)
        # As (b, f, c, h, w); of a still two frames, which is one patch.
        latents, masks = (x.transpose(1, 2) if kind == "video" else x.unsqueeze(1).repeat(1, 2, 1, 1, 1) for x in both)
        timesteps = timesteps_of(size, data.generator, **SHARES[kind])
        noisy, wanted = noised(latents, timesteps, alpha_bar, data.generator)
        weights = loss_weights(masks, timesteps).to(args.device)
        noisy, tokens, timesteps, wanted = (each.to(args.device) for each in (noisy, tokens, timesteps, wanted))
        turns = tuple(each.to(args.device) for each in rotary(latents.shape[1]))
        with mixed_precision(args.device):
            words = text(tokens[:, :WORDS]).last_hidden_state
            predicted = denoise(noisy, words, timesteps, image_rotary_emb=turns).sample
        return kind, (weights * (predicted.float() - wanted).square()).mean()

    train(
        network,
        optimizers_for(network),
        loss,
        data.generator,
        checkpoint=checkpoint,
        minutes=args.minutes,
        rate=args.rate,
        seed=seed,
    )


if __name__ == "__main__":
    main()
