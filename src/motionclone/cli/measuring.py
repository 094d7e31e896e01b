"""Commands that measure: evaluate and score."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from motionclone.cli.foretelling import check_model
from motionclone.cli.options import (
    WHOLE,
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    Output,
    RayAddress,
    SettingsOptions,
    ray_address,
    settings_from,
)
from motionclone.cli.reading import load_model
from motionclone.cli.terminal import counting_bar, quiet_libraries, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motionclone.lab.cases import Case
    from motionclone.lab.score import ScoredVideo
    from motionclone.lab.world import Split
    from motionclone.settings import Settings

_REAL_JUDGE = "--judge openai/clip-vit-base-patch32"
_FEW_VIDEOS = 4
"""So many have a column each: a mean of them says little, and nothing at all of a clone and its unguided twin."""

Judge = Annotated[str, Parameter(name=["--judge", "--clip"])]


def evaluate(
    suite: str,
    *,
    out_dir: Path | None = None,
    references: Path | None = None,
    cases: Annotated[int | None, WHOLE] = None,
    judge: Judge = "mini",
    workers: Annotated[int | None, WHOLE] = None,
    ray: RayAddress = None,
    shared: bool = False,
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Measure how well motion is cloned, on known motions or on your clips, and write a report.

    Called again, an interrupted run goes on where it was. Results, videos, report.html and report.md are in OUT-DIR. A
    method that this model cannot have is told in the report; if one fails otherwise, the exit code is 1.

    Parameters
    ----------
    suite
        quick (minutes on two cores), paper (all experiments of the paper; hours), curves (what of it is only stronger,
        and what is better; hours), pictures (following a picture or a sketch), tune (candidates for presets), strength
        (more and less of it, and in other numbers of steps) or blocks (each of the model's alone).
    out_dir
        Folder for results; evaluation-SUITE by default.
    references
        Folder of clips to clone instead of the world's known motions.
    cases
        How many references and prompts; the suite's number by default, and no fewer than there are clips.
    judge
        The CLIP that judges looks: mini (bundled, knows the world only), or the folder or hub id of one.
    workers
        Processes that share the work, or actors of Ray; by default one a core, or one a GPU.
    ray
        Work on Ray: on one that is started here or, as --ray auto, that runs here, or at the address of a cluster.
    shared
        OUT-DIR, clips and models lie under the same paths on all machines of the cluster.
    """
    from dataclasses import asdict, replace
    from functools import partial

    check_model(model_options)
    check_judge(judge)
    from motionclone.lab.bench import Setup
    from motionclone.lab.facts import facts_of
    from motionclone.lab.report import write_report
    from motionclone.lab.running import run_suite
    from motionclone.lab.suites import recipe_named, suite_for

    recipe = recipe_named(suite)
    address = ray_address(ray, shared)
    base = settings_from(model_options.model, settings_options, extraction_options, generation_options)
    folder = out_dir or Path(f"evaluation-{suite}")
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be 1 or more, got {workers}.")
    if references is not None and references.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{references} lies in {folder}, where results are written; choose another --out-dir.")
    if references is None:
        chosen = _world_cases(recipe.split, recipe.cases if cases is None else cases, base)
    else:
        chosen = _clip_cases(references, recipe.split, recipe.cases, cases, base)
    quiet_libraries()
    pipe = load_model(model_options)
    facts = facts_of(pipe, base, [case.prompt for case in chosen])
    if facts.own_steps and generation_options.guided_steps is not None:
        say("note: this model's scheduler keeps its own steps; how many are guided follows from the guided fraction")
    if workers is None and address is None:
        workers = _workers(facts.device, model_options.device)
    setup = Setup(
        suite=suite_for(suite, base, facts, drawn=references is None),
        cases=tuple(chosen),
        base=base,
        model=model_options.model,
        # Wherever a worker is, it computes on what is described, or says that it cannot.
        load=partial(load_model, replace(model_options, device=facts.device)),
        loading={
            name: value for name, value in asdict(model_options).items() if name not in ("model", "device", "dtype")
        },
        facts=facts,
        judge=judge,
    )
    for omission in setup.suite.left_out:
        say(f"note: {omission.label} is left out: {omission.reason.rstrip('.')}")
    if workers != 1 or address is not None:
        pipe = None  # every worker loads its own
    with counting_bar(suite) as done:
        outcome = run_suite(setup, folder, workers=workers, ray=address, shared=shared, pipe=pipe, on_done=done)
    for path in write_report(folder):
        say(f"wrote {path}")
    if outcome.refused:
        say(f"note: {outcome.refused} videos cannot be had with this model; the report says why")
    if outcome.failed:
        say(f"motionclone: {outcome.failed} videos failed; the report says how, and the same command tries them again")
        sys.exit(1)


