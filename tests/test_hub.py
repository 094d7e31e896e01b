"""The hub: what is fetched of a repository, at which revision, what is kept of that, and what if it is out of reach."""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from motionclone import hub as hub_module
from motionclone.errors import InputError
from motionclone.hub import HubPlace, fetch
from motionclone.models import ModelDescription, load_pipeline
from motionclone.models.known import MINI
from motionclone.motion import LARGEST_FILE, MOTION_FILE, Motion, SparseMap, load_motion, top_k

COMMIT, OLDER = "a" * 40, "b" * 40
REVISIONS = {"main": COMMIT, "v1": OLDER, COMMIT: COMMIT, OLDER: OLDER}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as fetching takes: what a revision is, which files it has, and the files."""

    root: ClassVar[Path]
    repositories: ClassVar[dict[str, Path]] = {}
    revisions: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []
    pushed: ClassVar[list[dict[str, object]]] = []
    user: ClassVar[str | None] = "somebody"

    def do_POST(self) -> None:
        """As much as pushing takes: who one is, a new repository, a branch, and a commit of files in one piece."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.strip("/").split("/")
        lines = [json.loads(line) for line in body.splitlines() if line]
        if parts[1:] == ["repos", "create"]:
            name = f"{self.user}/{lines[0]['name']}"
            self.pushed.append({"made": name, "private": lines[0].get("visibility") == "private"})
            self.repositories.setdefault(name, self.root / name).mkdir(parents=True, exist_ok=True)
            self._json({"url": f"https://huggingface.co/{name}"})
        elif parts[1:] == ["validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif parts[4] == "branch":
            self.revisions.setdefault(parts[5], COMMIT)
            self._json({})
        elif parts[4] == "preupload":
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in lines[0]["files"]]
            self._json({"files": files})
        else:  # commit
            name = "/".join(parts[2:4])
            files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
            for file, content in files.items():
                (self.repositories[name] / file).write_bytes(base64.b64decode(content))
            self.pushed.append({"to": name, "branch": parts[5], "files": sorted(files)})
            address = f"https://huggingface.co/{name}/commit/{COMMIT}"
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": address, "hookOutput": ""})

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            self._json({"name": self.user, "type": "user"})
            return
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        folder = self.repositories.get(name)
        rest = path.partition(name)[2].strip("/").split("/")
        if folder is None or (len(rest) > 1 and rest[1] not in self.revisions):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound" if folder else "RepoNotFound"})
        elif rest[0] in ("", "revision"):
            commit = self.revisions[rest[1] if len(rest) > 1 else "main"]
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            siblings = [{"rfilename": str(each.relative_to(folder)), "size": each.stat().st_size} for each in files]
            self._json({"id": name, "sha": commit, "siblings": siblings})
        elif rest[0] == "tree":
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            self._json(
                [
                    {
                        "type": "file",
                        "path": str(path.relative_to(folder)),
                        "size": path.stat().st_size,
                        "oid": _hash(path),
                    }
                    for path in files
                ]
            )
        else:  # resolve
            file = folder.joinpath(*rest[2:])
            if not file.is_file():
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            headers = {"X-Repo-Commit": self.revisions[rest[1]], "ETag": f'"{_hash(file)}"'}
            self._answer(200, file.read_bytes(), headers)

    do_HEAD = do_GET  # noqa: N815

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _hash(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(hub_module, "_silent_since", -hub_module.PAUSE)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    Hub.repositories, Hub.asked = {"mini/base": MINI / "base", "mini/adapter": MINI / "motion_adapter"}, []
    Hub.root, Hub.pushed, Hub.revisions = cache.parent / "hub", [], dict(REVISIONS)
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: "hf_none")
    yield Hub
    server.shutdown()
    server.server_close()


def test_a_model_of_the_hub_is_what_is_here_at_the_revision_that_was_asked_for(hub: type[Hub], cache: Path) -> None:
    pipe = load_pipeline(ModelDescription(base="mini/base", motion_adapter="mini/adapter@v1"), device="cpu")
    assert pipe.config["_motionclone_sources"] == {
        "base": f"mini/base@{COMMIT}",
        "motion_adapter": f"mini/adapter@{OLDER}",
    }
    bundled = load_pipeline(MINI, device="cpu")
    for name, tensor in bundled.unet.state_dict().items():
        assert torch.equal(pipe.unet.state_dict()[name], tensor)


