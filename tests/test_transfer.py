"""Where a curve over strengths has its top, how sure that is, and that a run of all settings goes on where it was."""

import json
import sys
from pathlib import Path

import diffusers
import pytest
import torch

from motionclone.cloning import check, clone, fitting
from motionclone.lab.bundled import SCHEDULERS, load
from motionclone.lab.cases import world_cases
from motionclone.lab.results import ResultLine
from motionclone.lab.transfer import (
    Setting,
    best_of,
    measure,
    settings_to_compare,
    table,
    top_of,
    worth_of,
)
from motionclone.models import load_pipeline
from motionclone.settings import preset

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import candidate_rules
import candidates
import front

STRENGTHS = (0.5, 1.0, 2.0)

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of diffusers' UniPC with numpy 2


def test_the_top_of_a_parabola_is_found_between_the_strengths_that_were_measured():
    places = torch.tensor([0.25, 0.35, 0.5, 0.7, 1, 1.4, 2], dtype=torch.float64).log()
    tops = torch.tensor([0.3, 0.8, 1.7], dtype=torch.float64).log()
    curves = 0.9 - 0.2 * (places - tops[:, None]).square()
    torch.testing.assert_close(top_of(places, curves), tops)
    torch.testing.assert_close(top_of(places, torch.stack([places, -places])), places[[6, 0]])


def line(case, method, **scores):
    return ResultLine(method=method, case=case, video=f"videos/{method}/{case}.mp4", scores=scores)


def test_worth_is_motion_less_the_share_of_words_that_is_lost():
    lines = [
        line("a", "unguided", text=0.8, path_explained=-1.0),
        line("a", "s-0.5", text=0.8, path_explained=0.5, camera_explained=0.1),
        line("a", "s-1", text=0.6, path_explained=1.0, camera_explained=None),
        line("a", "s-2", text=0.4, path_explained=-3.0),
        line("b", "unguided", text=0.8),
        line("b", "s-1", text=0.8, path_explained=1.0),  # and no more
        *(line("c", method, text=0.8, path_explained=None) for method in ("unguided", "s-0.5", "s-1", "s-2")),
    ]
    assert worth_of(lines, STRENGTHS).tolist() == [pytest.approx([0.3, 0.25, -0.5])]


def test_the_interval_is_over_cases():
    logs, tops = torch.tensor(STRENGTHS).double().log(), torch.tensor([0.7, 1.0, 1.4]).double().log()
    found = best_of("preset", -(logs - tops[:, None]).square(), STRENGTHS)
    assert (found.best, found.low, found.high) == pytest.approx(((0.7 * 1.4) ** (1 / 3), 0.7, 1.4))
    nothing = best_of("other", torch.empty(0, 3), STRENGTHS)
    assert nothing.best is None
    assert "| preset | 3 | 0.99 [0.70, 1.40] | 1.00 |\n| other | 0 |  |  |\n" in table([found, nothing])


def test_every_setting_fits_the_mini_model():
    pipe, base = load_pipeline("mini", weights=False), preset("mini")
    for setting in settings_to_compare():
        if setting.scheduler is None:
            settings = setting.settings(base)
            assert fitting(pipe, settings) == settings, setting
            (case,) = world_cases("validation", 1, settings.sampling)
            check(pipe, case.prompt, settings)
    for kind, changes in SCHEDULERS.values():
        found = getattr(diffusers, kind).from_config(pipe.scheduler.config, **changes)
        torch.testing.assert_close(found.alphas_cumprod, pipe.scheduler.alphas_cumprod)


def test_a_run_goes_on_where_it_was(tmp_path):
    tiny, told = (Setting("tiny", side=32, frames=4, steps=4, scheduler="UniPC"),), []
    for _ in range(2):
        (found,) = measure(
            tmp_path, "mini", tiny, cases=1, strengths=STRENGTHS, on_done=lambda *done: told.append(done)
        )
    assert told == [*(("tiny", done, 4) for done in range(5)), ("tiny", 4, 4)]
    (kept,) = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    assert (kept["setting"], kept["cases"], kept["best"], kept["failed"]) == ("tiny", found.cases, found.best, 0)
    assert f"| tiny | {found.cases} |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("model", ["mini", "mini-dit"])
def test_the_front_is_of_the_presets_themselves(model):
    now = preset(model)
    found = {method.name: method.settings(now, 0) for method in front.methods_of(model)}
    assert found["now@1"] == now
    assert found["few@1"] == now.in_steps(8)
    weight = preset(f"{model}-paper").guidance.weight
    if f"paper@{weight:g}" in found:
        assert found[f"paper@{weight:g}"] == preset(f"{model}-paper")
    assert found["unguided"].guidance.off


def test_the_table_of_candidates_is_recomputed_from_what_the_docs_ship():
    folder = Path(__file__).parent.parent / "docs" / "front"
    assert candidates.table(folder) == (folder / "candidates.md").read_text()


@pytest.mark.parametrize("point", ["preset@1", "few-g6@2", "early@1"])
def test_a_candidate_is_one_change_of_the_preset(point):
    found, base = candidates.method_of(point).settings(preset("mini"), 0), preset("mini")
    assert found.guidance.strength == float(point[-1])
    assert (found == base) == (point == "preset@1")
    assert (found.sampling.steps == 8, found.sampling.guided_steps == 6) == (("few" in point,) * 2)
    assert (found.guidance.guided_fraction == 0.25) == ("early" in point)


def test_rules_change_the_video_and_are_gone_afterwards():
    pipe, base = load("mini", None, torch.float32), preset("mini")
    small = {"steps": 4, "guided_steps": 3, "height": 32, "width": 32, "num_frames": 8}
    settings = base.model_copy(update={"sampling": base.sampling.model_copy(update=small)})
    (case,) = world_cases("validation", 1, settings.sampling)
    frames, _ = case.reference(settings.sampling)

    def made(name):
        with candidates.CANDIDATES[name].rule(candidates.Run(pipe, settings, frames)):
            return clone(pipe, frames, case.prompt, settings).frames

    plain = made("preset")
    for name, candidate in candidates.CANDIDATES.items():
        if not candidate.changes and name != "preset":
            changed = made(name)
            assert changed.isfinite().all()
            assert not changed.equal(plain), name
    assert made("preset").equal(plain)


def test_gradients_are_clipped_blurred_and_smoothed():
    gradient = torch.zeros(1, 1, 4, 5, 5)
    gradient[0, 0, 1, 2, 2] = 9.0
    assert candidate_rules.blurred(gradient)[0, 0, 1].sum() == 9
    assert candidate_rules.blurred(gradient)[0, 0, 1, 1, 1] == 1
    assert candidate_rules.slowed(gradient)[0, 0, :, 2, 2].tolist() == [2.25, 4.5, 2.25, 0]
    assert candidate_rules.clipped(2.0)(gradient).max() == 2


def test_the_figures_of_the_front_are_recomputed_from_what_the_docs_ship():
    folder = Path(__file__).parent.parent / "docs" / "front"
    methods = front.methods_of("mini")
    assert front.table(front.points(folder, methods), methods) == (folder / "front.md").read_text()
