"""Count what a guided call keeps for its backward pass, at the real size, on the meta device: nothing is computed.

    python benchmarks/memory.py [MODEL ...]

One video, at the size of the model's preset. Compared: no cut (the graph runs through the whole network), the cut after
the last guided block alone, and the least that motion_guidance can do with, by computing blocks again in the backward
pass (what that costs: benchmarks/flops.py). Then what the parts weigh, and what the VAE has
at once while it works. All of it is kept in src/motionclone/models/facts.toml.
"""

import argparse
from dataclasses import astuple, fields

from rich.console import Console
from rich.progress import track
from rich.table import Table

from motionclone.lab.memory import counted
from motionclone.lab.parts import Parts, parts_of
from motionclone.models import named_models
from motionclone.settings import preset, preset_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(named_models())
    parser.add_argument("models", nargs="*", default=known, help=", ".join(known))
    table = Table()
    for title in ("model", "video", "guided", "weights", "whole graph", "cut", "least"):
        table.add_column(title, overflow="fold")
    rest = Table("model", *(field.name for field in fields(Parts)), title="GB")
    for name in track(parser.parse_args().models):
        settings = preset(preset_of(name))
        size = settings.sampling
        rest.add_row(name, *(f"{count / 1e9:.2f}" for count in astuple(parts_of(name, size))))
        found = counted(name, settings)
        table.add_row(
            name,
            f"{size.num_frames}x{size.height}x{size.width}",
            ", ".join(settings.extraction.blocks),
            *(f"{count / 1e9:.2f} GB" for count in (found.weights, found.naive, found.cut, found.kept)),
        )
    Console().print(table, rest)


if __name__ == "__main__":
    main()
