"""Measure on one GPU what guidance costs at real sizes, with random weights; nothing is fetched and no video is read.

    PYTHONPATH=src python benchmarks/gpu.py [MODEL ...] [--minutes 6] [--out-dir gpu]

Of each model: seconds and peak memory of a plain step, of a guided one under each policy and with diffusers' own
checkpoints, the reading of a motion, the whole preset, half precisions; of the first, offloading; and the golden runs
of the authors' code. Models are taken in the order of worth, each with its share of the time that is left; what does
not fit is a line in the report. Report, numbers and a drawing of memory over a step go to the folder.
"""

import argparse
import gc
import platform
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import gpu_measures as measures
import torch
from gpu_models import NAMES, Model, counted, made, trained_in
from gpu_parity import cases, compared, precisions
from gpu_report import write
from torch.nn.attention import SDPBackend, sdpa_kernel

from motionclone.errors import InputError, choice
from motionclone.models.devices import usable_device

ATTENTIONS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)


@dataclass
class Bench:
    """What was found so far, and how much time is left."""

    device: torch.device
    tiny: bool
    ends: float  # by time.monotonic
    found: dict[str, Any] = field(default_factory=lambda: {"models": {}, "parity": [], "notes": []})
    failed: bool = False

    @property
    def left(self) -> float:
        return self.ends - time.monotonic()

    def attempt(self, what: str, work: Callable[[], Any], needs: float = 0.0, ends: float | None = None) -> Any:
        """What the work gives. None, with a note, if it takes more seconds than are left, or fails."""
        left = self.left if ends is None else min(ends, self.ends) - time.monotonic()
        if left < needs or left < 0:
            self.found["notes"].append(f"{what}: left out, {max(0, left):.0f} seconds were left.")
            return None
        print(f"{self.left:5.0f} s left  {what}", flush=True)
        try:
            return work()
        except InputError as error:
            self.found["notes"].append(f"{what}: {error}")
        except torch.OutOfMemoryError:
            self.found["notes"].append(f"{what}: does not fit the memory.")
        except Exception as error:
            traceback.print_exc()
            self.failed = self.failed or "No available kernel" not in str(error)  # for an attention that was asked for
            self.found["notes"].append(f"{what}: failed, {type(error).__name__}: {error}")
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def parity(bench: Bench) -> None:
    """The golden runs; in tiny, the smallest in full precision."""
    found = cases()
    if not found:
        bench.found["notes"].append("parity: there are no golden numbers here.")
    for name, path in sorted(found.items(), key=lambda case: case[1].with_suffix(".safetensors").stat().st_size):
        for precision in ("float32",) if bench.tiny else precisions(bench.device):
            row = bench.attempt(f"parity {name}, {precision}", lambda p=path, q=precision: compared(p, bench.device, q))
            bench.found["parity"] += [row] if row else []
        if bench.tiny:
            return


