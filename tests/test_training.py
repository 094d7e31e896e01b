"""The training scripts: the schedule ends at 0, runs go on where they were, scenes are as fast as promised."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))


@pytest.mark.usefixtures("training")
def test_the_rate_falls_to_zero_and_a_run_that_was_ended_goes_on(tmp_path, monkeypatch):
    import loop

    ticks = iter(range(10_000))
    monkeypatch.setattr(loop, "clock", lambda device: float(next(ticks)))  # a second for each step
    handler = signal.getsignal(signal.SIGTERM)
    checkpoint, rates, steps = tmp_path / "run.pt", [], []

    def run(end_at=None):
        torch.manual_seed(0)
        model = nn.Linear(4, 4)
        optimizers = loop.optimizers_for(model)

        def loss(step):
            steps.append(step)
            rates.append(optimizers[0].param_groups[0]["lr"])  # of the step before
            if step == end_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return "all", model(torch.ones(1, 4)).square().mean()

        loop.train(model, optimizers, loss, torch.Generator(), checkpoint=checkpoint, minutes=5, rate=0.01, seed=0)

    try:
        with pytest.raises(SystemExit, match="stopped after 4 of 5 minutes"):
            run(end_at=239)
        run()
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert steps == list(range(300))
    assert rates[100:211] == [0.01] * 111  # after the warm-up, until 70 % are spent
    assert rates[299] == pytest.approx(0.01 * (2 / 300) / 0.3)
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["state"]["step"] == 300
    assert saved["ema"].keys() == saved["model"].keys()


@pytest.mark.usefixtures("training")
def test_scenes_to_learn_from_are_fast_and_silent_on_motion():
    from variety import DeepScene, training_scene

    scenes = [training_scene(4, torch.Generator().manual_seed(seed)) for seed in range(300)]
    courses = [scene.trajectory for scene in scenes]
    zooms = torch.stack([(t.zoom[-1] / t.zoom[0]).log().abs() for t in courses])
    pans = torch.stack([(t.pan[-1] - t.pan[0]).norm() for t in courses])
    assert (zooms > 0.69).float().mean() > 0.1  # as fast as the motions that are cloned
    assert (pans > 1).float().mean() > 0.2
    deep = next(scene for scene in scenes if isinstance(scene, DeepScene) and scene.depth < 1)
    frames = deep.render(16)
    assert frames.shape == (4, 3, 16, 16)
    assert frames.abs().max() <= 1
    torch.testing.assert_close(frames, deep.render(16), rtol=0, atol=0)
    assert "scenery" in deep.caption
