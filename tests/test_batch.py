"""Batches: what a job file asks for is made exactly once, whatever goes wrong, and by whatever engine."""

import heapq
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import fsspec
import odd_work
import psutil
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from snippets import ROOT, blocks_of

import motionclone
from motionclone import cli
from motionclone.batch.buckets import storage_at
from motionclone.batch.folder import state_of
from motionclone.batch.jobfile import as_given, read_jobs
from motionclone.batch.pools import Failed, Given, Lost
from motionclone.batch.processes import Processes
from motionclone.batch.rays import Rays
from motionclone.batch.schema import Job, Part, json_schema
from motionclone.batch.shards import shard_of
from motionclone.batch.sharing import MOST_LOSSES, TRIES, share
from motionclone.batch.storage import Folder
from motionclone.cli import batching
from motionclone.cli.batch_times import Work
from motionclone.cli.options import ModelOptions, ReferenceOptions
from motionclone.cli.rows import Rows
from motionclone.errors import InputError
from motionclone.settings import Sampling, preset

QUICK = "{preset: mini-paper, frames: 4, height: 64, width: 64, steps: 2, guided_steps: 1, warm_up: 1, cool_down: 1}"


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# The job file


def test_every_form_says_the_same(tmp_path):
    files = [
        written(
            tmp_path,
            "a.yaml",
            "defaults: {steps: 4, seed: 7}\njobs:\n- {reference: a.mp4, prompts: ['a, b', c], seeds: 2..3}\n"
            "- {motion: m.safetensors, prompt: d}\n",
        ),
        written(
            tmp_path,
            "a.jsonl",
            '{"reference": "a.mp4", "prompts": ["a, b", "c"], "seeds": [2, 3], "steps": 4}\n\n'
            '{"motion": "m.safetensors", "prompt": "d", "steps": 4, "seed": 7}\n',
        ),
        written(
            tmp_path,
            "a.csv",
            "reference,motion,prompt,prompts,seeds,seed,steps\n"
            'a.mp4,,,"[""a, b"", ""c""]",2..3,,4\n,m.safetensors,d,,,7,4\n',
        ),
    ]
    wanted = [{"reference": "a.mp4", "prompt": words, "seed": n, "steps": 4} for words in ("a, b", "c") for n in (2, 3)]
    wanted.append({"motion": "m.safetensors", "prompt": "d", "seed": 7, "steps": 4})
    for path in files:
        jobs = read_jobs(path)
        assert [as_given(job) for job in jobs] == wanted, path
        assert jobs.folder == tmp_path


def test_what_an_entry_says_goes_before_what_all_have(tmp_path):
    text = "defaults: {seeds: 0..9, prompt: x}\njobs:\n- {reference: a}\n- {reference: b, seed: 3, prompts: [y, z]}"
    jobs = read_jobs(written(tmp_path, "a.yaml", text))
    assert [(job.reference, job.prompt, job.seed) for job in jobs] == [
        *(("a", "x", seed) for seed in range(10)),
        *(("b", words, 3) for words in "yz"),
    ]


def test_a_cell_is_a_list_only_where_lists_belong(tmp_path):
    text = 'reference,prompt,blocks,crop\n[1] a.mp4,[star],"[""x"", ""y""]","[0, 0, 0.5, 1]"\na,b,,0 0 0.5 1\n'
    job, other = read_jobs(written(tmp_path, "a.csv", text))
    assert (job.reference, job.prompt, job.blocks) == ("[1] a.mp4", "[star]", ("x", "y"))
    assert job.crop == other.crop == (0, 0, 0.5, 1)


