"""Where a pipeline works: its device, and what is kept elsewhere meanwhile."""

from typing import Literal, get_args

import psutil
import torch

from motionclone.backbones.recomputing import free_bytes
from motionclone.errors import InputError, named

Offload = Literal["none", "model", "sequential"]


def usable_device(device: str | torch.device | None) -> torch.device:
    """A device that is here; cuda, mps or cpu, whichever is there first, if none is named.

    Raises:
        InputError: there is none of that name, or not that many.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device is None:
        return torch.device(next(name for name, there in present.items() if there))
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{device!r} is no device; name one such as cuda, cuda:1, mps or cpu.") from error
    if not present.get(wanted.type, False):
        raise InputError(f"device {wanted} is not available here; use cpu, or leave the device out.")
    count = torch.cuda.device_count() if wanted.type == "cuda" else 1
    if wanted.index is not None and wanted.index >= count:
        raise InputError(f"there is no device {wanted}; {wanted.type} has {count} here, counted from 0.")
    return wanted


def check_offload(offload: str, device: torch.device) -> None:
    """Refuse an offload that does not exist, or that the device has no use for."""
    if offload not in get_args(Offload):
        raise InputError(f"offload is one of {', '.join(get_args(Offload))}, not {offload!r}.")
    if offload != "none" and device.type == "cpu":
        raise InputError(
            f"{named('offload', offload)} needs a GPU to move weights to, and this runs on the CPU; leave it out."
        )


def memory_here(device: torch.device) -> tuple[int, int] | None:
    """Bytes of a device's memory that are free, and all; of the machine's for a CPU. None where that is not known."""
    free = free_bytes(device)
    if free is None:
        return None
    if device.type == "cuda":
        return free, int(torch.cuda.mem_get_info(device)[1])
    return free, torch.mps.recommended_max_memory() if device.type == "mps" else int(psutil.virtual_memory().total)
