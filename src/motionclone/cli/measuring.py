"""Commands that measure: evaluate and score."""

import os
from pathlib import Path

from motionclone.cli.options import (
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    Output,
    SettingsOptions,
    settings_from,
)
from motionclone.cli.reading import load_model
from motionclone.cli.terminal import counting_bar, quiet_libraries, say
from motionclone.errors import InputError


def evaluate(
    suite: str,
    *,
    out_dir: Path | None = None,
    references: Path | None = None,
    cases: int | None = None,
    clip: str = "mini",
    workers: int | None = None,
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Measure how well motion is cloned, on known motions or on your clips, and write a report.

    Called again, an interrupted run goes on where it was. Results, videos, report.html and report.md are in OUT-DIR.

    Parameters
    ----------
    suite
        quick (minutes on two cores), paper (all experiments of the paper; hours), pictures (following a picture or a
        sketch), tune (candidates for presets) or blocks (each of the model's alone).
    out_dir
        Folder for results; evaluation-SUITE by default.
    references
        Folder of clips to clone instead of the world's known motions.
    cases
        How many references and prompts; the suite's number by default.
    clip
        The judge of looks: mini (bundled, knows the world only), or the folder or hub id of a CLIP model.
    workers
        Processes that share the work; by default one a core, one on a GPU.
    """
    from dataclasses import replace

    from motionclone.backbones.families import backbone_of
    from motionclone.lab.bench import Setup
    from motionclone.lab.cases import clip_cases, world_cases
    from motionclone.lab.metrics import load_embedder
    from motionclone.lab.report import write_report
    from motionclone.lab.running import run_suite
    from motionclone.lab.suites import suite_named

    base = settings_from(model_options.model, settings_options, extraction_options, generation_options)

    def blocks() -> tuple[str, ...]:
        return backbone_of(load_model(model_options)).blocks()

    chosen = suite_named(suite, base, blocks)
    if cases is not None:
        if cases < 1:
            raise InputError(f"--cases must be 1 or more, got {cases}.")
        chosen = replace(chosen, cases=cases)
    if references is None:
        found = world_cases(chosen.split, chosen.cases, base.sampling)
    else:
        found = clip_cases(references, chosen.split, chosen.cases, base.sampling)
        known = tuple(method for method in chosen.methods if method.kind != "drawn")
        chosen = replace(chosen, methods=known)  # nobody can draw a perfect clone of an unknown motion
    if workers is None:
        workers = 1 if _on_gpu(model_options.device) else os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"--workers must be 1 or more, got {workers}.")
    options = model_options
    setup = Setup(chosen, tuple(found), base, options.model, options.dtype, options.device, clip, base.seed)
    folder = out_dir or Path(f"evaluation-{suite}")
    quiet_libraries()
    load_embedder(clip)  # before anything slow
    with counting_bar(suite) as done:
        run_suite(setup, folder, workers=workers, on_done=done)
    for path in write_report(folder):
        say(f"wrote {path}")


def _on_gpu(device: str | None) -> bool:
    import torch

    return (torch.cuda.is_available() or torch.backends.mps.is_available()) if device is None else device != "cpu"


def score(videos: Path, *, clip: str, output: Output | None = None, overwrite: bool = False) -> None:
    """Score videos against the clips whose motion they should have.

    Scores come with their 95 % interval, their floor (other references) and their ceiling (the reference, re-encoded).

    Parameters
    ----------
    videos
        A folder of videos that motionclone made, with their records; or a list (.jsonl) with video, reference and
        prompt in each line, whatever made them.
    clip
        The judge of looks: the folder or hub id of a CLIP model, or mini (bundled, knows the mini model's world only).
    output
        Write every video's scores here, one JSON object a line (.jsonl).
    overwrite
        Replace a file that is there.
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from motionclone.files import check_free, whole_file
    from motionclone.lab.folder import pairs_of, score_pairs
    from motionclone.lab.metrics import bootstrap, load_embedder

    if output is not None:
        check_free(output, overwrite)
    pairs = pairs_of(videos)
    quiet_libraries()
    embedder = load_embedder(clip)
    with counting_bar("scoring") as done:
        scored = score_pairs(pairs, embedder, done)
    if output is not None:
        with whole_file(output, overwrite) as temporary:
            lines = [
                {"video": str(s.pair.video), "scores": s.scores, "floor": s.floor, "ceiling": s.ceiling} for s in scored
            ]
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        say(f"wrote {output}")
    table = Table("", "mean", "95 % interval", "videos", "floor", "ceiling", title=f"{len(scored)} videos")
    for name in scored[0].scores:
        columns = [[getattr(s, part).get(name) for s in scored] for part in ("scores", "floor", "ceiling")]
        found, floor, ceiling = (bootstrap([float("nan") if v is None else v for v in column]) for column in columns)
        if found.n:
            interval = f"{found.low:+.3f} to {found.high:+.3f}"
            table.add_row(
                name, f"{found.value:+.3f}", interval, str(found.n), f"{floor.value:+.3f}", f"{ceiling.value:+.3f}"
            )
    Console().print(table)