def test_lists_of_any_field_are_combined(tmp_path):
    text = "- {reference: a, prompt: b, each: {weight: [1000, 2000.5], blocks: [[x], [y, z]]}}"
    jobs = read_jobs(written(tmp_path, "a.yaml", text))
    assert [(job.weight, job.blocks) for job in jobs] == [
        *((weight, blocks) for weight in (1000, 2000.5) for blocks in (("x",), ("y", "z")))
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "- {reference: a, prompt: x, seeds: 0..999999999}", "job 1 asks for 1,000,000,000 jobs"),
        ("a.yaml", "- {reference: a, prompt: x, seeds: 0..99999}\n- {reference: a, prompt: y}", "split it"),
        ("a.yaml", "- {reference: a, prompt: x, stepss: 3}", "did you mean steps?"),
        ("a.yaml", "- {reference: a, prompt: x, each: {wieght: [3]}}", "did you mean weight"),
        ("a.yaml", "- {reference: a, prompt: x, each: {weight: [3, -1]}}", "weight: Input should be greater"),
        ("a.yaml", "- {reference: a, prompt: x, seed: 3, seeds: 0..3}", "seed is given twice"),
        ("a.yaml", "- {reference: a, prompt: no}", "prompt: Input should be a valid string"),
        ("a.yaml", "- {prompt: x}", "a job has a reference or a motion"),
        ("a.yaml", "- {motion: a, prompt: x, fps: 3}", "fps is for a reference"),
        ("a.yaml", "- {reference: a, output: ../x}", "output: String should match"),
        ("a.yaml", "- {reference: a, output: .motionclone-x}", "output: String should match"),
        ("a.yaml", f"- {{reference: a, output: {'ä' * 90}}}", "has 150 bytes at most"),
        ("a.yaml", "- {reference: a, steps: 3, steps: 4}", "steps stands there twice"),
        ("a.jsonl", '{"reference": "a", "each": {"k": [1], "k": [2]}}', "k stands there twice"),
        ("a.yaml", "jobs: &a [*a]", "aliases"),
        ("a.yaml", "- !!python/object/apply:os.system [ls]", "tags"),
        ("a.yaml", "[" * 5000, "nest"),
        ("a.yaml", "- {reference: a, seed: " + "9" * 5000 + "}", "digits"),
        ("a.yaml", "- {reference: a, prompt: 'x" + " " * 2**20 + "'}", "more than 1 MB"),
        ("a.yaml", b"- \xff", "no text in UTF-8"),
        ("a.yaml", "", "no job file"),
        ("a.yaml", "[]", "holds no job"),
        ("a.csv", "reference,prompt\na", "line 2 has 1 cells"),
        ("a.csv", "reference,prompt\na,\0", "zero byte"),
        ("a.csv", 'reference,prompt\na,"x', "no CSV"),
        ("a.csv", "reference,reference\na,b", "twice"),
        ("a.jsonl", '{"reference": "a"}\n{"reference": "a\\u0000"}', "line 2: a text in it has a zero byte"),
        ("a.jsonl", "[" * 100_000, "nested too deeply"),
        ("a.jsonl", '{"reference": "a", "seed": ' + "9" * 4000 + "}", "larger than 2^53"),
        ("a.jsonl", '["reference"]', "an object was expected"),
        ("a.json", "{}", "is .yaml, .jsonl or .csv"),
    ],
)
def test_what_is_no_job_is_told_in_a_sentence(tmp_path, name, text, said):
    with pytest.raises(InputError) as refused:
        read_jobs(written(tmp_path, name, text))
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_job_has_every_option_of_the_command_line():
    for options in (ModelOptions, ReferenceOptions):
        for each in fields(options):
            assert Part.model_fields[each.name].default == each.default, each.name
    assert Job.model_validate({"reference": "a", "checkpointing": True, "steps": "3"}).overrides() == {
        "checkpointing": "auto",
        "steps": 3,
    }


def test_the_schema_is_printed(run):
    code, said = run("batch", "--schema")
    assert code == 0
    assert said == json_schema()
    schema = json.loads(said)
    assert schema["$defs"]["Entry"]["additionalProperties"] is False
    assert {"seeds", "each", "guided_steps", "condition_scale"} <= schema["$defs"]["Entry"]["properties"].keys()


