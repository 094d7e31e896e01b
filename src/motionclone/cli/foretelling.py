"""What is said before a run: what it would be, which memory it takes, and what the machine could do instead."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.options import ModelOptions
from motionclone.cli.terminal import say
from motionclone.errors import InputError, printable

if TYPE_CHECKING:
    from motionclone.settings import Settings


def check_prompt(prompt: str, positive: str | None, pictured: bool = False) -> None:
    """Refuse words that say nothing, unless a picture is followed; then it is told that there are none."""
    if prompt.strip() or (positive or "").strip():
        return
    if not pictured:
        raise InputError("the prompt is empty; say what the new video shows, such as 'a red star on blue waves'.")
    say("note: the prompt is empty; the picture alone says what the video shows")


def check_model(options: ModelOptions, dry_run: bool = False) -> None:
    """Refuse a model of the hub that cannot be had, at once; a dry run asks for none that is known here."""
    from motionclone.models import check_reachable, name_of, named_models

    if not dry_run or name_of(options.model) not in named_models():
        check_reachable(options.model)


def advise(options: ModelOptions) -> None:
    """Where a GPU waits and the bundled model is used, say which real models fit it."""
    if options.model != "mini" or options.device == "cpu":
        return
    from motionclone.models.devices import memory_here, usable_device
    from motionclone.models.facts import fitting_models

    device = usable_device(options.device)
    here = memory_here(device)
    if device.type == "cpu" or here is None:
        return
    free = here[0] / 1e9
    fit = [f"--model {name}{ways}" for name, ways in fitting_models(free).items()]
    if fit:
        more = f"; `motionclone doctor` lists {len(fit) - 3} more" if len(fit) > 3 else ""
        say(f"note: this is the small bundled model; {free:.0f} GB free on this GPU hold {', '.join(fit[:3])}{more}")


def foretell(
    pipe: Any, settings: "Settings", options: ModelOptions, outputs: Sequence[Path], *, generates: bool = True
) -> None:
    """Print what a run with this (empty) pipeline would be; `generates`, or only reads a motion."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from motionclone.models import name_of
    from motionclone.models.facts import known_facts

    sampling, extraction = settings.sampling, settings.extraction
    rows = {
        "model": options.model,
        "frames": f"{sampling.num_frames} of {sampling.width}x{sampling.height} pixels",
        "motion": f"read from {', '.join(extraction.blocks)}, t_alpha {extraction.t_alpha}, k {extraction.k}",
    }
    if generates:
        guided, each = settings.guided_steps, settings.guidance.gradients
        more = f", {each} gradients each" * (guided > 0 and each > 1)
        rows["steps"] = f"{sampling.steps}, of which {guided} guided{more}"
    folder = outputs[0].absolute().parent
    made = "" if folder.is_dir() else f" (the folder {folder.name} will be made)"
    rows |= {"memory": memory_told(pipe, settings, options), "writes": ", ".join(map(str, outputs)) + made}
    facts = known_facts().get(name_of(options.model))
    if facts is not None and not facts.run:
        rows["tried"] = f"the model: not with its own weights; its preset: {facts.settings}"
    table = Table(title="dry run: nothing was computed or written", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, escape(printable(value)))
    Console().print(table)


def memory_told(pipe: Any, settings: "Settings", options: ModelOptions) -> str:
    """What the run takes, and whether the device has it."""
    import torch
    from torch import nn

    from motionclone.models import name_of
    from motionclone.models.devices import memory_here, usable_device
    from motionclone.models.facts import OWN, WAYS, known_facts, memory_of

    device = usable_device(options.device)
    if device.type == "cpu" and options.offload != "none":
        device = torch.device("cuda")  # such as the machine that this is planned for has
    exact = options.dtype == "float32" or (options.dtype is None and device.type == "cpu")
    present = device.type != "cuda" or torch.cuda.is_available()
    here = memory_here(device) if present else None
    there = "" if here is None else f"; {here[0] / 1e9:.1f} GB of {here[1] / 1e9:.1f} GB are free"
    if not present:
        there = f"; there is no GPU here, and without one --offload {options.offload} would be refused"
    facts = known_facts().get(name_of(options.model))
    if facts is None:
        networks = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
        numbers = sum(weight.numel() for network in networks for weight in network.parameters())
        size = numbers * (4 if exact else 2) / 1e9
        return f"{size:.2f} GB for denoiser and VAE on {device.type}; of this model the rest is not counted{there}"
    taken = memory_of(facts, settings, offload=options.offload, tiling=options.vae_tiling, exact=exact)
    at_work = f"guidance {taken.guidance:.1f} or, later, the VAE {taken.coding:.1f}"
    parts = {
        "none": f"weights {taken.weights:.1f}, and beside them {at_work}",
        "model": f"the largest of the parts, each with its work: {at_work}; weights, {taken.weights:.1f}, wait outside",
        "sequential": f"{at_work}; weights, {taken.weights:.1f}, wait outside",
    }[options.offload]
    told = f"about {taken.most:.1f} GB on {device.type} at once ({parts}){there}"
    if here is None or taken.most + OWN <= here[0] / 1e9:
        return told
    smaller = [
        f"{words.strip()} ({least:.1f} GB)"
        for words, ways in WAYS[1:]
        if device.type != "cpu" or "offload" not in ways
        if (least := memory_of(facts, settings, **ways, exact=exact).most) + OWN <= here[0] / 1e9
    ]
    return f"{told}: too little; take {smaller[0] if smaller else 'fewer frames, a smaller size or a smaller model'}"
