"""Motion against words: the paper's method and the preset of a bundled model over their strengths. Hours; it goes on.

    python benchmarks/front.py OUT [--model mini] [--split test] [--cases 12]
    python benchmarks/front.py docs/front --draw

Every method has a curve of weights or strengths from the same noise. OUT/results.jsonl has a line for each video,
OUT/front.md the table and OUT/front.png the picture: across, the share of an unguided video's words that is kept; up,
the share of the ceiling's explained motion, of path and camera. More is better on both.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from motionclone.lab.bundled import bundled_setup
from motionclone.lab.curves import motion_share, words_share
from motionclone.lab.methods import Method, in_steps
from motionclone.lab.metrics.statistics import Interval, bootstrap
from motionclone.lab.results import read_results
from motionclone.lab.running import run_suite
from motionclone.settings import preset

WEIGHTS = (1250.0, 2500.0, 5000.0, 10000.0)
STRENGTHS = (0.5, 1.0, 2.0, 3.0)
FEW = 8
"""Steps of the third curve."""
TITLES = {"paper": "the paper's method, over its weight", "now": "motionclone, over its strength",
          "few": f"motionclone in {FEW} steps"}  # fmt: skip
COLOURS = {"paper": "#94a3b8", "now": "#4f46e5", "few": "#f59e0b"}
Scores = Mapping[str, float | None]


def methods_of(model: str) -> tuple[Method, ...]:
    """All points of all curves, each as a change of the model's preset."""
    now, paper = preset(model), preset(f"{model}-paper")
    sections = ("extraction", "guidance", "sampling")
    whole = {name: getattr(paper, name).model_dump() for name in sections}
    few = in_steps(now, FEW)
    return (
        Method("ceiling", "reference, re-encoded", "front", "", kind="ceiling"),
        Method("unguided", "unguided", "front", "", {"guidance": {"strength": 0.0}}),
        *(
            Method(
                f"paper@{w:g}", f"weight {w:g}", "front", "", {**whole, "guidance": {**whole["guidance"], "weight": w}}
            )
            for w in WEIGHTS
        ),
        *(Method(f"now@{s:g}", f"strength {s:g}", "front", "", {"guidance": {"strength": s}}) for s in STRENGTHS),
        *(
            Method(
                f"few@{s:g}", f"strength {s:g}", "front", "", {**few, "guidance": {**few["guidance"], "strength": s}}
            )
            for s in STRENGTHS[1:3]
        ),
        Method(
            "one@1",
            "strength 1, one gradient a guided step",
            "front",
            "",
            {**few, "guidance": {**few["guidance"], "inner_steps": 1, "strength": 1.0}},
        ),
    )


def points(folder: Path, methods: Sequence[Method]) -> dict[str, dict[str, Interval]]:
    """What every method is worth: motion and words as shares, and whether texture and ground were kept."""
    lines: dict[str, dict[str, Scores]] = {}
    for line in read_results(folder)[0]:
        if line.outcome == "made":
            lines.setdefault(line.method, {})[line.case] = line.scores
    found = {}
    for method in methods:
        values: dict[str, list[float]] = {
            name: [] for name in ("motion", "text", "texture", "background", "consistency")
        }
        for case, scores in lines.get(method.name, {}).items():
            ceiling, plain = lines["ceiling"].get(case, {}), lines["unguided"].get(case, {})
            values["motion"].append(motion_share(scores, ceiling))
            values["text"].append(words_share(scores, plain))
            for name in ("texture", "background", "consistency"):
                value = scores.get(name)
                values[name].append(float("nan") if value is None else value)
        found[method.name] = {name: bootstrap(each) for name, each in values.items()}
    return found


def table(found: Mapping[str, Mapping[str, Interval]], methods: Sequence[Method]) -> str:
    """As Markdown, with 95 % intervals over cases."""
    names = ("motion", "text", "texture", "background", "consistency")
    rows = ["| | cases | motion | words | texture kept | ground kept | consistency |", "|---|---|---|---|---|---|---|"]
    for method in methods:
        cells = [_told(found[method.name][name]) for name in names]
        rows.append(f"| {method.name} | {found[method.name]['text'].n} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _told(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]" if interval.n else ""


def draw(found: Mapping[str, Mapping[str, Interval]], path: Path) -> None:
    """The curves; the recommended point of each has its intervals."""
    figure = Figure(figsize=(7.2, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    recommended = {"paper@5000", "now@1", "few@1"}
    for curve, title in TITLES.items():
        names = [name for name in found if name.startswith(f"{curve}@") and found[name]["motion"].n]
        across, up = ([found[name][what].value for name in names] for what in ("text", "motion"))
        axes.plot(across, up, "o-", color=COLOURS[curve], label=title, markersize=4, linewidth=1.6)
        for name in recommended & set(names):
            x, y = found[name]["text"], found[name]["motion"]
            axes.plot([x.low, x.high], [y.value] * 2, color=COLOURS[curve], linewidth=1, alpha=0.6)
            axes.plot([x.value] * 2, [y.low, y.high], color=COLOURS[curve], linewidth=1, alpha=0.6)
            axes.plot(x.value, y.value, "o", color=COLOURS[curve], markersize=9)
    plain = found["unguided"]
    axes.plot(plain["text"].value, plain["motion"].value, "s", color="#0f172a", label="without guidance")
    axes.set(xlabel="words kept, of an unguided video's", ylabel="motion carried, of the ceiling's", ylim=(0, 1.02))
    axes.grid(color="#e2e8f0", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="mini", choices=["mini", "mini-dit"])
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--draw", action="store_true", help="only show what OUT/results.jsonl has")
    args = parser.parse_args()
    methods = methods_of(args.model)
    if not args.draw:
        _measure(args, methods)
    found = points(args.out, methods)
    (args.out / "front.md").write_text(table(found, methods), encoding="utf-8")
    draw(found, args.out / "front.png")
    print(table(found, methods))


def _measure(args: argparse.Namespace, methods: tuple[Method, ...]) -> None:
    dtype = getattr(torch, args.dtype)
    setup, pipe = bundled_setup("front", methods, args.model, split=args.split, cases=args.cases, dtype=dtype)

    def told(done: int, count: int) -> None:
        print(f"{done} of {count}", flush=True)

    own: Any = pipe if args.workers == 1 else None
    run_suite(setup, args.out, workers=args.workers, pipe=own, on_done=told)


if __name__ == "__main__":
    main()
