import pytest
import torch
from tiny import tiny_pipe

torch.set_num_threads(1)


@pytest.fixture
def pipe(tmp_path):
    return tiny_pipe(tmp_path)
