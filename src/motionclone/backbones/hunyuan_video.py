"""HunyuanVideo and HunyuanVideo-1.5: full attention over the video's tokens and then the text's; flow prediction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import (
    ClassifierFreeGuidance,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Pipeline,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoPipeline,
)
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import extract_glyph_texts
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from motionclone.backbones.backbone import Call
from motionclone.backbones.transformer import Transformer, check_length, zero_in_first
from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling

# Those of the pipeline by default: the scale told to the network, which was distilled from guided ones, and the length.
EMBEDDED_GUIDANCE = 6.0
LONGEST_PROMPT = 256
# Of the 576 tokens that Llava makes of a picture, the pipeline passes on every so many-th.
IMAGE_TOKEN_STRIDE = {"latent_concat": 2, "token_replace": 4}


@dataclass(frozen=True)
class HunyuanVideo(Transformer):
    """HunyuanVideo, from text or from a first frame.

    Blocks of two streams, one for the text, come before those of one stream. The guidance scale is told to the network;
    the pipeline uses a negative prompt only if it is given a `true_cfg_scale`, too, and calls for it second.

    Of the image-to-video models one has the picture in place of the first latent frame, and whatever the denoiser says
    of it is dropped before the scheduler's step. The other has it in channels behind those of the latents, and the
    frames of one more latent before the video, which the pipeline cuts away.
    """

    halves_together = False

    stacks: ClassVar[tuple[str, ...]] = ("transformer_blocks", "single_transformer_blocks")
    attention = "attn"
    text_tokens = "last"

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family."""
        return isinstance(pipe, HunyuanVideoPipeline | HunyuanVideoImageToVideoPipeline)

    @property
    @override
    def shown_frames(self) -> tuple[int, ...]:
        from_a_picture = HunyuanVideoImageToVideoPipeline | HunyuanVideo15ImageToVideoPipeline
        return (0,) if isinstance(self.pipe, from_a_picture) else ()

    @property
    def _condition_type(self) -> str | None:
        kind: str | None = self.config.get("image_condition_type")
        return kind

    @property
    def _lead(self) -> int:
        """Frames that the pipeline makes before those of the video, as many as one latent stands for, or none."""
        frames: int = self.pipe.vae_scale_factor_temporal
        return frames if self._condition_type == "latent_concat" else 0

    @override
    def token_grid(self, call: Call) -> tuple[int, int, int]:
        """Latents in patches."""
        config = self.config
        frames, height, width = call["hidden_states"].shape[2:]
        return frames // config.patch_size_t, height // config.patch_size, width // config.patch_size

    @override
    def split(self, call: Call) -> tuple[Call | None, Call]:
        """A call is never stacked, whatever its batch."""
        return None, call

    @property
    @override
    def channels(self) -> int:
        """Those of the VAE."""
        count: int = self.pipe.vae.config.latent_channels
        return count

    @override
    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        """With the lead."""
        batch, channels, frames, *sides = super().latents_shape(num_frames, height, width)
        return (batch, channels, frames + bool(self._lead), *sides)

    @property
    @override
    def kept_frames(self) -> int:
        """One kind of image-to-video model has the picture in place of the first."""
        return int(self._condition_type == "token_replace")

    @property
    @override
    def input_channels(self) -> int:
        """One kind of image-to-video model is given the picture and a mask."""
        return 2 * self.channels + 1 if self._lead else self.channels

    @override
    def video_shape(self, latents: Tensor) -> tuple[int, int, int]:
        """Without the lead."""
        return super().video_shape(latents[:, :, bool(self._lead) :])

    @override
    def denoised(self, gradient: Tensor) -> Tensor:
        """Of the first channels, the latents; 0 in a first frame that stands in place of the latents'."""
        return zero_in_first(gradient[:, : self.channels], self.kept_frames)

    @override
    def check_prompt(self, prompt: str) -> None:
        """CLIP, which is asked for a summary only, reads the first 77 tokens."""
        check_length(self.pipe.tokenizer, prompt, LONGEST_PROMPT)

    @override
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """The posterior is sampled; the lead is the first frame, standing still."""
        vae = self.pipe.vae
        frames = torch.cat([frames[:1].expand(self._lead, -1, -1, -1), frames])
        video = frames.movedim(0, 1)[None].to(self.pipe._execution_device, vae.dtype)
        latents: Tensor = vae.encode(video).latent_dist.sample(generator) * vae.config.scaling_factor
        return latents

    @override
    def decode_video(self, latents: Tensor) -> Tensor:
        vae = self.pipe.vae
        decoded: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample[0]
        return decoded.float().movedim(0, 1)[self._lead :]

    def _read(self, prompt: str, device: torch.device, **shown: Any) -> Call:
        """The denoiser's arguments that hold the prompt, read with a picture if one is shown."""
        dtype = self.pipe.transformer.dtype
        words, summary, mask = self.pipe.encode_prompt(
            prompt=prompt, device=device, max_sequence_length=LONGEST_PROMPT, **shown
        )
        return {
            "encoder_hidden_states": words.to(dtype),
            "encoder_attention_mask": mask.to(dtype),
            "pooled_projections": summary.to(dtype),
        }

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """A prompt that is read with a picture waits in the call for `conditioned`."""
        device, dtype = latents.device, self.pipe.transformer.dtype
        guidance = torch.tensor([EMBEDDED_GUIDANCE * 1000], device=device, dtype=dtype)
        return {
            "hidden_states": latents.to(dtype),
            "timestep": torch.tensor([timestep], device=device, dtype=torch.float32),
            "guidance": guidance if self.config.guidance_embeds else None,
            **({"prompt": prompt} if self.shown_frames else self._read(prompt, device)),
        }

    @override
    def pipeline_condition(self, condition: Condition, scale: float) -> dict[str, Any]:
        """There is no strength."""
        return {"image": self._picture(condition)}

    @override
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """Llava reads the prompt with the picture."""
        pipe, vae, noisy = self.pipe, self.pipe.vae, call["hidden_states"]
        picture, kind = self._picture(condition), self.config.image_condition_type
        pixels = pipe.video_processor.preprocess(picture)[:, :, None].to(noisy.device, vae.dtype)
        first = (vae.encode(pixels).latent_dist.mode().float() * vae.config.scaling_factor).to(noisy)
        if kind == "token_replace":
            noisy = torch.cat([first, noisy[:, :, 1:]], dim=2)
        else:
            marked = torch.cat([first, torch.ones_like(first[:, :1])], dim=1)
            noisy = torch.cat([noisy, pad(marked, (0, 0, 0, 0, 0, noisy.shape[2] - 1))], dim=1)
        words = self._read(call["prompt"], noisy.device, image=picture, image_embed_interleave=IMAGE_TOKEN_STRIDE[kind])
        return {"hidden_states": noisy, "timestep": call["timestep"], "guidance": call["guidance"], **words}

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """There is no negative prompt."""
        if sampling.negative_prompt:
            raise InputError("this model follows no negative prompt; leave it out.")
        arguments = super().pipeline_arguments(sampling) | {"num_frames": sampling.num_frames + self._lead}
        del arguments["negative_prompt"]
        return arguments


