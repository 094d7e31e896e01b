"""Measure on one GPU what guidance costs at real sizes, with random weights; nothing is fetched and no video is read.

    PYTHONPATH=src python benchmarks/gpu.py [MODEL ...] [--minutes 6] [--out-dir gpu]

Of each model: seconds and peak memory of a plain step, of a guided one under each policy and with diffusers' own
checkpoints, the reading of a motion, the whole preset, half precisions, and other ways to compute the same steps; of
the first, offloading; and the golden runs of the authors' code. Models are taken in the order of worth, each with its
share of the time that is left; what does not fit or fails is a line in the report. Report, numbers and a drawing of
memory over a step go to the folder, where they are written again whenever something was found.
"""

import argparse
import gc
import math
import platform
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffusers
import gpu_measures as measures
import torch
from gpu_models import NAMES, Model, counted, made, trained_in
from gpu_parity import cases, compared, precisions
from gpu_report import draw, write
from gpu_variants import COMPILING, variants

from motionclone.errors import InputError, choice
from motionclone.models.devices import usable_device
from motionclone.motion import Motion

FAILED = "failed, "
OFFLOADING = 30.0
"""Seconds that it takes to try every way of offloading, about."""


@dataclass
class Bench:
    """What was found so far, and how much time is left."""

    device: torch.device
    tiny: bool
    ends: float  # by time.monotonic
    folder: Path
    found: dict[str, Any] = field(default_factory=lambda: {"models": {}, "parity": [], "notes": [], "tracebacks": {}})
    failed: bool = False

    @property
    def left(self) -> float:
        return self.ends - time.monotonic()

    def tried(self, what: str, work: Callable[[], Any], needs: float, ends: float) -> tuple[Any, str]:
        """What the work gives; or None, and why, if it takes more seconds than are left, or fails."""
        left = ends - time.monotonic()
        if left < needs or left < 0:
            return None, f"left out, {max(0, left):.0f} seconds were left."
        write(self.found, self.folder)  # whatever becomes of this
        print(f"{self.left:5.0f} s left  {what}", flush=True)
        try:
            return work(), ""
        except InputError as error:
            why = str(error)
        except torch.OutOfMemoryError:
            why = "does not fit the memory."
        except Exception as error:
            self.found["tracebacks"][what] = traceback.format_exc()
            why = f"{FAILED}{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        self.collect()
        return None, why

    def attempt(self, what: str, work: Callable[[], Any], needs: float = 0.0, ends: float | None = None) -> Any:
        """What the work gives; or None, with a note."""
        found, why = self.tried(what, work, needs, self.ends if ends is None else ends)
        if why:
            self.found["notes"].append(f"{what}: {why}")
        self.failed = self.failed or why.startswith(FAILED)
        return found

    def collect(self) -> None:
        """Give back what nobody holds any more."""
        gc.collect()
        if self.device.type == "cuda":
            with suppress(RuntimeError):  # of a device that no longer answers, which then every measure says
                torch.cuda.empty_cache()


def parity(bench: Bench) -> None:
    """The golden runs, in a sixth of the time; in tiny, the smallest in full precision."""
    found, ends = cases(), time.monotonic() + bench.left / 6
    if not found:
        bench.found["notes"].append("parity: there are no golden numbers here.")
    for name, path in sorted(found.items(), key=lambda case: case[1].with_suffix(".safetensors").stat().st_size):
        for precision in ("float32",) if bench.tiny else precisions(bench.device):
            work = lambda p=path, q=precision: compared(p, bench.device, q)  # noqa: E731
            row = bench.attempt(f"parity {name}, {precision}", work, ends=ends)
            bench.found["parity"] += [row] if row else []
        if bench.tiny:
            return


