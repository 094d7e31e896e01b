"""The motion energy of one call of the denoiser, and its gradient with respect to the latents (Eqs. 2, 6)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from motionclone.backbones.backbone import Backbone, Call, Guidable
from motionclone.backbones.budget import Cost
from motionclone.backbones.capture import graph_cut_behind, listening
from motionclone.backbones.checkpointing import BlockWrites, checkpointed, weights_as_computed
from motionclone.backbones.costs import block_costs
from motionclone.backbones.patching import Forward
from motionclone.errors import InputError
from motionclone.guidance import motion_direction, on_sphere
from motionclone.motion import Motion, SparseMap
from motionclone.objectives import Objective, energy

# Energies of half precision models are multiplied by this before the backward pass, so that gradients do not underflow.
HALF_PRECISION_LOSS_SCALE = 2.0**12


def energy_and_gradient(
    backbone: Guidable,
    forward: Forward,
    call: Call,
    motion: Motion,
    *,
    recompute: Sequence[nn.Module] = (),
    objective: Objective = energy,
) -> tuple[Any, dict[str, Tensor], Tensor]:
    """Run the denoiser once and differentiate the motion energy (Eq. 6) with respect to its latents.

    The graph runs from the latents to the energies and no further.

    Args:
        backbone: of the denoiser.
        forward: the denoiser's forward.
        call: its arguments, conditional part only.
        motion: the reference.
        recompute: blocks of the denoiser of which only the inputs are kept, and whose insides, energies with them, are
            computed again in the backward pass; one may lie inside another.
        objective: the energy of one site.

    Returns:
        The denoiser's output; the energy of every site, a scalar averaged over the batch; and d energy / d latents, of
        the output's shape, in float32 or better, for each video as if it were alone. Nothing waits for the device.
    """
    try:
        with (
            checkpointed(backbone.denoiser, recompute),
            _energies(backbone, forward, call, motion, objective, weights_as_computed()) as (output, energies, latents),
        ):
            scale = 1.0 if latents.dtype in (torch.float32, torch.float64) else HALF_PRECISION_LOSS_SCALE
            total = torch.stack([energies[site] for site in motion.maps]).sum()
            (gradient,) = torch.autograd.grad(total * (scale * len(latents)), latents)
    except BlockWrites:
        return energy_and_gradient(backbone, forward, call, motion, recompute=recompute, objective=objective)
    gradient = backbone.denoised(gradient)
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32)) / scale
    return output, {site: energies[site].detach() for site in motion.maps}, gradient


def strong_gradient(backbone: Backbone, gradient: Tensor, call: Call, weight: float, sigma: float) -> Tensor:
    """What is to be descended in place of a gradient, by strength: `motion_direction` times `weight`, `on_sphere`.

    Args:
        backbone: of the denoiser.
        gradient: of the energy, in the layout of the output of a call of the denoiser.
        call: with the latents, at noise level `sigma`.
        weight: of the step.
        sigma: the noise in the latents.

    Returns:
        In the gradient's layout; its root mean square over what moves is `weight`.
    """
    latents = backbone.denoised(call[backbone.latents_name]).detach().to(gradient.dtype)
    direction = motion_direction(backbone.unpacked(gradient, call), backbone.kept_frames)
    step = sigma**2 * weight * direction
    found = on_sphere(step, backbone.unpacked(latents, call), backbone.kept_frames) / sigma**2
    return _packed(backbone, found, gradient, call)


def inner_direction(
    backbone: Backbone, gradient: Tensor, call: Call, move: float, count: int, gradient_of: Callable[[Call], Tensor]
) -> Tensor:
    """The sum of the directions of several gradients, each taken where those before it lead.

    In few steps each has to move the latents far, and the gradient at their start tells little of where they arrive. As
    the inner iterations of TFG (arXiv:2409.15761), with moves of fixed size; these are added, and only what comes of
    them is turned (`on_sphere`).

    Args:
        backbone: of the denoiser.
        gradient: the first, in the layout of the output of a call of the denoiser.
        call: that it was taken at.
        move: root mean square by which all of them together are to move the latents.
        count: of gradients, with the first.
        gradient_of: the gradient of another call.

    Returns:
        What is to be descended in place of the gradient, in its layout.
    """
    latents, together = call[backbone.latents_name], torch.zeros_like(gradient)
    places = backbone.denoised(torch.arange(latents.numel(), device=latents.device).view_as(latents))
    for taken in range(count):
        direction = motion_direction(backbone.unpacked(gradient, call), backbone.kept_frames)
        together = together + _packed(backbone, direction, gradient, call)
        if taken + 1 < count:
            moved = latents.detach().flatten().to(together.dtype)
            moved = moved.index_add(0, places.flatten(), together.flatten(), alpha=-move / count)
            gradient = gradient_of({**call, backbone.latents_name: moved.view_as(latents).to(latents.dtype)})
    return together


def _packed(backbone: Backbone, unpacked: Tensor, output: Tensor, call: Call) -> Tensor:
    """The inverse of `unpacked`, for an output of this shape."""
    places = torch.arange(output.numel(), device=output.device).view_as(output)
    packed = torch.empty_like(output).flatten()
    packed[backbone.unpacked(places, call).flatten()] = unpacked.flatten()
    return packed.view_as(output)


def guided_costs(
    backbone: Guidable,
    forward: Forward,
    call: Call,
    motion: Motion,
    blocks: Sequence[nn.Module],
    *,
    objective: Objective = energy,
) -> tuple[tuple[Cost, ...], int]:
    """What each of `blocks` costs in a guided call, and the bytes kept outside them; as `block_costs`."""

    def run(saving: AbstractContextManager[Any]) -> None:
        with _energies(backbone, forward, call, motion, objective, saving):
            pass

    return block_costs(backbone.denoiser, blocks, run)


@contextmanager
def _energies(
    backbone: Guidable,
    forward: Forward,
    call: Call,
    motion: Motion,
    objective: Objective,
    saving: AbstractContextManager[Any],
) -> Iterator[tuple[Any, Mapping[str, Tensor], Tensor]]:
    """The denoiser's output, the energy of every site, and the latents that these are to be differentiated by.

    The forward pass runs inside `saving`, which says what is kept for the backward pass.
    """
    sites = tuple(motion.maps)
    with torch.inference_mode(False), torch.enable_grad():
        call = tree_map(lambda x: x.clone() if torch.is_tensor(x) and x.is_inference() else x, call)
        latents = call[backbone.latents_name].detach().clone().requires_grad_()
        call = {**call, backbone.latents_name: latents}

        def energy_at(site: str, query: Tensor, key: Tensor) -> Tensor:
            return objective(query, key, _reference_at(site, query, motion, backbone.grid(call, query), len(latents)))

        with listening(partial(backbone.tap, call), sites, energy_at) as energies:
            with graph_cut_behind(energies), saving:
                output = forward(**call)
            energies.finish()
            yield output, energies, latents


def _reference_at(site: str, query: Tensor, motion: Motion, grid: tuple[int, int, int], copies: int) -> SparseMap:
    """A site's map for all videos of a batch, where its queries are. InputError if it does not fit them."""
    wanted = motion.maps[site]
    if tuple(grid) != tuple(motion.grid[site]):
        raise InputError(
            f"the motion has {_size(motion.grid[site])} at {site} and this generation has {_size(grid)}; "
            "generate at the frames and size of the extraction, or extract again."
        )
    if wanted.values.shape[1] != query.shape[1]:
        raise InputError(
            f"the motion has {wanted.values.shape[1]} attention heads at {site} and this model has {query.shape[1]}; "
            "extract it again with this model."
        )
    values = wanted.values.to(query.device, torch.promote_types(query.dtype, torch.float32))
    indices = wanted.indices.to(query.device, torch.int64)
    return SparseMap(values.repeat(copies, 1, 1, 1), indices.repeat(copies, 1, 1, 1))


def _size(grid: tuple[int, int, int]) -> str:
    frames, height, width = grid
    return f"{frames} frames of {height}x{width} positions"
