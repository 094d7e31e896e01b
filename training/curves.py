"""Draw the loss of every log in a folder against computing time, as one SVG.

python training/curves.py training/logs training/curves.svg
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for log in sorted(args.logs.glob("*.jsonl")):
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        for kind in entries[-1]["loss"]:
            points = [(e["seconds"] / 60, e["loss"][kind]) for e in entries if kind in e["loss"]]
            axes.plot(*zip(*points, strict=True), label=f"{log.stem}: {kind}")
    axes.set(xlabel="computing time, minutes", ylabel="v loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    plt.rcParams["svg.hashsalt"] = "motionclone"  # the same log gives the same file
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