def test_shards_are_disjoint_and_together_all():
    jobs = range(103)
    parts = [jobs[shard_of(f"{number}/8")] for number in range(1, 9)]
    assert sorted(job for part in parts for job in part) == list(jobs)
    assert {len(part) for part in parts} == {12, 13}
    for words in ("0/8", "9/8", "1", "1/0", "a/b", "-1/2"):
        with pytest.raises(InputError, match="count from 1"):
            shard_of(words)


def test_the_scripts_of_the_documents_make_every_shard(tmp_path):
    blocks = {block.language: block.text for block in blocks_of(ROOT / "docs" / "batches.md")[-3:-1]}
    assert "#SBATCH" in blocks["sh"]
    written(tmp_path, "slurm.sh", blocks["sh"])
    written(tmp_path, "sky.sh", yaml.safe_load(blocks["yaml"])["run"])
    written(tmp_path, "motionclone", "#!/bin/sh\necho $*\n").chmod(0o755)
    for script, numbers in (
        ("slurm.sh", lambda n: {"SLURM_ARRAY_TASK_ID": n, "SLURM_ARRAY_TASK_COUNT": 8}),
        ("sky.sh", lambda n: {"SKYPILOT_NODE_RANK": n - 1, "SKYPILOT_NUM_NODES": 8}),
    ):
        for number in range(1, 9):
            told = {name: str(value) for name, value in numbers(number).items()}
            path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
            words = ["bash", "-e", tmp_path / script]
            said = subprocess.run(words, env={**told, "PATH": path}, capture_output=True, text=True, check=True).stdout
            assert said.split()[-2:] == ["--shard", f"{number}/8"]


# Who does what


class Clocked:
    """A pool in which time is a number: jobs take what they say, loading another model `load` more; some are lost."""

    def __init__(self, size, load=0.0, lost=lambda job: False):
        self.size, self.load, self.lost = size, load, lost
        self.now, self.busy, self.loads, self.closed = 0.0, 0.0, [], False
        self.ends, self.loaded = [], {}

    def ready(self, worker):
        return True

    def give(self, worker, job):
        number, group, seconds = job
        if self.loaded.get(worker) != group:
            self.loaded[worker] = group
            self.loads.append((worker, group))
            seconds += self.load
        self.busy += seconds
        heapq.heappush(self.ends, (self.now + seconds, worker, number))

    def answers(self, patience):
        self.now, worker, number = heapq.heappop(self.ends)
        if self.lost(number):
            self.loaded.pop(worker)
            return [Lost(worker, "it was killed")]
        return [Given(worker, number)]

    def close(self):
        self.closed = True
        return []


@pytest.mark.parametrize("workers", [1, 10, 100, 1000])
def test_workers_are_kept_at_work_and_a_model_is_loaded_once_by_each(workers):
    chance, models, number = random.Random(0), 7, max(10_000, 100 * workers)
    groups = [chance.randrange(models) for _ in range(number)]
    lengths = [chance.uniform(20, 80) for _ in range(number)]
    pool, done = Clocked(workers, load=30.0), bytearray(number)

    def count(job, value):
        assert job == value
        done[job] += 1

    tracemalloc.start()
    share(groups, pool, lambda job: (job, groups[job], lengths[job]), count)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done == b"\1" * number
    assert pool.closed
    assert pool.busy / (workers * pool.now) > 0.95
    assert len(pool.loads) == len(set(pool.loads))  # of a worker and a model
    assert held < 2**18  # nothing is kept of what is done
    assert most < 2**24


def test_a_job_whose_worker_is_lost_is_done_by_another_and_given_up_in_the_end():
    chance, done = random.Random(1), {}
    tried = {}

    def lost(number):
        tried[number] = tried.get(number, 0) + 1
        return number == 17 or (tried[number] == 1 and chance.random() < 0.3)

    pool = Clocked(4, lost=lost)
    share([0] * 200, pool, lambda job: (job, 0, 1.0), lambda job, value: done.setdefault(job, []).append(value))
    assert done.pop(17) == [Failed("it was killed")]
    assert tried[17] == TRIES
    assert all(values == [job] for job, values in done.items())
    assert len(done) == 199


