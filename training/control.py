"""Train the mini model's SparseCtrl, for pictures or for sketches, on clips of the world; the denoiser stays as it is.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -- training/control.py image --run RUN --minutes 20
    python training/control.py image --run RUN --export src/motionclone/mini/image_control

Pixels are shown in both cases: diffusers' pipeline gives networks that take latents 4 channels, and the mini VAE has 8.
Most often the first frame is shown, else one to three at random. Writes RUN/{image,sketch}_control.pt, from which
a second call goes on.
"""

import argparse
from pathlib import Path

import torch
from denoiser import CHANNELS, HEADS, TEXT_WIDTH, noised, scheduler, timesteps_of
from diffusers import AnimateDiffPipeline, SparseControlNetModel
from diffusers.models.attention_processor import AttnProcessor
from latents import FRAMES, Clips, encoded
from loop import add_device, mixed_precision, optimizers_for, start_processes, train
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from motionclone.backbones.per_frame_norm import use_per_frame_norm
from motionclone.media.pictures import outlines
from motionclone.models import load_pipeline


def control() -> SparseControlNetModel:
    return SparseControlNetModel(
        in_channels=8,
        conditioning_channels=3,
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        conditioning_embedding_out_channels=(16, 32, 64),
        motion_num_attention_heads=HEADS,
        use_simplified_condition_embedding=False,
    )


class Shown:
    """Clips of the world, drawn once, in batches with the pictures that are shown of them."""

    def __init__(self, kind: str, clips: Clips, seed: int, workers: int, pipe: AnimateDiffPipeline) -> None:
        self.kind, self.generator, self.tokenizer = kind, torch.Generator().manual_seed(seed), pipe.tokenizer
        self.captions, latents, frames = [], [], []
        for caption, drawn in DataLoader(clips, batch_size=None, num_workers=workers):
            self.captions.append(caption)
            latents.append(encoded(pipe.vae, drawn))
            frames.append(((drawn + 1) * 127.5).round().byte())
        self.latents, self.frames = torch.stack(latents), torch.stack(frames)

    def _chance(self, probability: float) -> bool:
        return torch.rand(1, generator=self.generator).item() < probability

    def _shown(self) -> list[int]:
        """Frames that are shown of a clip."""
        if self._chance(0.6):
            return [0]
        count = int(torch.randint(1, 4, (1,), generator=self.generator))
        return torch.randperm(FRAMES, generator=self.generator)[:count].tolist()

    def _picture(self, frame: Tensor) -> Tensor:
        """What is shown of a frame (3, h, w), in [0, 1]."""
        return frame / 255 if self.kind == "image" else outlines(frame / 127.5 - 1).expand(3, -1, -1)

    def batch(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents (b, 8, f, 16, 16), tokens (b, 77), pictures (b, 3, f, 64, 64) and their mask (b, 1, f, 64, 64)."""
        chosen = torch.randint(len(self.latents), (size,), generator=self.generator).tolist()
        pictures, mask = torch.zeros(size, 3, FRAMES, 64, 64), torch.zeros(size, 1, FRAMES, 64, 64)
        for row, clip in enumerate(chosen):
            for frame in self._shown():
                pictures[row, :, frame] = self._picture(self.frames[clip, frame].float())
                mask[row, :, frame] = 1
        words = ["" if self._chance(0.1) else self.captions[i] for i in chosen]
        tokens = self.tokenizer(words, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return self.latents[chosen].float().transpose(1, 2), tokens, pictures, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["image", "sketch"])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clips", type=int, default=2500, help="drawn by each process")
    parser.add_argument("--batch", type=int, default=3, help="of one process")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--start-from", type=Path, help="exported folder whose weights to begin with")
    parser.add_argument("--mini", default="mini", help="exported model that it is for")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw")
    parser.add_argument("--export", type=Path, help="only put what was trained into this folder, as fp16")
    add_device(parser)
    args = parser.parse_args()
    checkpoint = args.run / f"{args.kind}_control.pt"
    if args.export is not None:
        network = control()
        network.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["ema"])
        network.half().save_pretrained(args.export)
        return

    seed = args.seed + 1000 * start_processes()
    torch.manual_seed(args.seed)
    pipe = load_pipeline(args.mini, device=args.device, dtype=torch.float32)
    text, denoiser, network = pipe.text_encoder, pipe.unet, control()
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    common = {name: weight for name, weight in denoiser.state_dict().items() if shapes.get(name) == weight.shape}
    network.load_state_dict(common, strict=False)  # what the two have in common starts from the denoiser
    if args.start_from is not None:
        network.load_state_dict(load_file(args.start_from / "diffusion_pytorch_model.safetensors"))
    use_per_frame_norm(network)
    for part in (denoiser, network):
        part.to(args.device, memory_format=torch.channels_last)
        if args.device.type == "cpu":  # where SDPA is slow backwards
            part.set_attn_processor(AttnProcessor())
    clips = Shown(args.kind, Clips(args.clips, seed), seed, args.workers, pipe)
    alpha_bar = scheduler().alphas_cumprod

    def loss(_step: int) -> tuple[str, Tensor]:
        latents, tokens, pictures, mask = clips.batch(args.batch)
        timesteps = timesteps_of(args.batch, clips.generator, noisy=0.5)
        noisy, wanted = noised(latents, timesteps, alpha_bar, clips.generator)
        noisy, timesteps, wanted, tokens, pictures, mask = (
            each.to(args.device) for each in (noisy, timesteps, wanted, tokens, pictures, mask)
        )
        with mixed_precision(args.device):
            words = text(tokens).last_hidden_state.repeat_interleave(FRAMES, dim=0)
            down, middle = network(
                noisy,
                timesteps,
                encoder_hidden_states=words,
                controlnet_cond=pictures,
                conditioning_mask=mask,
                return_dict=False,
            )
            predicted = denoiser(
                noisy,
                timesteps,
                encoder_hidden_states=words,
                down_block_additional_residuals=tuple(down),
                mid_block_additional_residual=middle,
            ).sample
        return args.kind, (predicted.float() - wanted).square().mean()

    train(
        network,
        optimizers_for(network),
        loss,
        clips.generator,
        checkpoint=checkpoint,
        minutes=args.minutes,
        rate=args.rate,
        seed=seed,
    )


if __name__ == "__main__":
    main()
