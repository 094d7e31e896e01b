"""The models that have names."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from motionclone.errors import InputError, choice
from motionclone.hub import HubPlace
from motionclone.models.description import ModelDescription, folder_description
from motionclone.models.places import could_be_hub_id, locate, path_of

MINI = Path(str(files("motionclone") / "mini"))


class HubModel(BaseModel, frozen=True, extra="forbid"):
    """The pipeline of a diffusion transformer on the Hugging Face hub. Its settings are the preset of its name."""

    hub_id: str
    revision: str
    """A commit, tag or branch of it."""
    pipeline: str
    """diffusers' class of it, and below of its parts."""
    network: str
    autoencoder: str
    transformer: dict[str, Any] = {}
    """Where the transformer's configuration differs from the defaults of its class; for counting memory."""
    vae: dict[str, Any] = {}
    """Where the VAE's does."""
    options: dict[str, Any] = {}
    """Of the pipeline."""
    dtype: Literal["float16", "bfloat16"] = "bfloat16"
    """What it was trained in."""
    lora: str | None = None
    """Organisation/name@commit of a LoRA for few steps, that is merged into the transformer; and its file there."""
    lora_file: str | None = None
    distilled_timesteps: tuple[float, ...] | None = None
    """The only ones that it then has, of Euler's steps without classifier-free guidance."""

    @property
    def place(self) -> str:
        """Hub id and revision."""
        return str(HubPlace(self.hub_id, self.revision))


MINI_DIT = "mini-dit"

_COGVIDEOX = {
    "pipeline": "CogVideoXPipeline",
    "network": "CogVideoXTransformer3DModel",
    "autoencoder": "AutoencoderKLCogVideoX",
}
_COGVIDEOX_5B = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
_COGVIDEOX_15 = _COGVIDEOX_5B | {
    "patch_size_t": 2,
    "patch_bias": False,
    "sample_frames": 81,
    "sample_height": 300,
    "sample_width": 300,
}
_WAN = {
    "pipeline": "WanPipeline",
    "network": "WanTransformer3DModel",
    "autoencoder": "AutoencoderKLWan",
}
_WAN_1B = {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}
_WAN_5B = {"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}
_WAN_22_VAE = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}
_LTX = {
    "pipeline": "LTXPipeline",
    "network": "LTXVideoTransformer3DModel",
    "autoencoder": "AutoencoderKLLTXVideo",
}
_LTX2 = {
    "pipeline": "LTX2Pipeline",
    "network": "LTX2VideoTransformer3DModel",
    "autoencoder": "AutoencoderKLLTX2Video",
    "vae": {"spatial_compression_ratio": 32, "temporal_compression_ratio": 8},
}
_HUNYUAN = {
    "pipeline": "HunyuanVideoPipeline",
    "network": "HunyuanVideoTransformer3DModel",
    "autoencoder": "AutoencoderKLHunyuanVideo",
}
_HUNYUAN_15 = {
    "pipeline": "HunyuanVideo15Pipeline",
    "network": "HunyuanVideo15Transformer3DModel",
    "autoencoder": "AutoencoderKLHunyuanVideo15",
}

# Commits that public projects have pinned these models at, as the hub itself cannot be asked where this is written.
_ON_THE_HUB: dict[str, dict[str, Any]] = {
    "cogvideox-2b": {
        "hub_id": "zai-org/CogVideoX-2b",
        "revision": "1137dacfc2c9c012bed6a0793f4ecf2ca8e7ba01",
        "dtype": "float16",
        **_COGVIDEOX,
    },
    "cogvideox-5b": {
        "hub_id": "zai-org/CogVideoX-5b",
        "revision": "8d6ea3f817438460b25595a120f109b88d5fdfad",
        "transformer": _COGVIDEOX_5B,
        **_COGVIDEOX,
    },
    "cogvideox-1.5-5b": {
        "hub_id": "zai-org/CogVideoX1.5-5B",
        "revision": "fdc5267c90b5c06492985b966e43aae984e189e0",
        "transformer": _COGVIDEOX_15,
        **_COGVIDEOX,
    },
    "wan2.1-1.3b": {
        "hub_id": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        "revision": "0fad780a534b6463e45facd96134c9f345acfa5b",
        "transformer": _WAN_1B,
        **_WAN,
    },
    "wan2.1-14b": {
        "hub_id": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        "revision": "38ec498cb3208fb688890f8cc7e94ede2cbd7f68",
        **_WAN,
    },
    # Euler on 1000, 750, 500 and 250 shifted by 5, as in LightX2V's own code (WanStepDistillScheduler).
    "wan2.1-lightx2v": {
        "hub_id": "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        "revision": "38ec498cb3208fb688890f8cc7e94ede2cbd7f68",
        "lora": "lightx2v/Wan2.1-Distill-Loras@27ae38da91014b947dd39cc3fa78b97cd7b386dd",
        "lora_file": "wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors",
        "distilled_timesteps": (1000.0, 937.5, 2500 / 3, 625.0),
        **_WAN,
    },
    "wan2.2-a14b": {
        "hub_id": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        "revision": "5be7df9619b54f4e2667b2755bc6a756675b5cd7",
        "options": {"boundary_ratio": 0.875},
        **_WAN,
    },
    "wan2.2-5b": {
        "hub_id": "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
        "revision": "b8fff7315c768468a5333511427288870b2e9635",
        "transformer": _WAN_5B,
        "vae": _WAN_22_VAE,
        "options": {"expand_timesteps": True},
        **_WAN,
    },
    "ltx-video": {"hub_id": "Lightricks/LTX-Video", "revision": "8984fa25007f376c1a299016d0957a37a2f797bb", **_LTX},
    "ltx-2": {"hub_id": "Lightricks/LTX-2", "revision": "47da56e2ad66ce4125a9922b4a8826bf407f9d0a", **_LTX2},
    "hunyuanvideo": {
        "hub_id": "hunyuanvideo-community/HunyuanVideo",
        "revision": "e8c2aaa66fe3742a32c11a6766aecbf07c56e773",
        **_HUNYUAN,
    },
    "hunyuanvideo-1.5": {
        "hub_id": "hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v",
        "revision": "286be7ce72277246578a3e3cc2487e95ddae5bcf",
        **_HUNYUAN_15,
    },
}


