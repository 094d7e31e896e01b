"""What else could carry more motion per word: rules that are not in the code, on the bundled UNet. It goes on.

    python benchmarks/candidates.py OUT [CANDIDATE@STRENGTH ...] [--cases 12]

Each candidate is one change of the preset's guidance, tried in its place on the validation split, from the same noise,
or the paper's method, whose weight is multiplied in place of a strength. What was chosen there may be seen with
--split test.
OUT/CANDIDATE@STRENGTH/results.jsonl has a line for each video, OUT/candidates.md the table, OUT/candidates.jsonl the
scores that it is made of; --draw makes the table from them. Motion and words are those of front.py.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import candidate_rules as rules
import torch
from torch import Tensor

from motionclone.lab import making
from motionclone.lab.bundled import bundled_setup
from motionclone.lab.curves import motion_share, words_share
from motionclone.lab.methods import Method
from motionclone.lab.metrics.statistics import bootstrap
from motionclone.lab.results import read_results
from motionclone.lab.running import run_suite
from motionclone.lab.suites import Suite
from motionclone.lab.world import Split
from motionclone.settings import Settings, preset

MODEL = "mini"
SCORES = ("path_explained", "camera_explained", "flow_explained", "text", "texture", "background", "consistency")


@dataclass(frozen=True)
class Run:
    """One video that is to be made by a rule."""

    pipe: Any
    settings: Settings
    reference: Tensor  # (f, 3, h, w)


@dataclass(frozen=True)
class Candidate:
    """One change of the preset."""

    title: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of its settings
    rule: Callable[[Run], AbstractContextManager[None]] = lambda run: nullcontext()


def _gradient(title: str, start: Callable[[], Callable[[Tensor], Tensor]]) -> Candidate:
    return Candidate(title, rule=lambda run: rules.gradient_changed(start))


CANDIDATES = {
    "preset": Candidate("the preset"),
    "early": Candidate("guided in the noisiest 0.25", {"guidance": {"guided_fraction": 0.25}}),
    "late": Candidate("guided in the noisiest 0.55", {"guidance": {"guided_fraction": 0.55}}),
    "more": Candidate("18 of 24 steps guided", {"sampling": {"guided_steps": 18}}),
    "momentum": _gradient("momentum 0.5", lambda: rules.momentum(0.5)),
    "orthogonal": Candidate("orthogonal to classifier-free guidance", rule=lambda run: rules.orthogonal()),
    "clipped": _gradient("outliers of the gradient clipped at 1.5 root mean squares", lambda: rules.clipped(1.5)),
    "blurred": _gradient("gradient blurred over 3 x 3 latents", lambda: rules.blurred),
    "slowed": _gradient("gradient smoothed over frames (1 2 1)", lambda: rules.slowed),
    "reused": Candidate("a gradient every second guided step", rule=lambda run: rules.reused(2)),
    "reused3": Candidate("a gradient every third guided step", rule=lambda run: rules.reused(3)),
    "inner2": Candidate("two gradients a guided step (`inner_steps`)", {"guidance": {"inner_steps": 2}}),
    "travel": Candidate(
        "three of the guided steps taken twice (time travel)",
        rule=lambda run: rules.travelled(run.pipe, (2, 5, 8), run.settings.seed),
    ),
    "moving": Candidate("positions count by how much they move", rule=lambda run: rules.weighted(rules.moving)),
    "sure": Candidate("positions count by how sure they are", rule=lambda run: rules.weighted(rules.sure)),
    "draws": Candidate(
        "motion averaged over four noise draws", rule=lambda run: rules.averaged([{"draw": n} for n in range(4)])
    ),
    "levels": Candidate(
        "motion averaged over t_alpha 100, 200, 300, 400",
        rule=lambda run: rules.averaged([{"t_alpha": t} for t in (100, 200, 300, 400)]),
    ),
    "clean": Candidate(
        "energy of the clean estimate, under the reference's noise",
        rule=lambda run: rules.clean_space(run.settings.seed, run.settings.extraction.t_alpha),
    ),
    "coarse": Candidate(
        "noise with what moves coarsely in the reference, at 0.1",
        rule=lambda run: rules.low_frequencies(run.pipe, run.reference, run.settings.seed, 0.1),
    ),
    "replaced": Candidate(
        "the reference's attention in place of the video's own in the first four steps",
        rule=lambda run: rules.attention_replaced(run.pipe, run.settings, run.reference, 4),
    ),
    "rescaled": Candidate("classifier-free guidance rescaled by 0.7", rule=lambda run: rules.rescaled(run.pipe, 0.7)),
}
FEW = {"steps": 8, "guided_steps": 4}
for factor in (1, 1.67, 2, 3):
    CANDIDATES[f"few-f{factor}"] = Candidate(
        f"8 steps, factor {factor}", {"sampling": FEW, "guidance": {"guidance_scale_factor": factor}}
    )
for count, factor in ((2, 1.67), (3, 1.67)):
    CANDIDATES[f"few-f{factor}-inner{count}"] = Candidate(
        f"8 steps, factor {factor}, {count} gradients a guided step",
        {"sampling": FEW, "guidance": {"guidance_scale_factor": factor, "inner_steps": count}},
    )
CANDIDATES["few-14"] = Candidate(
    "14 steps, 7 guided, factor 2.17",
    {"sampling": {"steps": 14, "guided_steps": 7}, "guidance": {"guidance_scale_factor": 2.17}},
)
CANDIDATES["few-g6"] = Candidate("8 steps, 6 guided", {"sampling": {**FEW, "guided_steps": 6}})
PAPER = preset(f"{MODEL}-paper").model_dump(include={"extraction", "guidance", "sampling"})
CANDIDATES["paper"] = Candidate("the paper's method in 24 steps", PAPER)
CANDIDATES["object"] = Candidate(
    "the paper's object schedule: 300 steps, 180 guided, as much weight in all",
    {
        **PAPER,
        "guidance": {
            **PAPER["guidance"],
            "warm_up": 10,
            "cool_down": 10,
            "weight": PAPER["guidance"]["weight"] * 12 / 171,  # sums of the ramps: of 12 steps, and of 180
        },
        "sampling": {**PAPER["sampling"], "steps": 300, "guided_steps": 180},
    },
)
DEFAULT = tuple(f"{name}@{strength}" for name in CANDIDATES for strength in (1, 2))


def method_of(point: str) -> Method:
    """Of CANDIDATE@STRENGTH, or of unguided and ceiling."""
    if point == "ceiling":
        return Method(point, point, "candidates", "", kind="ceiling")
    name, _, strength = point.partition("@")
    changes = {} if point == "unguided" else {key: dict(value) for key, value in CANDIDATES[name].changes.items()}
    guidance, amount = changes.get("guidance", {}), float(strength or 0)
    by_weight = {"weight": guidance["weight"] * amount} if guidance.get("strength", amount) is None else {}
    changes["guidance"] = {**guidance, **(by_weight or {"strength": amount})}
    return Method(point, point, "candidates", "", changes)


def measure(points: list[str], out: Path, split: Split, cases: int, dtype: torch.dtype) -> None:
    setup, pipe = bundled_setup("candidates", (), MODEL, split=split, cases=cases, dtype=dtype)
    plain = making._generated

    def by_rule(pipe: Any, method: Method, case: Any, reference: Tensor, settings: Any) -> Any:
        candidate = CANDIDATES.get(method.name.partition("@")[0], CANDIDATES["preset"])
        with candidate.rule(Run(pipe, settings, reference)):
            return plain(pipe, method, case, reference, settings)

    with rules.replaced(making, "_generated", by_rule):
        for point in ("unguided", "ceiling", *points):
            own = replace(setup, suite=Suite("candidates", (method_of(point),)))
            print(point, run_suite(own, out / point, workers=1, pipe=pipe), flush=True)


def rank(point: str) -> int:
    """Where a candidate stands in the list."""
    return list(CANDIDATES).index(point.partition("@")[0])


def gather(out: Path) -> None:
    """OUT/candidates.jsonl: a line for each video of this call and earlier ones."""
    there = {path.name for path in out.iterdir() if path.is_dir()}
    points = sorted((point for point in there if "@" in point), key=lambda point: (rank(point), point))
    with (out / "candidates.jsonl").open("w") as lines:
        for point in ("unguided", "ceiling", *points):
            for line in read_results(out / point)[0]:
                if line.outcome == "made":
                    scores = {name: line.scores.get(name) for name in SCORES}
                    lines.write(json.dumps({"method": point, "case": line.case, "scores": scores}) + "\n")


def table(out: Path) -> str:
    """As Markdown, with 95 % intervals over cases; differences are to the preset at the same strength, case by case."""
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, (out / "candidates.jsonl").read_text().splitlines()):
        found.setdefault(line["method"], {})[line["case"]] = line["scores"]
    ceiling, plain = found["ceiling"], found["unguided"]

    def values(point: str) -> dict[str, dict[str, float]]:
        of_all = {}
        for case, scores in found.get(point, {}).items():
            motion, words = motion_share(scores, ceiling[case]), words_share(scores, plain[case])
            of_all[case] = {"motion": motion, "words": words, **scores}
        return of_all

    titles = ("", "strength", "motion", "less the preset's", "words", "less the preset's", "texture", "flow explained")
    rows = [f"| {' | '.join(titles)} | consistency |", "|---" * (len(titles) + 1) + "|"]
    for point in found:
        name, _, strength = point.partition("@")
        own, base = values(point), values(f"preset@{strength}")
        cells = []
        for what in ("motion", "words"):
            cells.append(_told([each[what] for each in own.values()]))
            pairs = [own[case][what] - base[case][what] for case in own if case in base] if name != "preset" else []
            cells.append(_told(pairs, signed=True) if pairs else "")
        kept = [each["texture"] for each in own.values() if each["texture"] is not None]
        cells.append(f"{sum(kept):g} of {len(kept)}")
        for what in ("flow_explained", "consistency"):
            cells.append(_told([each[what] for each in own.values() if each[what] is not None]))
        title = CANDIDATES[name].title if name in CANDIDATES else name
        rows.append(f"| {title} | {strength} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _told(values: list[float], signed: bool = False) -> str:
    found = bootstrap(values)
    if not found.n:
        return ""
    sign = "+" if signed else ""
    return f"{found.value:{sign}.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("points", nargs="*", default=DEFAULT, metavar="CANDIDATE@STRENGTH", help=", ".join(CANDIDATES))
    parser.add_argument("--split", default="validation", choices=["validation", "test"], help="of another OUT")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--draw", action="store_true", help="only show what OUT/candidates.jsonl has")
    args = parser.parse_args()
    if unknown := [point for point in args.points if point.partition("@")[0] not in CANDIDATES]:
        parser.error(f"there is no candidate {unknown[0]}; there are {', '.join(CANDIDATES)}")
    if not args.draw:
        args.out.mkdir(parents=True, exist_ok=True)
        measure(list(args.points), args.out, args.split, args.cases, getattr(torch, args.dtype))
        gather(args.out)
    (args.out / "candidates.md").write_text(table(args.out), encoding="utf-8")
    print(table(args.out))


if __name__ == "__main__":
    main()
