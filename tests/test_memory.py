"""What a guided call costs and keeps for its backward pass, counted at the real size."""

import pytest

from motionclone.lab import memory
from motionclone.lab.memory import count, counted
from motionclone.models import known
from motionclone.settings import preset


@pytest.mark.parametrize(
    ("model", "settings", "least", "naive", "steps"),
    [
        ("animatediff", "camera", 1.4e9, 21e9, ((12, 2.62), (4, 2.80), (1.5, 3.00))),
        pytest.param(
            *("cogvideox-2b", "cogvideox-2b", 2.3e9, 25e9, ((14, 2.97), (8, 3.21), (2.3, 3.47))),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *("wan2.1-1.3b", "wan2.1-1.3b", 4.5e9, 72e9, ((40, 2.97), (12, 3.33), (4.5, 3.45))), marks=pytest.mark.long
        ),
        ("ltx-video", "ltx-video", 1.4e9, 18e9, ((10, 2.72), (4, 3.04), (1.4, 3.18))),
    ],
)
def test_a_guided_step_at_the_real_size_takes_what_memory_allows(model, settings, least, naive, steps):
    """The authors' guided step, with everything kept, is 2.57 forward passes of AnimateDiff."""
    found = counted(model, preset(settings))
    assert found.kept < least < found.cut < found.naive
    assert found.naive > naive
    before = 0
    for budget, most in steps:
        flops, kept = found.guided_step(budget * 1e9)
        assert kept <= budget * 1e9
        assert before < flops / found.forward <= most
        before = flops / found.forward
    flops, kept = found.by_diffusers
    assert found.guided_step(kept)[0] < flops  # of the UNet 2.68 F in place of 2.87; of transformers by a hair


def small(name, frames, monkeypatch):
    """A model with three blocks, and settings at a small size that guide the second."""
    monkeypatch.setitem(known._ON_THE_HUB[name], "transformer", {"num_layers": 3})
    settings = preset(name)
    extraction = settings.extraction.model_copy(update={"blocks": ("transformer_blocks.1",)})
    sampling = settings.sampling.model_copy(update={"num_frames": frames, "height": 64, "width": 64})
    return memory._on_meta(name), settings.model_copy(update={"extraction": extraction, "sampling": sampling})


def test_a_mask_of_every_token_by_every_other_is_kept_with_what_it_hides(monkeypatch):
    """By HunyuanVideo-1.5: of two blocks more without the cut, and of the first in any case."""
    found = count(*small("hunyuanvideo-1.5", 5, monkeypatch))
    tokens = 2 * 4 * 4 + 1000 + 256 + 729  # of the video, of words, of letters and of a picture
    assert found.cut > 2 * tokens**2
    assert found.naive - found.cut > 2 * 2 * tokens**2


def test_what_a_run_costs_is_counted_with_the_sound_that_it_makes(monkeypatch):
    model = small("ltx-2", 9, monkeypatch)
    found = count(*model)
    monkeypatch.setattr(memory, "_IN_A_RUN", {})
    apart = count(*model)
    assert found.forward > apart.forward
    assert found.extraction == apart.extraction
