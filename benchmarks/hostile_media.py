"""Damage files of every format in many ways and read them; say what did not end in frames or in one sentence.

    python benchmarks/hostile_media.py [--rounds N] [--first N] [--only NAME] [--keep FOLDER]

A child process reads, so that a crash, a hang or much memory is seen and does not end the campaign. Every piece of
advice is followed. What fails is kept in the folder.
"""

import argparse
import json
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile import ANIMATIONS, PICTURES, mutated, seeds

MOST_SECONDS, MOST_GIGABYTES = 10, 2


def read(what: str, path: str) -> str:
    """How reading a file ends: "frames", "sentence", or what is wrong."""
    from motionclone.errors import InputError
    from motionclone.media.pictures import read_picture, read_sketch
    from motionclone.media.reading import clip_size, read_clip

    readers = {
        "clip": lambda **asked: read_clip(path, **{"num_frames": 8, "height": 64, "width": 64, **asked}),
        "rate": lambda **asked: read_clip(
            path, **{"num_frames": 4, "height": 32, "width": 48, "fps": 25, "start": 0.04, "fit": "squash", **asked}
        ),
        "size": lambda: clip_size(path),
        "picture": lambda: read_picture(path, 64, 64),
        "sketch": lambda: read_sketch(path, 64, 64),
    }
    try:
        readers[what]()
    except InputError as error:
        said = str(error)
        if not said.isprintable():
            return f"not one line: {said!r}"
        advised = re.search(r"; use (--.*?), or ", said)
        if advised is None:
            return "sentence"
        options = [option.removeprefix("--").split() for option in advised[1].split(" and ")]
        numbers = {name: int(value) if name == "frames" else float(value) for name, value in options}
        if "frames" in numbers:
            numbers["num_frames"] = numbers.pop("frames")
        try:
            readers[what](**numbers)
        except InputError as refused:
            return f"bad advice: {said} -> {refused}"
        return "sentence"
    except BaseException as error:
        return f"leak: {error!r}"
    return "frames"


def serve() -> None:
    """Read what standard input names, one file a line; answer with the end, seconds and gigabytes."""
    from motionclone.cli.options import as_option
    from motionclone.errors import naming

    for line in sys.stdin:
        what, path = json.loads(line)
        began = time.process_time()
        with naming(as_option):
            end = read(what, path)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps([end, time.process_time() - began, memory]), flush=True)


class Reader:
    """A child process that reads."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, what: str, path: Path) -> tuple[str, float, float]:
        self.child.stdin.write(json.dumps([what, str(path)]) + "\n")
        self.child.stdin.flush()
        if not select.select([self.child.stdout], [], [], 6 * MOST_SECONDS)[0]:
            answer = ("hang", 6.0 * MOST_SECONDS, 0.0)
        elif line := self.child.stdout.readline():
            answer = tuple(json.loads(line))
            if answer[2] < 1:
                return answer
            if answer[2] > MOST_GIGABYTES:
                answer = ("too much memory", *answer[1:])
        else:
            answer = (f"crash {self.child.wait()}", 0.0, 0.0)
        self.child.kill()  # the next is measured by itself
        self.child.wait()
        self.start()
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path, default=Path("hostile"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    reader, ends, slowest, largest, files = Reader(), Counter(), 0.0, 0.0, 0
    stills = {*dict(PICTURES), *ANIMATIONS}
    with tempfile.TemporaryDirectory() as place:
        sound = [(path, path.read_bytes()) for path in seeds(Path(place)) if options.only in path.name]
        for number in range(options.first, options.first + options.rounds):
            for seed, data in sound:
                how, damaged = mutated(data, number * len(sound) + sound.index((seed, data)))
                path = Path(place) / f"damaged{seed.suffix}"
                path.write_bytes(damaged)
                files += 1
                for what in ("clip", "picture", "sketch") if seed.name in stills else ("clip", "rate", "size"):
                    end, seconds, memory = reader.ask(what, path)
                    if seconds > MOST_SECONDS:
                        end = "too slow"
                    slowest, largest = max(slowest, seconds), max(largest, memory)
                    ends[end.split(":")[0]] += 1
                    if end not in ("frames", "sentence"):
                        options.keep.mkdir(exist_ok=True)
                        (options.keep / f"{number}-{how}-{seed.name}").write_bytes(damaged)
                        print(f"{seed.name}, {how} {number}, {what}: {end}")
    print(f"{files} files, {ends.total()} readings: {dict(ends)}; at most {slowest:.2f} s and {largest:.2f} GB")


if __name__ == "__main__":
    main()
