"""What is LTX-Video's own: packed latents, the pipelines' calls, and pictures in the first latent frame."""

import pytest
import torch
from diffusers import LTXConditionPipeline, LTXImageToVideoPipeline, LTXPipeline
from tiny_ltx import ltx

from motionclone.backbones.backbone import named_arguments
from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion, generator_of
from motionclone.media.conditions import Condition
from motionclone.settings import parse_settings

FRAMES, HEIGHT, WIDTH = 17, 64, 96
GRID = (3, 2, 3)
FIRST = slice(0, 6)  # tokens of the first latent frame
SETTINGS = parse_settings(
    {
        "extraction": {"t_alpha": 500, "blocks": ["transformer_blocks.1"]},
        "sampling": {
            "steps": 4,
            "guided_steps": 2,
            "guidance_scale": 3.0,
            "num_frames": FRAMES,
            "height": HEIGHT,
            "width": WIDTH,
        },
        "guidance": {"weight": 3000.0, "guided_fraction": 0.5, "warm_up": 0, "cool_down": 0},
    },
    "test",
)
UNGUIDED = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": 0.0})})


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def clip(seed=3):
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=seeded(seed)) * 2 - 1


def picture(seed=4):
    return Condition(clip(seed)[:1])


def noise(pipe):
    return torch.randn(backbone_of(pipe).latents_shape(FRAMES, HEIGHT, WIDTH), generator=seeded(5))


@pytest.fixture(scope="module")
def text_pipe():
    return ltx()


@pytest.fixture(scope="module")
def image_pipe():
    return ltx(LTXImageToVideoPipeline)


def run(pipe, guidance_scale, steps=2, **arguments):
    """Calls of the denoiser and latents after every step, of the plain pipeline with its own defaults."""
    calls, latents = [], []
    hook = pipe.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(named_arguments(pipe.transformer, args, kwargs)), with_kwargs=True
    )
    try:
        pipe(
            prompt="a cat",
            num_frames=FRAMES,
            height=HEIGHT,
            width=WIDTH,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            output_type="latent",
            callback_on_step_end=lambda _pipe, _step, _t, state: latents.append(state["latents"]) or {},
            **arguments,
        )
    finally:
        hook.remove()
    return calls, latents


def assert_same_call(found, wanted):
    ignored = {"attention_kwargs", "return_dict"}
    assert found.keys() - ignored == wanted.keys() - ignored
    for name in found.keys() - ignored:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=0)


def test_tokens_run_by_frame_row_and_column(text_pipe):
    latents = noise(text_pipe)
    packed = backbone_of(text_pipe).initial_latents(latents)
    frames, height, width = GRID
    for f in range(frames):
        for y in range(height):
            for x in range(width):
                assert torch.equal(packed[0, (f * height + y) * width + x], latents[0, :, f, y, x])
    assert torch.equal(text_pipe._unpack_latents(packed, *GRID), latents)


def test_the_denoiser_is_called_as_the_pipeline_calls_it(text_pipe):
    backbone, latents = backbone_of(text_pipe), noise(text_pipe)
    calls, _ = run(text_pipe, 1.0, latents=backbone.initial_latents(latents))
    with torch.no_grad():
        found = backbone.denoiser_call(latents, float(text_pipe.scheduler.timesteps[0]), "a cat")
    assert_same_call(found, calls[0])
    assert backbone.token_grid(found) == GRID


def test_the_denoiser_is_shown_a_clip_as_the_pipeline_shows_it_a_picture(image_pipe):
    backbone, latents = backbone_of(image_pipe), noise(image_pipe)
    clean = torch.randn(latents.shape, generator=seeded(6))
    shown = torch.cat([clean[:, :, :1], latents[:, :, 1:]], dim=2)
    calls, _ = run(image_pipe, 1.0, latents=backbone.initial_latents(shown))
    with torch.no_grad():
        found = backbone.denoiser_call(latents, float(image_pipe.scheduler.timesteps[0]), "a cat")
        found = backbone.conditioned(found, picture(), clean, 1.0)
    assert_same_call(found, calls[0])


@pytest.mark.parametrize("kind", [LTXPipeline, LTXImageToVideoPipeline])
def test_all_that_is_stacked_is_split(kind):
    pipe = ltx(kind)
    backbone, latents = backbone_of(pipe), noise(pipe)
    alone = run(pipe, 1.0, latents=backbone.initial_latents(latents))[0][0]
    two = {name: torch.cat([x, x]) if torch.is_tensor(x) else x for name, x in alone.items()}
    assert backbone.split(two)[0] is None  # videos that begin alike, without guidance by text
    stacked = run(pipe, 3.0, latents=backbone.initial_latents(latents))[0][0]
    unconditional, conditional = backbone.split(stacked)
    assert_same_call(conditional, alone)
    assert all(len(value) == 1 for value in unconditional.values() if torch.is_tensor(value))
    assert not torch.equal(unconditional["encoder_hidden_states"], conditional["encoder_hidden_states"])


