"""What is known of the models that have names before anything is downloaded; and the memory that they take."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel

from motionclone.settings import Sampling, Settings, preset, preset_of


class Facts(BaseModel, frozen=True, extra="forbid"):
    """Of one model; facts.toml says where each number is from. Sizes are GB (10^9 bytes), as loaded on a GPU."""

    licence: str
    """Its short name."""
    terms: str = ""
    """What there is to know of it; to be read at the source before use."""
    run: bool
    """Whether its real weights have been run."""
    settings: Literal["measured", "paper", "guess"]
    """Where its preset is from."""
    tried: str
    """Both in a sentence."""
    download: float
    listed: bool
    """Whether the hub's own listing was seen; else the download is computed from numbers of weights."""
    counted_at: tuple[int, int, int]
    """Frames, height and width that the numbers below are for: those of its preset."""
    denoiser: float
    """Weights of one expert."""
    experts: int = 1
    text_encoders: float
    vae: float
    exact_vae: bool = False
    """The VAE is float32 whatever the rest is."""
    others: float = 0.0
    kept: float
    """By guidance for its backward pass, at the least."""
    cut: float
    """In its place if everything is kept."""
    coding: float
    """The VAE has at once for a whole video, encoding or decoding, beyond its weights."""
    tiled: float
    """Likewise, on tiles."""


@dataclass(frozen=True)
class Memory:
    """GB that a clone takes on its device at once."""

    weights: float
    guidance: float
    coding: float  # by the VAE
    most: float  # at the busiest moment


@cache
def known_facts() -> Mapping[str, Facts]:
    """By name of the model."""
    text = files("motionclone.models").joinpath("facts.toml").read_text(encoding="utf-8")
    return {name: Facts.model_validate(values) for name, values in tomllib.loads(text).items()}


def memory_of(
    facts: Facts, settings: Settings, *, offload: str = "none", tiling: bool = False, exact: bool = False
) -> Memory:
    """The memory that a model takes at a size, in proportion to what was counted at its preset's.

    Args:
        facts: of the model.
        settings: whose size and guidance count; blocks are taken to be the preset's.
        offload: as in `load_pipeline`.
        tiling: of the VAE, likewise.
        exact: all numbers are float32, as on a CPU, rather than of 16 bits.
    """
    larger = _pixels(*_size(settings.sampling)) / _pixels(*facts.counted_at)
    wider = 2 if exact else 1
    wider_vae = 1 if facts.exact_vae else wider
    parts = [wider * facts.text_encoders, wider * facts.denoiser, wider_vae * facts.vae, wider * facts.others]
    weights = sum(parts) + (facts.experts - 1) * wider * facts.denoiser
    guidance = _guided(facts, settings) * larger * wider
    coding = min(facts.coding * larger, facts.tiled if tiling else float("inf")) * wider_vae
    if offload == "none":
        most = weights + max(guidance, coding)
    elif offload == "model":
        most = max(parts[0], parts[1] + guidance, parts[2] + coding)
    else:  # one layer at a time
        most = max(guidance, coding)
    return Memory(weights, guidance, coding, most)


WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("", {}),
    (" --vae-tiling", {"tiling": True}),
    (" --offload model", {"offload": "model"}),
    (" --offload model --vae-tiling", {"offload": "model", "tiling": True}),
)
"""How a model is held in memory, from the fastest to the smallest: options, and as `memory_of` takes them."""
OWN = 1.0
"""GB that PyTorch and the driver take for themselves, about."""


def fitting_models(free: float) -> dict[str, str]:
    """The real models that a GPU with so many GB free can run at their presets' sizes, with the options they need.

    The largest first.
    """
    found = {}
    for name, facts in known_facts().items():
        if facts.download == 0:  # bundled
            continue
        settings = preset(preset_of(name))
        for options, ways in WAYS:
            memory = memory_of(facts, settings, **ways)
            if memory.most + OWN <= free:
                found[name] = options
                break
    return dict(sorted(found.items(), key=lambda each: -known_facts()[each[0]].denoiser))


def _guided(facts: Facts, settings: Settings) -> float:
    if settings.guidance.off:
        return 0.0
    if settings.guidance.checkpointing == "none":
        return facts.cut
    return facts.kept


def _size(sampling: Sampling) -> tuple[int, int, int]:
    return sampling.num_frames, sampling.height, sampling.width


def _pixels(frames: int, height: int, width: int) -> int:
    return frames * height * width
