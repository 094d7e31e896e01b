"""The studio: its folder, its line, whom it lets in; and the page itself, in a browser, on the bundled model."""

import asyncio
import gc
import json
import shutil
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from PIL import Image
from snippets import ROOT, blocks_of

from motionclone.cloning import Step
from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.media.reading import read_clip
from motionclone.models.loading import follows, made_to_follow
from motionclone.motion import load_motion
from motionclone.settings import preset
from motionclone.studio import clips
from motionclone.studio.asked import asked_from
from motionclone.studio.clips import EXAMPLES, check_clip, example_clip, kept_name
from motionclone.studio.desk import Desk
from motionclone.studio.foretelling import spoken_time
from motionclone.studio.guard import Guard
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.panels import history, status
from motionclone.studio.serving import check_host, served
from motionclone.studio.showing import result
from motionclone.studio.store import Store
from motionclone.studio.worker import Workers, here

WORDS = "a red star on blue waves"


def asked(**values):
    return asked_from(**{"clip": "tiger.mp4", "prompt": WORDS, "steps": 2, **values})


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "studio")
    yield found
    found.close()


@pytest.fixture
def put(store, clip):
    """A job in the store, which waits."""
    return lambda **values: store.add(asked(**values), clip, "reference.mp4", "mini", b"png")


@pytest.fixture(scope="module")
def engine():
    return load_engine(ModelChoice(device="cpu"))


def test_what_nobody_can_mean_is_one_sentence():
    for values, said in (
        ({"prompt": " "}, "there are no words; say what the new video shows, such as 'a red star on blue waves'."),
        ({"start": 2.0, "end": 1.0}, "the end must come after the start, got 2 s to 1 s."),
        ({"steps": 0}, "steps: Input should be greater than or equal to 1."),
        ({"strength": float("nan")}, "strength: Input should be a finite number."),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0."),
        ({"crop": (0.5, 0, 0.5, 1)}, "crop is left, top, right and bottom of a part of the picture, each from 0 to 1."),
        ({"image": "a", "sketch": "b"}, "a video follows a first frame or a sketch; leave one of them out."),
        (
            {"motion": True, "flip": True},
            "a motion file is taken as it is; start, end, frame rate, crop and mirroring are for clips.",
        ),
        (
            {"motion": True, "image": "a"},
            "a first frame or a sketch goes with a clip, not with a motion file; leave one out.",
        ),
    ):
        with pytest.raises(InputError) as refused:
            asked(**values)
        assert str(refused.value) == said


def test_strength_takes_the_place_of_a_weight_and_as_large_a_share_of_steps_is_guided():
    base = preset("mini")
    settings = asked(strength=0.5, steps=12, seed=7).settings(base)
    assert settings.guidance.strength == 0.5
    assert (settings.sampling.steps, settings.sampling.guided_steps, settings.seed) == (12, 6, 7)
    assert asked(steps=base.sampling.steps).settings(base) == base


def test_jobs_are_made_in_their_order_and_one_that_fails_says_why(store, put):
    made = []

    def make(entry, folder, heard):
        made.append(entry.id)
        if entry.asked.seed == 1:
            raise InputError("this clip is none.")
        if entry.asked.seed == 2:
            raise ZeroDivisionError("division by zero")
        (folder / "out.mp4").touch()
        return "a note."

    jobs = [put(seed=seed).id for seed in range(4)]
    worker = Workers(store, here(make))
    wait_for(lambda: store.entry(jobs[-1]).state == "done")
    worker.close()
    assert made == jobs
    assert [(store.entry(job).state, store.entry(job).sentence) for job in jobs] == [
        ("done", "a note."),
        ("failed", "this clip is none."),
        ("failed", "ZeroDivisionError: division by zero"),
        ("done", "a note."),
    ]


def test_a_job_is_cancelled_within_a_step_and_others_keep_their_place(store, put):
    steps, go = [], threading.Semaphore(0)

    def make(entry, folder, heard):
        while True:
            heard("making the video", None)
            steps.append(entry.id)
            go.acquire()

    first, second, third = (put().id for _ in range(3))
    worker = Workers(store, here(make))
    wait_for(lambda: steps)
    assert [len(worker.before(job)) for job in (second, third)] == [1, 2]
    with pytest.raises(InputError, match="this video is being made; cancel it first"):
        store.delete(first)
    worker.cancel(second)
    assert [store.entry(second).state, len(worker.before(third))] == ["cancelled", 1]
    worker.cancel(first)
    go.release()
    wait_for(lambda: steps[-1] == third)
    assert steps == [first, third]
    assert store.entry(first).state == "cancelled"
    go.release()
    worker.close()
    assert store.entry(third).state == "running"  # until the studio opens again


