"""What diffusion transformers have in common: full attention over all frames, from which A_aux is cut (Sec. A.4).

Tokens of the video run (f, h, w), beside those of the text in some families. A_aux is the attention among the tokens
at one place (h, w), between their frames: (h w, heads, f, f), from queries and keys as attention gets them, after norm
and rotary embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from motionclone.backbones.backbone import Backbone, Call, is_stacked
from motionclone.backbones.capture import Heard, attention_heard
from motionclone.backbones.fingerprints import vector_norms
from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling


@dataclass(frozen=True)
class Transformer(Backbone):
    """A family of diffusion transformers, bound to a pipeline; each says below what is its own."""

    pipe: Any

    latents_name: ClassVar[str] = "hidden_states"
    stacks: ClassVar[tuple[str, ...]] = ("transformer_blocks",)  # lists of blocks, in the order they run
    attention: ClassVar[str] = "attn1"  # self attention of a block
    text_tokens: ClassVar[Literal["none", "first", "last"]] = "none"  # where in the sequence

    def token_grid(self, call: Call) -> tuple[int, int, int]:
        """(f, h, w) of the video's tokens in a call."""
        raise NotImplementedError

    @property
    @override
    def denoiser(self) -> nn.Module:
        """The transformer."""
        transformer: nn.Module = self.pipe.transformer
        return transformer

    @property
    def config(self) -> Any:
        """The transformer's configuration."""
        return self.denoiser.config

    @property
    def compression(self) -> tuple[int, int]:
        """Frames and pixels of the video to one of the latents; the first frame has one of its own."""
        return self.pipe.vae_scale_factor_temporal, self.pipe.vae_scale_factor_spatial

    @property
    def patch(self) -> int:
        """Height and width, in latents, of a token."""
        size: int = self.config.patch_size
        return size

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        count: int = self.config.out_channels
        return count

    @property
    def input_channels(self) -> int:
        """Channels that a call brings, the picture's among them."""
        return self.channels

    @override
    def check_network(self) -> None:
        wanted = self.config.in_channels
        if wanted != self.input_channels:
            raise InputError(
                f"this transformer takes {wanted} channels and {type(self.pipe).__name__} gives it "
                f"{self.input_channels}: it is for another task, and so for another pipeline."
            )

    @override
    def nearest_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        temporal, multiple = self.compression[0], self.compression[1] * self.patch
        frames = max(1, round((num_frames - 1) / temporal)) * temporal + 1  # two latents at least: one cannot move
        nearest_height, nearest_width = (max(1, round(side / multiple)) * multiple for side in (height, width))
        return frames, nearest_height, nearest_width

    @override
    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        (temporal, spatial), nearest = self.compression, self.nearest_size(num_frames, height, width)
        if nearest != (num_frames, height, width):
            raise InputError(
                f"this model makes {temporal}n + 1 frames whose sides are multiples of {spatial * self.patch}, not "
                f"{num_frames} of {width}x{height}; ask for {nearest[0]} of {nearest[2]}x{nearest[1]}."
            )
        return (1, self.channels, (num_frames - 1) // temporal + 1, height // spatial, width // spatial)

    @override
    def video_shape(self, latents: Tensor) -> tuple[int, int, int]:
        (frames, height, width), (temporal, spatial) = latents.shape[2:], self.compression
        return (frames - 1) * temporal + 1, height * spatial, width * spatial

    @override
    def blocks(self) -> tuple[str, ...]:
        """In the order they run."""
        return tuple(f"{stack}.{i}" for stack in self.stacks for i in range(len(getattr(self.denoiser, stack))))

    @override
    def sites(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """Blocks are such as `transformer_blocks.15`."""
        known = self.blocks()
        for block in blocks:
            if block not in known:
                raise InputError(
                    f"there is no block {block!r}; this model has {known[0]} to {known[-1]}: name one of them, or take "
                    "a preset for this model."
                )
        return tuple(f"{block}.{self.attention}" for block in known if block in blocks)

    @override
    def has_site(self, site: str) -> bool:
        return site.removesuffix(f".{self.attention}") in self.blocks()

    @override
    def after(self, sites: Sequence[str]) -> nn.Module:
        blocks = self.blocks()
        last = max(blocks.index(site.removesuffix(f".{self.attention}")) for site in sites)
        following: nn.Module = self.denoiser.get_submodule([*blocks, "norm_out"][last + 1])
        return following

    @override
    def heavy_blocks(self) -> list[nn.Module]:
        """All blocks, and their feed-forwards."""
        blocks = [self.denoiser.get_submodule(block) for block in self.blocks()]
        return blocks + [part for block in blocks for part in block.children() if isinstance(part, FeedForward)]

    @override
    def tap(self, call: Call, site: str, heard: Heard) -> list[RemovableHandle]:
        """Listens to scaled dot product attention while the site runs."""
        frames, height, width = self.token_grid(call)
        count = frames * height * width

        def by_place(tokens: Tensor) -> Tensor:
            """(b, heads, s, d) as (b h w, heads, f, d)."""
            b, heads, _, d = tokens.shape
            video = tokens[:, :, -count:] if self.text_tokens == "first" else tokens[:, :, :count]
            video = video.reshape(b, heads, frames, height * width, d).permute(0, 3, 1, 2, 4)
            return video.reshape(b * height * width, heads, frames, d)

        def hear(query: Tensor, key: Tensor) -> None:
            alone = query.shape[2] == count
            if query.shape != key.shape or query.shape[2] < count or (self.text_tokens == "none" and not alone):
                raise InputError(
                    f"{site} attends over {query.shape[2]} tokens where {frames}x{height}x{width} of the video were "
                    "expected; switch token dropping and sequence parallelism off."
                )
            heard.hear(site, by_place(query), by_place(key))

        return attention_heard(self.denoiser.get_submodule(site), hear, heard.here)

    @override
    def map_frames(self, call: Call) -> int:
        return self.token_grid(call)[0]

    @override
    def grid(self, call: Call, query: Tensor) -> tuple[int, int, int]:
        return self.token_grid(call)

    @override
    def split(self, call: Call) -> tuple[Call | None, Call]:
        """Stacked [unconditional, conditional]."""
        latents = call[self.latents_name]
        if not is_stacked(self.pipe, latents):
            return None, call
        half, halves = len(latents) // 2, []
        for part in (slice(None, half), slice(half, None)):
            halves.append(
                {
                    name: value[part] if torch.is_tensor(value) and value.ndim and len(value) == 2 * half else value
                    for name, value in call.items()
                }
            )
        return halves[0], halves[1]

    @override
    def check_condition(self, condition: Condition | None) -> None:
        wanted = self.shown_frames
        if condition is None and wanted:
            raise InputError("this is an image-to-video model and there is no picture; give it the first frame.")
        if condition is not None and not wanted:
            raise InputError("this pipeline cannot be shown pictures; load an image-to-video model.")
        if condition is not None and condition.frames != wanted:
            raise InputError(f"this model follows one picture, for frame 0, not for frames {list(condition.frames)}.")

    def _picture(self, condition: Condition) -> Any:
        """A PIL image, the only kind that both a VAE's processor and an image encoder's take to be what it is."""
        return self.pipe.video_processor.postprocess(condition.pictures)[0]

    @property
    @override
    def picture_arguments(self) -> tuple[str, ...]:
        return ("image",) if self.shown_frames else ()

    @override
    def pipeline_condition(self, condition: Condition, scale: float) -> dict[str, Any]:
        """Image-to-video models know no strength."""
        pixels = (condition.pictures[0] + 1) / 2
        return {"image": pixels[None]}

    @override
    def fingerprint(self, site: str) -> dict[str, float]:
        return vector_norms(self.denoiser, site.rpartition(".")[0])

    @override
    def initial_latents(self, noise: Tensor, condition: Condition | None = None) -> Tensor:
        return noise

    @override
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        return {
            "num_frames": sampling.num_frames,
            "height": sampling.height,
            "width": sampling.width,
            "guidance_scale": sampling.guidance_scale,
            "negative_prompt": sampling.negative_prompt,
        }


def zero_in_first(gradient: Tensor, frames: int) -> Tensor:
    """A gradient (b, c, f, h, w) without what it has in the first frames."""
    return torch.cat([torch.zeros_like(gradient[:, :, :frames]), gradient[:, :, frames:]], dim=2)


def check_length(tokenizer: Any, prompt: str, longest: int) -> None:
    """InputError if a prompt has more tokens than the model reads."""
    length = len(tokenizer(prompt).input_ids)
    if length > longest:
        raise InputError(f"the prompt is {length} tokens long and the model reads {longest}; shorten it: {prompt!r}.")