# The commits are those that the hub's own pages list with these files.
_ANIMATEDIFF = ModelDescription(
    base="SG161222/Realistic_Vision_V5.1_noVAE@672a55008829cf5e581a6a33159daf03c44a0f0b",
    motion_adapter="guoyww/animatediff-motion-adapter-v1-5-3@449d8993ead63a068e1030eb26925132814db1c8",
    domain_adapter="guoyww/animatediff-motion-lora-v1-5-3@8b5ff2775000d82040bf595e66f14db7246c1534",
    image_control="guoyww/animatediff-sparsectrl-rgb@b8003d681d813c095e459b9141122894daff2d13",
    sketch_control="guoyww/animatediff-sparsectrl-scribble@e684fe698719a84cd874620f4f4aa6bbdced7178",
)


_ANIMATELCM = "wangfuyun/AnimateLCM@76d7e23ed24c70fa890de55200a6072aeb189f29"
# SparseCtrl and the domain adapter are the third version's, and these motion modules of another.
_NO_PICTURES = dict.fromkeys(("domain_adapter", "image_control", "sketch_control"))
_FEW_STEPS = {
    # https://huggingface.co/wangfuyun/AnimateLCM: the LoRA at 0.8, LCM on linear betas.
    "animatelcm": _ANIMATEDIFF.model_copy(
        update={
            "motion_adapter": _ANIMATELCM,
            "lora": _ANIMATELCM,
            "lora_file": "AnimateLCM_sd15_t2v_lora.safetensors",
            "lora_scale": 0.8,
            "scheduler": "lcm",
            **_NO_PICTURES,
        }
    ),
    # https://huggingface.co/ByteDance/AnimateDiff-Lightning: Euler on trailing timesteps and linear betas.
    **{
        f"lightning-{steps}step": _ANIMATEDIFF.model_copy(
            update={
                "motion_adapter": "ByteDance/AnimateDiff-Lightning@027c893eec01df7330f5d4b733bc9485ee02e8b2",
                "motion_adapter_file": f"animatediff_lightning_{steps}step_diffusers.safetensors",
                "scheduler": "euler-trailing",
                **_NO_PICTURES,
            }
        )
        for steps in (4, 8)
    },
}


def named_models() -> Mapping[str, ModelDescription | HubModel]:
    """Every model that `load_pipeline` knows by name, with where its parts are; `mini-dit` is made of `mini`'s."""
    return {
        "mini": folder_description(MINI),
        MINI_DIT: folder_description(MINI),
        "animatediff": _ANIMATEDIFF,
        **_FEW_STEPS,
        **{name: HubModel.model_validate(parts) for name, parts in _ON_THE_HUB.items()},
    }


_ALSO = {"sd", "sd1", "sd15", "sd1.5", "sd-1.5", "sd-v1-5", "stable-diffusion", "stable-diffusion-v1-5", "animate-diff"}


def meant(word: str) -> str:
    """The end of a sentence on a word that is no model: "did you mean wan2.1-1.3b or wan2.1-14b?", or all there are."""
    if word.casefold() in _ALSO:
        return "did you mean animatediff, which is Stable Diffusion 1.5 with motion modules?"
    said = choice(word, named_models())
    return said if said.endswith("?") else f"{said}; a folder, a description (.toml, .yaml) or a hub id does as well."


def following(control: str) -> list[str]:
    """The names of models that can be made to follow a picture ("image") or a sketch."""
    found = []
    for name, model in named_models().items():
        if isinstance(model, HubModel):
            moved = model.pipeline == "LTXPipeline" or model.options.get("expand_timesteps", False)
            can = control != "sketch" and moved
        else:
            can = name != MINI_DIT and getattr(model, f"{control}_control", None) is not None
        found += [name] * can
    return found


def find_named(model: str) -> ModelDescription | HubModel | None:
    """The model of a name or hub id, either with @revision behind it; None if there is none.

    Raises:
        InputError: a revision of something that is not one repository.
    """
    name, _, revision = model.partition("@")
    found = named_models().get(name_of(name))
    if found is None or name == model:
        return found
    if isinstance(found, ModelDescription):
        raise InputError(
            f"{name} is not one repository of the hub; write a description (.toml) with revisions instead."
        )
    return found.model_copy(update={"revision": HubPlace(found.hub_id).at(revision).revision})


def name_of(model: str) -> str:
    """The name of the model with this name or hub id, whatever its revision; anything else is returned as it is."""
    hub = {name: parts for name, parts in named_models().items() if isinstance(parts, HubModel)}
    names = {parts.hub_id: name for name, parts in hub.items() if parts.lora is None}
    known = model.partition("@")[0]
    return names.get(known, known if known in named_models() else model)


def check_reachable(model: str) -> None:
    """Refuse, before anything heavy is imported, a model of the hub that neither is here nor can be fetched.

    Raises:
        InputError: likewise.
    """
    if path_of(model).exists():
        return
    found = find_named(model)
    place = found.place if isinstance(found, HubModel) else model if found is None else found.base
    if could_be_hub_id(place) and not path_of(place).exists():
        locate(place, "model", ["model_index.json"])
