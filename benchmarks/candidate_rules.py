"""Rules of guidance that are tried in place of the package's, and are not in it: see candidates.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from motionclone import cloning, sampling
from motionclone.backbones.families import backbone_of
from motionclone.extraction import extract_motion, generator_of, seeded_noise
from motionclone.guidance import clean_and_noise, motion_direction
from motionclone.motion import Motion, SparseMap, temporal_attention
from motionclone.objectives.cross_entropy import LEAST
from motionclone.schedule import UnevenDDIMScheduler, timesteps_of
from motionclone.steps import noise_level, noise_levels, prediction_of


@contextmanager
def replaced(module: Any, name: str, new: Any) -> Iterator[None]:
    plain = getattr(module, name)
    setattr(module, name, new)
    try:
        yield
    finally:
        setattr(module, name, plain)


def unit(values: Tensor) -> Tensor:
    return values / values.square().mean().sqrt().clamp(min=1e-20)


def gradient_changed(start: Callable[[], Callable[[Tensor], Tensor]]) -> AbstractContextManager[None]:
    """The gradient (1, c, f, h, w) passes through a function that `start` makes for each video."""
    change, plain = start(), sampling.strong_gradient

    def changed(backbone: Any, gradient: Tensor, *rest: Any) -> Tensor:
        return plain(backbone, change(gradient), *rest)

    return replaced(sampling, "strong_gradient", changed)


def momentum(share: float) -> Callable[[Tensor], Tensor]:
    last: list[Tensor] = []

    def change(gradient: Tensor) -> Tensor:
        now = unit(gradient) + (share * last[0] if last else 0)
        last[:] = [unit(now)]
        return now

    return change


def orthogonal() -> AbstractContextManager[None]:
    """To classifier-free guidance, at the same size (after APG, arXiv:2410.02416)."""
    plain = sampling.with_increment

    def changed(unconditional: Any, conditional: Any, increment: Tensor, *rest: Any) -> Any:
        if unconditional is None:
            return plain(unconditional, conditional, increment, *rest)
        words = (conditional[0] - unconditional[0]).float()
        along = (increment * words).sum() / words.square().sum()
        left = increment - along * words
        return plain(unconditional, conditional, left * (increment.norm() / left.norm()), *rest)

    return replaced(sampling, "with_increment", changed)


def reused(every: int) -> AbstractContextManager[None]:
    """One gradient for `every` guided steps; the others cost what unguided ones do."""
    plain, kept, count = sampling.energy_and_gradient, [], [0]

    def changed(backbone: Any, forward: Any, call: Any, *rest: Any, **options: Any) -> Any:
        count[0] += 1
        if (count[0] - 1) % every == 0:
            output, *kept[:] = plain(backbone, forward, call, *rest, **options)
            return output, *kept
        with torch.no_grad():
            return forward(**call), *kept

    return replaced(sampling, "energy_and_gradient", changed)


def clean_space(seed: int, t_alpha: int) -> AbstractContextManager[None]:
    """The energy of the clean estimate under the reference's own noise, after MPGD (arXiv:2311.16424)."""
    plain = sampling.energy_and_gradient

    def changed(backbone: Any, forward: Any, call: Any, motion: Motion, **options: Any) -> Any:
        with torch.no_grad():
            output = forward(**call)
        scheduler, latents = backbone.pipe.scheduler, call[backbone.latents_name]
        now = noise_level(scheduler, float(call["timestep"]))
        clean, _ = clean_and_noise(output[0].float(), latents.float(), now, prediction_of(scheduler))
        level = noise_level(scheduler, float(t_alpha))
        noise = seeded_noise(tuple(latents.shape), seed)
        again = {
            **call,
            backbone.latents_name: (level.alpha * clean + level.sigma * noise).to(latents.dtype),
            "timestep": torch.full_like(torch.as_tensor(call["timestep"]), t_alpha),
        }
        _, energies, gradient = plain(backbone, forward, again, motion, **options)
        return output, energies, gradient

    return replaced(sampling, "energy_and_gradient", changed)


