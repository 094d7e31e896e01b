"""In diffusers' own coin: frames, arguments through `clone` and `generate`, and the pipeline of README."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils import export_to_video
from PIL import Image
from test_sampling import HALF
from tiny import sparse_pipe, tiny_pipe
from tiny_transformers import FAMILIES

from motionclone import settings as settings_module
from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import per_frame_norm
from motionclone.calling import recorded
from motionclone.cloning import clone, generate
from motionclone.errors import GuidanceWarning, InputError
from motionclone.extraction import extract_motion, shared_noise
from motionclone.media.conditions import Condition
from motionclone.media.reading import read_clip
from motionclone.media.writing import write_video
from motionclone.models import load_pipeline, loading
from motionclone.motion import heat_map, load_motion
from motionclone.sampling import motion_guidance
from motionclone.schedule import UnevenDDIMScheduler
from motionclone.settings import Sampling, Settings, preset

SETTINGS = Settings(
    guidance=HALF, sampling=Sampling(steps=4, guided_steps=3, guidance_scale=3.0, num_frames=3, height=64, width=64)
)
CALL = {"num_frames": 3, "height": 64, "width": 64, "num_inference_steps": 4, "guidance_scale": 3.0}
CLIP = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tiny_pipe(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def motion(shared):
    return extract_motion(shared, CLIP)


def test_frames_go_in_and_come_out_as_diffusers_has_them(shared, motion, tmp_path):
    ours = clone(shared, CLIP, "a cat", SETTINGS).frames
    found = {form: generate(shared, motion, "a cat", SETTINGS, output_type=form).frames for form in ("pil", "np", "pt")}
    call = {**CALL, "negative_prompt": "", "latents": shared_noise(shared, motion)}
    for form, frames in found.items():
        with motion_guidance(shared, motion, SETTINGS):
            theirs = shared("a cat", **call, output_type=form).frames[0]
        assert type(frames) is type(theirs)
        if form == "pil":
            assert [each.tobytes() for each in frames] == [each.tobytes() for each in theirs]
        else:
            assert np.array_equal(np.asarray(frames), np.asarray(theirs))
    assert torch.equal(found["pt"] * 2 - 1, ours)
    again = clone(shared, found["pil"], "a cat", SETTINGS, output_type="np").frames
    assert np.array_equal(again, clone(shared, np.stack(found["pil"]), "a cat", SETTINGS, output_type="np").frames)
    for form in ("pil", "np"):
        export_to_video(list(found[form]), str(tmp_path / f"{form}.mp4"), fps=8)
        assert (tmp_path / f"{form}.mp4").stat().st_size > 500
    with pytest.raises(InputError, match="output_type is one of pil, np, pt, or None, not 'latent'"):
        generate(shared, motion, "a cat", SETTINGS, output_type="latent")


def test_any_form_of_frames_can_be_written(tmp_path):
    levels = (torch.arange(3 * 3 * 16 * 16) % 256).to(torch.uint8).reshape(3, 3, 16, 16)
    arrays = levels.permute(0, 2, 3, 1).numpy()
    forms = [levels.float() / 127.5 - 1, levels, arrays, arrays / np.float32(255), [Image.fromarray(a) for a in arrays]]
    for number, form in enumerate(forms):
        write_video(tmp_path / f"{number}.mp4", form, 8)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers' DPM++ with numpy 2
def test_a_generator_makes_the_noise_as_in_diffusers(tmp_path, motion):
    pipe = tiny_pipe(tmp_path)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    plain = SETTINGS.model_copy(update={"guidance": HALF.model_copy(update={"weight": 0.0})})
    theirs = pipe("a cat", **CALL, negative_prompt="bad", generator=seeded(7), output_type="pt").frames[0]
    ours = generate(pipe, motion, "a cat", plain, generator=seeded(7), negative_prompt="bad", output_type="pt")
    assert torch.equal(ours.frames, theirs)
    record = ours.record
    assert record["arguments"] == {"generator": {"seed": 7, "device": "cpu"}}
    assert (record["not_reproducible"], record["initial_noise_seed"]) == ([], None)
    assert record["settings"]["sampling"]["negative_prompt"] == "bad"
    assert record["settings"]["sampling"]["shared_noise"] is False
    used = seeded(7)
    torch.randn(1, generator=used)
    assert recorded({"generator": used})["not_reproducible"] == ["generator"]
    asked = SETTINGS.model_copy(update={"sampling": SETTINGS.sampling.model_copy(update={"shared_noise": True})})
    with pytest.raises(InputError, match=r"a generator makes the noise .*leave one of them out"):
        generate(pipe, motion, "a cat", asked, generator=seeded())


def test_further_arguments_reach_the_pipeline_and_the_record(shared, motion, monkeypatch):
    steps, calls, call = [], [], type(shared).__call__

    def at_the_end(_pipe, index, timestep, tensors):
        steps.append((index, int(timestep), sorted(tensors)))
        return {}

    def spy(pipe, *args, **arguments):
        calls.append(arguments)
        return call(pipe, *args, **arguments)

    spy.__signature__ = inspect.signature(call)
    monkeypatch.setattr(type(shared), "__call__", spy)
    added = {
        "callback_on_step_end": at_the_end,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "cross_attention_kwargs": {"scale": 0.5},
        "eta": 0.5,
    }
    made = clone(shared, CLIP, "a cat", SETTINGS, **added)
    assert [index for index, *_ in steps] == [0, 1, 2, 3]
    assert steps[0][2] == ["latents"]
    assert all(calls[0][name] == value for name, value in added.items())
    assert made.record["not_reproducible"] == ["callback_on_step_end"]
    assert made.record["arguments"] == {name: added[name] for name in list(added)[1:]}
    assert json.loads(json.dumps(made.record)) == made.record
    other = clone(shared, CLIP, "a cat", SETTINGS)
    assert not torch.equal(made.frames, other.frames)  # eta acts
    assert (other.record["arguments"], other.record["not_reproducible"]) == ({}, [])


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ({"clip_skp": 1}, r"AnimateDiffPipeline takes no argument clip_skp; did you mean clip_skip\."),
        ({"strength": 0.5}, r"takes no argument strength; leave it out\."),
        ({"num_inference_steps": 5}, r"num_inference_steps is no argument here; set sampling\.steps\."),
        ({"latents": torch.zeros(1)}, r"latents is no argument here; give a generator"),
        ({"prompt_embeds": torch.zeros(1)}, r"prompt_embeds is set here .*inside motion_guidance\."),
        ({"num_videos_per_prompt": 2}, r"num_videos_per_prompt is set here .*leave it out"),
        ({"return_dict": False}, r"return_dict is set here"),
        ({"negative_prompt": ["bad"]}, r"negative_prompt must be one text"),
        ({"generator": [seeded()]}, r"generator must be one torch\.Generator"),
        ({"decode_chunk_size": 0}, r"decode_chunk_size must be a whole number, 1 or more, not 0"),
        ({"eta": "x"}, r"eta must be a number, not 'x'"),
        ({"eta": 5}, r"eta must be a number from 0 to 1, not 5"),
        ({"eta": True}, r"eta must be a number, not True"),
        ({"clip_skip": 99}, r"clip_skip must be a whole number, 0 to \d+, not 99"),
        ({"cross_attention_kwargs": 5}, r"cross_attention_kwargs must be a dict, not 5"),
        ({"on_step": 5}, r"on_step must be a function, not 5"),
        ({"callback_on_step_end": 5}, r"callback_on_step_end must be a function, not 5"),
    ],
)
def test_what_is_no_argument_is_refused_by_name_before_anything_slow(shared, motion, argument, sentence, monkeypatch):
    monkeypatch.setattr(shared.vae, "encode", None)
    for verb, material in ((clone, CLIP), (generate, motion)):
        with pytest.raises(InputError, match=sentence):
            verb(shared, material, "a cat", SETTINGS, **argument)


def test_what_a_notebook_shows_is_a_line(shared, motion, clip):
    made = clone(shared, CLIP, "a cat", SETTINGS)
    with motion_guidance(shared, motion, SETTINGS) as trace:
        shared("a cat", **CALL, output_type="latent")
    found = [
        (made, r"Generated\(3 frames of 64x64, 3 guided steps, prompt 'a cat'\)"),
        (motion, r"Motion\(3 frames of 64x64, k 1 at \d+ sites of '\w+'\)"),
        (next(iter(motion.maps.values())), r"SparseMap\(\(\d+, 8, 3, 1\), torch\.float32, on cpu\)"),
        (trace, r"Trace\(3 guided steps, energy [\d.]+ to [\d.]+\)"),
        (Condition(CLIP[:1]), r"Condition\(64x64 for frames 0\)"),
        (read_clip(clip, 8, 64, 64), r"Clip\(8 frames of 64x64 at [\d.]+ fps, sha256 \w{12}\.\.\.\)"),
    ]
    for value, shown in found:
        assert re.fullmatch(shown, repr(value)), repr(value)
    for value in (made.steps, motion.record, trace.steps):
        assert len(repr(value)) < 1000
        assert "attn" not in repr(value)


def test_torch_dtype_is_diffusers_older_name_for_dtype():
    assert load_pipeline("mini", device="cpu", torch_dtype=torch.bfloat16).unet.dtype == torch.bfloat16
    with pytest.raises(InputError, match="two names of one thing, and both were given; leave one out"):
        load_pipeline("mini", device="cpu", dtype=torch.float32, torch_dtype=torch.float32)
    with pytest.raises(InputError, match=r"not a dict; load with one, .*pipe\.vae\.to\(torch\.float32\)"):
        load_pipeline("mini", device="cpu", torch_dtype={"vae": torch.float32})
    with pytest.raises(InputError, match=r"dtype is torch\.float32, torch\.float16 or torch\.bfloat16, not 'float16'"):
        load_pipeline("mini", device="cpu", torch_dtype="float16")


def test_pictures_are_no_argument(tmp_path):
    pipe = sparse_pipe(tmp_path)
    with pytest.raises(InputError, match=r"conditioning_frames is no argument here; give a condition\."):
        clone(pipe, CLIP, "a cat", SETTINGS, condition=Condition(CLIP[:1]), conditioning_frames=[CLIP[0]])


def test_whole_settings_bring_the_papers_steps_into_ones_own_pipeline(shared, motion):
    before = shared.scheduler
    call = {**CALL, "negative_prompt": "", "latents": shared_noise(shared, motion), "output_type": "pt"}
    with motion_guidance(shared, motion, SETTINGS) as trace:
        frames = shared("a cat", **call).frames[0]
    made = generate(shared, motion, "a cat", SETTINGS)
    assert torch.equal(frames * 2 - 1, made.frames)
    assert len(trace.steps) == 3  # of the scheduler's own steps, two lie in the guided half
    assert shared.scheduler is before
    with (
        pytest.raises(
            InputError, match=r"called with 5 steps and guidance has settings for 4; .*num_inference_steps=4"
        ),
        motion_guidance(shared, motion, SETTINGS),
    ):
        shared("a cat", **{**call, "num_inference_steps": 5})
    assert shared.scheduler is before


def test_the_readmes_own_pipeline_gives_what_clone_gives(shared, clip, tmp_path, monkeypatch):
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code = re.search(r"```python\n(from motionclone import extract_motion.*?)```", readme, re.DOTALL)[1]
    paper = preset("camera").sampling
    said = dict(re.findall(r"(num_frames|height|width|num_inference_steps|guidance_scale)=([\d.]+),\n", code))
    assert {name: float(value) for name, value in said.items()} == {
        "num_frames": paper.num_frames,
        "height": paper.height,
        "width": paper.width,
        "num_inference_steps": paper.steps,
        "guidance_scale": paper.guidance_scale,
    }
    small = {"num_frames": 3, "height": 64, "width": 64, "steps": 4, "guided_steps": 3}
    camera = preset("camera")
    quick = {"sampling": paper.model_copy(update={**small, "negative_prompt": "bad"})}
    quick["guidance"] = camera.guidance.model_copy(update={"warm_up": 0, "cool_down": 0})
    monkeypatch.setattr(settings_module, "preset", lambda _: camera.model_copy(update=quick))
    for name, value in {"num_frames": 3, "height": 64, "width": 64, "num_inference_steps": 4}.items():
        code = re.sub(rf"\b{name}=\d+", f"{name}={value}", code)
    monkeypatch.chdir(tmp_path)
    Path("tiger.mp4").write_bytes(clip.read_bytes())
    found = {}
    monkeypatch.setattr(loading, "load_pipeline", lambda _: shared)
    exec(compile(code, "README.md", "exec"), found)
    frames = read_clip("tiger.mp4", 3, 64, 64).frames
    words = "a pig walks in the forest"
    made = clone(shared, frames, words, found["settings"], output_type="pil")
    assert [each.tobytes() for each in found["frames"]] == [each.tobytes() for each in made.frames]
    assert read_clip("pig.mp4", 3, 64, 64).frames.shape == (3, 3, 64, 64)


@pytest.mark.parametrize("name", ["cogvideox-2b", "wan-2.1"])
def test_transformers_start_from_the_shared_noise_in_their_own_layout(name):
    tiny = FAMILIES[name]
    pipe = tiny.make()
    size = {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    values = {
        "extraction": {"blocks": [tiny.block], "t_alpha": 500},
        "guidance": {"weight": 10.0, "warm_up": 0, "cool_down": 0, "guided_fraction": 0.9},
        "sampling": {"steps": 2, "guided_steps": 2, "guidance_scale": 3.0, **size},
    }
    settings = settings_module.parse_settings(values, "the test")
    found = extract_motion(
        pipe, torch.rand(tiny.num_frames, 3, tiny.height, tiny.width, generator=seeded()) * 2 - 1, settings.extraction
    )
    with motion_guidance(pipe, found, settings):
        latents = shared_noise(pipe, found)
        call = backbone_of(pipe).pipeline_arguments(settings.sampling)
        own = pipe("a cat", **call, num_inference_steps=2, latents=latents, output_type="pt").frames
    assert torch.equal(own[0].float() * 2 - 1, generate(pipe, found, "a cat", settings).frames)


BAD = (5, b"x", ["x"])
NO_PATHS = (*BAD, "", "x\0y", "\ud800")


def test_what_is_no_path_revision_device_or_other_value_is_one_sentence(shared, motion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    clip = torch.zeros(2, 3, 16, 16)
    calls = {
        "save": (motion.save, NO_PATHS),
        "save_pretrained": (motion.save_pretrained, NO_PATHS),
        "load_motion": (load_motion, NO_PATHS),
        "load_pipeline": (load_pipeline, NO_PATHS),
        "read_clip": (read_clip, NO_PATHS),
        "write_video": (lambda path: write_video(path, clip, 8), (*NO_PATHS, ".")),
        "fps": (lambda fps: write_video("a.mp4", clip, fps), ("8", None, True)),
        "revision": (lambda revision: load_motion("a/b", revision=revision), (*BAD, "", "../x", "a b")),
        "a branch": (lambda revision: motion.push_to_hub("a/b", revision=revision), (*BAD, "", "../x")),
        "a repository": (motion.push_to_hub, (*NO_PATHS, None)),
        "device": (motion.to, (*BAD, "", "xx")),
        "preset": (preset, BAD),
        "a motion's name": (motion.save, ("x.txt", "x")),
        "values": (lambda most: write_video("a.mp4", clip + most, 8), (100.0, -255.0)),
        "a motion": (lambda none: shared_noise(shared, none), (None, *BAD)),
        "a heat map": (heat_map, (None, *BAD)),
        "pictures": (Condition, ("lion.png",)),
        "a scheduler": (lambda none: UnevenDDIMScheduler.uneven(none, 2, 0.4), (None, 5)),
        "guided steps": (lambda count: UnevenDDIMScheduler.uneven(shared.scheduler, count, 0.4), (-2, 0)),
        "a fraction": (lambda share: UnevenDDIMScheduler.uneven(shared.scheduler, 2, share), (0, 4)),
        "a network": (lambda none: per_frame_norm(none).__enter__(), (None, shared)),
        "steps": (preset("mini").in_steps, ("4", 4.5, None)),
        "a condition": (lambda none: clone(shared, CLIP, "a cat", SETTINGS, condition=none), BAD),
        "settings": (Settings, (3,)),
    }
    for name, (call, values) in calls.items():
        for value in values:
            with pytest.raises(InputError, match=r"; |, not |, got |no preset"):
                pytest.fail(f"{name} took {call(value)!r} of {value!r}")
    assert not list(tmp_path.iterdir())


def test_settings_seeds_and_sources_of_another_kind_are_refused(shared, motion):
    for settings in (5, "camera", preset("mini").guidance):
        with pytest.raises(InputError, match=r"settings must be Settings, not .*; see preset"):
            clone(shared, CLIP, "a cat", settings)
    with pytest.raises(InputError, match=r"settings must be Extraction, not Settings; give its \.extraction"):
        extract_motion(shared, CLIP, SETTINGS)
    for frames in (0, (-1,)):
        with pytest.raises(InputError, match=r"frames are (the )?number"):
            Condition(CLIP[:1], frames=frames)
    with pytest.raises(InputError, match="shown_frames are 0 to 2"):
        extract_motion(shared, CLIP, shown_frames="a")
    for seed in (None, "0", -1, 2**63, 0.5):
        with pytest.raises(InputError, match="a seed is a whole number from 0"):
            extract_motion(shared, CLIP, seed=seed)
    for source in (5, {"x": torch.zeros(1)}, {"fps": -1}):
        with pytest.raises(InputError, match="source holds plain JSON values"):
            extract_motion(shared, CLIP, source=source)
    with pytest.raises(InputError, match="on_guided_step must be a function"):
        motion_guidance(shared, motion, on_guided_step=5).__enter__()
    assert extract_motion(shared, CLIP, seed=np.int64(3)).record.seed == 3


def test_an_empty_prompt_is_told(shared, motion):
    with pytest.warns(GuidanceWarning, match="the prompt is empty; say what"):
        generate(shared, motion, " ", SETTINGS)


@pytest.mark.parametrize("motion", [None, {}, "m.safetensors", {950.0: None}])
def test_what_is_no_motion_is_refused(pipe, motion):
    with pytest.raises(InputError, match="a Motion or a mapping of timesteps to Motions was expected"):
        generate(pipe, motion, "a cat")
    with pytest.raises(InputError, match="was expected"), motion_guidance(pipe, motion):
        pass
