"""Count what guidance costs at the presets' sizes, on the meta device: nothing is computed. Writes docs/costs.md.

    python benchmarks/flops.py [MODEL ...]

F is one forward pass of the denoiser for one video; an unguided step is 2 F, and so is the plain part of a guided one,
unless the preset has no classifier-free guidance: then both are 1 F.
"""

import argparse
from pathlib import Path

from rich.progress import track

from motionclone.errors import InputError
from motionclone.lab.memory import Counted, counted
from motionclone.models import named_models
from motionclone.settings import Settings, preset, preset_of

BUDGETS = (48, 24, 12, 8, 4, 2)
PLAIN_STEPS = 25
PAGE = Path(__file__).parent.parent / "docs" / "costs.md"
HEAD = """# What guidance costs

Counted at the presets' sizes on the meta device by `python benchmarks/flops.py`, which wrote this page; nothing was
timed ([what waits for a GPU](memory.md#speed)). F is one forward pass of the denoiser for one video, in TFLOP (10^12
operations of matrix products, convolutions and attention). A plain step with classifier-free guidance is 2 F, without
(`lightning-4step`, `lightning-8step`, `wan2.1-lightx2v`) 1 F.

"""
COLUMNS = ("model", "video", "F", "extraction", "guided step, everything kept", "kept", "with the least memory", "kept")
COLUMNS += (f"preset's run, in plain runs of {PLAIN_STEPS} steps",)
MIDDLE = f"""
What a guided step costs where so much memory is free for the backward pass (`checkpointing = "auto"` takes
80 % of what is free on the device when the first guided step begins, and computes again what does not fit):

| model | {" | ".join(f"{each} GB" for each in BUDGETS)} |
|---|{"---|" * len(BUDGETS)}
"""
THEIRS = """
diffusers' own `enable_gradient_checkpointing()`, which computes a fixed set of blocks again, and what ours costs that
keeps no more. Of a UNet it keeps all but what is in residual blocks; of transformers nothing but the inputs of blocks,
about the least that ours can do with, and ours gets cheaper with every GB that is free:

| model | diffusers' checkpoints | kept | ours | kept |
|---|---|---|---|---|
"""


def halves_of(settings: Settings) -> int:
    """Forward passes of a plain step."""
    return 2 if settings.sampling.guidance_scale > 1 else 1


def row(name: str, settings: Settings, found: Counted) -> str:
    """One line of the first table."""
    sampling = settings.sampling
    size = f"{sampling.num_frames}x{sampling.height}x{sampling.width}"
    halves = halves_of(settings)
    (every, kept), (least, few) = found.guided_step(halves=halves), found.guided_step(0, halves)
    guided = min(sampling.guided_steps, sampling.steps)
    run = found.extraction + guided * every + (sampling.steps - guided) * halves * found.forward
    plain = PLAIN_STEPS * 2 * found.forward
    cells = (
        name,
        size,
        f"{found.forward / 1e12:.3g}",
        f"{found.extraction / found.forward:.2f} F",
        f"{every / found.forward:.2f} F",
        f"{kept / 1e9:.2f} GB",
        f"{least / found.forward:.2f} F",
        f"{few / 1e9:.2f} GB",
        f"{run / plain:.1f}",
    )
    return f"| {' | '.join(cells)} |\n"


def budgets(name: str, settings: Settings, found: Counted) -> str:
    """One line of the second."""
    steps = (found.guided_step(each * 1e9, halves_of(settings)) for each in BUDGETS)
    cells = [
        f"{flops / found.forward:.2f} F" if kept <= each * 1e9 else ""
        for each, (flops, kept) in zip(BUDGETS, steps, strict=True)
    ]
    return f"| {name} | {' | '.join(cells)} |\n"


def beside_diffusers(name: str, found: Counted) -> str:
    """One line of the third."""
    flops, kept = found.by_diffusers
    ours, ours_kept = found.guided_step(kept)
    costs = (f"{flops / found.forward:.2f} F", f"{kept / 1e9:.2f} GB")
    costs += (f"{ours / found.forward:.2f} F", f"{ours_kept / 1e9:.2f} GB")
    return f"| {name} | {' | '.join(costs)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(named_models())
    parser.add_argument("models", nargs="*", default=known, help=", ".join(known))
    rows, others, theirs, left_out = "", "", "", []
    for name in track(parser.parse_args().models):
        settings = preset(preset_of(name))
        try:
            found = counted(name, settings)
        except InputError:
            left_out.append(name)
            continue
        print(f"{name}: kept {found.kept / 1e9:.2f}, cut {found.cut / 1e9:.2f} GB")
        rows += row(name, settings, found)
        others += budgets(name, settings, found)
        theirs += beside_diffusers(name, found) if halves_of(settings) == 2 else ""
    missing = (
        f"\nNot counted: {', '.join(left_out)}, whose denoisers the shapes alone do not tell.\n" if left_out else ""
    )
    titles = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    PAGE.write_text(HEAD + titles + rows + MIDDLE + others + THEIRS + theirs + missing, encoding="utf-8")


if __name__ == "__main__":
    main()