def _workers(works_on: str, asked: str | None) -> int:
    """One a core; one a GPU, unless a certain one was asked for."""
    from motionclone.batch.processes import visible_gpus

    if works_on == "cpu":
        return os.cpu_count() or 1
    return max(1, len(visible_gpus())) if works_on == asked or asked is None else 1


def _world_cases(split: "Split", count: int, base: "Settings") -> "list[Case]":
    from motionclone.lab.cases import world_cases

    cases = world_cases(split, count, base.sampling)
    missing = [kind for kind in ("object", "camera", "both") if kind not in {case.kind for case in cases}]
    if missing:
        say(f"note: so few cases have no room for references in which these move: {', '.join(missing)}")
    return cases


def _clip_cases(references: Path, split: "Split", least: int, asked: int | None, base: "Settings") -> "list[Case]":
    from motionclone.lab.cases import clip_cases, clips_in

    clips = clips_in(references)
    count = max(least, len(clips)) if asked is None else asked
    if count < len(clips):
        say(f"note: {count} cases have no room for all clips; left out: {', '.join(c.name for c in clips[count:])}")
    return clip_cases(clips, split, count, base.sampling)


def check_judge(judge: str) -> None:
    """Refuse, before anything heavy is imported, a judge that neither is here nor can be fetched."""
    from motionclone.models.places import locate

    if judge != "mini":
        locate(judge, "CLIP model", ["config.json"])


def score(
    videos: Path,
    *,
    judge: Judge | None = None,
    references: Path | None = None,
    output: Output = None,
    overwrite: bool = False,
) -> None:
    """Score videos against the clips whose motion they should have.

    Scores come with their floor (other references) and their ceiling (the reference, re-encoded); those of more than a
    few videos as means with their 95 % interval.

    Parameters
    ----------
    videos
        A folder of videos that motionclone made, with their records; one such video; or a list (.jsonl) with video,
        reference and prompt in each line, whatever made them.
    judge
        The CLIP that judges looks: the folder or hub id of one, or mini (bundled, knows the mini model's world only),
        which it is by default.
    references
        Folder of the clips that the records name, if they are not among the videos.
    output
        Write every video's scores here, one JSON object a line (.jsonl).
    overwrite
        Replace a file that is there.
    """
    import json

    check_judge(judge or "mini")
    from motionclone.files import check_free, check_not_input, whole_file
    from motionclone.lab.metrics import load_embedder
    from motionclone.lab.score import score_videos
    from motionclone.lab.score_list import inputs_of, listed_videos

    if output is not None:
        check_free(output, overwrite)
    listed = listed_videos(videos, references)
    if output is not None:
        check_not_input([output], inputs_of(videos, listed), "the list of scores")
        if output.suffix.lower() != ".jsonl":
            raise InputError(
                f"scores are written as .jsonl, got {output}; rename it to {output.with_suffix('.jsonl')}."
            )
    quiet_libraries()
    embedder = load_embedder(judge or "mini")
    if judge is None:
        say(f"note: the bundled CLIP judges looks, and knows the mini model's world only; for others add {_REAL_JUDGE}")
    with counting_bar("scoring") as done:
        scored = score_videos(listed, embedder, done)
    if output is not None:
        with whole_file(output, overwrite) as temporary:
            lines = [
                {"video": s.listed.name, "scores": s.scores, "floor": s.floor, "ceiling": s.ceiling} for s in scored
            ]
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        say(f"wrote {output}")
    _print(scored)


def _print(scored: "Sequence[ScoredVideo]") -> None:
    from math import isnan, nan

    from rich.console import Console
    from rich.table import Table

    from motionclone.lab.metric_list import METRICS
    from motionclone.lab.metrics import bootstrap

    def text(value: float) -> str:
        return "" if isnan(value) else f"{value:+.3f}"

    one_by_one = len(scored) <= _FEW_VIDEOS
    own = [s.listed.name for s in scored] if one_by_one else ["mean", "95 % interval", "videos"]
    title = "1 video" if len(scored) == 1 else f"{len(scored)} videos"
    table = Table("", *own, "floor", "ceiling", title=title)
    for column in table.columns:
        column.overflow = "fold"
    table.caption = None if one_by_one else "Means over the videos; of explained motion and gain medians."
    for name in scored[0].scores:
        columns = [[getattr(s, part).get(name) for s in scored] for part in ("scores", "floor", "ceiling")]
        values, floors, ceilings = ([nan if v is None else v for v in column] for column in columns)
        statistic = METRICS[name].statistic
        found, floor, ceiling = (bootstrap(column, statistic) for column in (values, floors, ceilings))
        if found.n:
            interval = f"{found.low:+.3f} to {found.high:+.3f}" if found.bounded else ""
            cells = map(text, values) if one_by_one else (text(found.value), interval, str(found.n))
            table.add_row(name, *cells, text(floor.value), text(ceiling.value))
    Console().print(table)
