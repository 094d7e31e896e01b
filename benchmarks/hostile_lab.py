"""Report folders of runs that are not as evaluate leaves them, and read lists and records that score cannot take.

    python benchmarks/hostile_lab.py [--cases N] [--first N]

Told is what ends otherwise than well or in one sentence, the longest time and the most memory of all together.
"""

import argparse
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile_lab import hostile_folder, hostile_list

from motionclone.errors import InputError
from motionclone.lab.report import write_report
from motionclone.lab.results import appending
from motionclone.lab.score_list import listed_videos

SECONDS = 10


def outcome(seed: int) -> tuple[str, float]:
    """How it ended, and the seconds of computing that it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if seed % 3 == 2:
                kind, place = "list", hostile_list(folder, seed // 3)
            else:
                kind, place = hostile_folder(folder, seed // 3 * 2 + seed % 3), folder
            began = time.process_time()
            try:
                if kind == "list":
                    listed_videos(place)
                else:
                    write_report(folder)
                    with appending(folder):
                        pass
                ended = "taken"
            except InputError as error:
                sentence = str(error)
                whole = sentence.isprintable() and len(sentence) <= 2000
                ended = "refused" if whole else f"FAILED: no sentence: {sentence!r:.300}"
        except BaseException:
            return f"FAILED: {traceback.format_exc()[-1500:]}", 0.0
        seconds = time.process_time() - began
        return ended if seconds < SECONDS else f"FAILED: {seconds:.1f} s", seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    ends: Counter[str] = Counter()
    longest = (0.0, 0)
    for seed in range(options.first, options.first + options.cases):
        told, seconds = outcome(seed)
        ends[told.partition(":")[0]] += 1
        longest = max(longest, (seconds, seed))
        if told.startswith("FAILED"):
            print(f"{seed}: {told}", flush=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{dict(ends)}; longest {longest[0]:.1f} s (case {longest[1]}); most {most / 2**10:.0f} MB")


if __name__ == "__main__":
    main()
