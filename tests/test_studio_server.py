"""The studio's server: its endpoints and tools, what strangers send, and whom it lets in."""

import asyncio
import base64
import contextlib
import gc
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zipfile import ZipFile

import pytest
from hostile import mutated, write_video
from PIL import Image
from snippets import ROOT, blocks_of
from test_studio import WORDS, wait_for
from tiny_transformers import cogvideox

from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.media.reading import clip_size
from motionclone.settings import preset
from motionclone.studio import making
from motionclone.studio.answers import Answers, asked_by
from motionclone.studio.asked import asked_from
from motionclone.studio.bodies import MOST_JSON
from motionclone.studio.desk import Desk
from motionclone.studio.guard import MOST_TRIES, WINDOW, Guard, Tries
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.serving import check_place
from motionclone.studio.store import Store
from motionclone.studio.words import DECIDED, asked_of

sys.path.insert(0, str(ROOT / "benchmarks"))
import studio as benchmark

pytestmark = [
    pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def engine():
    return load_engine(ModelChoice(device="cpu"))


@pytest.fixture(scope="module")
def studio(engine, tmp_path_factory):
    """A studio that is served, with tools: its address, its folder and its desk."""
    pytest.importorskip("gradio", reason="needs motionclone[web]")
    pytest.importorskip("mcp", reason="needs motionclone[mcp]")
    folder = tmp_path_factory.mktemp("served") / "studio"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR"):
            patch.setenv(name, "")
        patch.setattr("gradio.networking.url_ok", lambda url: False)  # as where a machine is at work
        with benchmark.studio(engine, folder, mcp=True) as found:
            yield SimpleNamespace(address=found.address.rstrip("/"), folder=folder, desk=found.desk)
    gc.collect()  # servers and clients leave loops and sockets to it, which is not to be told of another test


@pytest.fixture(scope="module")
def desk(engine, tmp_path_factory):
    with contextlib.closing(Desk(engine, tmp_path_factory.mktemp("desk") / "studio")) as found:
        yield found


def ended(desk, job):
    wait_for(lambda: desk.told(job)["state"] in ("done", "failed"))
    return desk.store.entry(job)


def ask(address, body=None, **headers):
    """Status and content of an answer; of a body that is no bytes, as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(address, data, {"Content-Type": "application/json", **more})) as answer:
            return answer.status, answer.read()
    except HTTPError as refused:
        return refused.code, refused.read()


def call(studio, endpoint, **words):
    """What an endpoint answers, or the sentence with which it refuses."""
    status, told = ask(f"{studio.address}/gradio_api/call/v2/{endpoint}", words)
    if status != 200:
        return json.loads(told)["detail"]
    number = json.loads(told)["event_id"]
    _, told = ask(f"{studio.address}/gradio_api/call/v2/{endpoint}/{number}")
    event, data = (line.partition(": ")[2] for line in told.decode().splitlines()[-3:-1])
    return json.loads(data)["error"] if event == "error" else json.loads(data)[0]


def upload(studio, content, name):
    edge = "edge of a part"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode("utf-8", "surrogateescape") + content + f"\r\n--{edge}--\r\n".encode()
    status, told = ask(
        f"{studio.address}/gradio_api/upload", body, Content_Type=f'multipart/form-data; boundary="{edge}"'
    )
    return json.loads(told)[0] if status == 200 else None


def snippet(word, **replaced):
    (text,) = (block.text for block in blocks_of(ROOT / "docs" / "studio.md") if word in block.text)
    for old, new in {"http://127.0.0.1:7860": "ADDRESS", "strength=1.0": "steps=2, frames=4", **replaced}.items():
        assert old in text or old == "strength=1.0"
        text = text.replace(old, new)
    return text


def test_the_example_over_http_makes_a_video(studio, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(clip, "tiger.mp4")
    exec(snippet("urlopen").replace("ADDRESS", studio.address), {})
    record = json.loads(Path("tiger-record.json").read_text())
    assert record["output"]["sha256"] == sha256_of(Path("tiger-video.mp4"))
    assert record["settings"]["sampling"]["steps"] == 2
    assert Path("tiger-motion.safetensors").is_file()


def test_the_example_with_tools_is_understood(studio):
    exec(
        snippet("mcp.client", **{'"steps": 12': '"steps": 1, "frames": 4'}).replace("ADDRESS", studio.address),
        made := {},
    )
    assert made["tools"] == ["make", "job", "jobs", "cancel", "result", "archive", "scores"]
    assert not made["refused"], made["told"]
    assert "'prompt': 'a green ring'" in made["told"]
    _, refused, told = asyncio.run(made["made"]({"prompt": "a star", "reference": "/etc/passwd"}))
    assert (refused, "a file is given by the path that its upload answered" in told) == (True, True)
    described = json.loads(ask(f"{studio.address}/gradio_api/mcp/schema")[1])
    (make,) = (tool for tool in described if tool["name"] == "make")
    assert "POST it as form field" in make["description"]
    assert make["inputSchema"]["required"] == ["prompt"]
    assert all(about.get("description") for about in make["inputSchema"]["properties"].values())


def test_a_job_has_the_words_of_the_schema(desk, clip):
    base = preset("mini")
    asked = asked_of(
        {"prompt": WORDS, "reference": "a.mp4", "steps": 12, "weight": 500.0, "start": 0.5, "k": None}, base
    )
    assert asked == {"prompt": WORDS, "steps": 12, "start": 0.5, "more": {"weight": 500.0}}
    settings = desk.asked(clip, **asked).settings(base)
    assert settings == base.changed({"sampling.steps": 12, "guidance.weight": 500.0})
    assert (settings.guidance.strength, settings.guidance.weight, settings.sampling.guided_steps) == (None, 500, 6)
    for words, said in (
        ({"guidance": 3}, "guidance: Extra inputs are not permitted; did you mean "),
        ({"steps": 0}, "steps: Input should be greater than or equal to 1."),
        ({"blocks": 3}, "blocks: Input should be a valid tuple."),
        ({"frames": 200}, "frames x height x width are 819,200 pixels, more than 8 times the 65,536 that this"),
        *(({name: "x"}, f"{name} is not for a job of the studio, which is started with it; leave") for name in DECIDED),
    ):
        with pytest.raises(InputError) as refused:
            asked_of({"prompt": WORDS, **words}, base)
        assert str(refused.value).startswith(said)


def test_a_job_is_the_clone_of_the_command_line(desk, clip, tmp_path, run, monkeypatch, capfd):
    monkeypatch.setattr("motionclone.cli.running.load_model", lambda *_, **__: desk.engine.pipe)
    words = {
        "prompt": WORDS,
        "reference": "a.mp4",
        "steps": 2,
        "frames": 4,
        "fps": 6.0,
        "seed": 2**62 + 1,
        "end": 0.8,
        "guidance_scale": 4.0,
    }
    entry = desk.submit(clip, desk.asked(clip, **asked_of(words, desk.engine.base)))
    assert (ended(desk, entry.id).state, desk.store.entry(entry.id).sentence[:16]) == ("done", "guidance reached")
    reference = tmp_path / "reference.mp4"
    shutil.copyfile(clip, reference)
    options = ("--steps", 2, "--frames", 4, "--fps", 6, "--seed", 2**62 + 1, "--end", 0.8, "--guidance-scale", 4)
    code, said = run("clone", reference, WORDS, *options, "--strength", 1, "--compare", "-o", tmp_path / "out.mp4")
    assert code == 0, said
    for name in ("out.mp4", "out-compare.mp4"):
        assert sha256_of(desk.store.place(entry.id) / name) == sha256_of(tmp_path / name)
    # Edit gives the page all of it but what it has no control for, and it asks for the same.
    _, _, *controls, _, _ = Answers(desk).reuse(entry.id)
    asked, picture = asked_by(controls, desk.engine)
    del words["guidance_scale"]
    assert desk.asked(clip, **asked) == desk.asked(clip, **asked_of(words, desk.engine.base))
    assert (picture, asked["seed"]) == (None, str(2**62 + 1))
    assert capfd.readouterr().out.count("guidance_scale 4.0, which the page has no controls for") == 1
    with pytest.raises(InputError, match=r"11 frames are needed, but reference\.mp4 between"):
        desk.look(reference, desk.asked(clip, prompt=WORDS, steps=2, more={"frames": 11}))
    motion = desk.results(entry.id)["motion"]
    with pytest.raises(InputError, match="taken as it is: this one is of 4 frames, and 5 were asked for; ask for as"):
        desk.look(motion, desk.asked(motion, prompt=WORDS, steps=2, more={"frames": 5}))


def test_previews_scores_a_zip_and_stars(desk, clip, monkeypatch):
    monkeypatch.setattr("motionclone.studio.previews.SHARE", 1.0)
    seen = []
    heard = desk.workers._heard

    def hear(job, part, step):
        heard(job, part, step)
        if step is not None and (picture := desk.store.place(entry.id) / "preview.webp").is_file():
            seen.append(Image.open(picture).size)

    monkeypatch.setattr(desk.workers, "_heard", hear)
    entry = desk.store.add(
        desk.asked(clip, prompt=WORDS, steps=3, unguided=True, more={"frames": 4}),
        clip,
        "reference.mp4",
        desk.engine.called,
        b"png",
    )
    with pytest.raises(InputError, match=r"this video is not made: it is (waiting|running); ask for its state"):
        desk.scores_of(entry.id)
    with desk.workers._news:
        desk.workers._news.notify_all()
    assert ended(desk, entry.id).state == "done"
    assert seen[0] == (512, 512)  # two rows of two frames, enlarged from 64
    place = desk.store.place(entry.id)
    assert not list(place.glob("*preview*"))
    assert desk.star(entry.id, True).chosen
    scores = desk.scores_of(entry.id)
    assert scores == json.loads((place / "scores.json").read_text())
    assert scores["scores"].keys() == scores["unguided"].keys() >= {"motion_fidelity"}
    with ZipFile(desk.zip_of(entry.id)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(
            f"a-red-star-on-blue-waves{end}"
            for end in (".mp4", ".json", "-motion.safetensors", "-comparison.mp4", "-unguided.mp4", "-scores.json")
        )
    assert [path.name for path in desk.store.jobs.iterdir() if path.name.startswith(".")] == []


def test_a_sheet_is_one_job(desk, clip):
    asked = desk.asked(clip, prompt=WORDS, steps=2, strengths=[0, 1], seeds=[3], more={"frames": 4})
    assert desk.foretell(asked).startswith("2 videos; 4 frames")
    entry = ended(desk, desk.submit(clip, asked).id)
    assert entry.state == "done", entry.sentence
    found = desk.results(entry.id)
    assert found.keys() == {"video", "record"}
    assert clip_size(found["video"])[0] == 4
    cells = json.loads(found["record"].read_text())["sheet"]
    assert [(cell["strength"], cell["seed"], len(cell["energies"])) for cell in cells] == [(0, 3, 0), (1, 3, 1)]
    assert Answers(desk).reuse(entry.id)[-2:] == ["0, 1", "3"]
    with pytest.raises(InputError, match="a sheet has no scores; make the video of it that you like"):
        desk.scores_of(entry.id)
    for strengths, seeds_, said in (
        ([1], [], "a sheet has strengths and seeds; give both"),
        ([0.1] * 9, [1] * 8, "a sheet has 64 videos at most, not 72; ask for fewer"),
        ([float("nan")], [1], r"strengths\.0: Input should be a finite number"),
    ):
        with pytest.raises(InputError, match=said):
            desk.asked(clip, prompt=WORDS, steps=1, strengths=strengths, seeds=seeds_)


QUICK = {"steps": 1, "frames": 4}  # the quickest job
FILE = {"meta": {"_type": "gradio.FileData"}}


def test_only_uploads_are_files(studio, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"a secret")
    kept = Path(upload(studio, b"no clip", "tiger.mp4"))
    (kept.parent / "link.mp4").symlink_to(secret)
    for given in (str(secret), str(kept.parent / ".." / ".." / ".lock"), str(kept.parent), "", "/dev/zero", 3, [3]):
        told = call(studio, "make", prompt=WORDS, reference=given)
        assert "a file is given by the path that its upload answered" in told or given == ""
    assert "a file is given by the path" in call(studio, "make", prompt=WORDS, reference=str(kept.parent / "link.mp4"))
    outside = "files are uploaded: a path of this machine, or an address, is not taken."
    for path in (
        str(secret),
        "http://127.0.0.1:1/a.mp4",
        "https://example.org/a.mp4",
        "file:///etc/passwd",
        "a.mp4",
        "\0",
    ):
        assert call(studio, "make", prompt=WORDS, reference={"path": path, **FILE}) == outside
        page = {"data": [{"path": path, **FILE}], "fn_index": 0, "session_hash": "x"}
        tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": page["data"][0]}}
        for place, body in (("queue/join", page), ("run/predict", page), ("mcp/", tool)):
            status, told = ask(f"{studio.address}/gradio_api/{place}", body)
            assert (status, json.loads(told)["detail"]) == (403, outside)


def test_what_nobody_can_mean_is_answered_in_a_sentence(studio):
    make, queue = "gradio_api/call/v2/make", "gradio_api/queue/join"
    for words, said in (
        ({"steps": 10**400}, "steps: "),
        ({"steps": float("nan")}, "steps: Input should be a finite number"),
        ({"strength": "much"}, "strength: Input should be a valid number"),
        ({"prompt": ["a"]}, "prompt: Input should be a valid string"),
        ({"prompt": "x" * 30_000}, "a text has 30,000 characters"),
        ({"stepz": 3}, "Parameter `stepz` is not a valid key-word argument"),
        ({"end": -1}, "end: Input should be greater than 0"),
        ({"example": "x"}, "there is no example 'x'"),
        ({"strengths": [1e400], "seeds": [0]}, "strengths.0: Input should be a finite number"),
    ):
        assert said in call(studio, "make", **{"prompt": WORDS, "example": "There and back", **words})
    for identity in ("../..", {"a": 1}, None, 3, "x" * 10_000, "a\0b"):
        assert call(studio, "job", id=identity) == "there is no such job here, or no more; choose one of the history."
    for place, body, status in (
        (make, b"{", 400), (make, b"[" * 50_000, 400), (make, b"[1]", 422), ("gradio_api/call/v2/x", b"{}", 400),
        (queue, b"{}", 422), (queue, b'{"data": 3, "fn_index": 1e99}', 422), (make, b"1" * (MOST_JSON + 1), 413),
    ):  # fmt: skip
        assert ask(f"{studio.address}/{place}", body)[0] == status


def test_hostile_uploads_end_in_a_sentence_and_the_next_job_is_made(studio, clip, tmp_path):
    names = (
        "../../a.mp4",
        "a\0b.mp4",
        "x" * 300 + ".mp4",
        "..",
        "CON",
        "ä\u202e4pm.mp4",
        '".mp4',
        "a.svg",
        "-rf *.mp4",
    )
    kept = [upload(studio, b"<svg onload=alert(1)>", name) for name in names]
    inside = [Path(path) for path in kept if path is not None]
    assert len(inside) > 5
    assert all(path.is_relative_to(studio.folder / "uploads") and len(path.parts[-1].encode()) < 256 for path in inside)
    jobs = []
    for number, (name, codec) in enumerate(
        (("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.mov", "mjpeg"), ("a.ts", "libx264"))
    ):
        write_video(tmp_path / name, codec, None)
        kept.append(upload(studio, mutated((tmp_path / name).read_bytes(), number)[1], name))
    for path in kept:
        if path is not None:
            told = call(studio, "make", prompt=WORDS, reference=path, **QUICK)
            jobs += [told["id"]] if isinstance(told, dict) else []
            assert isinstance(told, dict) or (len(told) > 20 and str(studio.folder) not in told), told
    good = {"path": upload(studio, clip.read_bytes(), "a.mp4"), **FILE}
    last = call(studio, "make", prompt=WORDS, reference=good, **QUICK)
    wait_for(lambda: call(studio, "job", id=last["id"])["state"] == "done")
    for job in jobs:
        told = call(studio, "job", id=job)
        assert told["state"] == "done" or (told["state"] == "failed" and len(told["sentence"]) > 20)
    (shown,) = (path for path in inside if path.name == "a.svg")
    with urlopen(f"{studio.address}/gradio_api/file={shown}") as answer:  # it may not act as a page of ours
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-security-policy"].endswith("; sandbox")


def test_what_gradio_serves_besides_is_closed(studio):
    address = f"{studio.address}/gradio_api"
    with urlopen(studio.address) as page:
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    for path in (
        "file=/etc/passwd", f"file={studio.folder}/.lock", "file=http%3A//127.0.0.1/", "file=https://example.org/",
        "proxy=https://x.hf.space/", "dev/reload", "runs", "deep_link?session_hash=x", "profiling/traces",
        "custom_component/a/client/b/c", "stream/a/b/c/d.ts",
    ):  # fmt: skip
        assert ask(f"{address}/{path}")[0] == 403, path
    for path in ("monitoring", "monitoring/summary", "monitoring/key"):
        assert ask(f"{studio.address}/{path}")[0] == 403, path
    for path in ("vibe-edit", "process_recording", "run-history/connect"):
        assert ask(f"{address}/{path}", {})[0] == 403, path
    assert ask(f"{studio.address}/openapi.json")[0] == 404
    for headers in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ):  # fmt: skip
        assert ask(f"{address}/info", **headers)[0] == 403, headers
    assert ask(studio.address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200  # a link to it


def answered(guard, path, method="GET", kind="http", **headers):
    """Status of an answer of a guard; of a socket, that it is closed."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    app = SimpleNamespace(tokens={"known": "studio"}, cookie_id="x")
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "app": app, "path": path, "method": method, "headers": raw, "client": ("10.0.0.9", 1)}
    asyncio.run(guard(scope, receive, send))
    return sent[0].get("status") or sent[0]["type"]


