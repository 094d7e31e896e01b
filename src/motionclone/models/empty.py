"""Pipelines without weights, on the meta device: their sizes, blocks and checks, before anything large is read."""

import inspect
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSDXLPipeline,
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    DDIMScheduler,
    ModelMixin,
    MotionAdapter,
    SchedulerMixin,
    SparseControlNetModel,
    UNet2DConditionModel,
    UNetMotionModel,
)
from transformers import CLIPTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from motionclone.models.animatediff import BETAS, animatediff_scheduler, check_places, few_step_scheduler
from motionclone.models.configs import read_config
from motionclone.models.description import ModelDescription, Sampler
from motionclone.models.known import HubModel
from motionclone.models.mini_dit import FramewiseAutoencoder
from motionclone.models.networks import empty_network, stored_weights
from motionclone.models.parts import load_scheduler, load_tokenizer
from motionclone.models.places import locate, locate_part
from motionclone.models.saved import classes_of, read_index
from motionclone.schedule import DistilledFlowScheduler

_READABLE = ["*.json", "*.txt", "*.model"]
_SCHEDULERS = {"CogVideoXPipeline": "CogVideoXDDIMScheduler", "WanPipeline": "UniPCMultistepScheduler"}


def empty_hub_model(model: HubModel) -> Any:
    """The pipeline of a named transformer as it is known here, without tokenizers and text encoders."""
    dtype = getattr(torch, model.dtype)
    with torch.device("meta"):
        known: dict[str, Any] = {
            "transformer": getattr(diffusers, model.network)(**model.transformer).to(dtype),
            "vae": getattr(diffusers, model.autoencoder)(**model.vae),
        }
        if "boundary_ratio" in model.options:  # two experts of one kind
            known["transformer_2"] = getattr(diffusers, model.network)(**model.transformer).to(dtype)
    kind = getattr(diffusers, model.pipeline)
    parts = dict.fromkeys(inspect.signature(kind).parameters.keys() - model.options.keys())
    if model.distilled_timesteps is not None:
        known["scheduler"] = DistilledFlowScheduler(model.distilled_timesteps)
    else:
        known["scheduler"] = getattr(diffusers, _SCHEDULERS.get(model.pipeline, "FlowMatchEulerDiscreteScheduler"))()
    if "guider" in parts:
        known["guider"] = diffusers.ClassifierFreeGuidance()
    return kind(**{**parts, **known}, **model.options)


def empty_animatediff(sampler: Sampler = "ddim", follows_pictures: bool = False) -> Any:
    """Stable Diffusion 1.5 with a v3 motion module, likewise; those of few steps are of the second version's shape."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280)
        )
        adapter = MotionAdapter(use_motion_mid_block=sampler != "ddim")
        network = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False).half()
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        ).half()
    ddim = sampler == "ddim"
    scheduler = DDIMScheduler(**BETAS, clip_sample=False) if ddim else few_step_scheduler(sampler)
    parts = {"vae": vae, "unet": network, "scheduler": scheduler}
    return _animatediff(parts | dict.fromkeys(("text_encoder", "tokenizer")), _control(None, follows_pictures))


def empty_assembled(description: ModelDescription, control: str | None, pickled: bool) -> Any:
    """The pipeline of a description, as far as its configurations tell; original files are taken for the usual ones."""
    check_places(description)
    base = locate(description.base, "base", ["model_index.json", *(f"*/{name}" for name in _READABLE)]).path
    place, file = description.motion_adapter, description.motion_adapter_file
    adapter = locate_part(place, file, "motion_adapter", _READABLE).path
    unet = _network(UNet2DConditionModel, base, "unet", pickled)
    with init_empty_weights():
        module = MotionAdapter() if adapter.is_file() else _network(MotionAdapter, adapter, "", pickled)
        network = UNetMotionModel.from_unet2d(unet, module, load_weights=False)
    tokenizers = [name for name in ("tokenizer", "tokenizer_2") if (base / name).is_dir()]
    parts = {name: load_tokenizer(CLIPTokenizer, base / name) for name in tokenizers}
    parts |= {name.replace("tokenizer", "text_encoder"): None for name in tokenizers}
    parts |= {"unet": network, "vae": _network(AutoencoderKL, base, "vae", pickled)}
    return _animatediff(
        {**parts, "scheduler": animatediff_scheduler(base / "scheduler", description.scheduler)},
        _control(control, control is not None),
    )


def empty_mini_dit(folder: Path) -> Any:
    """The bundled transformer."""
    base, own = folder / "base", folder / "dit"
    vae = _network(FramewiseAutoencoder, base, "vae", pickled=False)
    vae.register_to_config(temporal_compression_ratio=1)
    return diffusers.CogVideoXPipeline(
        tokenizer=load_tokenizer(CLIPTokenizer, base / "tokenizer"),
        text_encoder=None,
        vae=vae,
        transformer=_network(diffusers.CogVideoXTransformer3DModel, own, "transformer", pickled=False),
        scheduler=load_scheduler(diffusers.CogVideoXDDIMScheduler, own / "scheduler"),
    )


def empty_saved(place: str, pickled: bool) -> Any:
    """A saved pipeline with its own scheduler and tokenizers, without text encoders."""
    kind_of_pipe, kinds = classes_of(place, read_index(place))
    folder = locate(place, "model", ["model_index.json", *(f"*/{name}" for name in _READABLE)]).path
    parts: dict[str, Any] = {}
    for name, kind in kinds.items():
        if kind is None or issubclass(kind, PreTrainedModel) or name == "motion_adapter":
            parts[name] = None
        elif issubclass(kind, ModelMixin):
            parts[name] = _network(kind, folder, name, pickled)
        elif issubclass(kind, SchedulerMixin):
            parts[name] = load_scheduler(kind, folder / name)
        elif issubclass(kind, PreTrainedTokenizerBase):
            parts[name] = load_tokenizer(kind, folder / name)
    return kind_of_pipe.from_pretrained(str(folder), **parts, local_files_only=True)


def _network(kind: Any, folder: Path, part: str, pickled: bool) -> Any:
    """Its weights, if they are here, must be there and as many as it describes."""
    place = folder / part
    config = read_config(kind, place)
    if folder.name == "snapshots" or folder.parent.name == "snapshots":  # of the hub: they may not have come yet
        with init_empty_weights():
            return kind.from_config(config)
    stored, _ = stored_weights(kind, place, pickled)
    return empty_network(kind, config, stored, place)


def _control(place: str | None, wanted: bool) -> Any:
    """A SparseCtrl; the usual one for pictures where nothing tells another."""
    if not wanted:
        return None
    path = None if place is None else locate(place, "SparseCtrl", _READABLE).path
    with init_empty_weights():
        if path is None or path.is_file():
            return SparseControlNetModel(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768)
        return SparseControlNetModel.from_config(read_config(SparseControlNetModel, path))


def _animatediff(parts: dict[str, Any], control: Any) -> Any:
    if control is not None:
        return AnimateDiffSparseControlNetPipeline(**parts, motion_adapter=None, controlnet=control)
    kind = AnimateDiffSDXLPipeline if "tokenizer_2" in parts else AnimateDiffPipeline
    return kind(**parts, motion_adapter=None)
