"""The command that shows what the bundled model can do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from motionclone.cli.options import WHOLE, ModelOptions
from motionclone.cli.reading import load_model
from motionclone.cli.terminal import progress_bars, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from motionclone.lab.demo import Demo

VIDEOS = ("reference.mp4", "cloned.mp4", "unguided.mp4", "side-by-side.mp4")
RECORDS = ("cloned.json", "unguided.json")
PICTURE = "given.png"


def demo(
    motion: str = "circle",
    *,
    colour: str = "red",
    shape: str = "star",
    background: str = "blue",
    texture: str = "waves",
    image: bool = False,
    sketch: bool = False,
    out_dir: Path = Path("demo"),
    seed: Annotated[int, WHOLE] = 0,
    overwrite: bool = False,
) -> None:
    """Clone a known motion with the bundled model, and measure how well it was cloned.

    Writes reference.mp4, cloned.mp4, unguided.mp4 (the same noise without guidance) and side-by-side.mp4; with --image
    or --sketch also given.png, the picture that both videos are to start from.

    Parameters
    ----------
    motion
        circle, figure-eight, bounce, turn-back, right, down, diagonal, zoom-in, zoom-out, pan-left, ..., roll.
    colour
        Of the new object.
    shape
        circle, square, triangle, star, ring or cross.
    background
        Colour of the new ground.
    texture
        plain, stripes, checks, dots, waves, clouds or rocks.
    image
        Start from a picture of the new object.
    sketch
        Start from a sketch of the new object.
    out_dir
        Folder for the videos.
    seed
        Of all noise.
    overwrite
        Replace videos that are there.
    """
    from rich.console import Console
    from rich.table import Table

    from motionclone.files import check_free, claimed
    from motionclone.lab.demo import Words, run_demo
    from motionclone.settings import parse_settings, preset

    if image and sketch:
        raise InputError("a video follows a picture or a sketch, not both; choose --image or --sketch.")
    given: Literal["image", "sketch"] | None = "image" if image else "sketch" if sketch else None
    words = Words(motion, colour, shape, background, texture)
    settings = parse_settings({**preset("mini").model_dump(), "seed": seed}, "the seed")
    names = [*VIDEOS, *RECORDS, *([PICTURE] if given else [])]
    with claimed(*(out_dir / name for name in VIDEOS)):
        for name in names:
            check_free(out_dir / name, overwrite)
        pipe = load_model(ModelOptions(device="cpu"), given)
        with progress_bars() as bar:
            made = run_demo(pipe, words, settings, bar, given=given)
        _write(out_dir, made, names, overwrite)

    table = Table(title=f"motion similarity to the reference ({motion}); 1 is the same motion")
    for title in ("", "object path", "dense flow", *(["first frame and " + given] if given else [])):
        table.add_column(title, justify="left" if not title else "right")
    for name in ("reference", "unguided", "cloned"):
        found = made.similarity[name]
        followed = [f"{found.first:+.2f}"] if found.first is not None else []
        table.add_row(name, f"{found.path:+.2f}", f"{found.flow:+.2f}", *followed)
    console = Console()
    console.print(table)
    say(f"a {colour} {shape} on {background} {texture}: watch {out_dir / 'side-by-side.mp4'}")


def _write(out_dir: Path, made: "Demo", names: list[str], overwrite: bool) -> None:
    """All files of a demo, or none: they are shown side by side."""
    import json

    from motionclone.files import sha256_of, whole_files
    from motionclone.media.records import output_of, read_record
    from motionclone.media.writing import encode_video, side_by_side, write_image

    older = out_dir / PICTURE
    gone = []
    if overwrite and made.condition is None and older.is_file() and (out_dir / RECORDS[0]).is_file():
        gone = [older] if output_of(read_record(out_dir / RECORDS[0])).get("picture") == sha256_of(older) else []
    with whole_files(*(out_dir / name for name in names), overwrite=overwrite, gone=gone) as temporary:
        place = dict(zip(names, temporary, strict=True))
        if made.condition is not None:
            write_image(place[PICTURE], made.condition.pictures[0])
        shown = {"reference": made.reference, "unguided": made.unguided.frames, "cloned": made.cloned.frames}
        shown["side-by-side"] = side_by_side(list(shown.values()), labels=list(shown))
        # The reference was drawn, not generated: it has no record.
        records = {"cloned": made.cloned.record, "unguided": made.unguided.record, "side-by-side": made.cloned.record}
        for name, frames in shown.items():
            encode_video(place[f"{name}.mp4"], frames, 8.0, records.get(name))
        for name in ("cloned", "unguided"):
            picture = sha256_of(place[PICTURE]) if PICTURE in place else None
            output: dict[str, Any] = {"suffix": ".mp4", "sha256": sha256_of(place[f"{name}.mp4"]), "picture": picture}
            # The motion was read from what was drawn; the file shows the same, and is what `score` measures by.
            output["reference"] = {"name": VIDEOS[0], "sha256": sha256_of(place[VIDEOS[0]])}
            text = json.dumps({**records[name], "output": output}, indent=2)
            place[f"{name}.json"].write_text(text + "\n", encoding="utf-8")
