"""An AnimateDiff pipeline from its parts, each of its weights in memory once."""

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSDXLPipeline,
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    MotionAdapter,
    SparseControlNetModel,
    UNet2DConditionModel,
    UNetMotionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from motionclone.errors import InputError
from motionclone.models.checkpoints import load_dreambooth, load_motion_module, load_sparse_control
from motionclone.models.configs import read_config
from motionclone.models.description import PLACES, ModelDescription, Sampler
from motionclone.models.lora import LORA_FILES, merge_lora
from motionclone.models.networks import files_of, load_part
from motionclone.models.parts import check_choices, check_words, load_scheduler, load_tokenizer
from motionclone.models.places import Located, check_place, locate, locate_part, path_of
from motionclone.models.texts import read_mapping, said
from motionclone.models.weights import fill

_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_SECOND_PARTS = ("text_encoder_2", "tokenizer_2")  # Stable Diffusion XL has two readers of a prompt
_NETWORKS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
BETAS = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012}
"""That AnimateDiff was trained on."""


def assemble(
    description: ModelDescription, dtype: torch.dtype, follows_pictures: bool = False, pickled: bool = False
) -> tuple[Any, dict[str, str]]:
    """The pipeline of a description, each of its weights in memory once; and where its parts came from.

    Args:
        description: its base is Stable Diffusion 1.x (an AnimateDiffPipeline is made) or XL (AnimateDiffSDXLPipeline).
        dtype: of all networks.
        follows_pictures: whether it is made to, which is when most domain adapters are merged.
        pickled: let weights in diffusers' layout be .bin files.
    """
    check_places(description)
    base, index = _locate_base(description, pickled)
    adapter, adapter_source = _load_motion_adapter(description, dtype, pickled)
    sources = {"base": base.source, "motion_adapter": adapter_source}
    components = _load_base(description, base.path, "text_encoder_2" in index, dtype, pickled)
    unet = components.pop("unet")
    if description.dreambooth is not None:
        sources["dreambooth"] = path_of(description.dreambooth).name
    if description.domain_adapter is not None and (follows_pictures or description.domain_adapter_for == "everything"):
        lora = locate(description.domain_adapter, "domain_adapter", LORA_FILES)
        merge_lora(unet, lora.path, description.domain_adapter_scale, "domain adapter")
        sources["domain_adapter"] = f"{lora.source} x {description.domain_adapter_scale:g}"
    if description.lora is not None:
        lora = locate_part(description.lora, description.lora_file, "lora", LORA_FILES)
        merge_lora(unet, lora.path, description.lora_scale)
        sources["lora"] = f"{lora.source} x {description.lora_scale:g}"
    components["unet"] = _join(unet, adapter, f"{description.motion_adapter} on {description.base}")
    if "text_encoder_2" not in index:
        return AnimateDiffPipeline(**components, motion_adapter=None), sources
    zeros = index.get("force_zeros_for_empty_prompt", True) is True
    return AnimateDiffSDXLPipeline(**components, motion_adapter=None, force_zeros_for_empty_prompt=zeros), sources


def check_places(description: ModelDescription) -> None:
    """Refuse what is plainly not there before anything large is read. Nothing is fetched. InputError."""
    for name in PLACES:
        place = getattr(description, name)
        if place is not None and name != "dreambooth":
            check_place(place, name)
    if description.dreambooth is not None and not path_of(description.dreambooth).is_file():
        raise InputError(f"there is no dreambooth {description.dreambooth}; give a file that is here.")
    if description.lora is not None and path_of(description.lora).exists():
        locate_part(description.lora, description.lora_file, "lora", LORA_FILES)


def _locate_base(description: ModelDescription, pickled: bool) -> tuple[Located, dict[str, Any]]:
    """The folder of the base, with all that is needed of it, and its model_index.json."""
    place = description.base
    index = read_mapping(locate(place, "base", ["model_index.json"]).path / "model_index.json")
    large = "text_encoder_2" in index
    parts = _PARTS + (_SECOND_PARTS if large else ())
    lacking = [part for part in parts if not isinstance(index.get(part), list) or None in index[part]]
    if lacking or "UNet2DConditionModel" not in index["unet"]:
        raise InputError(
            f"{place} is a {said(index.get('_class_name'), 80)}; the base of a motion adapter is a Stable Diffusion "
            f"1.x or XL model with {', '.join(parts)}."
        )
    if large and description.dreambooth is not None:
        raise InputError("dreambooth is for bases of Stable Diffusion 1.x; give the folder of the XL model as base.")
    files = [file for part in parts for file in files_of(part, pickled)]
    if description.dreambooth is not None:  # in the place of the base's own weights
        files = [file for file in files if file.endswith((".json", ".txt"))]
    return locate(place, "base", ["model_index.json", *files]), index