def test_a_wait_counts_every_video_that_the_job_at_work_has_made(clip, tmp_path):
    told, go = [], threading.Semaphore(0)

    def make(entry, folder, heard):
        for part, step in (("making video 1 of 2", 1), ("making video 2 of 2", 1), ("writing", None)):
            heard(part, step and Step(step, 2, 500, None))
            told.append(part)
            go.acquire()
        return ""

    before = Store(tmp_path / "studio")
    before.change(before.add(asked(), clip, "reference.mp4", "mini", b"png").id, state="done", seconds=4.0)
    before.close()
    desk = Desk(SimpleNamespace(make=make, called="mini", frames=16), tmp_path / "studio")
    sheet, waits = asked(strengths=(0.5, 1), seeds=(0,)), []
    _, last = (desk.workers.submit(each, clip, "reference.mp4", "mini", b"png") for each in (sheet, asked()))
    for count in (1, 2, 3):
        wait_for(lambda count=count: len(told) == count)
        waits.append(desk.wait_of(last.id))
        go.release()
    go.release(3)
    desk.close()
    assert waits == [(1, 6.0), (1, 2.0), (1, 0.0)]


def test_history_survives_a_restart_and_what_ran_is_offered_again(clip, tmp_path):
    store = Store(tmp_path / "studio")
    done, ran, waits, gone = (store.add(asked(), clip, "reference.mp4", "mini", b"png").id for _ in range(4))
    store.change(done, state="done", seconds=2.0)
    store.change(ran, state="running")
    store.delete(gone)
    (store.jobs / ".new-20261127-031845-0").mkdir()
    (store.jobs / "holiday").mkdir()
    with pytest.raises(InputError, match=r"another studio, process \d+ on .*, is at work in .*; stop it, or choose"):
        Store(tmp_path / "studio")
    store.close()
    again = Store(tmp_path / "studio")
    assert [(entry.id, entry.state) for entry in again.entries()] == [
        (done, "done"),
        (ran, "failed"),
        (waits, "waiting"),
    ]
    assert again.entry(ran).sentence == "the studio was stopped while this was being made; make it again."
    assert again.unreadable == ["holiday"]
    assert sorted(path.name for path in again.jobs.iterdir()) == [*sorted([done, ran, waits]), "holiday"]
    again.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"created": 1e300},
        {"created": -1e18},
        {"seconds": 1e308},
        {"seconds": -1.0},
        {"reference": ".."},
        {"reference": "job.json"},
        {"picture": "../picture.png"},
        {"asked": {"more": {"frames": [1]}}},
        {"asked": {"more": {"frames": 0}}},
        {"asked": {"more": {"nope": 1}}},
    ],
)
def test_a_job_that_was_edited_by_hand_into_none_spoils_no_other(changes, store, put, tmp_path):
    edited, good = put(), put()
    path = store.place(edited.id) / "job.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, **changes, "asked": {**told["asked"], **changes.get("asked", {})}}))
    again = Store(shutil.copytree(store.jobs.parent, tmp_path / "again"))
    again.close()
    assert (again.entries(), again.unreadable) == ([good], [edited.id])


def test_no_sentence_tells_where_the_studio_keeps_its_jobs(store, put):
    errors = [InputError, OSError]

    def make(entry, folder, heard):
        raise errors.pop()(f"there is no room for {folder / 'out.mp4'}")

    jobs = [put().id, put().id]
    worker = Workers(store, here(make))
    wait_for(lambda: all(store.entry(job).state == "failed" for job in jobs))
    worker.close()
    told = [store.entry(job).sentence for job in jobs]
    assert told == ["OSError: there is no room for out.mp4", "there is no room for out.mp4"]
    place = store.place(jobs[0])
    shutil.rmtree(place)
    place.touch()  # so that nothing can be written there
    with pytest.raises(InputError) as told:
        store.change(jobs[0], chosen=True)
    assert str(place) not in str(told.value)