def test_without_the_password_there_is_nothing_but_the_question(tmp_path):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 400 if scope["path"] == "/login" else 200})

    guard = Guard(app, tmp_path, False, "correct horse")
    secret = (
        "info", "config", "queue/data", "heartbeat/x", "cancel", "reset", "user", "app_id", "mcp/", "mcp/schema",
        "mcp/sse", "mcp/messages/", "upload", "stream/x", "file=a", "call/make", "run/make", "token",
    )  # fmt: skip
    for path in ("/config", "/openapi.json", "/monitoring/x", *(f"/gradio_api/{each}" for each in secret)):
        assert answered(guard, path) in (401, 403), path
        assert answered(guard, path, cookie="access-token-x=guessed") in (401, 403), path
    assert {answered(guard, path) for path in ("/", "/assets/a.js", "/theme.css", "/gradio_api/startup-events")} == {
        200
    }
    assert answered(guard, "/", kind="websocket", cookie="access-token-x=known") == "websocket.close"
    basic = base64.b64encode(b"studio:correct horse").decode()
    for known in (
        {"authorization": f"Basic {basic}"},
        {"authorization": "Bearer correct horse"},
        {"cookie": "access-token-x=known"},
    ):
        assert answered(guard, "/gradio_api/info", **known) == 200
    for wrong in (
        "Basic !",
        "Basic " + base64.b64encode(b"root:correct horse").decode(),
        "Bearer ",
        "",
        "Bearer correct hors\u00e9",
    ):
        assert answered(guard, "/gradio_api/info", authorization=wrong) == 401
    for _ in range(MOST_TRIES - 5):
        assert answered(guard, "/login", "POST", content_length="0") == 400
    assert answered(guard, "/login", "POST", content_length="0") == 429  # not even the right one is looked at
    assert answered(guard, "/gradio_api/info", authorization="Bearer correct horse") == 429
    assert answered(guard, "/gradio_api/info", cookie="access-token-x=known") == 200


