"""The hub: what is fetched of a repository, at which revision, what is kept of that, and what if it is out of reach."""

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

from motionclone.errors import InputError
from motionclone.models import ModelDescription, load_pipeline
from motionclone.models import hub as hub_module
from motionclone.models.hub import HubPlace, fetch
from motionclone.models.known import MINI

COMMIT, OLDER = "a" * 40, "b" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as fetching takes: what a revision is, which files it has, and the files."""

    repositories: ClassVar[dict[str, Path]] = {}
    revisions: ClassVar[dict[str, str]] = {"main": COMMIT, "v1": OLDER, COMMIT: COMMIT, OLDER: OLDER}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        folder = self.repositories.get(name)
        rest = path.partition(name)[2].strip("/").split("/")
        if folder is None or (len(rest) > 1 and rest[1] not in self.revisions):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound" if folder else "RepoNotFound"})
        elif rest[0] in ("", "revision"):
            commit = self.revisions[rest[1] if len(rest) > 1 else "main"]
            self._json({"id": name, "sha": commit, "siblings": []})
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
        if self.command == "GET":
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
