"""Fuzz whatever reads files or words of strangers, with hypothesis (`pip install hypothesis`), for some minutes.

    python benchmarks/fuzz.py [--minutes 10] [--only WORDS] [--seed 0]

What is read ends well or in one sentence, within ten seconds and two gigabytes. Told are the readings of each kind, how
many were refused, and, made as small as hypothesis can, what ended otherwise; a crash or a hang ends the run.
"""

import argparse
import contextlib
import copy
import faulthandler
import io
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile import seeds
from hostile_lab import LINE, LISTED, RECORD, SUITE

import motionclone.cli.reading
import motionclone.models
from motionclone import Extraction, extract_motion, load_motion, load_pipeline
from motionclone.cli import _run, app
from motionclone.cli.options import PlaceOptions
from motionclone.cli.rerunning import _read as read_job
from motionclone.cli.sources import sources_of
from motionclone.errors import InputError
from motionclone.lab.results import read_description, read_results
from motionclone.lab.score_list import listed_videos
from motionclone.media.pictures import read_picture, read_sketch
from motionclone.media.reading import read_clip
from motionclone.models.checkpoints import load_motion_module
from motionclone.models.description import read_model_description
from motionclone.models.saved import read_index
from motionclone.models.weights import read_weights
from motionclone.motion import heat_map

MOST_SECONDS, MOST_BYTES = 10, 2 * 2**30
HOSTILE = (
    None, True, 0, -1, 2**70, 10**4000, 0.5, 1e300, float("nan"), float("inf"), "", "0", "x" * 5000, "..", "~nobody/x",
    "a\0b", "\ud800", "\u202e\n", [], [[]], {}, {"": None}, [0.5] * 5000, 16, "mini", "2026-01-01",
)  # fmt: skip
JSON = st.recursive(
    st.sampled_from(HOSTILE) | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
WORDS = st.text(st.characters(exclude_characters="/"), max_size=20) | st.sampled_from(
    ("0", "-1", "1e9", "nan", "1e999", "9" * 5000, "64x64", "0x0", "m.safetensors", "clip.mp4", "clip.mp4@3", "out.mp4",
     "out.gif", "mini", "mini-dit", "camera", "no-such", "--", "-", "", "..", "~nobody", "a\0b", "\ud800",
     "x" * 300, "[", "{}")
)  # fmt: skip


class Parser(NamedTuple):
    """What is handed over, under which name, and what reads it."""

    content: SearchStrategy[Any]
    name: str
    read: Callable[[Path], Any]


@st.composite
def changed(draw: Any, sample: Any) -> bytes:
    """A few values of a JSON value put, added or taken away; sometimes text that is no JSON."""
    value = json.loads(json.dumps(sample))
    for _ in range(draw(st.integers(1, 3))):
        place, keys = value, []
        while isinstance(place, dict | list) and place and (not keys or draw(st.booleans())):
            holder = place
            keys.append(draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))))
            place = holder[keys[-1]]
        if not keys:
            break
        if draw(st.integers(0, 3)) == 0:
            del holder[keys[-1]]
        elif isinstance(holder, dict) and draw(st.integers(0, 3)) == 0:
            holder[draw(st.text(max_size=300))] = copy.deepcopy(draw(JSON))
        else:
            holder[keys[-1]] = copy.deepcopy(draw(JSON))
    text = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return draw(damaged(text)) if draw(st.integers(0, 3)) == 0 else text


@st.composite
def damaged(draw: Any, data: bytes) -> bytes:
    """Some bytes overwritten, put in, taken out or given twice."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        to = min(len(data), at + draw(st.sampled_from((0, 1, 4, 64, 4096, len(data)))))
        put = draw(st.binary(max_size=16) | st.sampled_from((data[at:to] * 2, b"\xff" * 8, b"[" * 2000, b"9" * 5000)))
        data = data[:at] + put + data[to:]
    return data


@st.composite
def header_changed(draw: Any, data: bytes) -> bytes:
    """A file of safetensors whose header says something else."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = draw(changed(json.loads(data[8:end])))
    return len(header).to_bytes(8, "little") + header + data[end:]


def as_lines(sample: Any) -> SearchStrategy[bytes]:
    """Some lines of JSON."""
    return st.lists(changed(sample), min_size=1, max_size=3).map(b"\n".join).map(lambda text: text + b"\n")


def as_toml(sample: dict[str, Any]) -> SearchStrategy[bytes]:
    """Keys and values as TOML and YAML write the simple ones."""
    pairs = st.dictionaries(st.sampled_from(sorted(sample)) | st.text(max_size=9), JSON, min_size=1, max_size=5)
    sign = st.sampled_from(("=", ":", " "))
    text = st.builds(lambda values, s: "\n".join(f"{k}{s} {v!r}" for k, v in values.items()), pairs, sign)
    return text.map(lambda each: each.encode("utf-8", "surrogatepass"))