def test_the_line_keeps_its_order_when_the_clock_is_put_back(tmp_path, clip, monkeypatch):
    store, asked = Store(tmp_path / "studio"), asked_from(clip="a.mp4", prompt=WORDS, steps=1)
    jobs = []
    for now in (2e9, 1e9, 1e9, 2e9):
        monkeypatch.setattr("motionclone.studio.store.time.time", lambda now=now: now)
        jobs.append(store.add(asked, clip, "reference.mp4", "mini", b"png").id)
    (store.jobs / jobs[0] / ".motionclone-8577e4edc27f-0.json").touch()  # as a kill leaves it, with its lock
    for name in (".motionclone-8577e4edc27f.lock", ".stop", ".preview.webp"):
        (store.jobs / jobs[0] / name).touch()
    (store.jobs / ".new-0123").touch()
    store.close()
    again = Store(tmp_path / "studio")
    assert [entry.id for entry in again.entries()] == jobs
    assert {path.name for path in (again.jobs / jobs[0]).iterdir()} == {"job.json", "reference.mp4", "poster.png"}
    assert {path.name for path in again.jobs.iterdir()} == set(jobs)
    again.close()


def test_there_is_no_link_for_the_world_nor_a_studio_that_makes_nothing(run):
    code, said = run("studio", "--workers", 0)
    assert (code, "--workers must be 1 to 100, got 0." in said) == (2, True)
    code, said = run("studio", "--share")
    assert code == 2
    assert "--share is not to be had: such a link leads from the whole internet to this machine" in said


