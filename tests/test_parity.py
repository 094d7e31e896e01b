"""Parity with the authors' code: golden/README.md says where the numbers come from and how far from them is too far.

Cases are the files of tests/golden and, where it lies beside the project, of shared/golden: one that is put there is
replayed, whatever it asks for. Others are made by the transcription, of settings that no golden case has.
"""

from pathlib import Path

import pytest
from parity_case import Case, made_case
from tiny import tiny_pipe

from motionclone.motion import SparseMap

MINI = "t2v_mini_f4_128x128"
OWN = Path(__file__).parent / "golden"
GOLDEN = {path.stem: path for folder in (OWN.parents[2] / "shared" / "golden", OWN) for path in folder.glob("*.json")}

# No setting is the authors' usual one.
SETTINGS = {
    "cfg_scale": 5.0,
    "inference_steps": 4,
    "guidance_scale": 0.4,
    "guidance_steps": 2,
    "warm_up_steps": 1,
    "cool_up_steps": 3,
    "motion_guidance_weight": 700,
    "motion_guidance_blocks": ["down_blocks.1", "up_blocks.2"],
    "add_noise_step": 200,
    "width": 160,
    "height": 128,
}
SKETCHES = {
    "inference_steps": 3,
    "guidance_scale": 0.3,
    "guidance_steps": 2,
    "warm_up_steps": 2,
    "cool_up_steps": 1,
    "width": 128,
    "height": 128,
    "controlnet_scale": 0.8,
}
SCRIBBLE = {"use_simplified_condition_embedding": False}
MADE = {
    "made_other_settings": (5, SETTINGS),
    "made_sketch_first": (6, SKETCHES | {"image_index": [0]}, SCRIBBLE),
    "made_sketches": (6, SKETCHES | {"image_index": [0, 5]}, SCRIBBLE),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Passing `image` as a list of 4d"),
    pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning"),  # cases decide their ramps
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A case by its name; each is computed once."""
    made = {}

    def case(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("case")
            made[name] = made_case(folder, *MADE[name]) if name in MADE else Case.load(GOLDEN[name], folder)
        return made[name]

    return case


@pytest.fixture(params=[*GOLDEN, *MADE])
def case(request, cases):
    return cases(request.param)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_transcription_is_the_authors_run(cases, name):
    """The truth is that of the authors' numbers: they are as near to it as its own float32 numbers are."""
    case = cases(name)
    golden, replayed = case.off(case.golden), case.off(case.replayed)
    for quantity in golden:
        assert 0.1 < golden[quantity] / replayed[quantity] < 10, quantity
    case.check_maps(case.representation())
    summed = [step["loss_raw"] for step in case.guided]
    assert summed == pytest.approx(case.truth["energies"].sum(1).tolist(), abs=case.bound_of_sums)


def test_null_text_is_that_of_the_authors(case):
    case.check({"null_text": case.pipe.encode_prompt("", "cpu", 1, False)[0]})


def test_representation_is_that_of_the_authors(case):
    case.check_maps(case.read().maps)


def test_energies_and_latents_are_those_of_the_authors(case):
    found, timesteps, trace = case.run()
    weights = [case.config["motion_guidance_weight"] * step["ramp"] for step in case.guided]
    assert timesteps == case.facts["timesteps"]
    assert [step.timestep for step in trace.steps] == timesteps[: len(weights)]
    assert [step.weight for step in trace.steps] == pytest.approx(weights)
    case.check(found)
    summed = [step.energy for step in trace.steps]
    assert summed == pytest.approx(case.truth["energies"].sum(1).tolist(), abs=case.bound_of_sums)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_gradients_are_those_of_the_authors(case, checkpointing):
    case.check(case.gradients(checkpointing=checkpointing))


@pytest.mark.parametrize("changed", [{"add_noise_step": 401}, {"per_frame_norm": False}])
def test_a_motion_read_wrongly_is_more_than_rounding(cases, tmp_path, changed):
    case = cases(MINI)
    wrong = Case.load(GOLDEN[MINI], tmp_path)
    wrong.config |= changed
    if "per_frame_norm" in changed:
        wrong.pipe = tiny_pipe(tmp_path, per_frame_norm=False)
    motion = wrong.read()
    with pytest.raises(AssertionError, match=r"values is .* off"):
        case.check_maps(motion.maps)


def test_one_wrong_index_is_more_than_rounding(cases):
    case = cases(MINI)
    maps = case.representation()
    first = maps[case.sites[0]]
    maps[case.sites[0]] = SparseMap(first.values, first.indices.clone())
    maps[case.sites[0]].indices[0, 0, 0] ^= 1
    with pytest.raises(AssertionError, match=r"values is .* off"):
        case.check_maps(maps)


@pytest.mark.parametrize("changed", [{"motion_guidance_weight": 2020}, {"cfg_scale": 7.575}])
def test_a_run_of_other_weights_is_more_than_rounding(cases, tmp_path, changed):
    """Lambda or the text scale by 1 %, in each of the steps that go far."""
    case = cases(MINI)
    wrong = Case.load(GOLDEN[MINI], tmp_path)
    wrong.config |= changed
    found, _, _ = wrong.run()
    for i in range(3):
        with pytest.raises(AssertionError, match=f"latents{i} is .* off"):
            case.check({f"latents{i}": found[f"latents{i}"]})