def weighted(weights: Callable[[SparseMap], Tensor]) -> AbstractContextManager[None]:
    """Cross-entropy in which positions count by `weights`, (p, heads, f, 1)."""

    def energy(query: Tensor, key: Tensor, reference: SparseMap) -> Tensor:
        chosen = temporal_attention(query, key).gather(-1, reference.indices).clamp(min=LEAST)
        each = weights(reference)
        values = reference.values * each / each.mean()
        return (values * (reference.values.clamp(min=LEAST) / chosen).log()).mean()

    return replaced(sampling, "objective_named", lambda name: energy)


def moving(reference: SparseMap) -> Tensor:
    """How much of what is kept lies on other frames."""
    own = torch.arange(reference.indices.shape[2]).view(1, 1, -1, 1)
    return (reference.values * (reference.indices != own)).sum(-1, keepdim=True)


def sure(reference: SparseMap) -> Tensor:
    """How much of the row is kept."""
    return reference.values.sum(-1, keepdim=True)


def averaged(changes: Sequence[Mapping[str, int]]) -> AbstractContextManager[None]:
    """Attention averaged over ways of reading it, before the strongest entries are kept.

    Each changes `t_alpha`, or the `draw` of the noise.
    """

    def changed(pipe: Any, frames: Any, settings: Any, *, seed: int, **options: Any) -> Motion:
        length = len(frames)
        whole = settings.model_copy(update={"k": length})
        found = []
        for change in changes:
            way = whole.model_copy(update={"t_alpha": change.get("t_alpha", whole.t_alpha)})
            found.append(extract_motion(pipe, frames, way, seed=seed + 7919 * change.get("draw", 0), **options))
        own = extract_motion(pipe, frames, settings, seed=seed, **options)
        maps = {}
        for site, kept in own.maps.items():
            dense = torch.zeros(*kept.values.shape[:3], length)
            for each in (motion.maps[site] for motion in found):
                dense = dense.scatter_add(-1, each.indices.long(), each.values.float() / len(found))
            values, indices = dense.topk(settings.k, -1)
            maps[site] = SparseMap(values.to(kept.values.dtype), indices.to(kept.indices.dtype))
        return replace(own, maps=maps)

    return replaced(cloning, "extract_motion", changed)


def clipped(most: float) -> Callable[[Tensor], Tensor]:
    """Outliers, in root mean squares."""
    return lambda gradient: unit(gradient).clamp(-most, most)


def blurred(gradient: Tensor) -> Tensor:
    """Over 3 x 3 latents of each frame."""
    frames = gradient[0].transpose(0, 1)
    found = functional.avg_pool2d(frames, 3, 1, 1, count_include_pad=False)
    return found.transpose(0, 1).unsqueeze(0)


def slowed(gradient: Tensor) -> Tensor:
    """Over frames, with weights 1 2 1."""
    before = torch.cat([gradient[:, :, :1], gradient[:, :, :-1]], 2)
    after = torch.cat([gradient[:, :, 1:], gradient[:, :, -1:]], 2)
    return (before + 2 * gradient + after) / 4


