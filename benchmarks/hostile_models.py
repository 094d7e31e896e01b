"""Load hostile models (tests/hostile_models.py), and make a video with those that load.

    python benchmarks/hostile_models.py [--cases N] [--only WORDS]

Every case has a process of its own. Told are those that end otherwise than in a video or in one sentence, the longest
time and the most memory.
"""

import argparse
import os
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile_models import Case, every_case, some_cases

from motionclone import Condition, InputError, clone, load_pipeline, preset

SECONDS, BYTES = 10, 2 * 2**30


def outcome(case: Case, folder: Path) -> str:
    """ "video", "refused: ..." or "FAILED: ..."."""
    os.chdir(folder)
    settings = preset("mini")
    sampling = settings.sampling.model_copy(update={"steps": 2, "guided_steps": 1, "num_frames": 4})
    settings = settings.model_copy(update={"sampling": sampling})
    frames = torch.rand(4, 3, 64, 64) * 2 - 1
    try:
        pipe = load_pipeline(case.make(folder), device="cpu", **case.arguments)
        pipe.set_progress_bar_config(disable=True)
        condition = Condition(frames[:1]) if "controlnet" in pipe.components else None
        clone(pipe, frames, "a red circle", settings, condition=condition)
    except InputError as error:
        sentence = str(error)
        whole = "\n" not in sentence and len(sentence) <= 2000 and sentence.isprintable()
        return f"refused: {sentence}" if whole else f"FAILED: no sentence: {sentence!r:.300}"
    except BaseException:
        return f"FAILED: {traceback.format_exc()[-1500:]}"
    return "FAILED: a trap sprung" if Path("sprung").exists() else "video"


def in_process(case: Case) -> tuple[str, float, int]:
    """Outcome, seconds of computing and bytes of the process that a case has for itself."""
    with tempfile.TemporaryDirectory() as folder:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.write(writing, outcome(case, Path(folder)).encode("utf-8", "replace")[:4000])
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read().decode()
        _, status, usage = os.wait4(child, 0)
        seconds = usage.ru_utime + usage.ru_stime
    if status:
        told = f"FAILED: the process ended with {status}"
    if seconds > SECONDS or usage.ru_maxrss * 1024 > BYTES:
        told = f"FAILED: {seconds:.1f} s, {usage.ru_maxrss / 2**20:.2f} GB: {told}"
    return told, seconds, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="how many; all by default")
    parser.add_argument("--only", default="", help="cases whose name has these words")
    options = parser.parse_args()
    cases = every_case() if options.cases is None else some_cases(options.cases)
    ends: Counter[str] = Counter()
    longest, most = (0.0, ""), (0, "")
    for case in cases:
        if options.only not in case.name:
            continue
        told, seconds, memory = in_process(case)
        ends[told.partition(":")[0]] += 1
        longest, most = max(longest, (seconds, case.name)), max(most, (memory, case.name))
        if told.startswith("FAILED") or options.only:
            print(f"{case.name}: {told}", flush=True)
    print(f"{dict(ends)}; longest {longest[0]:.1f} s ({longest[1]}); most {most[0] / 2**20:.0f} MB ({most[1]})")


if __name__ == "__main__":
    main()