def test_only_what_is_needed_comes_and_no_pickles_unless_asked(hub: type[Hub], cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "config.json").write_bytes((MINI / "motion_adapter" / "config.json").read_bytes())
    for name in ("model.py", "diffusion_pytorch_model.fp16.safetensors", "README.md"):
        (folder / name).write_text("not needed")
    weights = load_file(MINI / "motion_adapter" / "diffusion_pytorch_model.safetensors")
    torch.save(weights, folder / "diffusion_pytorch_model.bin")
    hub.repositories["mini/pickled"] = folder
    description = ModelDescription(base=str(MINI / "base"), motion_adapter="mini/pickled")
    with pytest.raises(InputError, match=r"has no weights; diffusion_pytorch_model\.safetensors was expected"):
        load_pipeline(description, device="cpu")
    assert {path.name for path in cache.rglob("snapshots/*/*")} == {"config.json"}
    pipe = load_pipeline(description, device="cpu", pickled=True)
    assert {path.name for path in cache.rglob("snapshots/*/*")} == {"config.json", "diffusion_pytorch_model.bin"}
    for name, tensor in weights.items():
        assert torch.equal(pipe.unet.state_dict()[name], tensor)


def test_what_is_here_is_used_without_the_hub(hub: type[Hub], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["config.json"]
    first = fetch(HubPlace("mini/adapter", "v1"), files)
    assert first.name == OLDER
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert fetch(HubPlace("mini/adapter", "v1"), files) == first
    assert fetch(HubPlace("mini/adapter", OLDER), files) == first
    assert not hub.asked
    with pytest.raises(InputError, match=r"mini/adapter@main .*could not be fetched .*HF_HUB_OFFLINE is set"):
        fetch(HubPlace("mini/adapter", "main"), files)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("mini/nothing", r"mini/nothing is no folder here .*there is none of that id, or it is private.*hf auth login"),
        ("mini/base@v2", r"mini/base has no revision v2 on the hub; give another one behind the @\."),
    ],
)
def test_what_the_hub_does_not_have(hub: type[Hub], cache: Path, place: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_pipeline(place, device="cpu")
    assert not cache.exists()


def test_a_hub_that_does_not_answer_is_told_in_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and is silent; or its name leads nowhere, for as long as one likes to wait."""
    monkeypatch.setattr(hub_module, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(InputError, match=r"nobody/nothing .*could not be fetched .*download it elsewhere"):
            load_pipeline("nobody/nothing", device="cpu")
    asked, never = [], threading.Event()

    def model_info(*_: object, **__: object) -> None:
        asked.append(1)
        never.wait(20)

    monkeypatch.setattr(hub_module, "_silent_since", -hub_module.PAUSE)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    for _ in range(5):  # as many parts as a model may have: the first is waited for
        with pytest.raises(InputError, match="it does not answer"):
            load_pipeline(f"nobody/nothing@{COMMIT}", device="cpu")
    never.set()
    assert len(asked) == 1
    assert not cache.exists()


def motion() -> Motion:
    weights = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    about = {"model": "/home/me/models/fox", "seed": 3, "num_frames": 4, "size": (16, 24)}
    source = {"name": "tiger.mp4", "path": "/home/me/private/tiger.mp4", "fps": 12.5}
    return Motion({"up.attn1": top_k(weights, 1)}, {"up.attn1": (4, 2, 3)}, {**about, "source": source})


def same(one: Motion, other: Motion) -> bool:
    pairs = zip(one.maps.values(), other.maps.values(), strict=True)
    return one.grid == other.grid and all(
        torch.equal(a.values.half(), b.values.half()) and torch.equal(a.indices, b.indices) for a, b in pairs
    )


def test_a_motion_goes_to_the_hub_and_comes_back(hub: type[Hub], cache: Path, run, tmp_path: Path) -> None:
    ours = motion()
    assert ours.push_to_hub("somebody/tiger", private=True) == f"https://huggingface.co/somebody/tiger/commit/{COMMIT}"
    assert hub.pushed == [
        {"made": "somebody/tiger", "private": True},
        {"to": "somebody/tiger", "branch": "main", "files": ["README.md", MOTION_FILE]},
    ]
    for place in (lambda: load_motion("somebody/tiger"), lambda: Motion.from_pretrained(f"somebody/tiger@{COMMIT}")):
        found = place()
        assert same(found, ours)
        assert (found.record.model, found.record.source.name, found.record.seed) == ("fox", "tiger.mp4", 3)
    folder = hub.repositories["somebody/tiger"]
    assert not any(b"/home/me" in file.read_bytes() for file in folder.iterdir())
    assert {path.name for path in cache.rglob("snapshots/*/*")} == {MOTION_FILE}
    (folder / "README.md").write_text("mine")
    ours.save(tmp_path / "m.safetensors")
    code, said = run("push", tmp_path / "m.safetensors", "somebody/tiger", "--revision", "fast")
    assert (code, hub.pushed[-1]) == (0, {"to": "somebody/tiger", "branch": "fast", "files": [MOTION_FILE]})
    assert f"https://huggingface.co/somebody/tiger/commit/{COMMIT}" in said
    assert (folder / "README.md").read_text() == "mine"
    assert same(load_motion("somebody/tiger", revision="fast"), ours)
    code, said = run("inspect", "somebody/tiger")
    assert code == 0
    assert "tiger.mp4" in said


def test_what_the_hub_does_not_have_of_a_motion(hub: type[Hub], cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mini/adapter holds no motion\.safetensors; give a motion file"):
        load_motion("mini/adapter")
    with pytest.raises(InputError, match=r"mini/nothing is no folder here .*there is none of that id"):
        load_motion("mini/nothing")
    with pytest.raises(InputError, match=r"mini/base has no revision v2 on the hub"):
        load_motion("mini/base", revision="v2")
    with pytest.raises(InputError, match="another was given; leave one of them out"):
        load_motion("mini/base@v1", revision="v1")
    with pytest.raises(InputError, match="only those have revisions"):
        load_motion(tmp_path, revision="v1")
    with (tmp_path / MOTION_FILE).open("wb") as huge:
        huge.truncate(LARGEST_FILE + 1)
    hub.repositories["mini/huge"] = tmp_path
    with pytest.raises(InputError, match=r"motion\.safetensors has 1,073,741,825 bytes and at most 1,073,741,824 make"):
        load_motion("mini/huge")
    assert not list(cache.rglob("blobs/*"))


def test_what_cannot_be_pushed_is_one_sentence(hub: type[Hub], run, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("tiger", "a/b@c@d", ""):
        with pytest.raises(InputError, match="is no id of a repository and one branch; give user/name"):
            motion().push_to_hub(place)
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    with pytest.raises(InputError, match=r"\(nobody is logged in\); log in with `hf auth login`\."):
        motion().push_to_hub("somebody/tiger")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"somebody/tiger could not be written .*HF_HUB_OFFLINE is set"):
        motion().push_to_hub("somebody/tiger")
    code, said = run("generate", "somebody/tiger", "a fox", "-o", "out.mp4")
    assert code == 2
    assert said.count("\n") == 1
    assert "HF_HUB_OFFLINE is set" in said
    assert hub.pushed == []


def test_a_folder_holds_a_motion_as_it_does_a_model(tmp_path: Path) -> None:
    ours = motion()
    ours.save_pretrained(tmp_path / "new" / "tiger")
    for found in (Motion.from_pretrained(tmp_path / "new" / "tiger"), load_motion(str(tmp_path / "new" / "tiger"))):
        assert same(found, ours)
        assert found.record.source.path == "/home/me/private/tiger.mp4"  # nobody else's
    with pytest.raises(InputError, match="exists"):
        ours.save_pretrained(tmp_path / "new" / "tiger")
    ours.save_pretrained(tmp_path / "new" / "tiger", overwrite=True)


def test_a_motion_goes_to_another_type_and_device() -> None:
    ours = motion()
    for moved in (ours.to(torch.float64), ours.to("cpu", torch.float64), ours.to(device="cpu", dtype=torch.float64)):
        kept = moved.maps["up.attn1"]
        assert (kept.values.dtype, kept.indices.dtype) == (torch.float64, torch.uint8)
        assert torch.equal(kept.values.float(), ours.maps["up.attn1"].values)
    there = ours.to("meta").maps["up.attn1"]
    assert (there.values.device.type, there.indices.device.type) == ("meta", "meta")
    with pytest.raises(InputError, match=r"floating point, not torch\.int32"):
        ours.to(torch.int32)
    assert repr(ours) == "Motion(4 frames of 24x16 of 'tiger.mp4', k 1 at 1 sites of '/home/me/models/fox')"
    assert repr(SparseMap(torch.zeros(6, 2, 4, 1), torch.zeros(6, 2, 4, 1))) == (
        "SparseMap((6, 2, 4, 1), torch.float32, on cpu)"
    )
