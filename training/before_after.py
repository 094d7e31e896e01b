"""A table of what two generations of a model are worth on the same cases, with 95 % intervals over them.

    motionclone evaluate quick --cases 32 --judge RUN/mini/clip --model RUN/mini --preset mini --out-dir after
    python training/before_after.py before after

Both folders are of that command, with the old weights and with the new, and the same judge.
"""

import argparse
from pathlib import Path

from motionclone.lab.metric import Metric
from motionclone.lab.metric_list import METRICS
from motionclone.lab.metrics.statistics import Interval, bootstrap, paired_difference
from motionclone.lab.report import read_run
from motionclone.lab.tables import Run

MOTION = tuple(f"{what}_{score}" for score in ("explained", "gain") for what in ("path", "camera", "flow"))
LOOKS = ("shape", "colour", "texture", "background", "text", "consistency")
SHOWN = {"unguided": LOOKS, "cloned": (*MOTION, *LOOKS, "leakage"), "ceiling": MOTION[:3], "drawn": ("shape", "text")}
"""By method, the scores that are shown of it."""


def table(before: Run, after: Run) -> str:
    """As Markdown. SystemExit if the runs are of different cases or judges."""
    old, new = before.description, after.description
    if [case.name for case in old.cases] != [case.name for case in new.cases] or old.seed != new.seed:
        raise SystemExit("the two runs have different cases or seeds; run both with the same --cases and --seed.")
    if old.dtype != new.dtype:
        raise SystemExit(f"the runs are in {old.dtype} and {new.dtype}; run both with the same --dtype.")
    if (old.judge, old.judge_content) != (new.judge, new.judge_content):
        raise SystemExit(f"the judges are {old.judge} and {new.judge}; run both with the same --judge.")
    rows = ["| | | before | after | difference, case by case |", "|---|---|---|---|---|"]
    labels = {method.name: method.label for method in new.methods}
    for method, scores in SHOWN.items():
        for metric in (METRICS[score] for score in scores):
            was, now = (run.values(metric, method) for run in (before, after))
            found = [bootstrap(values, metric.statistic) for values in (was, now)]
            more = paired_difference(now, was, metric.statistic)
            cells = (*(told(metric, each) for each in found), told(metric, more, "+"))
            rows.append(f"| {labels[method]} | {metric.title} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def told(metric: Metric, found: Interval, sign: str = "") -> str:
    """A value with its interval, or a dash."""
    value, *bounds = (metric.text(each, sign) for each in (found.value, found.low, found.high))
    return f"{value} [{bounds[0]}, {bounds[1]}]" if found.bounded else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    args = parser.parse_args()
    print(table(read_run(args.before), read_run(args.after)), end="")


if __name__ == "__main__":
    main()
