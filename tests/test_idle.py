"""Every setting, with every family: it changes what is done, or it is told or refused that it does not."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from tiny import sparse_pipe, tiny_pipe
from tiny_parts import Tiny
from tiny_sdxl import sdxl_pipe
from tiny_transformers import FAMILIES
from tiny_wan import without_ftfy

from motionclone.backbones.families import backbone_of
from motionclone.cloning import generate
from motionclone.errors import GuidanceWarning, InputError
from motionclone.extraction import extract_motion
from motionclone.idle import refuse_idle
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling, parse_settings, preset

UNETS = {"animatediff": tiny_pipe, "animatediff-sparse": sparse_pipe, "animatediff-sdxl": sdxl_pipe}
CHANGES = {
    "extraction.t_alpha": 950,
    "extraction.k": 2,
    "extraction.blocks": None,  # another one
    "extraction.prompt": "a dog",
    "guidance.match_direction": True,
    "guidance.guidance_scale_factor": 2.0,
    "guidance.inner_steps": 3,
    "sampling.steps": 9,
    "sampling.guided_steps": 3,
    "sampling.guidance_scale": 5.0,
    "sampling.negative_prompt": "bad",
    "sampling.positive_prompt": "fine",
    "sampling.num_frames": 5,
    "sampling.height": 256,
    "sampling.width": 256,
    "sampling.shared_noise": False,
    "conditioning.scale": 0.5,
    "conditioning.at_extraction": False,
    "seed": 7,
}


def changed(settings, field, value):
    """As a person changes a copy."""
    section, _, name = field.rpartition(".")
    if not section:
        return settings.model_copy(update={name: value})
    part = getattr(settings, section).model_copy(update={name: value})
    return settings.model_copy(update={section: part})


class Family:
    """A tiny pipeline, settings that fit it, and what its generation is told of."""

    def __init__(self, name, folder):
        unet = name in UNETS
        self.tiny = Tiny(lambda: UNETS[name](folder), "up_blocks.1", 8, height=64, width=64) if unet else FAMILIES[name]
        self.pipe = self.tiny.make()
        self.backbone = backbone_of(self.pipe)
        tiny = self.tiny
        self.settings = parse_settings(
            {
                "extraction": {"t_alpha": max(500, int(self.backbone.guided_from)), "blocks": [tiny.block]},
                "guidance": {"warm_up": 0, "cool_down": 0},
                "sampling": {"steps": 8, "guided_steps": 2, "guidance_scale": 4.0, "num_frames": tiny.num_frames}
                | {"height": tiny.height, "width": tiny.width},
            },
            "the test",
        )
        self.clip = torch.rand(tiny.num_frames, 3, tiny.height, tiny.width) * 2 - 1
        shown = self.backbone.shown_frames or name.endswith("sparse")
        self.condition = Condition(-self.clip[:1]) if shown else None
        self.motion = extract_motion(self.pipe, self.clip, self.settings.extraction, shown_frames=(0,) if shown else ())

    def called(self, settings):
        """What the pipeline is called with and by which scheduler, if it is; else the refusal. And what was told."""
        calls = []

        def spy(self, **arguments):
            pipe = self
            guider = getattr(pipe, "guider", None)
            kept = [{name: plain(value) for name, value in arguments.items()}, str(pipe.scheduler.config)]
            calls.append([*kept, guider and guider.guidance_scale])
            return SimpleNamespace(frames=[torch.zeros(1, 3, 8, 8)])

        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            patch.setattr(type(self.pipe), "__call__", spy)
            try:
                generate(self.pipe, self.motion, "a cat", settings, condition=self.condition)
            except InputError as refusal:
                calls.append(str(refusal))
        return calls, [str(each.message) for each in told if each.category is GuidanceWarning]

    def refusal(self, settings, field):
        """What a person is told who typed it, if it is refused."""
        try:
            refuse_idle(self.pipe, settings, {field: "--it"}, motion=self.motion, condition=self.condition)
        except InputError as refusal:
            return str(refusal)


def plain(value):
    """As can be compared."""
    if torch.is_tensor(value):
        return value.tolist()
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    return value.tobytes() if hasattr(value, "tobytes") else repr(value)


@pytest.fixture(scope="module", params=[*UNETS, *FAMILIES])
def family(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        without_ftfy(patch)
        yield Family(request.param, tmp_path_factory.mktemp("family"))


def test_every_setting_acts_or_is_refused_and_told(family):
    usual, told = family.called(family.settings)
    assert not told
    assert not isinstance(usual[0], str), usual
    for field, value in CHANGES.items():
        if field == "extraction.blocks":
            value = tuple(block for block in family.backbone.blocks() if block != family.tiny.block)[:1]
        settings = changed(family.settings, field, value)
        found, told = family.called(settings)
        if isinstance(found[0], str):
            continue  # refused whoever says it
        refusal = family.refusal(settings, field)
        inside = field == "guidance.guidance_scale_factor"  # the denoiser, which is not called here
        assert found != usual or refusal is not None or inside, field
        if found != usual and field != "sampling.guidance_scale":  # which a network may not be told
            assert refusal is None, field
        if refusal is not None:
            assert refusal.startswith("--it "), field
            assert len(told) == (field != "sampling.guided_steps"), field
        else:
            assert not told, field


def test_what_nobody_set_lies_idle_in_silence(family):
    """Values of presets, and of records."""
    data = family.settings.model_dump()
    data["conditioning"] = {"scale": 0.5, "at_extraction": family.condition is not None}
    _, told = family.called(parse_settings(data, "a preset"))
    assert not told


def test_nothing_is_set_in_a_preset_until_a_person_does():
    assert not preset("mini").sampling.model_fields_set
    assert changed(preset("mini"), "sampling.steps", 30).sampling.model_fields_set == {"steps"}
    assert Sampling(steps=60).model_fields_set == {"steps"}


@pytest.fixture(scope="module")
def animatediff(tmp_path_factory):
    return Family("animatediff", tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def wan():
    return Family("wan-2.1", None)


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"guidance.weight": 0.0}, "guidance.checkpointing", "guidance.weight is 0"),
        ({"guidance.weight": 0.0}, "extraction.k", "guidance.weight is 0"),
        ({"guidance.warm_up": 4}, "guidance.warm_up", "of the 2 guided steps at full weight; set them to 1 or less"),
        ({"guidance.match_direction": True}, "guidance.match_direction", "it is for update = noise"),
        ({"guidance.strength": 0.0}, "guidance.weight", "guidance.strength is 0"),
        ({"guidance.inner_steps": 2}, "guidance.inner_steps", "by weight a guided step has one gradient; set"),
        ({"guidance.strength": 1.0}, "guidance.weight", "strength is 1; leave one of them out"),
        ({"guidance.strength": 1.0}, "guidance.update", "strength is 1; leave one of them out"),
        ({"guidance.strength": 1.0}, "guidance.match_direction", "strength is 1; leave one of them out"),
        ({"sampling.guidance_scale": 1.0, "sampling.negative_prompt": "bad"}, "sampling.negative_prompt", "above 1"),
        ({"sampling.guidance_scale": 0.5}, "sampling.guidance_scale", "below 1"),
        ({"sampling.guidance_scale": 1.0}, "guidance.guidance_scale_factor", "there is no classifier-free guidance"),
        ({"seed": 3}, "seed", "the noise of the motion, whose seed is 0"),
        ({"extraction.k": 2}, "extraction.k", "the motion has been read with 1"),
        ({}, "conditioning.scale", "no picture is followed"),
    ],
)
def test_refusals_name_what_was_typed_and_the_reason(animatediff, changes, field, why):
    settings = animatediff.settings
    for name, value in changes.items():
        settings = changed(settings, name, value)
    assert why in animatediff.refusal(settings, field)


def test_what_acts_is_not_refused(animatediff):
    settings = changed(animatediff.settings, "guidance.weight", 0.0)
    assert animatediff.refusal(settings, "guidance.guided_fraction") is None  # it shapes the uneven schedule
    assert animatediff.refusal(animatediff.settings, "per_frame_norm") is None
    assert animatediff.refusal(changed(animatediff.settings, "guidance.warm_up", 1), "guidance.warm_up") is None
    strong = changed(animatediff.settings, "guidance.strength", 1.0)
    assert animatediff.refusal(changed(strong, "guidance.inner_steps", 2), "guidance.inner_steps") is None
    assert animatediff.refusal(changed(strong, "guidance.warm_up", 9), "guidance.warm_up") is None
    assert animatediff.refusal(changed(strong, "guidance.weight", 0.0), "guidance.weight") is None


def test_a_transformer_has_no_norm_of_frames_and_its_scheduler_keeps_its_steps(wan):
    assert "no motion modules" in wan.refusal(wan.settings, "per_frame_norm")
    assert "UniPCMultistepScheduler keeps its own steps" in wan.refusal(wan.settings, "sampling.guided_steps")
    settings = changed(wan.settings, "guidance.weight", 0.0)
    assert "guidance.weight is 0" in wan.refusal(settings, "guidance.guided_fraction")


def test_another_number_of_guided_steps_than_a_person_set_is_told(wan):
    """Once, and only if it is another: settings of few steps cannot do without a number."""
    settings = changed(wan.settings, "guidance.weight", 1e-6)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", GuidanceWarning)
        made = generate(wan.pipe, wan.motion, "a cat", settings)
        count = len(made.steps)
        generate(wan.pipe, wan.motion, "a cat", changed(settings, "sampling.guided_steps", count))
        assert not [each for each in told if each.category is GuidanceWarning]
        generate(wan.pipe, wan.motion, "a cat", changed(settings, "sampling.guided_steps", count + 1))
    (found,) = [str(each.message) for each in told if each.category is GuidanceWarning]
    assert found.startswith(f"sampling.guided_steps is {count + 1} and {count} were guided")


def test_pictures_that_a_motion_was_not_read_with(tmp_path):
    family = Family("animatediff-sparse", tmp_path)
    family.motion = extract_motion(family.pipe, family.clip, family.settings.extraction)
    assert "read without pictures" in family.refusal(family.settings, "conditioning.at_extraction")
    settings = changed(family.settings, "conditioning.at_extraction", False)
    assert family.refusal(settings, "conditioning.at_extraction") is None