def test_a_clip_is_encoded_as_the_pipeline_encodes_a_picture(image_pipe):
    first = clip()[:1]
    found = backbone_of(image_pipe).encode_video(first, seeded(7))
    wanted, _ = image_pipe.prepare_latents(first, 1, 8, HEIGHT, WIDTH, FRAMES, torch.float32, "cpu", seeded(7))
    torch.testing.assert_close(image_pipe._pack_latents(found), wanted[:, FIRST], rtol=0, atol=0)


@pytest.mark.parametrize("conditioning", [False, True], ids=["plain decoder", "decoder that is told a timestep"])
def test_latents_are_decoded_as_the_pipeline_decodes_them(conditioning):
    pipe = ltx(timestep_conditioning=conditioning)
    backbone = backbone_of(pipe)
    arguments = {"prompt": "a cat", "num_frames": FRAMES, "height": HEIGHT, "width": WIDTH, "num_inference_steps": 2}
    arguments["latents"] = backbone.initial_latents(noise(pipe))
    latents = pipe(**arguments, output_type="latent").frames
    video = pipe(**arguments, output_type="pt", generator=seeded(0)).frames[0] * 2 - 1
    with torch.no_grad():
        found = backbone.decode_video(pipe._unpack_latents(latents, *GRID))
    torch.testing.assert_close(found.clamp(-1, 1), video, rtol=0, atol=1e-5)


def test_a_motion_is_read_with_the_first_frame_clean(image_pipe, text_pipe):
    shown = extract_motion(image_pipe, clip(), SETTINGS.extraction)
    unseen = extract_motion(text_pipe, clip(), SETTINGS.extraction)
    assert shown.record.shown_frames == (0,)
    assert not unseen.record.shown_frames
    (site,) = shown.maps
    assert shown.grid[site] == unseen.grid[site] == GRID
    assert not torch.equal(shown.maps[site].values, unseen.maps[site].values)


@pytest.mark.parametrize("settings", [SETTINGS, UNGUIDED], ids=["guided", "unguided"])
def test_the_first_latent_frame_stays_that_of_the_picture(image_pipe, settings):
    followed, latents = picture(), []
    hook = image_pipe.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: latents.append(kwargs["hidden_states"]), with_kwargs=True
    )
    made = clone(image_pipe, clip(), "a cat", settings, condition=followed)
    hook.remove()
    assert len(made.steps) == (2 if settings is SETTINGS else 0)
    assert made.frames.shape == (FRAMES, 3, HEIGHT, WIDTH)
    generation = latents[1:]  # the first call was the extraction's
    for tokens in generation:
        assert torch.equal(tokens[:1, FIRST], generation[0][:1, FIRST])
    assert not torch.equal(generation[0][:1, FIRST.stop :], generation[-1][:1, FIRST.stop :])
    encoded = backbone_of(image_pipe).encode_video(followed.pictures, generator_of(settings.seed, "vae"))
    assert torch.equal(generation[0][:1, FIRST], image_pipe._pack_latents(encoded))


def test_a_motion_guides_a_video_that_follows_a_picture(image_pipe):
    motion = extract_motion(image_pipe, clip(), SETTINGS.extraction)
    plain, guided, again, other = (
        generate(image_pipe, motion, "a cat", settings, condition=picture(seed))
        for settings, seed in ((UNGUIDED, 4), (SETTINGS, 4), (SETTINGS, 4), (SETTINGS, 9))
    )
    assert torch.equal(guided.frames, again.frames)
    assert not torch.equal(guided.frames, plain.frames)
    assert not torch.equal(guided.frames, other.frames)


def test_latents_with_a_picture_are_where_the_pipeline_computes(image_pipe, monkeypatch):
    """It makes a mask where they are, and multiplies it with timesteps where it computes."""
    backbone = backbone_of(image_pipe)
    elsewhere = torch.zeros(1, 8, 1, 2, 3, device="meta")
    monkeypatch.setattr(type(backbone), "encode_video", lambda *_: elsewhere)
    assert backbone.initial_latents(noise(image_pipe), picture()).device == elsewhere.device


def test_what_cannot_be_done_is_said_in_a_sentence(text_pipe, image_pipe):
    with pytest.raises(InputError, match="give it the first frame"):
        clone(image_pipe, clip(), "a cat", SETTINGS)
    with pytest.raises(InputError, match="frame 0, not for frames"):
        clone(image_pipe, clip(), "a cat", SETTINGS, condition=Condition(clip()[:1], (8,)))
    with pytest.raises(InputError, match="load an image-to-video model"):
        clone(text_pipe, clip(), "a cat", SETTINGS, condition=picture())
    with pytest.raises(InputError, match="LTXConditionPipeline is not supported"):
        backbone_of(LTXConditionPipeline(**text_pipe.components))
