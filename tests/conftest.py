import os

import pytest
import torch
from tiny import tiny_pipe

# Threads change the order of summation, and so the rounding: `make parity` tries two.
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """What runs remember of where things lie is not the user's who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def pipe(tmp_path):
    return tiny_pipe(tmp_path)
