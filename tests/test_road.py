"""The newcomer's road: what the bundled model knows, which models there are, and what a run will be, beforehand."""

import itertools

import pytest
import torch

from motionclone.cloning import clone
from motionclone.errors import GuidanceWarning
from motionclone.lab.world import BACKGROUNDS, COLOURS, SCENERY, SHAPES, TEXTURES, Scene, named_trajectory
from motionclone.models import load_pipeline
from motionclone.models.mini_words import KNOWN, advice, unknown_words
from motionclone.settings import preset


def test_the_bundled_model_knows_every_word_of_the_worlds_captions_and_no_other():
    still = named_trajectory("circle", 2)
    looks = itertools.product((None, *SHAPES), COLOURS, (*TEXTURES, SCENERY), BACKGROUNDS)
    captions = {Scene(shape, colour, texture, ground, still).caption for shape, colour, texture, ground in looks}
    assert {word for caption in captions for word in caption.split()} == KNOWN
    assert unknown_words(captions) == ()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a pig walks in the forest", ("pig", "walks", "in", "the", "forest")),
        ("A Red STAR, on blue-waves!", ()),
        ("two red stars and two more", ("two", "stars", "and", "more")),
        ("红色的星", ("红色的星",)),
        ("a red star 🐷", ("🐷",)),
    ],
)
def test_words_outside_the_world_are_told_whatever_the_tokenizer_makes_of_them(text, unknown):
    assert unknown_words([text]) == unknown
    sentence = advice("mini", [text])
    if not unknown:
        assert sentence is None
        return
    for word in (*unknown[:6], "purple", "triangle", "rocks", "--model animatediff"):
        assert word in sentence


def test_a_prompt_that_the_bundled_model_cannot_follow_is_told_in_python():
    pipe, settings = load_pipeline("mini", device="cpu"), preset("mini")
    few = settings.sampling.model_copy(update={"steps": 2, "guided_steps": 1, "negative_prompt": "blurry"})
    settings = settings.model_copy(update={"sampling": few})
    frames = torch.zeros(16, 3, 64, 64)
    with pytest.warns(GuidanceWarning, match="mini has never seen 'pig', 'blurry' and shows something else"):
        clone(pipe, frames, "a red pig", settings)
