"""A naive transcription of the authors' run: diffusers' networks and the formulas; of ours, only the per-frame norm.

In float64 it is the truth that rounding is measured from. In float32 it measures this machine's rounding, and stands in
for golden numbers of what the authors' runs do not have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss


@dataclass(frozen=True)
class Shown:
    """What SparseCtrl is shown of the frames with these numbers, (1, c, n, h, w)."""

    frames: Sequence[int]
    at_extraction: Tensor
    at_generation: Tensor


@dataclass(frozen=True)
class Step:
    """One step."""

    energies: dict[str, Tensor]  # by site; none where the step is not guided
    gradient: Tensor  # of lambda * ramp * energy
    latents: Tensor  # after it


@contextmanager
def _projections(unet: Any, sites: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Outputs of every site's to_q and to_k."""
    found: dict[str, list[Tensor]] = {site: [] for site in sites}
    handles = [
        projection.register_forward_hook(lambda _m, _i, out, site=site: found[site].append(out))
        for site in sites
        for projection in (unet.get_submodule(site).to_q, unet.get_submodule(site).to_k)
    ]
    yield found
    for handle in handles:
        handle.remove()


class Replay:
    """The run of a case in one precision.

    Args:
        pipe: holds the networks; it is not called.
        facts: of the case, as in its json.
        numbers: latents of the reference, noise and text embeddings, by their golden names.
        sites: the guided temporal attentions.
        dtype: of the networks and all numbers.
        shown: if there is a SparseCtrl.
    """

    def __init__(
        self,
        pipe: Any,
        facts: dict[str, Any],
        numbers: dict[str, Tensor],
        sites: Sequence[str],
        dtype: torch.dtype,
        shown: Shown | None = None,
    ) -> None:
        self.tokenizer, self.text_encoder = pipe.tokenizer, deepcopy(pipe.text_encoder).to(dtype)
        self.unet, self.control = deepcopy(pipe.unet).to(dtype), deepcopy(getattr(pipe, "controlnet", None))
        if self.control is not None:
            self.control.to(dtype)
        self.config, self.timesteps = facts["config"], facts["timesteps"]
        self.ramps = [step["ramp"] for step in facts["steps"] if step["guided"]]
        self.numbers, self.sites, self.dtype, self.shown = numbers, sites, dtype, shown
        betas = facts["scheduler"]
        betas = torch.linspace(betas["beta_start"], betas["beta_end"], betas["num_train_timesteps"], dtype=dtype)
        self.abar = (1 - betas).cumprod(0)

    @torch.no_grad()
    def null_text(self) -> Tensor:
        """Embedding of the empty prompt."""
        tokens = self.tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids
        return self.text_encoder(tokens)[0]

    def _predict(self, latents: Tensor, timestep: int, words: str, shown: Tensor | None) -> Tensor:
        embeddings = self.numbers[f"{words}_embeds"].to(self.dtype).repeat_interleave(latents.shape[2], 0)
        if shown is None:
            return self.unet(latents, timestep, embeddings).sample
        size = (latents.shape[2], *shown.shape[-2:])
        picture = torch.zeros(1, shown.shape[1], *size, dtype=self.dtype)
        mask = torch.zeros(1, 1, *size, dtype=self.dtype)
        frames = list(self.shown.frames)
        picture[:, :, frames], mask[:, :, frames] = shown.to(self.dtype), 1.0
        with torch.no_grad():
            down, middle = self.control(
                latents,
                timestep,
                embeddings,
                controlnet_cond=picture,
                conditioning_mask=mask,
                conditioning_scale=self.config["controlnet_scale"],
                return_dict=False,
            )
        residuals = {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}
        return self.unet(latents, timestep, embeddings, **residuals).sample

    def _maps(self, *call: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Temporal attention (p, heads, f, f) of every site, and the prediction."""
        with _projections(self.unet, self.sites) as found:
            prediction = self._predict(*call)
        maps = {}
        for site, parts in found.items():
            heads = self.unet.get_submodule(site).heads
            query, key = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
            maps[site] = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        return maps, prediction

    @cached_property
    @torch.no_grad()
    def reference(self) -> dict[str, Tensor]:
        """The reference's attention maps (p, heads, f, f), by site."""
        timestep = self.config["add_noise_step"]
        abar = self.abar[timestep]
        video, noise = (self.numbers[name].to(self.dtype) for name in ("video_latents", "motion_noise"))
        noisy = abar.sqrt() * video + (1 - abar).sqrt() * noise
        return self._maps(noisy, timestep, "null_text", self.shown and self.shown.at_extraction)[0]

    def step(self, number: int, latents: Tensor, representation: dict[str, Any]) -> Step:
        """Step `number` from given latents, guided by `values` and `indices` by site."""
        timestep, latents = self.timesteps[number], latents.to(self.dtype)
        shown = self.shown and self.shown.at_generation
        with torch.no_grad():
            unconditional = self._predict(latents, timestep, "uncond", shown)
        start = latents.clone().requires_grad_()
        guided = number < len(self.ramps)
        with torch.set_grad_enabled(guided):
            maps, conditional = self._maps(start, timestep, "cond", shown)
        energies, gradient = {}, torch.zeros_like(latents)
        if guided:
            energies = {
                site: mse_loss(maps[site].gather(-1, kept.indices.long()), kept.values.to(self.dtype))
                for site, kept in representation.items()
            }
            weight = self.config["motion_guidance_weight"] * self.ramps[number]
            (gradient,) = torch.autograd.grad(weight * torch.stack(list(energies.values())).sum(), start)
        after = torch.ones((), dtype=self.dtype)
        if number + 1 < len(self.timesteps):
            after = self.abar[self.timesteps[number + 1]]
        now = self.abar[timestep]
        eps = (conditional + self.config["cfg_scale"] * (conditional - unconditional)).detach()
        clean = (latents - (1 - now).sqrt() * eps) / now.sqrt()
        latents = after.sqrt() * clean + (1 - after).sqrt() * (eps - (1 - now).sqrt() * gradient)
        return Step({site: energy.detach() for site, energy in energies.items()}, gradient, latents)
