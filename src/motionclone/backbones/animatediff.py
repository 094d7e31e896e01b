"""AnimateDiff on Stable Diffusion: a 2D UNet with motion modules (UNetMotionModel).

A motion module turns (b f) c h w into (b h w) f c and applies two temporal self-attentions, attn1 and attn2. Their maps
in `up_blocks.1` are what MotionClone guides (Sec. 4.1).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from diffusers import SparseControlNetModel, UNetMotionModel
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.pipelines.pag.pag_utils import PAGMixin
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from motionclone.backbones.backbone import Backbone, Call, is_stacked
from motionclone.backbones.capture import NO_WINDOWS, Heard
from motionclone.backbones.fingerprints import vector_norms
from motionclone.backbones.ip_adapter import adapters, without_pictures
from motionclone.backbones.patching import is_under, only_here
from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling

# Arguments of UNetMotionModel.forward that hold one row, or one row a frame, for each video of the batch.
BATCHED = (
    "sample",
    "encoder_hidden_states",
    "timestep_cond",
    "added_cond_kwargs",
    "down_block_additional_residuals",
    "mid_block_additional_residual",
)
ENCODE_CHUNK = 16  # frames through the VAE at once


@dataclass(frozen=True)
class AnimateDiff(Backbone):
    """The AnimateDiff family, bound to a pipeline."""

    pipe: Any

    latents_name: ClassVar[str] = "sample"

    @staticmethod
    def fits(pipe: Any) -> bool:
        """Whether a pipeline belongs to this family; PIA's does not, whose UNet takes an image beside the latents."""
        unet = getattr(pipe, "unet", None)
        return isinstance(unet, UNetMotionModel) and unet.config.in_channels == unet.config.out_channels

    @property
    @override
    def denoiser(self) -> nn.Module:
        """The UNetMotionModel."""
        unet: nn.Module = self.pipe.unet
        return unet

    @property
    def _dtype(self) -> torch.dtype:
        """In which the UNet computes, whatever its weights are stored in."""
        dtype: torch.dtype = self.pipe.unet.dtype
        return dtype

    @override
    def check_network(self) -> None:
        """Those distilled from guided ones are told the scale by pipelines that know how."""
        told = self.pipe.unet.config.time_cond_proj_dim is not None
        if told and hasattr(self.pipe, "get_guidance_scale_embedding"):
            raise InputError(
                "this UNet is told the guidance scale (time_cond_proj_dim), and a motion is read without one; use one "
                "that is not, such as with a LoRA for few steps."
            )

    @override
    def blocks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.split(".motion_modules")[0] for name in self._temporal_attentions()))

    @override
    def sites(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """Blocks are such as `up_blocks.1` or `mid_block`, or parts of one."""
        attentions = self._temporal_attentions()
        for block in blocks:
            if not any(name.startswith(block + ".") for name in attentions):
                raise InputError(
                    f"no temporal attention under block {block!r}; this model has it in {', '.join(self.blocks())}."
                )
        return tuple(name for name in attentions if any(name.startswith(block + ".") for block in blocks))

    @override
    def has_site(self, site: str) -> bool:
        return site in self._temporal_attentions()

    def _temporal_attentions(self) -> list[str]:
        return [
            name
            for name, module in self.denoiser.named_modules()
            if isinstance(module, Attention) and "motion_modules" in name
        ]

    @override
    def after(self, sites: Sequence[str]) -> nn.Module:
        unet = self.pipe.unet
        downs = [f"down_blocks.{i}" for i in range(len(unet.down_blocks))]
        ups = [f"up_blocks.{i}" for i in range(len(unet.up_blocks))]
        order = [*downs, "mid_block", *ups, "conv_norm_out"]
        last = max(i for i, block in enumerate(order) for site in sites if site.startswith(block + "."))
        following: nn.Module = unet.get_submodule(order[last + 1])
        return following

    @override
    def heavy_blocks(self) -> list[nn.Module]:
        """The UNet's blocks, in them residual blocks, transformers and motion modules, in these feed-forwards."""
        unet = self.pipe.unet
        kinds = (ResnetBlock2D, Transformer2DModel, AnimateDiffTransformer3D, FeedForward)
        inner = [module for module in unet.modules() if isinstance(module, kinds)]
        return [*unet.down_blocks, unet.mid_block, *unet.up_blocks, *inner]

    @override
    def tap(self, call: Call, site: str, heard: Heard) -> list[RemovableHandle]:
        """Listens to the projections, so that any attention processor will do."""
        attention = self.pipe.unet.get_submodule(site)
        parts: dict[str, Tensor] = {}

        def listen(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                if not heard.here():
                    return
                by_head = output.view(*output.shape[:2], attention.heads, -1)  # (p, f, heads, d)
                parts[name] = by_head.transpose(1, 2)
                if len(parts) == 2:
                    heard.hear(site, parts.pop("query"), parts.pop("key"))

            return hook

        return [
            attention.to_q.register_forward_hook(listen("query")),
            attention.to_k.register_forward_hook(listen("key")),
        ]

    @override
    def map_frames(self, call: Call) -> int:
        return int(call["sample"].shape[2])

    @override
    def grid(self, call: Call, query: Tensor) -> tuple[int, int, int]:
        """Height and width at a site: those of the latents, halved until the number of positions fits."""
        batch, _, frames, height, width = call["sample"].shape
        if query.shape[2] != frames:
            raise InputError(f"temporal attention runs over {query.shape[2]} of {frames} frames; {NO_WINDOWS}")
        positions = query.shape[0] // batch
        while height * width > positions:
            height, width = -(-height // 2), -(-width // 2)
        return frames, height, width

    @override
    def split(self, call: Call) -> tuple[Call | None, Call]:
        """diffusers stacks [unconditional, conditional] along the batch."""
        if not is_stacked(self.pipe, call["sample"]):
            return None, call
        batched = {name: call[name] for name in BATCHED if call.get(name) is not None}
        if torch.is_tensor(call["timestep"]) and call["timestep"].ndim:
            batched["timestep"] = call["timestep"]
        halves = [{**call, **{name: _half(value, part) for name, value in batched.items()}} for part in (0, 1)]
        return halves[0], halves[1]

    @override
    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        """Motion modules know as many frames as their position table is long."""
        unet, factor = self.pipe.unet, self.pipe.vae_scale_factor
        longest = unet.config.motion_max_seq_length
        if num_frames > longest:
            raise InputError(
                f"{num_frames} frames were asked for and this model's motion modules take at most {longest}."
            )
        if height % factor or width % factor:
            raise InputError(f"this model makes videos whose sides are multiples of {factor}, not {width}x{height}.")
        return (1, unet.config.in_channels, num_frames, height // factor, width // factor)

    @override
    def video_shape(self, latents: Tensor) -> tuple[int, int, int]:
        frames, height, width = latents.shape[2:]
        return frames, height * self.pipe.vae_scale_factor, width * self.pipe.vae_scale_factor

    @override
    def nearest_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Any number of frames is as near as can be, or too many."""
        factor = self.pipe.vae_scale_factor
        nearest_height, nearest_width = (max(1, round(side / factor)) * factor for side in (height, width))
        return num_frames, nearest_height, nearest_width

    @override
    def check_prompt(self, prompt: str) -> None:
        check_length(self.pipe.tokenizer, prompt)

    @property
    def _controlled(self) -> bool:
        """By a SparseCtrl; a ControlNet, which wants a picture for every frame, is another thing."""
        return isinstance(getattr(self.pipe, "controlnet", None), SparseControlNetModel)

    @override
    def check_condition(self, condition: Condition | None) -> None:
        controlled = self._controlled
        if condition is not None and not controlled:
            raise InputError("this pipeline has no SparseCtrl to follow pictures with; load the model with one.")
        if condition is None and controlled:
            raise InputError("this pipeline's SparseCtrl has no picture to follow; give it one.")

    @property
    @override
    def picture_arguments(self) -> tuple[str, ...]:
        return ("conditioning_frames",) if self._controlled else ()

    @override
    def pipeline_condition(self, condition: Condition, scale: float) -> dict[str, Any]:
        pixels = torch.split((condition.pictures.float() + 1) / 2, 1)
        return {
            "conditioning_frames": pixels[0] if len(pixels) == 1 else list(pixels),
            "controlnet_frame_indices": list(condition.frames),
            "controlnet_conditioning_scale": scale,
        }

    @override
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """The latents stand in for the pictures where SparseCtrl takes latents."""
        network, sample = self.pipe.controlnet, call["sample"]
        if network.use_simplified_condition_embedding:
            shown = latents[:, :, list(condition.frames)]
        else:
            shown = (condition.pictures.movedim(0, 1)[None] + 1) / 2
        pictures, mask = self.pipe.prepare_sparse_control_conditioning(
            shown.to(sample), sample.shape[2], list(condition.frames), sample.device, sample.dtype
        )
        down, middle = network(
            sample,
            call["timestep"],
            encoder_hidden_states=call["encoder_hidden_states"],
            controlnet_cond=pictures,
            conditioning_mask=mask,
            conditioning_scale=scale,
            return_dict=False,
        )
        return {**call, "down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}

    @override
    def fingerprint(self, site: str) -> dict[str, float]:
        return vector_norms(self.denoiser, site.rpartition(".")[0])

    @override
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Latents sampled from the VAE's posterior, as the authors do, times its scaling factor."""
        vae = self.pipe.vae
        chunks = [
            vae.encode(chunk.to(self.pipe._execution_device, vae.dtype)).latent_dist.sample(generator)
            for chunk in torch.split(frames, ENCODE_CHUNK)
        ]
        latents: Tensor = torch.cat(chunks).movedim(0, 1)[None] * vae.config.scaling_factor
        return latents

    @override
    def decode_video(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.pipe.decode_latents(latents)[0]
        return decoded.float().movedim(0, 1)

    @override
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        embeddings, _ = self.pipe.encode_prompt(prompt, self.pipe._execution_device, 1, False)
        return {
            "sample": latents.to(self._dtype),
            "timestep": torch.tensor(timestep, device=latents.device),
            "encoder_hidden_states": embeddings.repeat_interleave(latents.shape[2], dim=0),
        }

    @override
    def initial_latents(self, noise: Tensor, condition: Condition | None = None) -> Tensor:
        return noise.to(self._dtype)

    @override
    def unused_parts(self) -> dict[str, str]:
        return (
            {"IP-Adapter": "does not act: it follows a picture, ip_adapter_image"} if adapters(self.pipe.unet) else {}
        )

    @contextmanager
    @override
    def reading(self, call: Call) -> Iterator[Call]:
        """Without IP-Adapter."""
        if adapters(self.pipe.unet):
            call = {**call, "added_cond_kwargs": {**call.get("added_cond_kwargs", {}), "image_embeds": []}}
        with only_here() as here, without_pictures(self.pipe.unet, here):
            yield call

    @override
    def prepared(self, sampling: Sampling) -> AbstractContextManager[None]:
        """Without IP-Adapter, for which there is no picture."""
        return without_pictures(self.pipe.unet, partial(is_under, self.pipe))

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        if isinstance(self.pipe, PAGMixin):
            raise InputError(
                f"{type(self.pipe).__name__} perturbs attention unless it is told not to; read the motion with "
                "extract_motion and call the pipeline yourself, with pag_scale=0, inside motion_guidance."
            )
        count = adapters(self.pipe.unet)
        unseen = {"ip_adapter_image_embeds": [torch.zeros(2, 1, 1)] * count} if count else {}
        return unseen | {
            "num_frames": sampling.num_frames,
            "height": sampling.height,
            "width": sampling.width,
            "guidance_scale": sampling.guidance_scale,
            "negative_prompt": sampling.negative_prompt,
        }


def check_length(tokenizer: Any, prompt: str) -> None:
    """Refuse a prompt that a tokenizer of CLIP would cut short."""
    length, longest = len(tokenizer.tokenize(prompt)), tokenizer.model_max_length - 2  # begin and end marks
    if length > longest:
        raise InputError(f"the prompt is {length} tokens long and the model reads {longest}; shorten it: {prompt!r}.")


def _half(value: Any, part: int) -> Any:
    """The unconditional (0) or conditional (1) half of tensors, however nested."""
    if torch.is_tensor(value):
        return value.chunk(2)[part]
    if isinstance(value, dict):
        return {name: _half(inner, part) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_half(inner, part) for inner in value)
    return value
