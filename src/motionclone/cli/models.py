"""The command that tells which models there are, what they are made of and what they take."""

from typing import TYPE_CHECKING

from motionclone.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def models(name: str | None = None) -> None:
    """List the models and presets that have names; of one model, say what it is made of and how much memory it takes.

    Parameters
    ----------
    name
        A model of the list, or its hub id.
    """
    from rich.console import Console
    from rich.table import Table

    from motionclone.models import named_models
    from motionclone.settings import preset, preset_names

    console = Console()
    if name is not None:
        _describe(name, console)
        return
    table = Table("model", "from", title="models (--model)")
    for each in named_models():
        table.add_row(each, _place(each))
    chosen = Table("preset", "steps", "guided", "fraction", "weight", "size", "frames", title="presets (--preset)")
    for each in preset_names():
        s = preset(each)
        chosen.add_row(
            each,
            str(s.sampling.steps),
            str(s.sampling.guided_steps),
            f"{s.guidance.guided_fraction:g}",
            f"{s.guidance.weight:g}",
            f"{s.sampling.width}x{s.sampling.height}",
            str(s.sampling.num_frames),
        )
    console.print(table, chosen)
    console.print("A folder, a model description (.toml, .yaml) or a hub id does as well: see docs/models.md.")


def _place(name: str) -> str:
    from motionclone.models import HubModel, named_models

    parts = named_models()[name]
    if isinstance(parts, HubModel):
        return f"{parts.hub_id}, {parts.dtype}"
    return "bundled" if name in ("mini", "mini-dit") else f"{parts.base} and {parts.motion_adapter}"


def _describe(name: str, console: "Console") -> None:
    """Parts, preset and memory of a model; nothing is downloaded."""
    from dataclasses import astuple

    from rich.filesize import decimal
    from rich.table import Table

    from motionclone.lab.memory import counted
    from motionclone.models import meant, name_of, named_models
    from motionclone.settings import preset, preset_names

    name = name_of(name)
    if name not in named_models():
        raise InputError(f"no model is named {name!r}; {meant(name)}")
    chosen = name if name in preset_names() else "camera"
    settings = preset(chosen)
    sampling = settings.sampling
    size = f"{sampling.num_frames} frames of {sampling.width}x{sampling.height}"
    table = Table(title=f"{name}, {size}", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("from", _place(name))
    table.add_row("preset", chosen)
    table.add_row("guided blocks", ", ".join(settings.extraction.blocks))
    try:
        found = counted(name, settings)
    except InputError as error:
        table.add_row("memory", str(error))
        console.print(table)
        return
    weights, kept, again, cut, naive = (decimal(count, precision=2) for count in astuple(found))
    table.add_row("weights of the denoiser", weights)
    table.add_row("kept for the backward pass", f"{kept} ({cut} without checkpoints, {naive} without the cut, too)")
    if found.again:
        table.add_row("while a block is computed again", f"up to {again} more")
    console.print(table)
