"""Ways of guiding are compared where they keep as many words; the numbers are worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from motionclone import preset
from motionclone.lab.curves import Curve, at_equal_words, curve_of, motion_share, read_at, words_share
from motionclone.lab.experiments import PRESET, curves
from motionclone.lab.facts import ModelFacts
from motionclone.lab.results import DescribedMethod, ResultLine

FACTS = ModelFacts(("mid_block", "up_blocks.1"), 16, own_steps=False, device="cpu", dtype="torch.float32")


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_motion_is_a_share_of_the_ceiling_s():
    ceiling = {"path_explained": 0.8, "camera_explained": 0.5}
    assert motion_share({"path_explained": 0.4, "camera_explained": -3.0}, ceiling) == pytest.approx(0.25)
    assert motion_share({"path_explained": 0.9}, {"path_explained": 0.8, "camera_explained": None}) == 1
    assert math.isnan(motion_share({"path_explained": 0.9}, {}))
    assert words_share({"text": 0.6}, {"text": 0.8}) == pytest.approx(0.75)
    assert math.isnan(words_share({}, {"text": 0.8}))


def test_a_curve_is_read_where_words_first_fall_so_far():
    words, motion = doubles(1, 0.9, 0.7, 0.8), doubles(0, 0.4, 0.6, 0.9)
    assert read_at(words, motion, doubles(0.8)[0]) == pytest.approx(0.5)
    assert read_at(words, motion, doubles(0.9)[0]) == pytest.approx(0.4)
    assert read_at(words, motion, doubles(0.6)[0]).isnan()  # never so few words
    assert read_at(words, motion, doubles(1.1)[0]).isnan()  # never so many
    flat = read_at(doubles(1, 1), doubles(0.2, 0.4), doubles(1)[0])
    assert flat == pytest.approx(0.2)


def curve(words, motion, factors=(0.0, 1.0, 4.0), cases=8, noise=0.0):
    spread = noise * torch.linspace(-1, 1, cases, dtype=torch.float64)
    return Curve(
        "so", "So.", factors, doubles(*words)[:, None].repeat(1, cases) + spread,
        doubles(*motion)[:, None].repeat(1, cases) + spread,
    )  # fmt: skip


def test_what_is_only_stronger_is_no_better():
    base = curve((1, 0.8, 0.5), (0, 0.4, 0.9), noise=0.05)
    ahead = [0, 2, 3]  # the same curve, further along it at each factor
    longer = curve((1, 0.8, 0.5, 0.3), (0, 0.4, 0.9, 1), factors=(0, 1, 4, 16), noise=0.05)
    stronger = replace(base, words=longer.words[ahead], motion=longer.motion[ahead])
    found = at_equal_words(stronger, base)
    assert found.difference.value == pytest.approx(-0.04)  # a straight line across a bend lies below it
    same = at_equal_words(base, base).difference
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = at_equal_words(curve((1, 0.9, 0.7), (0, 0.5, 0.7), noise=0.05), base)
    assert better.motion.value == pytest.approx(0.6)
    assert better.difference.value == pytest.approx(0.2)
    assert better.factor == pytest.approx(2.5)
    assert better.reached == 1


def test_the_base_is_taken_at_its_own_point_even_where_its_words_come_back():
    base = curve((1, 0.96, 0.97, 0.9), (0, 0.3, 0.5, 0.6), factors=(0, 0.5, 1, 2))
    assert at_equal_words(base, base).base.value == pytest.approx(0.5)


def test_a_case_without_a_video_takes_no_other_with_it():
    methods = [DescribedMethod(name="so-1", label="-", experiment="e", about="So.")]

    def line(method, case, words, motion):
        scores = {"text": words, "camera_explained": motion}
        return (method, case), ResultLine(method=method, case=case, video="videos/a/b.mp4", scores=scores)

    lines = dict(
        line(method, case, words, motion)
        for method, words, motion in (("ceiling", 1, 1), ("unguided", 1, 0), ("so-1", 0.8, 0.5))
        for case in ("a", "b", "c")
    )
    found = curve_of(methods, lines, ["a", "b", "c", "d"])
    value = at_equal_words(found, found).base
    assert (value.value, value.n) == (pytest.approx(0.5), 3)


def test_words_that_never_fall_so_far_give_no_number():
    found = at_equal_words(curve((1, 0.95, 0.9), (0, 0.1, 0.2)), curve((1, 0.8, 0.5), (0, 0.4, 0.9)))
    assert math.isnan(found.motion.value)
    assert math.isnan(found.factor)
    assert found.reached == 0


@pytest.mark.parametrize("name", ["mini", "mini-paper", "mini-dit", "mini-dit-paper"])
def test_every_curve_has_its_own_points_and_makes_up_for_k(name):
    base = preset(name)
    found = curves(base, FACTS)
    assert len({method.name for method in found}) == len(found)
    for method in found:
        method.settings(base, 0)
    mean = [m for m in found if m.curve == "k = 16: plain control"]
    assert [m.factor for m in mean] == sorted(m.factor for m in found if m.curve == "k = 8")
    if base.guidance.strength is None:
        first = mean[1].changes["guidance"]["weight"]
        assert first == base.guidance.weight * 16 / base.extraction.k
    assert {m.factor for m in found if m.curve == PRESET} == {0.25, 0.5, 2.0, 4.0}