def _load_base(
    description: ModelDescription, folder: Path, large: bool, dtype: torch.dtype, pickled: bool
) -> dict[str, Any]:
    """Everything in a pipeline of Stable Diffusion that AnimateDiff takes over."""
    components: dict[str, Any] = {"scheduler": animatediff_scheduler(folder / "scheduler", description.scheduler)}
    if description.dreambooth is not None:
        file = path_of(description.dreambooth)
        components |= zip(_NETWORKS, load_dreambooth(file, folder, dtype), strict=True)
    else:
        networks = _NETWORKS | ({"text_encoder_2": CLIPTextModelWithProjection} if large else {})
        components |= {part: load_part(kind, folder, part, dtype, pickled) for part, kind in networks.items()}
    for second in ("", "_2") if large else ("",):
        tokenizer = load_tokenizer(CLIPTokenizer, folder / f"tokenizer{second}")
        check_words(tokenizer, components[f"text_encoder{second}"], folder)
        components[f"tokenizer{second}"] = tokenizer
    return components


def with_control(pipe: AnimateDiffPipeline, place: str, dtype: torch.dtype, pickled: bool = False) -> tuple[Any, str]:
    """The same parts and a SparseCtrl, in diffusers' pipeline for both; and where the SparseCtrl came from."""
    located = locate(place, "SparseCtrl", files_of(pickled=pickled))
    if located.path.is_file():
        network = load_sparse_control(located.path, dtype)
    else:
        network = load_part(SparseControlNetModel, located.path, "", dtype, pickled)
    unet = pipe.unet
    for name in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
        wanted, found = (_listed(getattr(part.config, name), len(unet.down_blocks)) for part in (unet, network))
        if wanted != found:
            raise InputError(f"{place} does not fit the model: its {name} is {found}, the model's {wanted}.")
    if network.config.use_simplified_condition_embedding and pipe.vae.config.latent_channels != 4:
        raise InputError(
            f"{place} takes latents and diffusers' pipeline gives it 4 channels; this model's VAE has "
            f"{pipe.vae.config.latent_channels}."
        )
    return AnimateDiffSparseControlNetPipeline(**{**pipe.components, "controlnet": network}), located.source


def _listed(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * count


def _load_motion_adapter(description: ModelDescription, dtype: torch.dtype, pickled: bool) -> tuple[MotionAdapter, str]:
    place = description.motion_adapter
    found = locate_part(place, description.motion_adapter_file, "motion_adapter", files_of(pickled=pickled))
    if found.path.is_file():
        return load_motion_module(found.path, dtype), found.source
    if read_config(MotionAdapter, found.path).get("conv_in_channels"):
        raise InputError(
            f"{place} is a motion adapter for PIA, whose UNet takes an image; take one of AnimateDiff's, and follow "
            "the picture with a SparseCtrl (control)."
        )
    return load_part(MotionAdapter, found.path, "", dtype, pickled), found.source


def animatediff_scheduler(place: Path, sampler: Sampler = "ddim") -> Any:
    """A sampler on the linear betas AnimateDiff was trained with; the base's scheduler if it is that DDIM already."""
    config = read_mapping(place / "scheduler_config.json")
    if sampler != "ddim":
        check_choices(config, place)
        return few_step_scheduler(sampler, config.get("prediction_type", "epsilon"))
    if config.get("_class_name") == "DDIMScheduler" and BETAS.items() <= config.items():
        return load_scheduler(DDIMScheduler, place, clip_sample=False)
    check_choices(config, place)
    return DDIMScheduler(
        **BETAS,
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="linspace",
        prediction_type=config.get("prediction_type", "epsilon"),
    )


def few_step_scheduler(sampler: Sampler, prediction_type: str = "epsilon") -> Any:
    """What distilled models go through their steps with: AnimateLCM's sampler, or that of AnimateDiff-Lightning."""
    if sampler == "lcm":
        return LCMScheduler(**BETAS, prediction_type=prediction_type)
    return EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing", prediction_type=prediction_type)


def _join(unet: UNet2DConditionModel, adapter: MotionAdapter, source: str) -> UNetMotionModel:
    """UNetMotionModel.from_unet2d, sharing the weights of the two where that initialises and copies all of them."""
    try:
        with init_empty_weights():
            motion_unet = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
    except ValueError as error:
        raise InputError(f"{source} does not fit ({error}).") from error
    fill(motion_unet, {**unet.state_dict(), **adapter.state_dict()}, source)
    return motion_unet