def test_workers_that_cannot_start_end_the_batch_and_not_every_job():
    failed = []
    with pytest.raises(InputError, match=r"workers end before they do anything \(it was killed\); "):
        share([0] * 1000, Clocked(3, lost=lambda _: True), lambda job: (job, 0, 1.0), lambda *each: failed.append(each))
    assert len(failed) < MOST_LOSSES + 3


def test_few_jobs_are_done_by_as_many_workers_and_it_is_seen_by_which():
    pool, seen = Clocked(8), []
    share([0, 0, 1, 1, 1], pool, lambda job: (job, job > 1, 10.0), lambda *_: None, lambda *each: seen.append(each))
    assert pool.now == 10.0
    assert sorted(worker for worker, _, *step in seen[:5] if step == [0, 0]) == list(range(5))
    assert sorted(job for _, job, *_ in seen[:5]) == list(range(5))


@pytest.fixture(params=["processes", "ray"])
def pool(request, monkeypatch):
    """Two real workers, which do odd work."""
    places = (Path(odd_work.__file__).parent, Path(motionclone.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
    if request.param == "processes":
        return Processes(2, odd_work.setup)
    pytest.importorskip("ray")
    return Rays("local", odd_work.setup, 2)


def living(pids):
    """Zombies, whom nobody may come to bury, are dead."""
    alive = psutil.process_iter(["pid", "status"])
    return [each.info for each in alive if each.info["pid"] in pids and each.info["status"] != psutil.STATUS_ZOMBIE]


def test_real_workers_do_what_can_be_done_and_tell_the_rest(pool):
    children = psutil.Process().children(recursive=True)
    started = {each.pid for each in children if each.name() in ("raylet", "gcs_server")}
    jobs, done = [*range(20), "poison", "bad", *range(22, 30)], {}
    share([0] * len(jobs), pool, jobs.__getitem__, done.__setitem__)
    assert isinstance(done[20], Failed)
    assert "process" in done.pop(20).reason
    assert done.pop(21) == Failed("it is bad")
    assert all(value[0] == number for number, value in done.items())
    assert len(done) == 28
    pids = {value[1] for value in done.values()}
    assert len(pids) > 2  # two of them were lost
    for _ in range(100):  # they are being ended
        if not living(pids | started):
            break
        time.sleep(0.05)
    assert not living(pids | started)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends once it lets go")
def test_a_worker_ends_with_its_parent_even_while_it_loads_a_library(tmp_path):
    places = (Path(odd_work.__file__).parent, Path(motionclone.__file__).parents[1])
    script = (
        "import odd_work as w; from motionclone.batch.processes import Processes as P; p = P(1, w.deaf); p.give(0, 0)"
    )
    script = f"if __name__ == '__main__':\n {script}; import time; time.sleep(60)"
    written(tmp_path, "driver.py", script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    driver = subprocess.Popen([sys.executable, "driver.py"], cwd=tmp_path, env=environment)
    told = tmp_path / "pid"
    while not (told.exists() and told.read_text().endswith("\n")):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    worker, end = int(told.read_text()), time.monotonic() + 20
    while living({worker}) and time.monotonic() < end:
        time.sleep(0.02)
    assert not living({worker})


def test_what_stops_one_worker_stops_all():
    with pytest.raises(InputError, match="no room"):
        share([0] * 100, Processes(2, odd_work.setup), lambda job: "full" if job == 3 else job, lambda *_: None)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("jobs.yaml --ray", "local"),
        ("--ray jobs.yaml", "local"),
        ("jobs.yaml --ray=a:1 --follow", "a:1"),
        ("--ray auto jobs.yaml", "auto"),
        ("jobs.yaml", None),
    ],
)
def test_ray_s_address_may_be_left_out(run, asked, monkeypatch, words, address):
    asked("{reference: tiger.mp4, prompt: a ring}")
    monkeypatch.setattr(batching, "_make", lambda rows, storage, numbers, key, engine, follow: print(engine))
    code, said = run("batch", *words.split())
    assert (code, said) == (0, f"{(None, address, False)}\n")


def test_a_ray_that_has_nothing_to_work_with_is_refused(monkeypatch):
    ended = []
    nothing = {name: lambda *_, **__: {} for name in ("init", "nodes", "cluster_resources")}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(**nothing, shutdown=lambda: ended.append(True)))
    with pytest.raises(InputError, match="Ray at auto has no CPU and no GPU for a worker; start nodes"):
        Rays("auto", odd_work.setup)
    assert ended


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "[::1]:{}", "127.0.0.1:99999999"])
@pytest.mark.parametrize("auto", [False, True])
def test_a_ray_where_nobody_listens_is_refused_before_ray_asks_for_minutes(monkeypatch, address, auto):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())  # which is not asked
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = address.format(nobody.getsockname()[1])
        if auto:
            monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=rf"nobody listens at {re.escape(address)} \(.*\); start a Ray there"):
            Rays("auto" if auto else address, odd_work.setup)


