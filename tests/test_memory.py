"""What a guided call keeps for its backward pass, counted by the benchmark at the real size."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "memory.py"


def test_a_guided_call_keeps_little_at_the_real_size():
    spec = importlib.util.spec_from_file_location("memory", SCRIPT)
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    network = memory.sd15()
    assert memory.saved_bytes(network, cut=True, checkpointing=True, frames=16, side=512) < 0.35e9
    assert memory.saved_bytes(network, cut=True, checkpointing=False, frames=16, side=512) > 9e9
