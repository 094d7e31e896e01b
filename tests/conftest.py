import os

import pytest
import torch
from tiny import tiny_pipe

# Threads change the order of summation, and so the rounding: `make parity` tries two.
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


@pytest.fixture
def pipe(tmp_path):
    return tiny_pipe(tmp_path)
