"""Is a strength the same at every size, length, number of steps and scheduler? Hours; it goes on where it was.

    python benchmarks/strength_transfer.py OUT --model mini

Every setting is the model's preset but for one thing, and has a curve over strengths on the world's validation split.
OUT/results.jsonl has the best strength of each with its interval, OUT/table.md shows them; a folder for every setting
has its videos and scores.
"""

import argparse
from pathlib import Path

import torch

from motionclone.lab.transfer import STRENGTHS, measure, settings_to_compare, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="mini", choices=["mini", "mini-dit"])
    parser.add_argument("--cases", type=int, default=12, help="of the validation split, for each setting")
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS, help="ascending, three or more")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    compared = settings_to_compare(schedulers=args.model == "mini")
    if len(args.strengths) < 3 or list(args.strengths) != sorted(set(args.strengths)) or args.strengths[0] <= 0:
        parser.error("give three strengths or more, above 0 and ascending")
    args.out.mkdir(parents=True, exist_ok=True)
    found = measure(
        args.out,
        args.model,
        compared,
        cases=args.cases,
        strengths=args.strengths,
        dtype=getattr(torch, args.dtype),
        workers=args.workers,
        on_done=lambda name, done, all_of_them: print(f"{name}: {done} of {all_of_them}", flush=True),
    )
    print(table(found))


if __name__ == "__main__":
    main()