def test_tries_are_forgotten_after_a_while():
    now = [0.0]
    tries = Tries(lambda: now[0])
    for _ in range(MOST_TRIES):
        assert not tries.too_many("a")
        tries.note("a")
    assert tries.too_many("a")
    assert not tries.too_many("b")
    now[0] = WINDOW + 1
    assert not tries.too_many("a")


def test_several_people_are_served_in_the_order_in_which_they_came(studio, monkeypatch):
    monkeypatch.setattr(making.Engine, "_make", lambda _, *job: benchmark.make_quickly(0.01, *job))
    found = benchmark.load(f"{studio.address}/", studio.desk, clients=3, jobs=12)  # which asserts that, and more
    assert len(found["memory_mb"]) == 4


def test_places_that_cannot_be_listened_at_are_refused_at_once():
    check_place("127.0.0.1", None)
    check_place("localhost", 65535)
    for port in (-5, 0, 65536):
        with pytest.raises(InputError, match=f"a port is 1 to 65535, got {port}"):
            check_place("127.0.0.1", port)
    for host in ("203.0.113.1", "nonsense.invalid", "a" * 70 + ".b", "http://x"):
        with pytest.raises(InputError, match=f"{host} is no address of this machine"):
            check_place(host, None)


def test_numbers_of_frames_to_choose_from_are_those_that_the_model_makes(engine):
    assert (engine.frames, engine.counts) == (16, list(range(2, 33)))  # its motion modules know 32 positions
    other = replace(engine, pipe=cogvideox(), base=preset("camera"))
    assert (other.frames, other.counts) == (17, list(range(5, 8 * 17 + 1, 4)))
