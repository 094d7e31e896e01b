"""Count what guidance costs at the presets' sizes, on the meta device: nothing is computed. Writes docs/costs.md.

    python benchmarks/flops.py [MODEL ...]

F is one forward pass of the denoiser for one video; an unguided step is 2 F, and so is the plain part of a guided one,
unless there is no classifier-free guidance: then both are 1 F.
"""

import argparse
import math
from pathlib import Path

from rich.progress import track

from motionclone.lab.memory import Counted, counted
from motionclone.models import named_models
from motionclone.settings import Settings, preset, preset_names, preset_of

BUDGETS = (48, 24, 12, 8, 4, 2)
PLAIN_STEPS = 25
PAGE = Path(__file__).parent.parent / "docs" / "costs.md"
HEAD = """# What guidance costs

Counted at the presets' sizes on the meta device by `python benchmarks/flops.py`, which wrote this page; nothing was
timed ([what waits for a GPU](memory.md#speed)). F is one forward pass of the denoiser for one video, in TFLOP (10^12
operations of matrix products, convolutions and attention). A plain step with classifier-free guidance is 2 F, without
(distilled models, and `hunyuanvideo`, which is told its scale) 1 F.

"""
COLUMNS = ("model", "video", "F", "extraction", "guided step, everything kept", "kept", "with the least memory", "kept")
MIDDLE = f"""
What a guided step costs where so much memory is free for the backward pass (`checkpointing = "auto"` takes
80 % of what is free on the device when the first guided step begins, and computes again what does not fit):

| model | {" | ".join(f"{each} GB" for each in BUDGETS)} |
|---|{"---|" * len(BUDGETS)}
"""
TOLD_ITS_SCALE = ("hunyuanvideo",)
BEFORE = {"animatediff": 3.60, "cogvideox-2b": 3.49, "wan2.1-1.3b": 3.46, "ltx-video": 3.21}
AGO = """
Before that was chosen, every block was computed again whatever was free, and blocks in blocks twice. A guided step of
the authors' code, which keeps everything, is 2.57 F of AnimateDiff:

| model | a guided step before | now, with 24 GB | with 12 GB | with 4 GB | with the least memory |
|---|---|---|---|---|---|
"""
RUNS = f"""
What a preset's run costs, the reading of its motion with it, in plain runs of {PLAIN_STEPS} steps; of a distilled
model, in such runs of what it is distilled from. Without VAE, text encoders and SparseCtrl (`image`, `sketch`). In
every step LTX-2's pipeline by default calls its denoiser twice more, guided or not, which are not counted:

| preset | model | steps | of these guided | everything kept | with the least memory |
|---|---|---|---|---|---|
"""
THEIRS = """
diffusers' own `enable_gradient_checkpointing()`, which computes a fixed set of blocks again, and what ours costs that
keeps no more. Of a UNet it keeps all but what is in residual blocks; of transformers nothing but the inputs of blocks,
about the least that ours can do with, and ours gets cheaper with every GB that is free:

| model | diffusers' checkpoints | kept | ours | kept |
|---|---|---|---|---|
"""


def line(*cells: object) -> str:
    """Of a table."""
    return f"| {' | '.join(map(str, cells))} |\n"


def halves_of(name: str, settings: Settings) -> int:
    """Forward passes of a plain step."""
    return 1 if name in TOLD_ITS_SCALE or settings.sampling.guidance_scale <= 1 else 2


def row(name: str, settings: Settings, found: Counted) -> str:
    """One line of the first table."""
    sampling, halves = settings.sampling, halves_of(name, settings)
    (every, kept), (least, few) = found.guided_step(halves=halves), found.guided_step(0, halves)
    return line(
        name,
        f"{sampling.num_frames}x{sampling.height}x{sampling.width}",
        f"{found.forward / 1e12:.3g}",
        f"{found.extraction / found.forward:.2f} F",
        f"{every / found.forward:.2f} F",
        f"{kept / 1e9:.2f} GB",
        f"{least / found.forward:.2f} F",
        f"{few / 1e9:.2f} GB",
    )


def ago(name: str, found: Counted) -> str:
    """One line of what it was before, if that was counted."""
    if name not in BEFORE:
        return ""
    steps = (found.guided_step(budget * 1e9)[0] for budget in (24, 12, 4, 0))
    return line(name, f"{BEFORE[name]:.2f} F", *(f"{flops / found.forward:.2f} F" for flops in steps))


def runs(name: str, counted_with: Settings, found: Counted) -> str:
    """One line for every preset of a model."""
    lines = ""
    for each in preset_names():
        own = each.removesuffix("-paper")
        if (own if own in named_models() else "animatediff") != name:
            continue
        settings = preset(each)
        sampling, same = settings.sampling, counted_with.sampling
        if (settings.extraction.blocks, sampling.num_frames, sampling.height, sampling.width) != (
            counted_with.extraction.blocks,
            same.num_frames,
            same.height,
            same.width,
        ):
            raise ValueError(f"{each} is of another size, or of other blocks, than {name} was counted with.")
        guided = min(sampling.guided_steps, sampling.steps)
        halves = halves_of(name, settings)
        rest = found.extraction + (sampling.steps - guided) * halves * found.forward
        plain = PLAIN_STEPS * found.forward * (1 if name in TOLD_ITS_SCALE else 2)
        costs = (rest + guided * found.guided_step(budget, halves)[0] for budget in (math.inf, 0))
        times = (f"{cost / plain:.1f}" for cost in costs)
        lines += line(each, name, sampling.steps, guided, *times)
    return lines


def budgets(name: str, settings: Settings, found: Counted) -> str:
    """One line of what it costs at how much memory."""
    steps = (found.guided_step(each * 1e9, halves_of(name, settings)) for each in BUDGETS)
    fitting = zip(BUDGETS, steps, strict=True)
    return line(
        name, *(f"{flops / found.forward:.2f} F" if kept <= each * 1e9 else "" for each, (flops, kept) in fitting)
    )


def beside_diffusers(name: str, found: Counted) -> str:
    """One line beside diffusers' own checkpoints."""
    flops, kept = found.by_diffusers
    ours, ours_kept = found.guided_step(kept)
    costs = (f"{flops / found.forward:.2f} F", f"{kept / 1e9:.2f} GB")
    return line(name, *costs, f"{ours / found.forward:.2f} F", f"{ours_kept / 1e9:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(named_models())
    parser.add_argument("models", nargs="*", default=known, help=", ".join(known))
    first, others, before, presets, theirs = "", "", "", "", ""
    for name in track(parser.parse_args().models):
        settings = preset(preset_of(name))
        found = counted(name, settings)
        print(f"{name}: kept {found.kept / 1e9:.2f}, cut {found.cut / 1e9:.2f} GB")
        first += row(name, settings, found)
        others += budgets(name, settings, found)
        before += ago(name, found)
        presets += runs(name, settings, found)
        theirs += beside_diffusers(name, found) if halves_of(name, settings) == 2 else ""
    titles = line(*COLUMNS) + f"|{'---|' * len(COLUMNS)}\n"
    tables = (titles + first, MIDDLE + others, AGO + before, RUNS + presets, THEIRS + theirs)
    PAGE.write_text(HEAD + "".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