def test_files_of_a_result_that_were_edited_or_taken_away_are_told_in_a_sentence(store, put, clip, tmp_path):
    place = store.place(put().id)
    for record in ("[]", "{}", '{"motion": {"source": {"fps": "fast"}}, "settings": {"sampling": {"num_frames": 4}}}'):
        (place / "out.json").write_text(record)
        with pytest.raises(InputError, match=r"out.json of this job is not the record of a video; make it again\."):
            result(store.entries()[0], place)
    desk = Desk(SimpleNamespace(make=None, called="mini", frames=16), tmp_path / "desk")
    job = desk.store.add(asked(), clip, "reference.mp4", "mini", b"png").id
    desk.workers.cancel(job)
    place = desk.store.change(job, state="done") and desk.store.place(job)
    (place / "out.mp4").touch()
    for call in (desk.results, desk.zip_of, desk.scores_of):
        with pytest.raises(InputError, match=r"out\.json of this job was taken away; make it again, or delete it\."):
            call(job)
    (place / "reference.mp4").unlink()
    with pytest.raises(InputError, match=r"reference\.mp4 of this job was taken away; drop the clip and make it anew"):
        desk.again(job)
    shutil.rmtree(place)
    for call in (desk.results, desk.zip_of, desk.scores_of, desk.again, partial(desk.star, on=True)):
        with pytest.raises(InputError, match="the files of this job were taken away; delete it"):
            call(job)
    assert not place.exists()
    desk.store.delete(job)
    assert desk.store.entries() == []
    desk.close()


def test_names_of_others_become_neither_paths_nor_markup(store, put):
    assert kept_name(Path("../../etc/passwd.svg")) == "reference.mp4"
    assert kept_name(Path("A.WebM")) == "reference.webm"
    for name in ("../" + put().id, "..", "", "20261127-031845-0000000000000000"):
        with pytest.raises(InputError, match="there is no such job here"):
            store.place(name)
    entry = put(prompt="<script>alert(1)</script>")
    for shown in (status(entry, None, 0), history([entry], [store.place(entry.id)], "", ["<b>"])):
        assert "<script" not in shown
        assert "<b>" not in shown


def test_clips_are_limited_before_they_are_decoded(clip, tmp_path, monkeypatch):
    check_clip(clip)
    monkeypatch.setattr(clips, "MOST_SECONDS", 0.5)
    with pytest.raises(InputError, match="the clip takes 1 s and the studio takes 0; cut out the part you mean"):
        check_clip(clip)
    monkeypatch.setattr(clips, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="the clip has 0 MB and the studio takes 0; cut out the part you mean"):
        check_clip(clip)


def test_others_need_a_password():
    assert check_host("127.0.0.1", None)
    assert check_host("::1", None)
    assert check_host("localhost", None)
    for host in ("0.0.0.0", "192.168.0.7", "studio.example"):
        assert not check_host(host, "correct horse")
        with pytest.raises(
            InputError, match=f"at {host} others on the network could use this machine .*; give password"
        ):
            check_host(host, None)
    with pytest.raises(InputError, match="a password has 8 characters or more"):
        check_host("0.0.0.0", "horse")


@pytest.mark.parametrize(
    ("path", "headers", "local", "status"),
    [
        ("/", {"host": "127.0.0.1:7860"}, True, 200),
        ("/", {"host": "[::1]:7860", "origin": "http://[::1]:7860"}, True, 200),
        ("/", {"host": "evil.example:7860"}, True, 403),
        ("/", {"host": "studio.example"}, False, 200),
        ("/gradio_api/upload", {"host": "localhost:7860", "origin": "http://evil.example"}, True, 403),
        ("/gradio_api/file=http%3A//10.0.0.1/", {"host": "localhost"}, True, 403),
        ("/gradio_api/file/https://example.org/", {"host": "studio.example"}, False, 403),
    ],
)
def test_other_sites_and_addresses_are_not_served(path, headers, local, status):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def call():
        sent = []

        async def send(message):
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await Guard(app, Path("studio"), local)(
            {"type": "http", "method": "GET", "path": path, "headers": raw}, None, send
        )
        return sent[0]["status"]

    assert asyncio.run(call()) == status


def test_time_is_told_as_people_say_it():
    assert [spoken_time(seconds) for seconds in (0.2, 89, 200, 7800)] == ["1 s", "89 s", "3 min", "2 h 10 min"]


@pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning")
def test_a_job_leaves_all_its_files_and_a_record_that_runs_again(engine, clip, tmp_path, run):
    desk = Desk(engine, tmp_path / "studio")
    no_clip = tmp_path / "no-clip.mp4"
    no_clip.write_bytes(b"no clip at all")
    with pytest.raises(InputError, match=r"^no-clip\.mp4 cannot be read as a video"):
        desk.submit(no_clip, desk.asked(no_clip, prompt=WORDS, steps=2))
    line = tmp_path / "line.bmp"
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(line)
    part = {"crop": (0.0, 0.25, 0.75, 1.0), "flip": True, "sketch": "line.bmp"}
    entry = desk.submit(clip, desk.asked(clip, prompt=WORDS, steps=2, seed=3, unguided=True, **part), line)
    wait_for(lambda: desk.told(entry.id)["state"] in ("done", "failed"))
    told = desk.told(entry.id)
    assert (told["state"], told["sentence"][:16]) == ("done", "guidance reached")  # so few steps cannot do more
    assert "by the last video" in desk.foretell(desk.asked(clip, prompt=WORDS, steps=24))
    assert "has never seen 'pig'" in desk.foretell(desk.asked(clip, prompt="a pig", steps=24))
    place = desk.store.place(entry.id)
    # The motion that it read makes another video, with its own noise.
    motion = place / "motion.safetensors"
    other = desk.submit(motion, desk.asked(motion, prompt=WORDS, steps=2, seed=3))
    wait_for(lambda: desk.told(other.id)["state"] in ("done", "failed"))
    of_motion = desk.store.place(other.id)
    with pytest.raises(InputError, match="motion was read from is not here, so there is nothing to compare with; make"):
        desk.scores_of(other.id)
    desk.close()
    assert {path.name for path in place.iterdir()} == {
        "job.json", "reference.mp4", "picture.bmp", "seen.mp4", "heat.mp4", "motion.safetensors", "out.mp4", "out.json",
        "out-compare.mp4", "unguided.mp4", "poster.png",
    }  # fmt: skip
    assert json.loads((place / "out.json").read_text())["motion"]["source"]["crop"] == [0.0, 0.25, 0.75, 1.0]
    for made in (place, of_motion):
        assert str(tmp_path) not in (made / "out.json").read_text()
        code, said = run("rerun", made / "out.json", "-o", tmp_path / "again.mp4", "--overwrite")
        assert code == 0, said
        assert sha256_of(tmp_path / "again.mp4") == sha256_of(made / "out.mp4")
        jobs = [json.loads(path.read_text())["job"] for path in (tmp_path / "again.json", made / "out.json")]
        assert jobs[0].keys() >= jobs[1].keys()


def test_examples_are_clips_that_move(tmp_path):
    places = [example_clip(tmp_path, name) for name in (EXAMPLES[0], EXAMPLES[-1])]
    assert sha256_of(places[0]) != sha256_of(places[1])
    assert not torch.equal(*read_clip(places[1], 2, 64, 64).frames)
    with pytest.raises(InputError, match="there is no example 'x'; there are Round in a circle"):
        example_clip(tmp_path, "x")


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve a studio on the bundled model until the test ends; its address."""
    pytest.importorskip("gradio", reason="needs motionclone[web]")
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    with ExitStack() as stack:
        choice = ModelChoice(device="cpu")
        yield lambda **more: stack.enter_context(served(choice, tmp_path / "studio", **more))
    gc.collect()  # servers and clients leave loops and sockets to it, which is not to be told of another test


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_programs_make_the_same_jobs_behind_a_password(serve, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = serve(password="correct horse")
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    known = f'"{address}", auth=("studio", "correct horse"), verbose=False'
    client = eval(f"Client({known})", {"Client": Client})
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/make", "/job", "/jobs", "/cancel", "/result", "/archive", "/scores"}
    with pytest.raises(AppError, match="there are no words; say what the new video shows"):
        client.predict(prompt=" ", example="There and back", api_name="/make")
    with pytest.raises(AppError, match="there is no such job here"):
        client.predict("../..", api_name="/job")
    shutil.copyfile(clip, "tiger.mp4")
    (told,) = (block.text for block in blocks_of(ROOT / "docs" / "studio.md") if "gradio_client" in block.text)
    told = told.replace('"http://127.0.0.1:7860"', known).replace("strength=1.0", "steps=2, frames=4")
    exec(told, made := {})
    assert json.loads(Path(made["record"]).read_text())["output"]["sha256"] == sha256_of(Path(made["video"]))
    assert load_motion(made["motion"]).record.source.sha256 == sha256_of(clip)
    job = made["job"]["id"]
    assert [each["id"] for each in client.predict(api_name="/jobs")] == [job]

    video = tmp_path / "studio" / "jobs" / job / "out.mp4"
    for path in (f"file={video}", "info"):
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{address}gradio_api/{path}")
    with pytest.raises(InputError, match=r"another studio, .*, is at work in"):
        serve()


def test_a_model_that_has_other_weights_where_pictures_are_followed_is_not_made_to_follow_any(pipe, model):
    assert follows(pipe, model, "image")
    assert not follows(pipe, "animatediff", "image")  # its domain adapter
    with pytest.raises(InputError, match="a domain adapter is merged where pictures are followed"):
        made_to_follow(pipe, "animatediff", "image")