def examine(bench: Bench, name: str, ends: float) -> None:
    """All that is measured of one model."""
    device, of = bench.device, bench.found["models"].setdefault(name, {"steps": {}})
    steps, slowest = of["steps"], 0.0

    def attempt(what: str, work: Callable[[], Any], needs: float = 0.0) -> Any:
        return bench.attempt(f"{name}: {what}", work, needs, ends)

    trained = trained_in(name)
    costs = attempt("counted", lambda: counted(name, trained, bench.tiny))
    model: Model | None = attempt("weights", lambda: made(name, device, trained, bench.tiny))
    if model is None:
        return
    sampling = model.settings.sampling
    of["video"] = [sampling.num_frames, sampling.height, sampling.width]
    if costs is not None:
        of |= {"weights": costs.weights, "F": costs.forward}

    def step(label: str, by: Motion | None, inside: AbstractContextManager[Any] | None = None, **how: Any) -> None:
        nonlocal slowest

        def work() -> measures.Steps:
            with inside or nullcontext():
                return measures.steps(model, by, 2 if bench.tiny or slowest > 2 else 3, **how)

        row = attempt(label, work, needs=4 * slowest)
        if row:
            slowest = max(slowest, row.seconds)
            steps[label] = asdict(row)

    def count(label: str, flops: int, kept: int | None) -> None:
        """Beside what was measured."""
        if label in steps:
            steps[label] |= {"counted F": flops / costs.forward, "counted kept": kept}

    step("plain", None)
    precisions = (trained, torch.bfloat16 if trained == torch.float16 else torch.float16)
    read = None
    for dtype in precisions:  # random weights may be too much for the first
        model.pipe.to(dtype)
        read = read or attempt(f"motion, {_name(dtype)}", lambda: measures.extraction(model))
        if read:
            step(f"everything kept, {_name(dtype)}", read[0], checkpointing="none")
    if not read:
        return
    motion, of["extraction seconds"] = read
    of["finite"] = {_name(dtype): f"everything kept, {_name(dtype)}" in steps for dtype in precisions}
    dtype = next((dtype for dtype in precisions if of["finite"][_name(dtype)]), trained)  # or it was too much to keep
    model.pipe.to(dtype)
    of["dtype"] = _name(dtype)
    step("auto", motion, checkpointing="auto")
    step("least", motion, checkpointing="least")
    step("diffusers' checkpoints", motion, measures.diffusers_checkpointing(model), checkpointing="none")
    if costs is not None:
        count("plain", 2 * costs.forward, None)
        for each in precisions:
            count(f"everything kept, {_name(each)}", *costs.guided_step())
        count("least", *costs.guided_step(0))
        count("diffusers' checkpoints", *costs.by_diffusers)
        for share in (2, 4):
            budget = costs.cut / share
            label = f"auto, {budget / 1e9:.3g} GB free"
            step(label, motion, measures.with_free(budget), checkpointing="auto")
            count(label, *costs.guided_step(budget))
    if {"plain", "auto"} <= steps.keys():
        of |= attempt("whole preset", lambda: whole(model, of, ends), needs=2 * slowest) or {}
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
    if not bench.tiny or len(bench.found["models"]) == 1:
        vary(bench, model, motion, 4 * slowest, ends)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def vary(bench: Bench, model: Model, motion: Motion, needs: float, ends: float) -> None:
    """Plain and guided steps in other ways. What fails, as many must somewhere, is told in the place of its seconds."""
    rows = bench.found["models"][model.name]["variants"] = {}
    for label, inside in {"as they are": nullcontext, **variants(model, bench.tiny)}.items():
        rows[label] = {}
        compiles = COMPILING * (label.startswith("compiled") and bench.device.type == "cuda")
        with inside():
            for kind, by in {"plain": None, "guided": motion}.items():
                work = lambda by=by: measures.steps(model, by, 2, checkpointing="none").seconds  # noqa: E731
                seconds, why = bench.tried(f"{model.name}: {kind}, {label}", work, needs + compiles, ends)
                rows[label][kind] = why or seconds


def whole(model: Model, of: dict[str, Any], ends: float) -> dict[str, Any]:
    """Seconds of the whole preset; where that takes more than half of the time, what its steps come to."""
    seconds, sampling = {label: row["seconds"] for label, row in of["steps"].items()}, model.settings.sampling
    guided = min(sampling.guided_steps, sampling.steps)
    decoding = measures.decoding(model)
    expected = of["extraction seconds"] + decoding + guided * seconds["auto"]
    expected += (sampling.steps - guided) * seconds["plain"]
    told: dict[str, Any] = {"decoding seconds": decoding, "preset seconds": expected, "preset measured": False}
    if expected < (ends - time.monotonic()) / 2:
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

    wanted = bench.attempt(f"{name}: without offloading", lambda: read(None), 0, ends)
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
    bench = Bench(device, given.tiny, time.monotonic() + 60 * given.minutes, given.out_dir)
    bench.found |= {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "a CPU",
        "memory": torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None,
        "tiny": given.tiny,
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    parity(bench)
    for i, name in enumerate(given.models):
        first = i == 0  # which is offloaded, too
        ends = time.monotonic() + bench.left * (1 + first) / (len(given.models) - i + first)
        reserved = OFFLOADING * (first and not given.tiny)
        bench.attempt(name, lambda name=name, ends=ends - reserved: examine(bench, name, ends))
        bench.collect()
        if first:
            bench.attempt(f"{name}: offloading", lambda name=name, ends=ends: offloads(bench, name, ends))
            bench.collect()
        bench.attempt("drawing", lambda: draw(bench.found, given.out_dir), ends=math.inf)
    write(bench.found, given.out_dir)
    print(f"{given.out_dir / 'gpu.md'} tells what was found.")
    return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