def every_parser(folder: Path) -> dict[str, Parser]:
    """Samples are made in `folder`."""
    pipe = load_pipeline("mini")
    motion = extract_motion(pipe, torch.rand(4, 3, 64, 64) * 2 - 1, Extraction(k=1))
    motion.save(folder / "m.safetensors")
    whole = (folder / "m.safetensors").read_bytes()
    job = {"reference": "clip.mp4", "prompt": "a red star", "prompt_metadata": True, "reference_options": {}}
    job |= {"model_options": {"model": "mini"}, "pictures": [], "sha256": None}
    record = RECORD | {"job": job, "settings": {"seed": 1}, "output": {"sha256": "0" * 64, "suffix": ".mp4"}}
    described = {"base": "base", "motion_adapter": "motion_adapter", "lora": "lora", "lora_scale": 1.0}
    torch.save({"a.weight": torch.ones(3, 3)}, folder / "a.ckpt")
    samples = list(seeds(folder))
    clips = {path.name: path.read_bytes() for path in samples if path.suffix in {".mp4", ".webm", ".gif", ".mkv"}}
    pictures = {path.name: path.read_bytes() for path in samples if path.suffix in {".png", ".jpg", ".webp", ".bmp"}}
    (folder / "clip.mp4").write_bytes(clips["a.mp4"])
    parsers = {
        "motion": Parser(damaged(whole) | header_changed(whole), "m.safetensors", lambda p: heat_map(load_motion(p))),
        "record": Parser(changed(record), "r.json", lambda p: sources_of(read_job(p)[1], p.parent, PlaceOptions())),
        "list": Parser(as_lines(LISTED), "list.jsonl", listed_videos),
        "results": Parser(as_lines(LINE), "results.jsonl", lambda p: read_results(p.parent)),
        "suite": Parser(changed(SUITE), "suite.json", lambda p: read_description(p.parent)),
        "model.toml": Parser(as_toml(described), "model.toml", read_model_description),
        "model.yaml": Parser(as_toml(described) | changed(described), "model.yaml", read_model_description),
        "model_index": Parser(
            changed({"_class_name": "WanPipeline", "vae": ["diffusers", "AutoencoderKLWan"]}),
            "model_index.json",
            lambda p: read_index(str(p.parent)),
        ),
        "checkpoint": Parser(damaged((folder / "a.ckpt").read_bytes()), "a.ckpt", read_weights),
        "motion module": Parser(header_changed(whole), "a.safetensors", lambda p: load_motion_module(p, torch.float32)),
        "words": Parser(arguments(), "words", run_words),
    }
    for name, data in clips.items():
        parsers[f"clip {name}"] = Parser(damaged(data), name, partial(read_clip, num_frames=4, height=32, width=32))
    for name, data in pictures.items():
        parsers[f"picture {name}"] = Parser(
            damaged(data), name, lambda p: (read_picture(p, 32, 32), read_sketch(p, 32, 32))
        )
    return parsers


@st.composite
def arguments(draw: Any) -> list[str]:
    """A command with some of its options and any values."""
    command = draw(st.sampled_from([name for name in app if not name.startswith("-")]))
    collection = app[command].assemble_argument_collection()
    options = sorted({name for argument in collection for name in argument.names if name.startswith("-")})
    words = [command, *draw(st.lists(WORDS | st.sampled_from(("clip.mp4", "a red star")), max_size=3))]
    for option in draw(st.lists(st.sampled_from(options), max_size=4)):
        words += [option, *draw(st.lists(WORDS, max_size=1))]
    return words


def run_words(words: list[str]) -> None:
    """As far as the model, which is not loaded."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = _run(words)
        except SystemExit as end:
            code = end.code
    if code not in (0, 2):
        raise AssertionError(f"exit code {code}: {said.getvalue()[-500:]}")
    if code == 2 and "Traceback" in said.getvalue():
        raise AssertionError(said.getvalue()[-1000:])


def not_loaded(*_: Any, **__: Any) -> Any:
    """In place of what loads a model."""
    raise InputError("no model is loaded here.")


def ends_well(parser: Parser, folder: Path, ends: Counter[str], content: Any) -> None:
    """Read, and raise if it ended otherwise than well or in one sentence."""
    path: Any = folder / parser.name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path = content
    began = time.process_time()
    faulthandler.dump_traceback_later(120, exit=True)
    try:
        parser.read(path)
        ends["taken"] += 1
    except InputError as error:
        ends["refused"] += 1
        sentence = str(error)
        if not (sentence.isprintable() and 10 < len(sentence) <= 2000):
            raise AssertionError(f"no sentence: {sentence!r}") from error
    faulthandler.cancel_dump_traceback_later()
    seconds = time.process_time() - began
    ends["longest ms"] = max(ends["longest ms"], round(1000 * seconds))
    if seconds > MOST_SECONDS:
        raise AssertionError(f"took {seconds:.1f} s of computing")
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_BYTES:
        raise AssertionError("the process has used more than two gigabytes")


def test_of(parser: Parser, folder: Path, ends: Counter[str]) -> Callable[[], None]:
    """What hypothesis runs."""

    @given(parser.content)
    def test(content: Any) -> None:
        ends_well(parser, folder, ends, content)

    return test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="parsers whose name has these words")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    quick = settings(
        max_examples=100,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        parsers = {name: each for name, each in every_parser(folder).items() if asked.only in name}
        for module in (motionclone.models, motionclone.cli.reading):
            for loader in ("load_pipeline", "load_model"):
                if hasattr(module, loader):
                    setattr(module, loader, not_loaded)
        ends: dict[str, Counter[str]] = {name: Counter() for name in parsers}
        until = time.monotonic() + 60 * asked.minutes
        for number in itertools.count(asked.seed):
            for name, each in parsers.items():
                if time.monotonic() > until:
                    break
                try:
                    seed(number)(quick(test_of(each, folder, ends[name])))()
                except Exception as error:
                    found[name] += 1
                    notes = "\n".join(getattr(error, "__notes__", []))
                    print(f"{name}: {type(error).__name__}: {str(error)[:600]}\n{notes[:600]}", flush=True)
            if time.monotonic() > until:
                break
        os.chdir("/")
    for name, counted in ends.items():
        print(
            f"{name:16} {counted['taken']:6} taken {counted['refused']:6} refused, {counted['longest ms']} ms at most"
        )
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = sum(counted["taken"] + counted["refused"] for counted in ends.values())
    print(f"{total} readings; {most:.2f} GB at most; {sum(found.values())} failures {dict(found)}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
