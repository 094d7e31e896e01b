"""Files appear whole, together, or not at all, whenever a run is killed; and what strangers wrote is only data."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from motionclone.errors import InputError
from motionclone.files import (
    check_free,
    check_not_input,
    claimed,
    parse_json,
    read_json,
    sweep,
    whole_file,
    whole_files,
)

TARGETS = ("a.mp4", "a.json", "a-compare.mp4")
OLD = {"a.mp4": "old video", "a.json": "old record", "a-compare.mp4": "old comparison"}


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_whole_file(tmp_path):
    path = tmp_path / "new/folder/a.safetensors"
    with whole_file(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, path.suffix)
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(InputError, match="overwrite=True"), whole_file(path):
        pytest.fail("the block must not run")

    def interrupted(place):
        with whole_file(place, overwrite=True) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    for place in (path, tmp_path / "other/folder/a.safetensors"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(place)
    assert content(path.parent) == {"a.safetensors": "first"}
    assert not (tmp_path / "other").exists()


def test_files_together_take_the_place_of_older_ones(tmp_path):
    for name, text in OLD.items():
        (tmp_path / name).write_text(text)
    video, record, comparison = (tmp_path / name for name in TARGETS)
    with pytest.raises(InputError, match=r"a\.json exists"), whole_files(tmp_path / "b.mp4", record):
        pytest.fail("the block must not run")
    with whole_files(video, record, overwrite=True, gone=[comparison]) as temporary:
        for path in temporary:
            path.write_text("new")
        assert {name: text for name, text in content(tmp_path).items() if name in OLD} == OLD
    assert content(tmp_path) == {"a.mp4": "new", "a.json": "new"}
    with (
        pytest.raises(InputError, match=r"a\.json cannot be written"),
        whole_files(video, record, overwrite=True) as (
            first,
            _,
        ),
    ):
        first.write_text("half")
    assert content(tmp_path) == {"a.mp4": "new", "a.json": "new"}


# Kills itself before the Nth time that a file or folder is made, renamed or removed, in a child for every N.
KILLED = """
import os, sys
from pathlib import Path
from motionclone.files import whole_files

folder, words, last = Path(sys.argv[1]), sys.argv[2].split(), int(sys.argv[3])
def run(number):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.truncate") and ".motionclone-" in str(arguments[0]) or (
            event == "os.remove" and str(folder) in str(arguments[0])
        ):
            count += 1
            if count == number:
                os._exit(9)
    sys.addaudithook(hook)
    targets = [folder / f"{number}" / name for name in words]
    gone = [folder / f"{number}" / name for name in sys.argv[4:]]
    with whole_files(*targets, overwrite=True, gone=gone) as temporary:
        for path in temporary:
            path.write_text("new")
for number in range(1, last + 1):
    if not (child := os.fork()):
        run(number)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("old", [OLD, {"a.mp4": "old video", "a.json": "old record"}, {}], ids=len)
@pytest.mark.parametrize("compare", [False, True])
def test_a_kill_at_any_moment_mixes_nothing_and_loses_nothing(tmp_path, old, compare):
    wanted = TARGETS if compare else TARGETS[:2]
    gone = [] if compare or "a-compare.mp4" not in old else ["a-compare.mp4"]
    last = 45
    for number in range(1, last + 1):
        (tmp_path / str(number)).mkdir()
        for name, text in old.items():
            (tmp_path / str(number) / name).write_text(text)
    words = [sys.executable, "-c", KILLED, str(tmp_path), " ".join(wanted), str(last), *gone]
    codes = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert codes[0] == "9"
    assert codes[-1] == "0"  # all moments are among them
    new, outcomes = dict.fromkeys(wanted, "new"), []
    for number in range(1, last + 1):
        folder = tmp_path / str(number)
        seen = {name: text for name, text in content(folder).items() if name in TARGETS}
        assert seen.items() <= old.items() or seen.items() <= new.items(), number  # fewer, but never mixed
        sweep(folder)
        assert content(folder) in (old, new), number
        outcomes.append(content(folder) == new)
    assert outcomes == sorted(outcomes)  # the older files up to one moment, the new ones from there on
    assert outcomes[-1]
    assert sum(code == "9" for code in codes) > outcomes.index(True) + len(wanted)  # killed between the renames, too


def test_what_the_living_write_is_left_alone(tmp_path):
    with whole_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        sweep(tmp_path)
        code = f"from pathlib import Path; from motionclone.files import sweep; sweep(Path({str(tmp_path)!r}))"
        subprocess.run([sys.executable, "-c", code], check=True)
    assert content(tmp_path) == {"a.txt": "whole"}


