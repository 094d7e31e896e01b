"""Train the mini model's text encoder and denoiser on latents of the world: first images, then clips.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -- training/denoiser.py images --run RUN --minutes 35
    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -- training/denoiser.py video  --run RUN --minutes 75

Reads every RUN/latents* and RUN/tokenizer; writes RUN/{images,video}.pt, from which a second call resumes. The video
stage begins with the images' weights where there are some, and with the motion modules of `--start-from`. v
prediction with AnimateDiff's betas; objects weigh more; why is told in README.md. Learning rate and stopping follow the
computing time spent, so that a run can be paused, and made longer or shorter while the rate is constant. The processes,
one a core, average their gradients.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from loop import DECAY, add_device, compiled, mixed_precision, optimizers_for, start_processes, train
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from motionclone.backbones.per_frame_norm import use_per_frame_norm

CHANNELS = (64, 96, 128)
HEADS = 4
TEXT_WIDTH = 96
CAPTION_DROPOUT = 0.1
OBJECT, OBJECT_BELOW = 4.0, 700
"""What objects weigh more than their ground, and below which timestep: there the noisy latents show where they are."""
OUTLINES = (150, 700)
OF_PICTURES, OF_CLIPS = {"noisy": 0.0, "middle": 0.7}, {"noisy": 0.35, "middle": 0.35}
SHARES = {"images": OF_PICTURES, "stills": OF_PICTURES, "video": OF_CLIPS}
"""Of the timesteps of each kind of step: pictures teach the outlines of shapes, clips their motion, too."""
STILLS = 2  # every second step of the video stage learns from single frames, as many as the clips have together


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def text_encoder(vocabulary: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            projection_dim=TEXT_WIDTH,
            max_position_embeddings=77,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )


def image_denoiser() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=HEADS,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=16,
    )


def motion_adapter() -> MotionAdapter:
    adapter = MotionAdapter(
        block_out_channels=CHANNELS,
        motion_layers_per_block=1,
        motion_num_attention_heads=HEADS,
        motion_norm_num_groups=16,
        motion_max_seq_length=32,
        use_motion_mid_block=True,
    )
    for name, parameter in adapter.named_parameters():
        if "proj_out" in name:  # a new motion module changes nothing
            nn.init.zeros_(parameter)
    return adapter


class Model(nn.Module):
    """Text encoder and denoiser, trained as one."""

    def __init__(self, denoiser: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.text = text_encoder(vocabulary)
        self.denoiser = denoiser

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, repeats: int) -> Tensor:
        words = self.text(tokens).last_hidden_state.repeat_interleave(repeats, dim=0)
        return self.denoiser(noisy, timesteps, encoder_hidden_states=words).sample


def build(stage: str, images_checkpoint: Path | None, vocabulary: int) -> Model:
    unet = image_denoiser()
    images = Model(unet, vocabulary)
    if images_checkpoint is not None:
        images.load_state_dict(torch.load(images_checkpoint, weights_only=True, map_location="cpu")["ema"])
    if stage == "images":
        return images
    denoiser = UNetMotionModel.from_unet2d(unet, motion_adapter())
    use_per_frame_norm(denoiser)
    model = Model(denoiser, vocabulary)
    model.text.load_state_dict(images.text.state_dict())
    return model


class Data:
    """Batches of latents and tokenised captions."""

    def __init__(self, run: Path, seed: int) -> None:
        folders = sorted(run.glob("latents*/"))
        files = [load_file(folder / "latents.safetensors") for folder in folders]
        if old := [folder.name for folder, file in zip(folders, files, strict=True) if "masks" not in file]:
            raise SystemExit(f"{', '.join(old)}: no masks of objects; draw them again with latents.py.")
        self.latents, self.masks = (torch.cat([file[name] for file in files]) for name in ("latents", "masks"))
        self.tokenizer = CLIPTokenizer.from_pretrained(run / "tokenizer")
        self.captions = [c for folder in folders for c in json.loads((folder / "captions.json").read_text())]
        self.generator = torch.Generator().manual_seed(seed)

    def _chance(self, probability: float) -> bool:
        return torch.rand(1, generator=self.generator).item() < probability

    def _words(self, caption: str) -> str:
        """The caption, sometimes none, sometimes without its article or preposition."""
        if self._chance(CAPTION_DROPOUT):
            return ""
        if self._chance(0.15):
            return caption.removeprefix("a ").replace(" on ", " ")
        return caption

    def batch(self, stage: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, (size, 8, 16, 16) for images or (size, 8, f, 16, 16) for video, masks likewise, of one channel and
        in [0, 1], and tokens (size, 77)."""
        chosen = torch.randint(len(self.latents), (size,), generator=self.generator)
        clips = torch.cat([self.latents[chosen].float(), self.masks[chosen].unsqueeze(2) / 255], 2)
        if stage == "images":
            frame = torch.randint(clips.shape[1], (size,), generator=self.generator)
            both = clips[torch.arange(size), frame]
        else:
            backwards = torch.rand(size, generator=self.generator) < 0.5
            clips[backwards] = clips[backwards].flip(1)
            both = clips.transpose(1, 2)
        mirrored = torch.rand(size, generator=self.generator) < 0.5
        both[mirrored] = both[mirrored].flip(-1)
        words = [self._words(self.captions[i]) for i in chosen.tolist()]
        tokens = self.tokenizer(words, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return both[:, :-1], both[:, -1:], tokens


def timesteps_of(size: int, generator: torch.Generator, *, noisy: float, middle: float = 0.0) -> Tensor:
    """A share of them in the noisiest 40 %, a share where outlines are drawn, the others uniform."""
    drawn = torch.rand(size, generator=generator)
    uniform, noisiest, outlines = (
        torch.randint(low, high, (size,), generator=generator) for low, high in ((0, 1000), (600, 1000), OUTLINES)
    )
    return torch.where(drawn < noisy, noisiest, torch.where(drawn < noisy + middle, outlines, uniform))


def noised(latents: Tensor, timesteps: Tensor, alpha_bar: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents (b, ...) with noise, and the v that is to be predicted of them."""
    noise = torch.randn(latents.shape, generator=generator)
    level = alpha_bar[timesteps].view(-1, *[1] * (latents.ndim - 1))
    alpha, sigma = level.sqrt(), (1 - level).sqrt()
    return alpha * latents + sigma * noise, alpha * noise - sigma * latents


def angles_of(alpha_bar: Tensor) -> Tensor:
    """Where latents lie between clean (0) and noise (pi / 2), by timestep; the last of all, of -1, is of clean ones."""
    return torch.cat([alpha_bar, torch.ones(1)]).sqrt().acos()


def landed(noisy: Tensor, v: Tensor, turn: Tensor) -> Tensor:
    """Latents by DDIM from one angle to another; v is their derivative by the angle."""
    return turn.cos() * noisy + turn.sin() * v


def loss_weights(masks: Tensor, timesteps: Tensor) -> Tensor:
    """More on objects and around them, of masks (b, 1, ..., h, w); 1 on average of each sample."""
    near = max_pool2d(masks.flatten(0, -3), 3, 1, 1).view_as(masks)
    shown = (timesteps < OBJECT_BELOW).view(-1, *[1] * (masks.ndim - 1))
    weights = 1 + OBJECT * near * shown
    return weights / weights.flatten(1).mean(1).view_as(shown)


def loss_of(model: nn.Module, data: Data, kind: str, size: int, alpha_bar: Tensor) -> Tensor:
    """Weighted squared error of v on one batch: of "images", of "video", or of "stills", clips of a single frame."""
    latents, masks, tokens = data.batch("video" if kind == "video" else "images", size)
    if kind == "stills":
        latents, masks = latents.unsqueeze(2), masks.unsqueeze(2)
    timesteps = timesteps_of(size, data.generator, **SHARES[kind])
    noisy, wanted = noised(latents, timesteps, alpha_bar, data.generator)
    repeats = latents.shape[2] if kind == "video" else 1
    device = next(model.parameters()).device
    weights = loss_weights(masks, timesteps)
    noisy, timesteps, tokens, wanted, weights = (x.to(device) for x in (noisy, timesteps, tokens, wanted, weights))
    with mixed_precision(device):
        predicted = model(noisy, timesteps, tokens, repeats)
    return (weights * (predicted.float() - wanted).square()).mean()


def start_from(model: Model, released: Path, *, of_images: bool) -> None:
    """Take over an exported model (base and motion_adapter): what was learned of images, of clips, or of both."""
    parts = {}
    if of_images:
        parts["base/text_encoder/model.safetensors"] = model.text
        parts["base/unet/diffusion_pytorch_model.safetensors"] = model.denoiser
    if isinstance(model.denoiser, UNetMotionModel):
        parts["motion_adapter/diffusion_pytorch_model.safetensors"] = model.denoiser
    for file, network in parts.items():
        keys = network.load_state_dict(load_file(released / file), strict=False)
        if keys.unexpected_keys:
            raise SystemExit(f"{released / file} is of another model: {keys.unexpected_keys[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["images", "video"])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, help="of one process")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--start-from", type=Path, help="exported model whose weights to begin with")
    parser.add_argument("--decay", type=float, default=DECAY, help="last share of the time, in which the rate falls")
    parser.add_argument("--keep-words", action="store_true", help="the text encoder does not learn: others may use it")
    add_device(parser)
    parser.add_argument("--compile", action="store_true", help="faster steps, after minutes of compiling")
    args = parser.parse_args()
    size = args.batch or {"images": 32, "video": 3}[args.stage]
    rank = start_processes()
    seed = args.seed + 1_000_000 * rank
    torch.manual_seed(args.seed)
    data = Data(args.run, seed)
    images = args.run / "images.pt"
    model = build(args.stage, images if args.stage == "video" and images.exists() else None, len(data.tokenizer))
    if args.start_from is not None:
        start_from(model, args.start_from, of_images=args.stage == "images" or not images.exists())
    model.text.requires_grad_(not args.keep_words)
    model.train().to(args.device)
    if args.device.type == "cpu":  # where SDPA spends most of a training step in its backward pass
        model.denoiser.set_attn_processor(AttnProcessor())
        model.text.set_attn_implementation("eager")
    model.denoiser.to(memory_format=torch.channels_last)
    alpha_bar = scheduler().alphas_cumprod
    network = compiled(model) if args.compile else model
    if rank == 0:
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)

    def loss(step: int) -> tuple[str, Tensor]:
        if args.stage == "video" and step % STILLS == 0:
            return "stills", loss_of(network, data, "stills", size * data.latents.shape[1], alpha_bar)
        return args.stage, loss_of(network, data, args.stage, size, alpha_bar)

    def scale(name: str) -> float:
        """What the image stage taught learns somewhat slower than motion modules."""
        return 1.0 if args.stage == "images" or "motion_modules" in name else 0.7

    train(
        model,
        optimizers_for(model, scale),
        loss,
        data.generator,
        checkpoint=args.run / f"{args.stage}.pt",
        minutes=args.minutes,
        rate=args.rate,
        seed=seed,
        decay=args.decay,
    )


if __name__ == "__main__":
    main()
