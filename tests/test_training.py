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


@pytest.mark.usefixtures("training")
def test_a_student_begins_as_the_teacher_and_is_exported_as_a_lora_that_changes_it_likewise(tmp_path):
    import distil

    from motionclone.models import load_pipeline
    from motionclone.models.lora import merge_lora

    pipe, other = (load_pipeline("mini", device="cpu", dtype=torch.float32) for _ in range(2))
    student = distil.Student(pipe.unet)
    noisy, words, time = torch.randn(1, 8, 4, 8, 8), torch.randn(1, 3, 96), torch.tensor([500])
    with torch.no_grad():
        teacher = student(noisy, time, words, "teacher")
        assert torch.equal(student(noisy, time, words, "student"), teacher)
        for change in student.changes:
            change.up.normal_(std=0.2)
        assert torch.equal(student(noisy, time, words, "slow student"), teacher)
        for change in student.changes:
            change.follow()
        followed = student(noisy, time, words, "slow student")
        student.export(tmp_path)
        merge_lora(other.unet, tmp_path, 1.0)
        with distil.mixed_precision(noisy.device):
            merged = other.unet(noisy, time, encoder_hidden_states=words.repeat_interleave(4, dim=0)).sample.float()
        found = student(noisy, time, words, "student")
    assert 0 < (followed - teacher).square().mean() < 0.1 * (found - teacher).square().mean()
    assert (found - teacher).square().mean() > 100 * (found - merged).square().mean()  # half precision


@pytest.mark.usefixtures("training")
def test_the_transformer_takes_the_words_of_a_stage_that_is_at_work(tmp_path):
    from denoiser import Model
    from transformer import words_of

    model = Model(torch.nn.Linear(1, 1), 50)
    torch.save({"ema": model.state_dict()}, tmp_path / "images.pt")
    text, tokens = words_of(str(tmp_path / "images.pt"), 50), torch.arange(12)[None]
    torch.testing.assert_close(text(tokens).last_hidden_state, model.text.eval()(tokens).last_hidden_state)
    assert not any(weight.requires_grad for weight in text.parameters())


@pytest.mark.usefixtures("training")
def test_a_student_lands_where_ddim_does():
    from denoiser import angles_of, landed, scheduler

    noisy, v, ddim = torch.randn(2, 8, 3, 4, 4), torch.randn(2, 8, 3, 4, 4), scheduler()
    ddim.set_timesteps(4)
    angles = angles_of(ddim.alphas_cumprod)
    for now, after in ((751, 501), (501, 251), (251, 1)):
        wanted = ddim.step(v, now, noisy).prev_sample
        torch.testing.assert_close(landed(noisy, v, angles[after] - angles[now]), wanted, atol=1e-4, rtol=1e-4)
    clean = ddim.step(v, 1, noisy).pred_original_sample
    torch.testing.assert_close(landed(noisy, v, angles[-1] - angles[1]), clean, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("training")
@pytest.mark.parametrize(("student", "loss"), [(0.0, 0.0), (0.5, 0.25)])
def test_a_student_that_knows_the_clean_latents_has_nothing_to_learn(student, loss):
    import distil
    from denoiser import scheduler

    latents, alpha_bar = torch.randn(64, 8, 2, 4, 4), scheduler().alphas_cumprod

    class Knows(torch.nn.Linear):
        def forward(self, noisy, timesteps, words, who):
            alpha = alpha_bar[timesteps].sqrt().view(-1, 1, 1, 1, 1)
            v = (alpha * noisy - latents) / (1 - alpha**2).sqrt()
            return v + student * (who == "student")

    chance = torch.Generator().manual_seed(0)
    found = distil.loss_of(Knows(1, 1), latents, torch.zeros(64, 1, 1), torch.zeros(1, 1, 1), alpha_bar, chance)
    assert found.item() == pytest.approx(loss, abs=1e-3)


@pytest.mark.usefixtures("training")
def test_before_and_after_are_of_the_same_cases_and_judge():
    import before_after

    from motionclone.lab.results import DescribedCase, DescribedMethod, Description, ResultLine
    from motionclone.lab.tables import Run

    def run(paths, judge="mini"):
        methods = [DescribedMethod(name=name, label=name, experiment="main", about="") for name in before_after.SHOWN]
        cases = tuple(DescribedCase(name=f"c-{i}", motion="c", kind="object", prompt="") for i in range(len(paths)))
        lines = [
            ResultLine(method="cloned", case=case.name, video="videos/cloned/a.mp4", scores={"path_explained": value})
            for case, value in zip(cases, paths, strict=True)
        ]
        described = Description(
            suite="quick", model="mini", judge=judge, dtype="float32", seed=0, methods=tuple(methods), cases=cases,
            motionclone="1", machine="one",
        )  # fmt: skip
        return Run(described, {(line.method, line.case): line for line in lines})

    before, after = run([0.1, 0.2, 0.6]), run([0.5, 0.6, 0.7])
    found = before_after.table(before, after).splitlines()
    assert "| cloned | explained path | 0.20 [0.10, 0.60] | 0.60 [0.50, 0.70] | +0.40 [+0.10, +0.40] |" in found
    assert sum("explained" in line for line in found) == 6
    with pytest.raises(SystemExit, match="different cases"):
        before_after.table(before, run([0.1, 0.2]))
    with pytest.raises(SystemExit, match="the same --judge"):
        before_after.table(before, run([0.1, 0.2, 0.3], judge="other"))


@pytest.mark.usefixtures("training")
def test_objects_weigh_more_where_the_noise_shows_where_they_are():
    from denoiser import OBJECT, OBJECT_BELOW, loss_weights
    from latents import Clips

    masks = torch.zeros(2, 1, 3, 6, 6)
    masks[:, :, 1, 0, 0] = 1
    weights = loss_weights(masks, torch.tensor([OBJECT_BELOW - 1, OBJECT_BELOW]))
    assert (weights[1] == 1).all()
    assert weights[0].mean().item() == pytest.approx(1)
    ground = weights[0, 0, 0, 0, 0]
    torch.testing.assert_close(weights[0, 0, 1, :2, :2], (1 + OBJECT) * ground.expand(2, 2))
    assert (weights[0] > ground).sum() == 4

    clips = Clips(3, seed=1)
    scenes = [clips.scene(number) for number in range(3)]
    for number, scene in enumerate(scenes):
        mask = clips.mask(number)
        assert (mask.shape, mask.dtype) == ((16, 16, 16), torch.uint8)
        assert mask.float().mean() / 255 == pytest.approx(scene.truth().mask.mean().item(), abs=2e-3)
    assert any(scene.shape is not None for scene in scenes)
