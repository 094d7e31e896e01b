"""A sheet of strengths and seeds as one job of the studio, by the same functions as `motionclone sweep`."""

from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor

from motionclone.cloning import Step
from motionclone.lab.sweep import sheet, sweep, with_strength
from motionclone.media.records import without_places, write_run
from motionclone.studio.asked import Asked
from motionclone.studio.material import Material
from motionclone.studio.worker import Heard


def write_sheet(
    path: Path, pipe: Any, material: Material, asked: Asked, source: dict[str, Any], heard: Heard
) -> Tensor:
    """Make the videos of a sheet, and write it, with what each reached (`sheet`) in the record beside it.

    Args:
        path: of the sheet's video.
        pipe: that makes them.
        material: a clip's, perhaps with a picture.
        asked: for strengths and seeds.
        source: facts about the clip for the record.
        heard: told every step.

    Returns:
        A frame of the last video, (3, h, w) in [-1, 1].
    """
    frames = material.frames
    settings = with_strength(material.settings, max(asked.strengths), asked.seeds[0])
    numbers = {pair: number for number, pair in enumerate(product(asked.seeds, asked.strengths), 1)}

    def on_step(strength: float, seed: int, step: Step) -> None:
        heard(f"making video {numbers[seed, strength]} of {len(numbers)}", step)

    tried = sweep(
        pipe,
        frames,
        asked.prompt,
        settings,
        asked.strengths,
        asked.seeds,
        condition=material.condition,
        source=source,
        on_step=on_step,
    )
    heard("writing", None)
    cells = [
        {"strength": each.strength, "seed": each.seed, "energies": each.generated.record["energies"]} for each in tried
    ]
    record = {**without_places(tried[0].generated.record), "sheet": cells}
    write_run(path, sheet(frames, tried), material.fps, record, public=record, overwrite=True)
    last: Tensor = tried[-1].generated.frames[len(frames) // 2]
    return last
