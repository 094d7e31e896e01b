"""Settings: the paper's numbers, one name for one thing, and nothing silently ignored."""

import json

import pytest
from pydantic import ValidationError

from motionclone.errors import InputError
from motionclone.settings import (
    Conditioning,
    Extraction,
    Guidance,
    Sampling,
    Settings,
    parse_settings,
    preset,
    preset_names,
)


@pytest.mark.parametrize("name", preset_names())
def test_presets_parse_and_survive_json(name):
    found = preset(name)
    assert parse_settings(json.loads(found.model_dump_json()), name) == found
    assert parse_settings(json.loads(json.dumps(found.model_dump(mode="json"))), name) == found


# The four configurations in the authors' repository: LPengYang/MotionClone, configs/*.yaml.
FOR_TEXT = (
    "bad anatomy, extra limbs, ugly, deformed, noisy, blurry, distorted, out of focus,  poorly drawn face, "
    "poorly drawn hands, missing fingers"
)
FOR_PICTURES = (
    "ugly, deformed, noisy, blurry, distorted, out of focus, bad anatomy, extra limbs, poorly drawn face, "
    "poorly drawn hands, missing fingers"
)


@pytest.mark.parametrize(
    ("name", "steps", "guided_steps", "guided_fraction", "negative_prompt"),
    [
        ("camera", 100, 50, 0.3, FOR_TEXT),
        ("object", 300, 180, 0.4, FOR_TEXT),
        ("image", 100, 40, 0.3, FOR_PICTURES),
        ("sketch", 200, 120, 0.4, FOR_PICTURES),
    ],
)
def test_the_authors_presets_are_the_authors(name, steps, guided_steps, guided_fraction, negative_prompt):
    assert preset(name) == Settings(
        extraction=Extraction(t_alpha=400, k=1, blocks=("up_blocks.1",), prompt=""),
        guidance=Guidance(weight=2000, update="direction", guided_fraction=guided_fraction, warm_up=10, cool_down=10),
        sampling=Sampling(
            steps=steps,
            guided_steps=guided_steps,
            guidance_scale=7.5 + 1,  # the authors' s is 7.5
            negative_prompt=negative_prompt,
            positive_prompt="",
            num_frames=16,
            height=512,
            width=512,
            shared_noise=True,
        ),
        conditioning=Conditioning(scale=1.0, at_extraction=True),
    )


def test_every_setting_survives_json():
    unusual = Settings(
        extraction=Extraction(t_alpha=0, k=3, blocks=("down_blocks.1", "up_blocks.1"), prompt="a café"),
        guidance=Guidance(weight=0.1, update="noise", guided_fraction=1, warm_up=0, cool_down=3, checkpointing="none"),
        sampling=Sampling(steps=2, guided_steps=2, guidance_scale=1, num_frames=2, height=8, width=16),
        seed=2**63 - 1,
    )
    assert parse_settings(json.loads(unusual.model_dump_json()), "record") == unusual


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"guidence": {}}, "guidence"),
        ({"guidance": {"wieght": 1}}, "guidance.wieght"),
        ({"guidance": {"weight": "strong"}}, "guidance.weight"),
        ({"guidance": {"weight": -1}}, "guidance.weight"),
        ({"guidance": {"weight": float("nan")}}, "guidance.weight"),
        ({"guidance": {"weight": float("inf")}}, "guidance.weight"),
        ({"guidance": {"update": "both"}}, "guidance.update"),
        ({"guidance": {"guided_fraction": 0}}, "guidance.guided_fraction"),
        ({"guidance": {"guided_fraction": 1.5}}, "guidance.guided_fraction"),
        ({"extraction": {"k": 0}}, "extraction.k"),
        ({"extraction": {"k": 1.5}}, "extraction.k"),
        ({"extraction": {"t_alpha": 1000}}, "extraction.t_alpha"),
        ({"extraction": {"blocks": []}}, "extraction.blocks"),
        ({"extraction": {"blocks": "up_blocks.1"}}, "extraction.blocks"),
        ({"sampling": {"steps": 10, "guided_steps": 11}}, "guided_steps"),
        ({"sampling": {"steps": 0, "guided_steps": 0}}, "sampling.steps"),
        ({"sampling": {"height": 100}}, "sampling.height"),
        ({"sampling": {"guidance_scale": float("inf")}}, "sampling.guidance_scale"),
        ({"sampling": {"num_frames": 1}}, "sampling.num_frames"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        (["guidance"], "settings"),
        (None, "settings"),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, str) else "",
)
def test_bad_settings_are_refused_by_name(data, key):
    with pytest.raises(InputError) as caught:
        parse_settings(data, "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml is not valid: ")
    assert key in message
    assert "\n" not in message


def test_all_problems_are_told_at_once():
    with pytest.raises(InputError, match=r"guidance\.weight.*sampling\.steps"):
        parse_settings({"guidance": {"weight": -1}, "sampling": {"steps": 0, "guided_steps": 0}}, "record")


@pytest.mark.parametrize("name", ["camra", "", "../settings", "camera.toml"])
def test_unknown_preset(name):
    with pytest.raises(InputError, match=r"did you mean camera\?|camera.*object"):
        preset(name)


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().guidance.weight = 1


def test_wrong_values_in_python_are_told_in_a_sentence():
    for kind, values, sentence in (
        (Guidance, {"checkpointing": 1.5}, r"checkpointing must be 'auto', 'none' or 'least', got 1\.5\.$"),
        (Guidance, {"wieght": 1}, r"wieght is unknown; did you mean weight\?"),
        (Sampling, {"steps": 0}, r"^steps must be 1 or more, got 0\.$"),
        (Sampling, {"steps": 2, "guided_steps": 3}, r"guided_steps \(3\) must not exceed steps \(2\)"),
        (Settings, {"guidance": {"weight": -1}}, r"^guidance\.weight must be 0 or more, got -1\.$"),
    ):
        with pytest.raises(InputError, match=sentence):
            kind(**values)


def test_a_setting_of_another_section_is_said_to_be_that():
    with pytest.raises(InputError, match="blocks is unknown here; it is one of extraction's"):
        Guidance(blocks=("up_blocks.1",))
    with pytest.raises(InputError, match=r"extraction must be Extraction or a mapping, got 3"):
        Settings(extraction=3)
    with pytest.raises(InputError, match=r"weight must be a number, got 'x'"):
        Guidance(weight="x")
