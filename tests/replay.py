"""A naive transcription of the authors' run with SparseCtrl: diffusers' networks and the formulas, nothing of ours.

It stands in for golden numbers of sketches; on pictures it is held to the authors' own (test_parity.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

ABAR = (1 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0)


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


def _maps(unet: Any, sites: Sequence[str], *call: Any, **residuals: Any) -> tuple[dict[str, Tensor], Tensor]:
    """Temporal attention (p, heads, f, f) of every site, and the prediction."""
    with _projections(unet, sites) as found:
        prediction = unet(*call, **residuals).sample
    maps = {}
    for site, parts in found.items():
        query, key = (part.unflatten(-1, (unet.get_submodule(site).heads, -1)).transpose(1, 2) for part in parts)
        maps[site] = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
    return maps, prediction


def _residuals(network: Any, shown: Tensor, frames: Sequence[int], count: int, *call: Any) -> dict[str, Any]:
    """SparseCtrl's, from what it is shown (1, c, n, h, w) of some of the `count` frames."""
    picture = torch.zeros(1, shown.shape[1], count, *shown.shape[-2:])
    mask = torch.zeros(1, 1, count, *shown.shape[-2:])
    picture[:, :, list(frames)], mask[:, :, list(frames)] = shown, 1.0
    down, middle = network(*call, controlnet_cond=picture, conditioning_mask=mask, return_dict=False)
    return {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}


def replay(
    pipe: Any,
    sites: Sequence[str],
    numbers: dict[str, Tensor],
    timesteps: Sequence[int],
    ramps: Sequence[float],
    frames: Sequence[int],
    at_extraction: Tensor,
    at_generation: Tensor,
) -> tuple[dict[str, tuple[Tensor, Tensor]], list[float], list[Tensor]]:
    """Values and indices of the representation; the energy of every guided step; the latents after every step.

    Args:
        pipe: holds the networks.
        sites: the guided temporal attentions.
        numbers: latents of the reference, noise and text embeddings, by their golden names.
        timesteps: all of them.
        ramps: of the guided steps, which come first.
        frames: at which SparseCtrl is shown something.
        at_extraction: what, (1, c, n, h, w).
        at_generation: what, likewise.
    """
    unet, network, latents = pipe.unet, pipe.controlnet, numbers["motion_noise"]
    count = latents.shape[2]
    null, negative, words = (
        numbers[f"{name}_embeds"].repeat_interleave(count, 0) for name in ("null_text", "uncond", "cond")
    )
    noisy = ABAR[400].sqrt() * numbers["video_latents"] + (1 - ABAR[400]).sqrt() * latents
    with torch.no_grad():
        residuals = _residuals(network, at_extraction, frames, count, noisy, 400, null)
        reference, _ = _maps(unet, sites, noisy, 400, null, **residuals)
    representation = {site: tuple(attention.max(-1, keepdim=True)) for site, attention in reference.items()}
    energies, found = [], []
    for number, timestep in enumerate(timesteps):
        now = ABAR[timestep]
        after = ABAR[timesteps[number + 1]] if number + 1 < len(timesteps) else torch.tensor(1.0)
        with torch.no_grad():
            residuals = _residuals(network, at_generation, frames, count, latents, timestep, negative)
            unconditional = unet(latents, timestep, negative, **residuals).sample
            residuals = _residuals(network, at_generation, frames, count, latents, timestep, words)
        start = latents.clone().requires_grad_()
        maps, conditional = _maps(unet, sites, start, timestep, words, **residuals)
        gradient = torch.zeros(())
        if number < len(ramps):
            losses = (mse_loss(maps[s].gather(-1, index), value) for s, (value, index) in representation.items())
            energy = torch.stack(list(losses)).sum()
            (gradient,) = torch.autograd.grad(2000 * ramps[number] * energy, start)
            energies.append(float(energy.detach()))
        eps = (conditional + 7.5 * (conditional - unconditional)).detach()
        clean = (latents - (1 - now).sqrt() * eps) / now.sqrt()
        latents = after.sqrt() * clean + (1 - after).sqrt() * (eps - (1 - now).sqrt() * gradient)
        found.append(latents)
    return representation, energies, found
