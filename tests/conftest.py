import json
import os
import signal
import sys

import av
import numpy as np
import pytest
import torch
from tiny import fill, tiny_adapter, tiny_control, tiny_pipe, tiny_unet
from transformers import CLIPTokenizer

from motionclone import cli
from motionclone.batch.pools import Given
from motionclone.cli import batching

# A shell that runs the tests in the background has them ignore some signals, and with them all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Threads change the order of summation, and so the rounding: `make parity` tries two.
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items):
    """A file's tests run in one process, which makes its fixtures once; the matrix, the longest by far, by family."""
    for item in items:
        family = getattr(item, "callspec", None) and item.callspec.params.get("plain")
        item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{family}" if family else item.path.stem))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What runs remember of where things lie is not the user's who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def pipe(tmp_path):
    return tiny_pipe(tmp_path)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny model in the layout that users have: base/ and motion_adapter/."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "words").mkdir()
    pipe = tiny_pipe(folder / "words")
    base = folder / "base"
    image_unet = tiny_unet()
    fill(image_unet)
    adapter = tiny_adapter()
    fill(adapter)
    image_unet.save_pretrained(base / "unet")
    pipe.vae.save_pretrained(base / "vae")
    pipe.text_encoder.save_pretrained(base / "text_encoder")
    CLIPTokenizer.from_pretrained(folder / "words", model_max_length=77).save_pretrained(base / "tokenizer")
    pipe.scheduler.save_pretrained(base / "scheduler")
    adapter.save_pretrained(folder / "motion_adapter")
    for kind in ("image", "sketch"):
        tiny_control(kind).save_pretrained(folder / f"{kind}_control")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (base / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Ten frames of a square that moves to the right."""
    path = tmp_path_factory.mktemp("clip") / "square.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(10):
            picture = np.full((64, 96, 3), 40, np.uint8)
            picture[20:40, 10 + 5 * i : 30 + 5 * i] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a command as the console script does: its exit code and what it said."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["motionclone", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        heard = capfd.readouterr()
        return code, heard.out + heard.err

    return call


class Here:
    """A pool of one worker, this process."""

    size = 1

    def __init__(self, setup):
        self.work, self.said = setup(), []

    def ready(self, worker):
        return True

    def give(self, worker, job):
        self.said.append(Given(worker, self.work(job, lambda *_: None)))

    def answers(self, patience):
        said, self.said = self.said, []
        return said

    def close(self):
        return self.said


@pytest.fixture
def made_here(monkeypatch):
    """Batches are made in this process; the pools of all that were."""
    pools = []

    def pool(*_):
        from motionclone.cli.batch_worker import Worker

        pools.append(Here(Worker))
        return pools[-1]

    monkeypatch.setattr(batching, "_pool", pool)
    return pools
