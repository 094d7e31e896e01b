"""The command that shows several strengths and seeds at once."""

import math
import shlex
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motionclone.cli.foretelling import foretell
from motionclone.cli.making import asked_to_clone
from motionclone.cli.measuring import Judge, check_judge
from motionclone.cli.options import (
    ConditioningOptions,
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    Output,
    PictureOptions,
    ReferenceOptions,
    SettingsOptions,
    as_option,
    typed,
)
from motionclone.cli.outputs import named_after
from motionclone.cli.reading import load_model, source_facts
from motionclone.cli.running import Made, ReadyToClone, prepared
from motionclone.cli.terminal import progress_bars, say
from motionclone.errors import InputError, printable
from motionclone.media.places import bare_name

if TYPE_CHECKING:
    from motionclone.lab.sweep import Tried

MOST_VIDEOS = 64


def sweep(
    reference: Path,
    prompt: str,
    *,
    output: Output = None,
    strengths: str = "0.5,1,1.5,2",
    seeds: str = "0,1",
    scores: bool = False,
    judge: Judge | None = None,
    reference_options: ReferenceOptions = ReferenceOptions(),
    picture_options: PictureOptions = PictureOptions(),
    conditioning_options: ConditioningOptions = ConditioningOptions(),
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
    overwrite: bool = False,
    prompt_metadata: bool = True,
    dry_run: bool = False,
) -> None:
    """Show one sheet of videos of PROMPT that move like REFERENCE, strength by seed, to pick from by eye.

    The sheet is a looping video; what it takes to make the one that you pick is printed.

    Parameters
    ----------
    reference
        A video, an animated picture (GIF, WebP, APNG, AVIF) or a folder of pictures.
    prompt
        What the new videos show.
    output
        .mp4, .webm or .gif, by default named after reference and prompt.
    strengths
        Of the columns, with commas between; 0 is the video without guidance.
    seeds
        Of the rows, likewise.
    scores
        Score every video against the reference, as `motionclone score` does: shown, and kept in the sheet's record.
    judge
        With --scores, the CLIP that judges looks: the folder or hub id of one, or mini, which it is by default.
    overwrite
        Replace a file that is there.
    prompt_metadata
        Keep prompts in the video file's metadata.
    dry_run
        Only say what would be made and the memory that takes, and refuse what would be refused; loads no weights.
    """
    columns, rows = _numbers("--strengths", strengths, float), _numbers("--seeds", seeds, int)
    if len(columns) * len(rows) > MOST_VIDEOS:
        raise InputError(
            f"{len(columns)} strengths and {len(rows)} seeds are {len(columns) * len(rows)} videos; a sheet has "
            f"{MOST_VIDEOS} at most, ask for fewer."
        )
    for name, given in (("strength", generation_options.strength), ("seed", settings_options.seed)):
        if given is not None:
            raise InputError(f"a sheet has more than one {name}; give --{name}s in place of --{name}.")
    if judge is not None and not scores:
        raise InputError("--judge does not act without --scores; leave it out, or give --scores.")
    if judge is not None:
        check_judge(judge)
    parts = (settings_options, extraction_options, generation_options, conditioning_options)
    given = typed(model_options, *parts)
    job, sources, settings = asked_to_clone(
        reference, prompt, reference_options, picture_options, parts, model_options, prompt_metadata, dry_run
    )
    from motionclone.files import check_free, check_not_input, claimed
    from motionclone.lab.sweep import sheet, with_strength
    from motionclone.lab.sweep import sweep as make_all
    from motionclone.media.writing import check_video, write_video

    settings = with_strength(settings, max(columns), rows[0])
    output = output or named_after(reference, prompt, suffix="-sweep.mp4")
    check_video(output)
    with nullcontext() if dry_run else claimed(output):
        check_free(output, overwrite)
        check_not_input([output], sources.files())
        ready = prepared(job, sources, settings, output, given, partial(load_model, weights=not dry_run))
        assert isinstance(ready, ReadyToClone)
        if dry_run:
            foretell(ready.pipe, ready.settings, model_options, [output])
            return
        clip = ready.clip
        embedder = None
        if scores:
            from motionclone.lab.metrics import load_embedder

            embedder = load_embedder(judge or "mini")
        with progress_bars() as bar:
            tried = make_all(
                ready.pipe,
                clip.frames,
                prompt,
                ready.settings,
                columns,
                rows,
                condition=ready.condition,
                source=source_facts(bare_name(reference.name), clip, reference_options),
                judge=embedder,
                on_step=lambda strength, seed, step: bar(f"{strength:g}, seed {seed}", step),
            )
        provenance = Made(ready.job, tried[0].generated, clip.fps, None).public
        provenance["sheet"] = [
            {"strength": each.strength, "seed": each.seed, "energies": each.generated.record["energies"]}
            | ({"scores": dict(each.scores)} if each.scores else {})
            for each in tried
        ]
        write_video(output, sheet(clip.frames, tried), clip.fps, provenance=provenance, overwrite=overwrite)
    say(f"wrote {output}")
    options = _as_typed(reference_options, picture_options, *parts, model_options)
    options += [] if prompt_metadata else ["--no-prompt-metadata"]
    _print(tried, ["motionclone", "clone", str(reference), prompt, *options])


def _numbers(option: str, text: str, kind: type) -> list[Any]:
    """Numbers with commas between, each once. InputError for anything else."""
    try:
        found = [kind(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= each < 2**63 and math.isfinite(each) for each in found):
        example = "0.5,1,2" if kind is float else "0,1"
        raise InputError(f"{option} are numbers of 0 or more with commas between, such as {example}, not {text!r}.")
    return list(dict.fromkeys(found))


def _as_typed(*parts: Any) -> list[str]:
    """The options that were given, as words of a command line."""
    words = []
    for part in parts:
        for each in fields(part):
            value = getattr(part, each.name)
            if value == each.default:
                continue
            if isinstance(value, bool):
                words.append(as_option(each.name, value))
            elif each.name == "crop":  # whose numbers are one value
                words += [as_option(each.name), *map(str, value)]
            else:
                several = value if isinstance(value, list | tuple) else [value]
                words += [word for one in several for word in (as_option(each.name), str(one))]
    return words


def _print(tried: "list[Tried]", command: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from motionclone.lab.sweep import SHOWN

    shown = SHOWN if tried[0].scores else ()
    columns = ("strength", "seed", "distance from the reference's motion", *(name.replace("_", " ") for name in shown))
    table = Table(*columns, title="pick one by eye")
    for each in tried:
        energies = each.generated.record["energies"]
        fell = f"{energies[0]:.4f} to {energies[-1]:.4f}" if energies else "not guided"
        values = (f"{each.scores[name]:.3f}" if name in each.scores else "" for name in shown)
        table.add_row(f"{each.strength:g}", str(each.seed), fell, *values)
    Console().print(table)
    print("to make it, with the strength and the seed that you picked:")
    print(printable(f"{shlex.join(command)} --strength {tried[0].strength:g} --seed {tried[0].seed}"))
