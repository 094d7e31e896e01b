"""The studio with several workers: a thread and processes, in one line."""

import contextlib
import os
import shutil
import signal
import threading
from functools import partial
from types import SimpleNamespace

import psutil
import pytest
from test_studio import WORDS, asked, wait_for

from motionclone.cloning import Step
from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.studio import elsewhere
from motionclone.studio.desk import Desk
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.store import Store
from motionclone.studio.worker import here

CPU = ModelChoice(device="cpu")


def of_desk(desk, clip, **values):
    more = {"frames": 4}
    return desk.submit(clip, desk.asked(clip, **{"prompt": WORDS, "steps": 2, "seed": 3, "more": more, **values})).id


def test_whoever_is_free_first_takes_what_came_first_and_a_wait_says_so(clip, tmp_path):
    begun, go = [], {"a": threading.Event(), "b": threading.Event()}

    def make(name, entry, folder, heard):
        heard("making the video", Step(1, 2, 500, None) if entry.asked.seed == 0 else None)
        begun.append((name, entry.asked.seed))
        go[name].wait()
        return ""

    before = Store(tmp_path / "studio")
    before.change(before.add(asked(), clip, "reference.mp4", "mini", b"png").id, state="done", seconds=4.0)
    before.close()
    engine = SimpleNamespace(make=partial(make, "a"), called="mini", frames=16)
    desk = Desk(engine, tmp_path / "studio", here(partial(make, "b")))
    wait_for(lambda: desk.workers.size == 2)
    # 4 s of which a half is made, 8 s, 4 s and 4 s: the third waits for the first, the fourth for the third.
    jobs = []
    for seed, steps in enumerate((2, 4, 2, 2, 2)):
        jobs.append(desk.workers.submit(asked(seed=seed, steps=steps), clip, "reference.mp4", "mini", b"png").id)
        wait_for(lambda seed=seed: len(begun) == min(seed + 1, 2))
    assert [desk.wait_of(job) for job in jobs[2:]] == [(2, 2.0), (3, 6.0), (4, 8.0)]
    go["b"].set()
    wait_for(lambda: len(begun) == 5)
    assert begun == [("a", 0), *(("b", seed) for seed in (1, 2, 3, 4))]
    go["a"].set()
    wait_for(lambda: all(desk.told(job)["state"] == "done" for job in jobs))
    desk.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A desk with a worker here and one in a process."""
    further = elsewhere.elsewhere(partial(elsewhere.loaded, CPU), None, 1)
    with contextlib.closing(Desk(load_engine(CPU), tmp_path_factory.mktemp("desk") / "studio", further)) as found:
        wait_for(lambda: found.workers.size == 2)
        yield found
    assert not processes()


def processes():
    children = psutil.Process().children()
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning")
def test_a_job_has_the_same_bytes_whoever_makes_it(desk, clip, tmp_path, run, monkeypatch):
    jobs = [of_desk(desk, clip) for _ in range(2)]
    wait_for(lambda: all(desk.workers.progress(job) for job in jobs))  # both at the same time
    wait_for(lambda: all(desk.told(job)["state"] in ("done", "failed") for job in jobs))
    assert [desk.told(job)["sentence"][:16] for job in jobs] == ["guidance reached"] * 2
    monkeypatch.setattr("motionclone.cli.running.load_model", lambda *_, **__: desk.engine.pipe)
    shutil.copyfile(clip, tmp_path / "reference.mp4")
    options = ("--steps", 2, "--frames", 4, "--seed", 3, "--strength", 1)
    code, said = run("clone", tmp_path / "reference.mp4", WORDS, *options, "-o", tmp_path / "out.mp4")
    assert code == 0, said
    assert [sha256_of(desk.store.place(job) / "out.mp4") for job in jobs] == [sha256_of(tmp_path / "out.mp4")] * 2


def test_a_process_outlives_a_cancellation_and_the_studio_its_process(desk, clip):
    (process,) = processes()
    with desk.engine.at_work:  # so that the worker here waits
        first, second = (of_desk(desk, clip, steps=300) for _ in range(2))
        wait_for(lambda: desk.told(second).get("energies"))
        desk.workers.cancel(second)
        wait_for(lambda: desk.told(second)["state"] != "running")
        assert (desk.told(second)["state"], processes()) == ("cancelled", [process])

        third = of_desk(desk, clip, steps=300)
        wait_for(lambda: desk.told(third).get("step"))
        (desk.store.place(third) / "preview.webp").touch()
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: desk.told(third)["state"] != "running")
        assert desk.told(third)["state"] == "failed"
        told = "its process was ended by signal 9, perhaps for want of memory; make it again."
        assert desk.told(third)["sentence"] == told
        for job in (second, third):
            assert {path.name for path in desk.store.place(job).iterdir()} <= {
                "job.json", "reference.mp4", "poster.png", "motion.safetensors", "seen.mp4", "heat.mp4"
            }  # fmt: skip

        for _ in range(2):  # and one that is ended at rest costs no job
            fourth = of_desk(desk, clip)
            wait_for(lambda job=fourth: desk.told(job)["state"] in ("done", "failed"))
            assert (desk.told(fourth)["state"], desk.told(fourth)["sentence"][:16]) == ("done", "guidance reached")
            os.kill(*processes(), signal.SIGKILL)
        desk.workers.cancel(first)
    wait_for(lambda: desk.told(first)["state"] == "cancelled")


def test_a_worker_that_cannot_begin_leaves_the_jobs_to_others(clip, tmp_path, caplog):
    def without(_):
        raise InputError("there is no such model.")

    engine = SimpleNamespace(make=lambda *_: "made here.", called="mini", frames=16)
    desk = Desk(engine, tmp_path / "studio", without)
    wait_for(lambda: caplog.messages)
    job = desk.workers.submit(asked(), clip, "reference.mp4", "mini", b"png").id
    wait_for(lambda: desk.told(job)["sentence"] == "made here.")
    desk.close()
    assert caplog.messages == ["worker 2 of the studio makes no jobs: there is no such model"]


def test_there_is_a_worker_a_gpu_unless_a_certain_one_is_meant(monkeypatch):
    assert elsewhere.places_of(CPU, None) == ([None], None)
    assert elsewhere.places_of(CPU, 3)[0] == [None] * 3
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    for device in (None, "cuda"):
        assert elsewhere.places_of(ModelChoice(device=device), None) == (["4", "7"], None)
    assert elsewhere.places_of(ModelChoice(), 3) == (["4", "7", "4"], None)
    certain = ModelChoice(device="cuda:1")
    assert len(elsewhere.places_of(certain, None)[0]) == 1
    with pytest.raises(InputError, match=r"each of 2 workers sees its own GPU alone, and device='cuda:1' is a certain"):
        elsewhere.places_of(certain, 2)