def test_a_batch_whose_ray_is_refused_leaves_nothing(run, asked, tmp_path):
    asked("{reference: tiger.mp4, prompt: a ring}")
    before = {path.name for path in tmp_path.iterdir()}
    code, said = run("batch", "jobs.yaml", "--out-dir", "videos", "--ray=127.0.0.1:99999999")
    assert (code, "nobody listens at 127.0.0.1:99999999" in said) == (2, True)
    assert {path.name for path in tmp_path.rglob("*")} <= before | {"videos"}


def test_ray_that_cannot_be_had_is_told_in_a_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"a batch on Ray needs ray, .* pip install 'motionclone\[ray\]'"):
        Rays("local", odd_work.setup, 2)
    path = written(tmp_path, "a.yaml", "- {reference: a, prompt: b}")
    assert "give --ray" in run("batch", path, "--shared")[1]


def test_a_ray_that_makes_a_ctrl_c_of_every_signal_does_not_change_the_exit_code(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_do", interrupted)
    assert [cli._run([], came) for came in ([], [signal.SIGTERM], [signal.SIGHUP])] == [130, 143, 129]


# Batches of a tiny model


@pytest.fixture
def asked(tmp_path, clip, model, monkeypatch):
    """Write jobs of the tiny model, for a clip; where one is, one works."""
    shutil.copy(clip, tmp_path / "tiger.mp4")
    monkeypatch.chdir(tmp_path)

    def write(*entries, name="jobs.yaml"):
        lines = "".join(f"- {entry}\n" for entry in entries)
        written(tmp_path, name, f"defaults: {QUICK[:-1]}, model: {model}}}\njobs:\n{lines}")
        return name

    return write


def videos(folder):
    """All that are done."""
    return {name: (Path(folder) / name).read_bytes() for name in sorted(state_of(Folder(Path(folder))).done)}


def test_a_batch_is_made_once_and_each_video_as_its_record_says(run, asked, made_here, tmp_path):
    asked(
        "{reference: tiger.mp4, prompts: [a red star, a ring], seeds: 0..1}", "{reference: tiger.mp4, prompt: a ring}"
    )
    code, said = run("batch", "jobs.yaml", "--dry-run")
    assert code == 0, said
    assert "5: 1 the same as others, 4 to be made" in said
    assert "18 forwards, 4 of them guided" in " ".join(said.split())
    assert "known once the first video is done" in said
    assert not (tmp_path / "jobs").exists()
    code, said = run("batch", "jobs.yaml")
    assert code == 0, said
    assert "4 made, 0 there already, 0 failed" in said
    made = videos("jobs")
    assert len(made) == 4
    assert len(list((tmp_path / "jobs" / "motions").iterdir())) == 2  # one of each seed, for both prompts
    code, said = run("batch", "jobs.yaml")
    assert (code, len(made_here)) == (0, 1), said
    assert "0 made, 4 there already" in said
    assert "4 asked for: 4 done, 0 failed, 0 to be made" in run("batch", "status", "jobs")[1]
    first = next(iter(made))
    code, said = run("rerun", f"jobs/{Path(first).stem}.json", "-o", "again.mp4")
    assert code == 0, said
    assert Path("again.mp4").read_bytes() == made[first]
    (tmp_path / "jobs" / first).unlink()
    shutil.rmtree(tmp_path / "jobs" / "motions")
    said = run("batch", "jobs.yaml", "--dry-run")[1]
    assert "for one worker, by 3 of the videos that are there" in " ".join(said.split())
    assert "1 made, 3 there already" in run("batch", "jobs.yaml")[1]
    assert videos("jobs") == made


def test_all_that_decides_a_video_is_in_its_name(asked, tmp_path):
    shutil.copy("tiger.mp4", "lion.mp4")
    asked(
        "{reference: tiger.mp4, prompt: a ring, each: {weight: [1000, 2000], guidance_scale: [3, 4]}}",
        "{reference: tiger.mp4, prompt: a ring, each: {start: [0.0, 0.1], output: [a.mp4, b.gif]}}",
        "{reference: lion.mp4, prompt: a ring, each: {dtype: [float32, bfloat16], prompt_metadata: [true, false]}}",
        "{reference: lion.mp4, prompt: a ring, dtype: float32, output: c.mp4, each: {offload: [none, model]}}",
    )

    def hashes():
        rows = Rows(read_jobs(Path("jobs.yaml")), Folder(tmp_path / "v"))
        return [Path(rows(number).name).stem.rpartition("-")[2] for number in range(14)]

    before = hashes()
    assert len(set(before)) == 12
    assert before[8] == before[12] == before[13]  # whatever it is called, and wherever weights wait
    with Path("lion.mp4").open("ab") as file:
        file.write(b"\0")
    assert [old == new for old, new in zip(before, hashes(), strict=True)] == [True] * 8 + [False] * 6


def test_a_clip_is_read_once_for_the_hashes_of_all_its_jobs(asked, tmp_path, monkeypatch):
    asked("{reference: tiger.mp4, prompts: [a star, a ring], seeds: 0..9}")
    read = []
    monkeypatch.setattr("motionclone.cli.rows._sha256", lambda path: read.append(path.name) or "0" * 64)
    rows = Rows(read_jobs(Path("jobs.yaml")), Folder(tmp_path / "v"))
    assert len({rows(number).name for number in range(20)}) == 20
    assert read == ["tiger.mp4"]


def test_time_is_told_by_what_others_of_the_kind_took(tmp_path):
    def settings(steps, frames=16):
        given = {"steps": steps, "guided_steps": steps // 2, "num_frames": frames}
        return preset("mini-paper").model_copy(update={"sampling": Sampling(**given)})

    for number, seconds in enumerate((10, 16, 1000)):  # of 8 units: four steps, of which two take three times as long
        record = {"settings": settings(4).model_dump(), "seconds": seconds, "job": {"model_options": {"model": "mini"}}}
        written(tmp_path, f"a-{number}.json", json.dumps(record))
    written(tmp_path, "a-3.json", "{}")
    record["settings"] = settings(4, frames=24).model_dump()  # of which nothing is to be made
    written(tmp_path, "a-4.json", json.dumps(record))
    work, videos = Work(), [f"a-{number}.mp4" for number in range(5)]
    assert work.told(Folder(tmp_path), videos) == "nothing to be made"
    for _ in range(100):
        work.add(settings(8), ModelOptions())
    assert work.told(Folder(tmp_path), videos) == "about 53 min for one worker, by 3 of the videos that are there"
    assert work.told(Folder(tmp_path), []).startswith("known once")
    work.add(settings(8, frames=8), ModelOptions())
    assert work.told(Folder(tmp_path), videos).endswith(", and 1 videos of models or sizes that are not there yet")


def test_one_bad_row_fails_alone_and_is_tried_again(run, asked, made_here, tmp_path):
    asked(
        "{reference: gone.mp4, prompt: <b>a ring}", "{reference: tiger.mp4, prompt: a ring, each: {start: [0.0, 99.0]}}"
    )
    code, said = run("batch", "jobs.yaml", "--dry-run")
    assert code == 1
    assert "jobs.yaml, job 1: " in said
    assert "jobs.yaml, job 2: " in said
    code, said = run("batch", "jobs.yaml")
    assert code == 1
    assert "1 made, 0 there already, 2 failed" in said
    errors = {path.name: json.loads(path.read_text()) for path in Path("jobs").glob("*.error.json")}
    assert sorted(each["tries"] for each in errors.values()) == [1, 2]
    assert all(str(tmp_path) not in json.dumps(each) for each in errors.values())
    code, said = run("batch", "status", "jobs")
    assert "3 asked for: 1 done, 2 failed, 0 to be made" in said
    assert "gone.mp4" in said
    page = Path("jobs/index.html").read_text()
    assert "3 videos: 1 done, 2 failed." in page
    assert page.count("<video") == 1
    assert f'<video src="{next(iter(videos("jobs")))}"' in page
    assert "&lt;b&gt;a ring" in page
    assert "<b>a ring" not in page
    assert str(tmp_path) not in page
    shutil.copy("tiger.mp4", "gone.mp4")
    code, said = run("batch", "jobs.yaml", "--follow")
    assert "1 made, 1 there already, 1 failed" in said
    assert len(list(Path("jobs").glob("*.error.json"))) == 1  # the missing clip's has gone


def test_a_batch_stops_when_nothing_more_can_be_written(run, asked, made_here, monkeypatch):
    asked("{reference: tiger.mp4, prompt: a ring, seeds: 0..9}")
    from motionclone.cli import batch_worker

    def full(*_, **__):
        raise InputError("there is no room for it") from OSError(28, "No space left on device")

    monkeypatch.setattr(batch_worker, "write", full)
    with pytest.raises(InputError, match="no room"):
        batching.batch_run(Path("jobs.yaml"))
    assert not list(Path("jobs").glob("*.error.json"))
    assert not list(Path("jobs").glob("*.mp4"))


def test_pictures_and_motions_are_jobs_too(run, asked, made_here, tmp_path, model):
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save("first.png")
    size = ("--frames", 4, "--height", 64, "--width", 64, "--preset", "mini-paper")
    code, said = run("extract", "tiger.mp4", "-o", "m.safetensors", "--model", model, *size)
    assert code == 0, said
    asked(
        "{reference: tiger.mp4, prompt: a ring, image: first.png, seed: 3}",
        "{motion: m.safetensors, prompt: a ring, frames: null, height: null, width: null}",
    )
    code, said = run("batch", "jobs.yaml")
    assert code == 0, said
    record = json.loads(next(Path("jobs").glob("tiger*.json")).read_text())
    assert record["condition"]["source"][0]["name"] == "first.png"
    words = ("--steps", 2, "--guided-steps", 1, "--warm-up", 1, "--cool-down", 1, "--seed", 3)
    code, said = run(
        "clone", "tiger.mp4", "a ring", "-o", "o.mp4", "--image", "first.png", "--model", model, *words, *size
    )
    assert code == 0, said
    assert Path("o.mp4").read_bytes() == next(Path("jobs").glob("tiger*.mp4")).read_bytes()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """What is kept at s3://, by name, in the order in which it was put there."""
    kept = {}

    class Memory(MemoryFileSystem):
        store, pseudo_dirs, cachable = kept, [""], False

    monkeypatch.setattr(fsspec, "url_to_fs", lambda address: (Memory(), address.removeprefix("s3:/")))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return kept


def test_object_storage_holds_what_a_folder_holds(run, asked, made_here, bucket, tmp_path, monkeypatch):
    asked("{reference: tiger.mp4, prompts: [a star, a ring]}", "{reference: gone.mp4, prompt: a ring}")
    assert "1 made" in run("batch", "jobs.yaml", "--shard", "2/3")[1]
    before = {path.name for path in tmp_path.iterdir()}
    there = ("--out-dir", "s3://b/v")
    assert "3: 2 to be made, 1 refused" in run("batch", "jobs.yaml", *there, "--dry-run")[1]
    assert not bucket
    code, said = run("batch", "jobs.yaml", *there)
    assert (code, "2 made, 0 there already, 1 failed; see s3://b/v" in said) == (1, True), said
    names = [name.removeprefix("/b/v/") for name in bucket]
    local = {path.relative_to("jobs").as_posix() for path in Path("jobs").rglob("*") if path.is_file()}
    assert {name for name in local if not name.startswith("batches/")} < set(names)
    for name in filter(state_of(storage_at("s3://b/v")).done.__contains__, names):
        assert names.index(name) < names.index(f"{Path(name).stem}.json")
    (name,) = videos("jobs")
    assert bucket[f"/b/v/{name}"].getvalue() == videos("jobs")[name]
    assert "2 done, 1 failed, 0 to be made" in run("batch", "status", "s3://b/v")[1]
    record, motion = bucket.pop(f"/b/v/{Path(name).stem}.json"), dict(bucket)[next(n for n in bucket if "motions" in n)]
    assert "1 made, 1 there already" in run("batch", "jobs.yaml", *there)[1]
    assert (
        json.loads(bucket[f"/b/v/{Path(name).stem}.json"].getvalue())["output"]
        == json.loads(record.getvalue())["output"]
    )
    assert motion in bucket.values()  # and has not been made again
    assert {path.name for path in tmp_path.iterdir()} == before
    assert not list((tmp_path / "scratch").iterdir())

    def refuse(*_):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
    del bucket[f"/b/v/{name}"]
    with pytest.raises(
        InputError, match=r"s3://b/v cannot be used \(Access Denied\); check address, rights and network"
    ):
        batching.batch_run(Path("jobs.yaml"), out_dir="s3://b/v")
    assert len([name for name in bucket if name.endswith(".error.json")]) == 1
    assert not list((tmp_path / "scratch").iterdir())


def test_only_object_storage_has_an_address():
    assert storage_at("a/b") == Folder(Path("a/b"))
    for place in ("memory://a", "file:///a", "sftp://a/b", "https://a/b"):
        with pytest.raises(InputError, match=r"nowhere that a batch can be kept; give a folder, or object storage"):
            storage_at(place)


def test_only_names_are_read_to_know_what_is_done(tmp_path):
    for number in range(100):
        (tmp_path / f"a-{number:016x}.mp4").symlink_to("nowhere")
        (tmp_path / f"a-{number:016x}{'.error' if number % 2 else ''}.json").symlink_to("nowhere")
    state = state_of(Folder(tmp_path))
    assert state.done == {f"a-{number:016x}.mp4" for number in range(0, 100, 2)}
    assert state.failed == {f"a-{number:016x}" for number in range(1, 100, 2)}


def test_a_worker_is_killed_and_the_batch_stopped_and_nothing_is_lost_or_made_twice(run, asked, request):
    asked("{reference: tiger.mp4, prompts: [a star, a ring], seeds: 0..3}")
    seen = {}

    def disturb():
        while not videos("v"):
            time.sleep(0.02)
        seen["workers"] = multiprocessing.active_children()
        seen["workers"][0].kill()
        seen["before"] = videos("v")
        while len(videos("v")) < 3:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=disturb)
    thread.start()
    code, said = run("batch", "jobs.yaml", "--out-dir", "v", "--workers", "2")
    thread.join()
    assert code == 130, said
    assert not multiprocessing.active_children()
    assert len(seen["workers"]) == 2
    assert seen["before"].items() <= videos("v").items()
    assert {path.suffix for path in Path("v").glob("*.*")} == {".mp4", ".json"}
    assert not list(Path("v").glob(".*"))
    kept = videos("v")
    assert 3 <= len(kept) < 8
    request.getfixturevalue("made_here")
    code, said = run("batch", "jobs.yaml", "--out-dir", "v")
    assert f"{8 - len(kept)} made, {len(kept)} there already, 0 failed" in said
    assert run("batch", "jobs.yaml", "--out-dir", "alone")[0] == 0
    assert videos("alone") == videos("v")
    assert kept.items() <= videos("v").items()