@contextmanager
def whole_calls(pipe: Any) -> Iterator[dict[str, Any]]:
    """What the pipeline last called its denoiser with, and what that gave."""
    seen: dict[str, Any] = {}

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.update(args=args, kwargs=kwargs)

    def after(_module: nn.Module, _args: Any, output: Any) -> None:
        seen["output"] = output[0]

    handles = [
        pipe.unet.register_forward_pre_hook(before, with_kwargs=True),
        pipe.unet.register_forward_hook(after),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def travelled(pipe: Any, places: Sequence[int], seed: int) -> Iterator[None]:
    """Steps at these places are taken twice: noise is added to where they lead (as in FreeDoM, arXiv:2303.09833)."""
    plain = UnevenDDIMScheduler.step
    generator = torch.Generator().manual_seed(seed + 1)

    def changed(self: Any, output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        after = plain(self, output, timestep, sample, *args, **kwargs)
        if timesteps_of(self).index(int(timestep)) not in places:
            return after
        now, later = noise_levels(self, float(timestep))
        kept = now.alpha / later.alpha
        added = (now.sigma**2 - (kept * later.sigma) ** 2) ** 0.5
        noise = torch.randn(sample.shape, generator=generator).to(sample.dtype)
        again = kept * after[0] + added * noise
        inputs = (torch.cat([again] * 2), *seen["args"][1:])
        unconditional, conditional = pipe.unet(*inputs, **seen["kwargs"])[0].chunk(2)
        output = unconditional + pipe.guidance_scale * (conditional - unconditional)
        return plain(self, output, timestep, again, *args, **kwargs)

    with whole_calls(pipe) as seen, replaced(UnevenDDIMScheduler, "step", changed):
        yield


@contextmanager
def rescaled(pipe: Any, share: float) -> Iterator[None]:
    """The guided output at the size of the unconditional one, by a share (after arXiv:2305.08891, Sec. 3.4)."""
    plain = UnevenDDIMScheduler.step

    def changed(self: Any, output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        size = seen["output"].chunk(2)[0].std() / output.std()
        return plain(self, output * (share * size + 1 - share), timestep, sample, *args, **kwargs)

    with whole_calls(pipe) as seen, replaced(UnevenDDIMScheduler, "step", changed):
        yield


def low_frequencies(pipe: Any, reference: Tensor, seed: int, size: float) -> AbstractContextManager[None]:
    """The video's noise with the coarse part of what moves in the reference's latents, at a root mean square of `size`.

    After FreeInit (arXiv:2312.07537), without the mean over frames.
    """
    with torch.no_grad():
        latents = backbone_of(pipe).encode_video(reference, generator_of(seed, "vae")).float()
    coarse = functional.avg_pool2d(latents[0].transpose(0, 1), 5, 1, 2, count_include_pad=False)
    moving = motion_direction(coarse.transpose(0, 1).unsqueeze(0))

    def changed(*args: Any) -> Tensor:
        return (seeded_noise(*args) + size * moving) / (1 + size**2) ** 0.5

    return replaced(cloning, "seeded_noise", changed)


@contextmanager
def attention_replaced(pipe: Any, settings: Any, reference: Tensor, steps: int) -> Iterator[None]:
    """The reference's whole attention in the place of the video's own in the first steps."""
    length = len(reference)
    whole = settings.extraction.model_copy(update={"k": length})
    motion = extract_motion(pipe, reference, whole, seed=settings.seed)
    dense = {}
    for site, kept in motion.maps.items():
        empty = torch.zeros(*kept.values.shape[:3], length)
        dense[site] = empty.scatter(-1, kept.indices.long(), kept.values.float())
    count = [0]

    def counted(_module: nn.Module, args: Any) -> None:
        if args and len(args[0]) > 1:  # both halves of classifier-free guidance: no reading of a motion
            count[0] += 1

    def processor(plain: Any, attention: Tensor) -> Any:
        def run(attn: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            own = plain(attn, hidden, *args, **kwargs)  # whose query and key guidance asks for
            if not 0 < count[0] <= steps:
                return own
            value = attn.to_v(hidden).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            each = attention.to(value.dtype).repeat(len(value) // len(attention), 1, 1, 1)
            return attn.to_out[0]((each @ value).transpose(1, 2).flatten(2))

        return run

    modules = {site: pipe.unet.get_submodule(site) for site in dense}
    before = {site: module.processor for site, module in modules.items()}
    handle = pipe.unet.register_forward_pre_hook(counted)
    try:
        for site, module in modules.items():
            module.processor = processor(before[site], dense[site])
        yield
    finally:
        handle.remove()
        for site, module in modules.items():
            module.processor = before[site]
