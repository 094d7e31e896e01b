"""The folder of a run: read strictly, held by one process at a time, never mixed, never leading out."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from test_lab import FACTS, SMALL, lines_of, setup
from test_report import METHODS, result, write_results, write_run

from motionclone.errors import InputError
from motionclone.lab import bench
from motionclone.lab.cases import clip_cases, clips_in
from motionclone.lab.identity import content_of, public_name, without_places
from motionclone.lab.lock import LOCK, locked
from motionclone.lab.report import read_run, write_report
from motionclone.lab.results import appending, read_results
from motionclone.lab.running import describe, run_suite
from motionclone.media.writing import write_video
from motionclone.models import load_pipeline

LINE = {"method": "cloned", "case": "case-0", "video": "videos/cloned/case-0.mp4", "scores": {}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"null", "the whole"),
        (b"[]", "the whole"),
        (b"{}", "method"),
        (b"", "the whole"),
        (b'"text"', "the whole"),
        (b"\xff\xfe", "the whole"),
        (b"[" * 100_000, "the whole"),
        (json.dumps(LINE | {"method": 3}).encode(), "method"),
        (json.dumps(LINE | {"case": ".."}).encode(), "case"),
        (json.dumps(LINE | {"scores": {"flow": "0.5"}}).encode(), "scores.flow"),
        (json.dumps(LINE | {"scores": {"flow": True}}).encode(), "scores.flow"),
        (json.dumps(LINE | {"scores": {"flow": 1e300}}).encode(), "scores.flow"),
        (json.dumps(LINE | {"scores": [1]}).encode(), "scores"),
        (json.dumps(LINE | {"embedding": [0.5]}).encode(), "embedding"),  # the line before has two
        (json.dumps(LINE | {"embedding": "x"}).encode(), "embedding"),
        (json.dumps(LINE | {"outcome": "good"}).encode(), "outcome"),
        (json.dumps({"method": "cloned", "case": "case-0"}).encode(), "a video and scores"),
        *(
            (json.dumps(LINE | {"video": video}).encode(), "video")
            for video in ("/etc/passwd", "../x.mp4", "videos/../../x.mp4", "videos/a/b/c.mp4", "videos/a\\b/c.mp4", 3)
        ),
    ],
)
def test_a_line_that_is_no_result_is_named(tmp_path, line, said):
    write_run(tmp_path)
    with (tmp_path / "results.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(
        InputError, match=rf"line 41 of .*results\.jsonl is no result \(.*{said}.*remove that line"
    ) as no:
        write_report(tmp_path)
    assert len(str(no.value)) < 1000
    assert not list(tmp_path.glob("report.*"))


def test_numbers_that_json_does_not_have_say_nothing(tmp_path):
    write_run(tmp_path)
    write_results(tmp_path, [result("cloned", 0, value=value) for value in (float("inf"), float("nan"))])
    assert read_run(tmp_path).lines["cloned", "case-0"].scores["flow"] is None


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b"{" * 100_000, b'{"suite": 3}'])
def test_a_description_that_is_none(tmp_path, content):
    write_run(tmp_path)
    (tmp_path / "suite.json").write_bytes(content)
    with pytest.raises(InputError, match=r"suite\.json is not as motionclone evaluate writes it"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"suite\.json is not as motionclone evaluate writes it"):
        run_suite(setup(SMALL), tmp_path)


@pytest.mark.parametrize("name", ["../case", "a/b", "..", "", "x" * 300])
def test_names_in_a_description_are_names_of_files(tmp_path, name):
    write_run(tmp_path)
    suite = json.loads((tmp_path / "suite.json").read_text())
    for part in ("methods", "cases"):
        changed = suite | {part: [suite[part][0] | {"name": name}]}
        (tmp_path / "suite.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=f"{part}.0.name"):
            write_report(tmp_path)


@pytest.mark.parametrize("place", ["results.jsonl", "suite.json"])
def test_what_is_no_ordinary_file_is_not_opened(tmp_path, place):
    write_run(tmp_path)
    (tmp_path / place).unlink()
    os.mkfifo(tmp_path / place)  # would be waited at for ever
    with pytest.raises(InputError, match="no ordinary file"):
        write_report(tmp_path)
    (tmp_path / place).unlink()
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no ordinary file"):
        write_report(tmp_path)


@pytest.mark.parametrize("link", ["videos", "videos/cloned", "videos/cloned/case-0.mp4", "videos/reference/case-0.mp4"])
def test_a_report_holds_no_file_from_elsewhere(tmp_path, link):
    folder, secret = tmp_path / "run", tmp_path / "secret"
    folder.mkdir()
    write_run(folder)
    film = torch.linspace(-1, 1, 4 * 3 * 16 * 16).view(4, 3, 16, 16)
    for name in ("reference", *(method for method, *_ in METHODS)):
        write_video(folder / "videos" / name / "case-0.mp4", film, 8.0)
    assert "data:video" in write_report(folder).page.read_text()
    (folder / link).rename(secret)
    (folder / link).symlink_to(secret)
    with pytest.raises(InputError, match="leads out of the folder of the run"):
        write_report(folder)


def test_a_run_is_never_continued_as_another(tmp_path):
    described = describe(setup(SMALL))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    model = setup(SMALL, model=str(folder))
    same = describe(model)
    assert (same.model, described.model_content) == ("model", None)
    assert str(tmp_path) not in same.model_dump_json()
    (folder / "config.json").write_text("[]")
    others = {
        "model_content": describe(model),
        "device": describe(setup(SMALL, facts=replace(FACTS, device="cuda"))),
        "dtype": describe(setup(SMALL, facts=replace(FACTS, dtype="float16"))),
        "loading": describe(setup(SMALL, loading={"offload": "model"})),
        "cases": describe(setup(SMALL, cases=setup(SMALL).cases[:1])),
        "judge": describe(setup(SMALL, judge="other")),
        "settings": describe(
            setup(SMALL.model_copy(update={"seed": 0, "extraction": SMALL.extraction.model_copy(update={"k": 2})}))
        ),
    }
    for name, other in others.items():
        before = same if name == "model_content" else described
        assert getattr(other, name) != getattr(before, name), name
    scenes = [case.reference for case in described.cases]
    assert scenes[0]["trajectory"] == "diagonal"
    assert scenes[0]["seed"] != scenes[1]["seed"]


def test_a_clip_is_known_by_its_content(tmp_path):
    def content():
        return clip_cases(clips_in(tmp_path), "test", 1, SMALL.sampling)[0].content

    film = torch.zeros(16, 3, 16, 16)
    write_video(tmp_path / "a.mp4", film, 8.0)
    before = content()
    write_video(tmp_path / "a.mp4", film + 0.5, 8.0, overwrite=True)
    assert content()["clip"] == before["clip"] == "a.mp4"
    assert content()["sha256"] != before["sha256"]


def test_clips_of_one_stem_are_cases_of_their_own(tmp_path):
    for name in ("a.mp4", "a.gif", "A.webm", "b\n.mp4", ".hidden.mp4", "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 70 + ".mp4"):
        (tmp_path / name).write_bytes(name.encode())
    cases = clip_cases(clips_in(tmp_path), "test", 10, SMALL.sampling)
    assert [case.name for case in cases][:4] == ["A-0", "a.gif-0", "a.mp4-0", "b_-0"]
    assert len({case.name.casefold() for case in cases}) == len(cases) == 10
    assert all(len(case.name.encode()) < 200 and case.source.path.name != ".hidden.mp4" for case in cases)


def test_messages_name_no_places():
    assert without_places("no /home/me/models/x.ckpt in 'C:\\Users\\me\\y'") == "no x.ckpt in 'y'"
    assert without_places("see https://a.b/c, org/name and 1/2") == "see https://a.b/c, org/name and 1/2"
    assert public_name("/home/me/my-model") == "my-model"
    assert public_name("org/name") == "org/name"
    assert content_of("mini") is None


def test_one_run_in_a_folder_at_a_time(tmp_path):
    code = "import sys, time; from pathlib import Path; from motionclone.lab.lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"process {other.pid} on .* is at work in"), locked(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert (tmp_path / LOCK).exists()  # of the dead, which binds nobody
    with locked(tmp_path), pytest.raises(InputError, match=f"process {os.getpid()}"), locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_line_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    with appending(tmp_path) as append:
        append(LINE)
        monkeypatch.setattr("json.dumps", lambda line: "half of a line")
        resource = pytest.importorskip("resource")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (tmp_path / "results.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
        try:
            with pytest.raises(InputError, match=r"cannot be written .* make room and call again"):
                append(LINE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, heard)
    lines, torn = read_results(tmp_path)
    assert (len(lines), torn) == (1, False)


def test_what_cannot_be_had_is_a_line_and_what_fails_is_tried_again(tmp_path, monkeypatch):
    def make(pipe, method, case, reference, settings):
        if method.name == "drawn":
            raise InputError("this model has no /home/me/thing.")
        if method.name == "unguided" and case.motion == "circle":
            raise RuntimeError("in /home/me/model.py")
        return whole(pipe, method, case, reference, settings)

    whole = bench.make
    monkeypatch.setattr(bench, "make", make)
    only = setup(SMALL, load=partial(load_pipeline, "mini", device="cpu"))
    outcome = run_suite(only, tmp_path)
    assert (outcome.made, outcome.refused, outcome.failed) == (5, 2, 1)
    reasons = {(line["method"], line["case"]): line["reason"] for line in lines_of(tmp_path) if "reason" in line}
    assert reasons["drawn", "circle-0"] == "this model has no thing."
    assert reasons["unguided", "circle-0"] == "RuntimeError: in model.py"
    text = write_report(tmp_path).markdown.read_text()
    assert "refused (2 of 2 cases): this model has no thing." in text
    assert "failed (1 of 2 cases): RuntimeError: in model.py" in text
    assert "not finished" not in text
    monkeypatch.setattr(bench, "make", whole)
    outcome = run_suite(only, tmp_path)
    assert (outcome.made, outcome.refused, outcome.failed) == (6, 2, 0)
    assert "RuntimeError" not in write_report(tmp_path).markdown.read_text()


def loaded_but_once(place, control=None):
    """The mini model; the first process to ask never gets it, and hears nothing."""
    try:
        (place / "stuck").mkdir()
    except FileExistsError:
        return load_pipeline("mini", device="cpu")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return time.sleep(600)


def test_ctrl_c_keeps_what_is_finished_and_waits_for_nothing(tmp_path):
    stuck = setup(SMALL, load=partial(loaded_but_once, tmp_path))

    def press(done, _total):
        if done == 2:
            threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_suite(stuck, folder, workers=2, on_done=press)
    assert len(lines_of(folder)) >= 2
    assert sorted(path.name for path in folder.iterdir()) == ["results.jsonl", "suite.json", "videos"]
    assert run_suite(setup(SMALL), folder).made == 8
