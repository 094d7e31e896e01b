"""Models at their real shapes with random weights, made on a device; and tiny ones of the same classes."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motionclone.backbones.backbone import Backbone
from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import use_per_frame_norm
from motionclone.lab.memory import WORDS, Counted, count
from motionclone.models import load_pipeline, named_models
from motionclone.settings import Settings, preset, preset_of

NAMES = ("animatediff", "wan2.1-1.3b", "ltx-video", "cogvideox-2b")  # in the order of worth
TESTS = Path(__file__).parent.parent / "tests"


@dataclass(frozen=True)
class Model:
    """A pipeline, and what it is run with."""

    name: str
    pipe: Any
    settings: Settings
    device: torch.device

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.pipe)

    @property
    def clip(self) -> Tensor:
        """Noise in place of a reference."""
        sampling = self.settings.sampling
        shape = (sampling.num_frames, 3, sampling.height, sampling.width)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def arguments(self) -> dict[str, Any]:
        """Of a call of the pipeline that stops at the latents."""
        sampling, backbone = self.settings.sampling, self.backbone
        noise = torch.randn(
            backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width),
            generator=torch.Generator().manual_seed(1),
        )
        own = backbone.pipeline_arguments(sampling)
        return own | {"prompt": "", "latents": backbone.initial_latents(noise), "output_type": "latent"}


def trained_in(name: str) -> torch.dtype:
    """The half precision that a model was trained in."""
    dtype: torch.dtype = getattr(torch, getattr(named_models()[name], "dtype", "float16"))
    return dtype


def made(name: str, device: torch.device, dtype: torch.dtype, tiny: bool) -> Model:
    """A model by its name. Speed and memory do not depend on the values of weights."""
    build = _tiny if tiny else _real
    settings = _tiny_settings(name) if tiny else preset(preset_of(name))
    return Model(name, build(name, device, dtype), settings, device)


def counted(name: str, dtype: torch.dtype, tiny: bool) -> Counted:
    """What it costs, without computing."""
    model = made(name, torch.device("meta"), dtype, tiny)
    return count(model.pipe, model.settings)


def _real(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Its networks as their classes make them, and random words in place of text encoders."""
    pipe = load_pipeline(name, device="cpu", weights=False)
    for part, empty in pipe.components.items():
        if isinstance(empty, nn.Module):
            with torch.device(device):  # not filled afterwards: tables of positions are computed by constructors
                network = type(empty).from_config(empty.config)
            pipe.register_modules(**{part: network.eval().requires_grad_(False)})
    if hasattr(pipe, "unet"):
        use_per_frame_norm(pipe.unet)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **_SCHEDULERS.get(name, {}))
    return _told(pipe.to(device, dtype), WORDS[type(pipe).__name__], device)


# What the models' own configurations say, on which it depends how many steps of a preset are guided.
_SCHEDULERS: dict[str, dict[str, Any]] = {
    "wan2.1-1.3b": {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
    "ltx-video": {
        "use_dynamic_shifting": True,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "shift_terminal": 0.1,
    },
    "cogvideox-2b": {
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "snr_shift_scale": 3.0,
        "timestep_spacing": "trailing",
    },
}


def _tiny(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Those of the tests, whose text encoders give way, too."""
    families, (family, *words) = _families(), _TINY[name]
    if family is not None:
        return _told(families[family].make().to(device, dtype), tuple(words), device)
    from tiny import tiny_pipe

    with tempfile.TemporaryDirectory() as folder:
        return _told(tiny_pipe(Path(folder)).to(device, dtype), tuple(words), device)


_TINY: dict[str, Any] = {  # its name among the tests' families, and its words
    "animatediff": (None, (1, 77, 32)),
    "wan2.1-1.3b": ("wan-2.1", (1, 16, 16)),
    "ltx-video": ("ltx", (1, 16, 16), (1, 16)),
    "cogvideox-2b": ("cogvideox-2b", (1, 16, 16)),
}


def _families() -> Any:
    sys.path.insert(0, str(TESTS))
    from tiny_transformers import FAMILIES

    return FAMILIES


def _told(pipe: Any, words: tuple[tuple[int, ...] | None, ...], device: torch.device) -> Any:
    """The pipeline, which is told random words whatever the prompt, and of the mask that all of them count."""
    first, *masks = [shape for shape in words if shape is not None]
    told = (torch.randn(first, device=device), *(torch.ones(shape, device=device) for shape in masks))

    def encode(*_: Any, **__: Any) -> tuple[Tensor, ...]:
        """Of the prompt, and of the negative one."""
        return tuple(each.to(pipe.vae.dtype) for each in (*told, *told))

    pipe.encode_prompt = encode
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _tiny_settings(name: str) -> Settings:
    settings, family = preset(preset_of(name)), _TINY[name][0]
    block, size = "up_blocks.1", {"num_frames": 3, "height": 64, "width": 64}
    if family is not None:
        tiny = _families()[family]
        block, size = tiny.block, {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    extraction = settings.extraction.model_copy(update={"blocks": (block,)})
    guided = 4 if settings.guidance.strength is None else 3  # by strength the last step, which leaves no noise, is not
    sampling = settings.sampling.model_copy(update={**size, "steps": 4, "guided_steps": guided, "negative_prompt": ""})
    guidance = settings.guidance.model_copy(update={"guided_fraction": 1.0, "warm_up": 0, "cool_down": 0})
    return settings.model_copy(update={"extraction": extraction, "sampling": sampling, "guidance": guidance})