@dataclass(frozen=True)
class HunyuanVideo15(HunyuanVideo):
    """HunyuanVideo-1.5, from text or from a first frame.

    All blocks have two streams. The denoiser is given latents, those of a picture and their mask, the latter two empty
    without one, as channels. The pipeline's guider knows the guidance scale; only the plain one, which calls for the
    prompt and then for the negative prompt and forms u + s (c - u), leaves an increment as it is.
    """

    stacks = ("transformer_blocks",)

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family."""
        known = isinstance(pipe, HunyuanVideo15Pipeline | HunyuanVideo15ImageToVideoPipeline)
        return known and isinstance(pipe.guider, ClassifierFreeGuidance)

    @property
    @override
    def input_channels(self) -> int:
        return 2 * self.channels + 1

    @override
    def check_network(self) -> None:
        """Some image-to-video models are told the timestep at which a step ends, too."""
        super().check_network()
        if self.config.use_meanflow and self.shown_frames:
            raise InputError(
                "this transformer is told where every step ends (use_meanflow), and a motion is read without steps; "
                "use the model that was not distilled so."
            )

    @override
    def nearest_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """From a picture, of the sizes that the pipeline knows one that it keeps."""
        nearest = super().nearest_size(num_frames, height, width)
        if not self.shown_frames:
            return nearest
        pipe, size, kept = self.pipe, None, (height, width)
        while kept != size:
            size, kept = kept, pipe.video_processor.calculate_default_height_width(*kept, pipe.target_size)
        return nearest[0], *kept

    @override
    def check_prompt(self, prompt: str) -> None:
        """What stands in quotation marks is to be seen as letters, and read by ByT5."""
        check_length(self.pipe.tokenizer, prompt, self.pipe.tokenizer_max_length)
        check_length(self.pipe.tokenizer_2, extract_glyph_texts(prompt) or "", self.pipe.tokenizer_2_max_length)

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        pipe, device, dtype = self.pipe, latents.device, self.pipe.transformer.dtype
        words, mask, letters, letters_mask = pipe.encode_prompt(prompt, device=device, dtype=dtype)
        latents = latents.to(dtype)
        return {
            "hidden_states": torch.cat([latents, torch.zeros_like(latents), torch.zeros_like(latents[:, :1])], dim=1),
            "timestep": torch.tensor([timestep], device=device, dtype=dtype),
            "encoder_hidden_states": words,
            "encoder_attention_mask": mask,
            "encoder_hidden_states_2": letters,
            "encoder_attention_mask_2": letters_mask,
            "image_embeds": latents.new_zeros(1, pipe.vision_num_semantic_tokens, pipe.vision_states_dim),
        }

    @override
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """The pipeline's own code says how a first frame is laid out."""
        pipe, dtype, picture = self.pipe, self.pipe.transformer.dtype, self._picture(condition)
        noisy = call["hidden_states"][:, : self.channels]
        height, width = condition.pictures.shape[-2:]
        shown = pipe.prepare_cond_latents_and_mask(noisy, picture, 1, height, width, dtype, noisy.device)
        return call | {
            "hidden_states": torch.cat([noisy, *shown], dim=1),
            "image_embeds": pipe.encode_image(picture, 1, noisy.device, dtype),
        }

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """The guidance scale is the guider's; a picture says the size."""
        arguments: dict[str, Any] = {"num_frames": sampling.num_frames, "negative_prompt": sampling.negative_prompt}
        return arguments if self.shown_frames else arguments | {"height": sampling.height, "width": sampling.width}

    @contextmanager
    @override
    def prepared(self, sampling: Sampling) -> Iterator[None]:
        guider, before = self.pipe.guider, self.pipe.guider.guidance_scale
        guider.guidance_scale = sampling.guidance_scale
        try:
            yield
        finally:
            guider.guidance_scale = before
