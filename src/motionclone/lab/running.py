"""Run a suite: every method on every case, one line of results for each, in as many sittings as it takes."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from motionclone import __version__
from motionclone.lab.bench import Bench, Setup
from motionclone.lab.identity import content_of, public_name, without_places
from motionclone.lab.lock import locked
from motionclone.lab.results import Description, appending, read_results, write_description
from motionclone.lab.workers import compute_shared


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    made: int
    refused: int  # methods that cannot be had with this model; see the report
    failed: int  # errors; called again, they are tried again


def describe(setup: Setup) -> Description:
    """What `suite.json` holds; two runs with the same description, but for the machine, have the same results."""
    described = {
        "suite": setup.suite.name,
        "model": public_name(setup.model),
        "model_content": content_of(setup.model),
        "judge": public_name(setup.judge),
        "judge_content": content_of(setup.judge),
        "loading": {name: without_places(v) if isinstance(v, str) else v for name, v in setup.loading.items()},
        "device": setup.facts.device,
        "dtype": setup.facts.dtype,
        "seed": setup.base.seed,
        "settings": setup.base.model_dump(mode="json"),
        "methods": [asdict(method) for method in setup.suite.methods],
        "left_out": [asdict(omission) for omission in setup.suite.left_out],
        "cases": [
            {
                "name": case.name,
                "number": case.number,
                "motion": case.motion,
                "kind": case.kind,
                "prompt": case.prompt,
                "reference": case.content,
            }
            for case in setup.cases
        ],
        "motionclone": __version__,
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    return Description.model_validate_json(json.dumps(described))


def run_suite(
    setup: Setup,
    folder: Path,
    *,
    workers: int | None = 1,
    ray: str | None = None,
    shared: bool = False,
    pipe: Any = None,
    on_done: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Make and score what is not done yet, and add it to `folder/results.jsonl`.

    A method that cannot be had is a line with its reason, and so is one that fails; failures are tried again when the
    run is called again.

    Args:
        setup: suite, cases and model.
        folder: for results; may hold those of an earlier, interrupted run of the same setup.
        workers: processes, or actors of Ray; each computes with one thread when there are several.
        ray: the address of a Ray, as `Rays` takes it, on which all is made.
        shared: whether the folder and all that is read lie under the same paths on all machines of the Ray.
        pipe: the setup's pipeline, if it is loaded already; for a single worker.
        on_done: called with the number of (method, case) pairs that are done, and of all.

    Raises:
        InputError: if the folder holds something else, another process is at work in it, a reference cannot be read or
            the disk is full. Nothing that was kept is lost.
    """
    bench = Bench(setup, folder, {} if pipe is None else {"none": pipe})
    bench.prepare()
    description = describe(setup)
    with locked(folder):
        write_description(folder, description)
        lines = {(line.method, line.case): line.outcome for line in read_results(folder)[0]}
        # Case by case, so that a run that is not finished has something to compare.
        jobs = [(method, case) for case in setup.cases for method in setup.suite.methods]
        missing = [(m, c) for m, c in jobs if lines.get((m.name, c.name), "failed") == "failed"]
        count = len(jobs) - len(missing)
        if on_done is not None:
            on_done(count, len(jobs))
        bench.write_references()
        with appending(folder) as append:

            def keep(line: dict[str, Any]) -> None:
                nonlocal count
                append(line)
                lines[line["method"], line["case"]] = line.get("outcome", "made")
                count += 1
                if on_done is not None:
                    on_done(count, len(jobs))

            if ray is None and (workers == 1 or len(missing) < 2):
                if missing:
                    bench.load()
                for method, case in missing:
                    keep(bench.line(method, case))
            elif missing:
                compute_shared(setup, folder, missing, workers and min(workers, len(missing)), keep, ray, shared)
    outcomes = [lines[method.name, case.name] for method, case in jobs]
    return Outcome(*(outcomes.count(outcome) for outcome in ("made", "refused", "failed")))
