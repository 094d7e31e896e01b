"""What a guided call keeps for its backward pass, counted at the real size."""

import pytest

from motionclone.lab.memory import counted
from motionclone.settings import preset


@pytest.mark.parametrize(
    ("model", "settings", "most", "again", "naive"),
    [
        ("animatediff", "camera", 0.35e9, 0.94e9, 18e9),
        ("cogvideox-2b", "cogvideox-2b", 1.2e9, 0.8e9, 20e9),
        ("wan2.1-1.3b", "wan2.1-1.3b", 1.6e9, 2.2e9, 60e9),
        ("ltx-video", "ltx-video", 0.5e9, 0.6e9, 17e9),
    ],
)
def test_a_guided_call_keeps_little_at_the_real_size(model, settings, most, again, naive):
    found = counted(model, preset(settings))
    assert found.kept < most
    assert found.kept < found.cut < found.naive
    assert found.naive > naive
    # A block alone, as counted elsewhere; here the guided block's energy with float32 queries and keys comes on top.
    assert again < found.again < 1.4 * again