def examine(bench: Bench, name: str, ends: float) -> None:
    """All that is measured of one model."""
    device, of = bench.device, bench.found["models"].setdefault(name, {"steps": {}})
    dtype = trained_in(name)

    def attempt(what: str, work: Callable[[], Any], needs: float = 0.0) -> Any:
        return bench.attempt(f"{name}: {what}", work, needs, ends)

    costs = attempt("counted", lambda: counted(name, dtype, bench.tiny))
    model: Model | None = costs and attempt("weights", lambda: made(name, device, dtype, bench.tiny))
    read = model and attempt("motion", lambda: measures.extraction(model))
    if not read:
        return
    motion, of["extraction seconds"] = read
    sampling = model.settings.sampling
    of |= {"dtype": str(dtype).removeprefix("torch."), "weights": costs.weights, "F": costs.forward}
    of["video"] = [sampling.num_frames, sampling.height, sampling.width]
    slowest = 0.0

    def step(label: str, inside: AbstractContextManager[Any] | None = None, guided: bool = True, **how: Any) -> None:
        nonlocal slowest

        def work() -> measures.Steps:
            with inside or nullcontext():
                return measures.steps(model, motion if guided else None, 2 if bench.tiny else 3, **how)

        row = attempt(label, work, needs=4 * slowest)
        if row:
            slowest = max(slowest, row.seconds)
            of["steps"][label] = asdict(row)

    def count(label: str, flops: int, kept: int | None) -> None:
        """Beside what was measured."""
        if label in of["steps"]:
            of["steps"][label] |= {"counted F": flops / costs.forward, "counted kept": kept}

    step("plain", guided=False)
    count("plain", 2 * costs.forward, None)
    step("everything kept", checkpointing="none")
    count("everything kept", *costs.guided_step())
    step("auto", checkpointing="auto")
    step("least", checkpointing="least")
    count("least", *costs.guided_step(0))
    for share in (2, 4):
        budget = costs.cut / share
        label = f"auto, {budget / 1e9:.3g} GB free"
        step(label, measures.with_free(budget), checkpointing="auto")
        count(label, *costs.guided_step(budget))
    step("diffusers' checkpoints", measures.diffusers_checkpointing(model), checkpointing="none")
    count("diffusers' checkpoints", *costs.by_diffusers)

    if {"plain", "auto"} <= of["steps"].keys():
        of |= attempt("whole preset", lambda: whole(bench, model, of, ends), needs=2 * slowest) or {}
    for policy in ("none", "least"):
        curve = attempt(
            f"memory over a step, {policy}",
            lambda policy=policy: measures.memory_curve(model, motion, checkpointing=policy),
            needs=4 * slowest,
        )
        of.setdefault("curves", {}).update({policy: curve} if curve else {})
    if device.type == "cuda":
        waits = attempt("waits for the device", lambda: asdict(measures.waits(model, motion)), needs=4 * slowest)
        of["waits"] = waits
        for backend in ATTENTIONS:
            step(f"everything kept, {backend.name.lower()}", sdpa_kernel(backend), checkpointing="none")
    if name == "animatediff":
        step("everything kept, channels_last", measures.channels_last(model), checkpointing="none")
    other = torch.bfloat16 if dtype == torch.float16 else torch.float16
    of["finite"] = {str(dtype).removeprefix("torch."): bool(of["steps"].get("everything kept"))}
    model.pipe.to(other)
    step(f"everything kept, {other}".replace("torch.", ""), checkpointing="none")
    of["finite"][str(other).removeprefix("torch.")] = f"everything kept, {other}".replace("torch.", "") in of["steps"]


def whole(bench: Bench, model: Model, of: dict[str, Any], ends: float) -> dict[str, Any]:
    """Seconds of the whole preset; where that takes more than half of the time, what its steps come to."""
    seconds, sampling = {label: row["seconds"] for label, row in of["steps"].items()}, model.settings.sampling
    guided = min(sampling.guided_steps, sampling.steps)
    decoding = measures.decoding(model)
    expected = of["extraction seconds"] + decoding + guided * seconds["auto"]
    expected += (sampling.steps - guided) * seconds["plain"]
    told: dict[str, Any] = {"decoding seconds": decoding, "preset seconds": expected, "preset measured": False}
    if expected < (min(ends, bench.ends) - time.monotonic()) / 2:
        told |= {"preset seconds": measures.run(model), "preset measured": True}
    return told


def offloads(bench: Bench, name: str, ends: float) -> None:
    """Whether weights that are kept elsewhere give the same motion and gradient."""
    found = bench.found["models"][name]["offloads"] = {}
    small = {} if bench.tiny else {"height": 256, "width": 256}

    def read(mode: str | None) -> measures.Read:
        torch.manual_seed(0)  # of the weights
        model = made(name, bench.device, trained_in(name), bench.tiny)
        sampling = model.settings.sampling.model_copy(update=small)
        model = replace(model, settings=model.settings.model_copy(update={"sampling": sampling}))
        if mode is not None:
            measures.offload(model, mode)
        return measures.read_and_differentiated(model)

    wanted = bench.attempt(f"{name}: without offloading", lambda: read(None), 0 if bench.tiny else 20, ends)
    for mode in ("model", "sequential", "group") if wanted else ():
        off = bench.attempt(
            f"{name}: offload {mode}", lambda mode=mode: measures.different(wanted, read(mode)), 0, ends
        )
        found |= {mode: off} if off else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL", help=", ".join(NAMES))
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--out-dir", type=Path, default=Path("gpu"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try it on a CPU")
    given = parser.parse_args()
    try:
        device = usable_device(given.device)
        for name in given.models:
            if name not in NAMES:
                raise InputError(f"there is no model {name!r} to measure; {choice(name, NAMES)}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    diffusers.utils.logging.set_verbosity_error()
    given.out_dir.mkdir(parents=True, exist_ok=True)
    bench = Bench(device, given.tiny, time.monotonic() + 60 * given.minutes)
    bench.found |= {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "a CPU",
        "memory": torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None,
        "tiny": given.tiny,
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    parity(bench)
    for i, name in enumerate(given.models):
        ends = time.monotonic() + bench.left / (len(given.models) - i)
        examine(bench, name, ends)
        if i == 0:
            offloads(bench, name, ends)
        gc.collect()
        write(bench.found, given.out_dir)
    print(f"{given.out_dir / 'gpu.md'} tells what was found.")
    return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
