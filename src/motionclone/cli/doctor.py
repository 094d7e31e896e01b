"""The command that says whether this machine has what motionclone needs."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

_NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "av", "cyclopts", "pydantic", "numpy")
_OPTIONAL = {"peft": "LoRA", "ftfy": "Wan from a picture", "bitsandbytes": "packed weights"}
_ENCODERS = {"libx264": ".mp4", "libvpx-vp9": ".webm", "gif": ".gif"}
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "prores", "gif")


def doctor() -> None:
    """Say what this machine has: versions, device, free memory, which models fit it, and video codecs.

    Nothing is downloaded, and nobody is asked over the network.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from motionclone.errors import printable
    from motionclone.models.devices import usable_device

    device = usable_device(None)
    table = Table(title="motionclone doctor", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    rows = {
        "versions": _versions(),
        "device": _device(device),
        "models": ", ".join(_models(device)),
        "video": _codecs(),
        "hub": _hub(),
    }
    for name, words in rows.items():
        table.add_row(name, escape(printable(words)))
    Console().print(table)


def _versions() -> str:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from motionclone import __version__

    found = [f"motionclone {__version__}", f"Python {platform.python_version()}", platform.platform(terse=True)]
    for name in (*_NEEDED, *_OPTIONAL):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is missing" if name in _NEEDED else f"no {name} ({_OPTIONAL[name]})")
    return ", ".join(found)


def _device(device: "torch.device") -> str:
    import torch

    from motionclone.models.devices import memory_here

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    here, machine = memory_here(device), memory_here(torch.device("cpu"))
    told = f"{device.type} {name}".strip()
    if here is not None:
        told += f", {here[0] / 1e9:.1f} GB free of {here[1] / 1e9:.1f} GB"
    if device.type == "cpu":
        return f"{told}; no GPU was found: the bundled models are quick on a CPU, real ones take hours"
    return told + (f"; main memory {machine[0] / 1e9:.1f} GB free of {machine[1] / 1e9:.1f} GB" if machine else "")


def _models(device: "torch.device") -> list[str]:
    from motionclone.models.devices import memory_here
    from motionclone.models.facts import fitting_models

    here = memory_here(device)
    if device.type == "cpu" or here is None:
        return ["mini and mini-dit; `motionclone models` says which GPU the real ones need"]
    fit = [f"--model {name}{options}" for name, options in fitting_models(here[0] / 1e9).items()]
    return ["those that fit what is free, at their presets' sizes: mini, mini-dit", *fit]


def _codecs() -> str:
    import av
    from av.codec.codec import UnknownCodecError

    def there(name: str, mode: Literal["r", "w"]) -> bool:
        try:
            av.Codec(name, mode)
        except UnknownCodecError:
            return False
        return True

    lacking = [f"{name}: {suffix} cannot be written" for name, suffix in _ENCODERS.items() if not there(name, "w")]
    written = ", ".join(suffix for name, suffix in _ENCODERS.items() if there(name, "w"))
    read = ", ".join(name for name in _DECODERS if there(name, "r"))
    lacks = f"; lacking are {'; '.join(lacking)} (pip install --force-reinstall av)" if lacking else ""
    return f"writes {written}; reads {read} and more{lacks}"


def _hub() -> str:
    import shutil
    from pathlib import Path

    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = f"models come to {cache}, where {shutil.disk_usage(nearest).free / 1e9:.0f} GB are free"
    return free + ("; HF_HUB_OFFLINE is set, nothing will be fetched" if constants.HF_HUB_OFFLINE else "")
