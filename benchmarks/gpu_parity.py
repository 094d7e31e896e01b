"""The golden runs of the authors' code, made again on a device: how far from their numbers, in which precision."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from gpu_models import TESTS
from torch import Tensor

ROOT = TESTS.parent
PLACES = (ROOT / "shared" / "golden", ROOT.parent / "shared" / "golden", TESTS / "golden")
# What golden/README.md says that float32 keeps to: energies absolutely, gradients by their norm, latents by their
# largest. Half precision is to give the same direction.
BOUNDS = {"energy": 1e-5, "gradient": 5e-4, "latents": 1e-4}
LEAST_COSINE = 0.99


def cases() -> dict[str, Path]:
    """The files of golden cases, by name."""
    return {path.stem: path for place in PLACES for path in sorted(place.glob("*.json"))}


def precisions(device: torch.device) -> dict[str, torch.dtype]:
    """Names of precisions; on CUDA float32 convolutions are TF32 unless that is switched off."""
    full = {"float32": torch.float32} | ({"float32, TF32": torch.float32} if device.type == "cuda" else {})
    return full | {"float16": torch.float16}


def compared(path: Path, device: torch.device, precision: str) -> dict[str, Any]:
    """One case in one precision: the largest differences, and whether they are within the bounds."""
    sys.path.insert(0, str(TESTS))
    from parity_case import Case

    dtype = precisions(device)[precision]
    with tempfile.TemporaryDirectory() as folder, _tf32("TF32" in precision):
        case = Case.load(path, Path(folder))
        golden = {name: tensor.double() for name, tensor in case.golden.items()}
        _move(case, device, dtype)
        gradients = case.gradients()
        found, _, _ = case.run()
    found = {name: tensor.detach().to("cpu", torch.float64) for name, tensor in (found | gradients).items()}
    steps = range(len(case.guided))
    pairs = [(found[f"gradient{i}"], golden[f"gradient{i}"]) for i in steps]
    off = {
        "energy": float((found["energies"] - golden["energies"]).abs().max()),
        "gradient": max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs),
        "latents": max(
            float((found[f"latents{i}"] - golden[f"latents{i}"]).abs().max() / golden[f"latents{i}"].abs().max())
            for i in range(case.steps)
        ),
        "cosine": min(float((ours * theirs).sum() / (ours.norm() * theirs.norm())) for ours, theirs in pairs),
    }
    bounded = precision == "float32"
    within = all(off[name] <= most for name, most in BOUNDS.items()) if bounded else off["cosine"] >= LEAST_COSINE
    return {"case": path.stem, "precision": precision, **off, "within": within}


def _move(case: Any, device: torch.device, dtype: torch.dtype) -> None:
    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    case.pipe.to(device, dtype)
    case.numbers = {name: moved(tensor) for name, tensor in case.numbers.items()}
    case.picture_latents = moved(case.picture_latents)
    if case.pictured is not None and hasattr(case.pipe, "prepare_image"):
        case.pipe.prepare_image = lambda *_: case.numbers["controlnet_images"]


@contextmanager
def _tf32(on: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
