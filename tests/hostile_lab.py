"""Folders of runs, lists of videos and records as a stranger, a crash or a full disk may leave them; deterministic."""

import copy
import json
import os
import random
from pathlib import Path

LINE = {
    "method": "cloned",
    "case": "right-0",
    "video": "videos/cloned/right-0.mp4",
    "seconds": 1.5,
    "scores": {"path": 0.5, "camera": None, "flow": 0.25},
    "floor": {"flow": 0.0},
    "embedding": [0.5, -0.5],
}
SUITE = {
    "suite": "quick",
    "model": "mini",
    "judge": "mini",
    "dtype": "float32",
    "seed": 0,
    "settings": {"guidance": {"weight": 5000.0}},
    "methods": [{"name": "cloned", "label": "cloned", "experiment": "main", "about": "The preset."}],
    "cases": [{"name": "right-0", "motion": "right", "kind": "object", "prompt": "a red star on blue rocks"}],
    "motionclone": "0.1.0",
    "libraries": {"torch": "2.0"},
    "machine": "2 cores",
}
LISTED = {"video": "video.mp4", "reference": "reference.mp4", "prompt": "words", "start": 0.0, "end": 1.0, "fps": 8.0}
RECORD = {"prompt": "words", "motion": {"source": {"name": "reference.mp4", "sha256": "0" * 64, "start": 0.0}}}

VALUES = (
    None, True, 0, -1, 2**70, 0.5, 1e300, float("nan"), float("inf"), "", "0.5", "x" * 100_000, "../../etc/passwd",
    "/etc/passwd", "~root/x", "a\0b", "a\nb", "\ud800", "\u202e", "..", "<script>", "$x$", [], [[]], {}, [None],
    {"": None}, {"a": {"a": {"a": {}}}}, [0.5] * 10_000, [1e300, -1e300],
)  # fmt: skip
DEEP = b"[" * 200_000


def mutated(value, chance: random.Random):
    """A copy in which one thing, anywhere, is gone, doubled, renamed or of another kind."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    holder, key = chance.choice(places)
    how = chance.randrange(4)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[chance.choice(("", "x" * 5000, "a\0b", "..", "\ud800", "extra"))] = holder.pop(key)
    else:
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def _places(value):
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The same bytes with a piece gone, repeated, flipped or put in."""
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    how = chance.randrange(5)
    if how == 0:
        return data[:start] + data[end:]
    if how == 1:
        return data[:end] + data[start:]
    if how == 2:
        return data[:start] + bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9))) + data[start:]
    if how == 3:
        return data[:start] + DEEP + data[start:]
    return data[:start]


def hostile_folder(folder: Path, seed: int) -> str:
    """Fill a folder with a run of which something is wrong; what, in words."""
    chance = random.Random(seed)
    suite, lines = json.dumps(SUITE).encode(), json.dumps(LINE).encode() + b"\n"
    how = seed % 6
    if how == 0:
        suite = json.dumps(mutated(SUITE, chance)).encode()
    elif how == 1:
        suite = damaged(suite, chance)
    elif how == 2:
        lines += json.dumps(mutated(LINE, chance)).encode() + b"\n"
    elif how == 3:
        lines = damaged(lines * 3, chance)
    elif how == 4:
        lines = lines * chance.choice((2, 5000)) + json.dumps(chance.choice(VALUES)).encode() + b"\n"
    else:
        name = chance.choice(("suite.json", "results.jsonl", "videos", "videos/cloned", "report.html"))
        return f"{name} is {_put(folder, name, suite, lines, chance)}"
    (folder / "suite.json").write_bytes(suite)
    (folder / "results.jsonl").write_bytes(lines)
    return f"kind {how}"


def _put(folder: Path, name: str, suite: bytes, lines: bytes, chance: random.Random) -> str:
    (folder / "suite.json").write_bytes(suite)
    (folder / "results.jsonl").write_bytes(lines)
    place = folder / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    kind = chance.choice(("a folder", "a pipe", "a link", "a broken link", "huge", "empty"))
    if kind == "a folder":
        place.mkdir()
    elif kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a link":
        place.symlink_to(Path(__file__))
    elif kind == "a broken link":
        place.symlink_to(folder / "nothing")
    else:
        place.touch()
        os.truncate(place, 2**34 if kind == "huge" else 0)  # sparse: it takes no room
    return kind


def hostile_list(folder: Path, seed: int) -> Path:
    """A list of videos, or a folder of a video with its record, of which something is wrong."""
    chance = random.Random(seed)
    for name in ("video.mp4", "reference.mp4"):
        (folder / name).write_bytes(b"no video")
    if seed % 2:
        record = json.dumps(RECORD).encode()
        damage = damaged(record, chance) if seed % 4 == 1 else json.dumps(mutated(RECORD, chance)).encode()
        (folder / "video.json").write_bytes(damage)
        return folder
    listed = json.dumps(LISTED).encode()
    damage = damaged(listed, chance) if seed % 4 == 0 else json.dumps(mutated(LISTED, chance)).encode()
    (folder / "list.jsonl").write_bytes(listed + b"\n" + damage + b"\n")
    return folder / "list.jsonl"