def test_two_runs_on_one_output(tmp_path):
    with claimed(tmp_path / "new/a.mp4"):
        for name in ("a.mp4", "a.gif", "A.mp4"):  # they would share a record
            with pytest.raises(InputError, match=f"process {os.getpid()}"), claimed(tmp_path / "new" / name):
                pytest.fail("the block must not run")
        with claimed(tmp_path / "new/b.mp4"):
            pass
        sweep(tmp_path / "new")
        with pytest.raises(InputError, match="another run"), claimed(tmp_path / "new/a.mp4"):
            pytest.fail("the block must not run")
    assert not (tmp_path / "new").exists()


def test_a_stranger_s_journal_costs_no_file(tmp_path):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    (tmp_path / "outside.txt").write_text("precious")
    key, other = "0" * 12, "1" * 12
    (folder / f".motionclone-{key}-0.txt").write_text("evil")
    (folder / f".motionclone-{other}-0.txt").symlink_to(tmp_path / "outside.txt")
    steps = [
        {"temporary": f".motionclone-{key}-0.txt", "target": "thesis.txt", "before": [4, 1]},
        {"temporary": None, "target": "thesis.txt", "before": None},
        {"temporary": None, "target": "../outside.txt", "before": [8, 1]},
    ]
    for few in (steps[:1], steps[1:2], steps[2:], steps, [{"target": 1}], {}, [[[]]] * 3):
        (folder / f".motionclone-{key}.commit").write_text(json.dumps(few))
        sweep(folder)
        assert content(folder) == {"thesis.txt": "precious"}
        assert (tmp_path / "outside.txt").read_text() == "precious"
    (folder / f".motionclone-{key}.lock").symlink_to(folder / "thesis.txt")
    sweep(folder)
    assert (folder / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("limit", [0, 10, 1000])
def test_a_full_disk_is_told_in_one_sentence(tmp_path, limit):
    def write():
        with whole_files(tmp_path / "new/a.txt", tmp_path / "new/b.txt") as (first, second):
            first.write_text("x" * 10)
            second.write_text("x" * 1001)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=r"there is no room for .*txt"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_inputs_are_known_by_whatever_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reference = tmp_path / "ref.mp4"
    reference.write_text("precious")
    (tmp_path / "hard.mp4").hardlink_to(reference)
    (tmp_path / "soft.mp4").symlink_to(reference)
    model = tmp_path / "model"
    (model / "unet").mkdir(parents=True)
    (model / "unet/w.safetensors").touch()
    (tmp_path / "link").symlink_to(model)
    for output in (reference, "ref.mp4", "model/../ref.mp4", "hard.mp4", "soft.mp4"):
        with pytest.raises(InputError, match="is what the video is made from"):
            check_not_input([tmp_path / "other.mp4", Path(output)], [model, Path("ref.mp4")])
    with pytest.raises(InputError, match="is what the motion is made from"):
        check_not_input([Path("link/unet/w.safetensors")], [model], "the motion")
    check_not_input([tmp_path / "other.mp4", model / "new.mp4"], [reference, model, Path("x" * 300), Path("a\0")])


def test_names_that_are_none(tmp_path):
    for name in ("a\0.mp4", os.fsdecode(b"caf\xe9.mp4"), "x" * 300):
        with pytest.raises(InputError):
            check_free(tmp_path / name, False)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="exists"):
        check_free(tmp_path / "dangling", False)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no ordinary file"):
        check_free(tmp_path / "pipe", True)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 5000, "digit"),
        (rb'{"a": "\ud800"}', "no Unicode"),
        (b'"caf\xe9"', "no Unicode"),
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"\x00", "Expecting value"),
    ],
)
def test_json_of_strangers(tmp_path, text, why):
    with pytest.raises(InputError, match=why) as caught:
        parse_json(text, "a.json is not a record")
    assert "\n" not in str(caught.value)
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(InputError, match=f"not a record.*{why}"):
        read_json(tmp_path / "a.json", "a record")


def test_json_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big.json").write_bytes(b"[" + b"1," * 9_000_000 + b"1]")
    for name, why in (("pipe", "no such file"), ("none", "no such file"), (".", "no such file"), ("big.json", "16 MB")):
        with pytest.raises(InputError, match=why):
            read_json(tmp_path / name, "a record")


def test_a_sentence_stays_one_that_a_person_can_read_whatever_it_quotes():
    long, name = str(InputError(f"{'x' * 10**6} is not there; give another.")), "\x1b[31m\n\ud800 \u202eé"
    assert len(long) < 400
    assert long.startswith("xxx")
    assert long.endswith("xxx is not there; give another.")
    assert str(InputError(name)) == "\\x1b[31m\\n\\ud800 \\u202eé"
    assert len(str(InputError("word " * 10**5))) <= 2000
