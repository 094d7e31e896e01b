"""What was measured on a GPU, as JSON, Markdown and a drawing."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from motionclone.files import whole_file

STEPS = ("step", "seconds", "plain steps", "F, counted", "kept, counted", "peak above the weights", "blocks again")


def write(found: dict[str, Any], folder: Path) -> None:
    """gpu.json and gpu.md, over what was there."""
    with whole_file(folder / "gpu.json", overwrite=True) as path:
        path.write_text(json.dumps(found), encoding="utf-8")
    drawn = "![memory over a guided step](memory.png)\n" if (folder / "memory.png").exists() else ""
    with whole_file(folder / "gpu.md", overwrite=True) as path:
        path.write_text(report(found) + drawn, encoding="utf-8")


def report(found: dict[str, Any]) -> str:
    """The Markdown."""
    memory = f" with {_size(found['memory'])}" if found["memory"] else ""
    libraries = ", ".join(f"{name} {number}" for name, number in found["libraries"].items())
    tiny = "Tiny models: the figures say nothing, but that all of it runs.\n\n" if found["tiny"] else ""
    parts = [f"# Guidance on {found['device']}{memory}\n\n{libraries}; random weights.\n\n{tiny}"]
    parts += [_model(name, of) for name, of in found["models"].items() if of["steps"]]
    if found["parity"]:
        rows = [
            (r["case"], r["precision"], *(f"{r[name]:.1e}" for name in ("energy", "gradient", "latents")),
             f"{r['cosine']:.6f}", "yes" if r["within"] else "**no**")
            for r in found["parity"]
        ]  # fmt: skip
        titles = ("case", "precision", "energy", "gradient", "latents", "cosine of gradients", "within the bounds")
        parts.append("## Parity with the authors' runs\n\n" + _table(titles, rows))
    if found["notes"]:
        parts.append("## Notes\n\n" + "".join(f"- {note}\n" for note in found["notes"]) + "\n")
    return "".join(parts)


def _model(name: str, of: dict[str, Any]) -> str:
    plain = of["steps"].get("plain", {}).get("seconds")
    rows = [
        (
            label,
            f"{row['seconds']:.3f}",
            f"{row['seconds'] / plain:.2f}" if plain else "",
            f"{row['counted F']:.2f}" if "counted F" in row else "",
            _size(row.get("counted kept") or row["kept"]),
            _size(row["peak"]),
            row["blocks"],
        )
        for label, row in of["steps"].items()
    ]
    lines = [f"The motion is read in {of['extraction seconds']:.2f} s."] if "extraction seconds" in of else []
    if "preset seconds" in of:
        how = "measured" if of["preset measured"] else "extrapolated from its steps"
        lines.append(f"The whole preset takes {of['preset seconds']:.1f} s ({how}).")
    for dtype, finite in of.get("finite", {}).items():
        lines.append(f"{dtype} is {'finite' if finite else '**not shown to be finite**, see the notes'}.")
    if of.get("waits"):
        ours = ", ".join(f"{place} {times}" for place, times in of["waits"]["ours"].items()) or "none"
        lines.append(f"Waits for the device in a guided step: ours {ours}; others' {of['waits']['others']}.")
    for mode, off in of.get("offloads", {}).items():
        lines.append(f"Offload {mode}: {off['indices']:.2%} of the indices differ, gradient {off['gradient']:.1e} off.")
    frames, height, width = of["video"]
    size = f"{frames}x{height}x{width}"
    if "dtype" in of:
        size += f", {of['dtype']}"
    if "F" in of:
        size += f", F = {of['F'] / 1e12:.3g} TFLOP, weights {_size(of['weights'])}"
    return (
        f"## {name}\n\n{size}.\n\n{_table(STEPS, rows)}" + "\n".join(lines) + "\n\n" + _variants(of.get("variants", {}))
    )


def _variants(of: dict[str, dict[str, float | str]]) -> str:
    def told(seconds: float | str) -> str:
        return seconds if isinstance(seconds, str) else f"{seconds:.3f}"

    rows = [(label, *map(told, kinds.values())) for label, kinds in of.items()]
    return _table(("the same steps", "plain, seconds", "guided, everything kept"), rows) if rows else ""


def _table(titles: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join(f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |\n" for row in lines) + "\n"


def _size(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.3g} GB"


def draw(found: dict[str, Any], folder: Path) -> None:
    """memory.png, memory over one guided step of each model, if there is something to show."""
    curves = {name: of["curves"] for name, of in found["models"].items() if of.get("curves")}
    if not curves:
        return
    mpl.use("agg")
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3), layout="constrained", squeeze=False)
    for axis, (name, of) in zip(axes[0], curves.items(), strict=True):
        for policy, curve in of.items():
            axis.plot(range(len(curve)), [count / 1e9 for count in curve], label=policy, linewidth=1)
        axis.set(title=name, xlabel="operation of a guided step", ylabel="GB", ylim=(0, None))
        axis.legend(frameon=False)
    with whole_file(folder / "memory.png", overwrite=True) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)
