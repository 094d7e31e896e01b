"""What is CogVideoX's own: the padding of 1.5, and a first frame."""

import pytest
import torch
from tiny_transformers import ROTARY, cogvideox, cogvideox_from_a_picture, dpm

from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.media.conditions import Condition
from motionclone.sampling import energy_and_gradient
from motionclone.settings import Extraction, Guidance, Sampling, Settings

SETTINGS = Settings(
    extraction=Extraction(t_alpha=465, blocks=("transformer_blocks.1",)),
    guidance=Guidance(weight=100.0, guided_fraction=0.6, warm_up=1, cool_down=1),
    sampling=Sampling(steps=4, guided_steps=2, guidance_scale=4.0, num_frames=17, height=32, width=48),
)


def clip(seed=3):
    return torch.rand(17, 3, 32, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module", params=[{}, {"patch_size_t": 2, "ofs_embed_dim": 8}], ids=["1.0", "1.5"])
def pipe(request):
    return cogvideox_from_a_picture(**request.param)


def test_a_first_frame_is_shown_as_the_pipeline_shows_it(pipe):
    """All that the denoiser is called with at extraction, but the noisy latents, is what the pipeline calls it with."""
    backbone, picture, calls = backbone_of(pipe), Condition(clip()[:1]), []
    shape = backbone.latents_shape(17, 32, 48)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    hook = pipe.transformer.register_forward_pre_hook(lambda _m, _a, call: calls.append(call), with_kwargs=True)
    pipe(
        **backbone.pipeline_condition(picture, 1.0),
        prompt="a cat",
        guidance_scale=1.0,
        num_frames=17,
        height=32,
        width=48,
        num_inference_steps=2,
        latents=backbone.initial_latents(noise, picture),
        max_sequence_length=16,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    )
    hook.remove()
    with torch.no_grad():
        call = backbone.denoiser_call(noise, float(calls[0]["timestep"][0]), "a cat")
        call = backbone.conditioned(call, picture, torch.zeros(shape), 1.0)
    for name, wanted in calls[0].items():
        if torch.is_tensor(wanted):
            torch.testing.assert_close(call[name], wanted.to(call[name].dtype), rtol=1e-5, atol=1e-5)
    for found, wanted in zip(call["image_rotary_emb"], calls[0]["image_rotary_emb"], strict=True):
        assert torch.equal(found, wanted)


def test_a_video_is_cloned_from_a_first_frame(pipe):
    picture = Condition(clip(4)[:1])
    made = clone(pipe, clip(), "a cat", SETTINGS, condition=picture)
    assert made.frames.shape == (17, 3, 32, 48)
    assert len(made.steps) >= 2
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    backbone = backbone_of(pipe)
    noise = torch.randn(backbone.latents_shape(17, 32, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        call = backbone.conditioned(backbone.denoiser_call(noise, 700, "a cat"), picture, noise, 1.0)
    output, _, gradient = energy_and_gradient(backbone, pipe.transformer.forward, call, motion)
    assert gradient.shape == output[0].shape
    assert gradient.abs().max() > 0


def test_without_a_picture_it_says_so(pipe):
    with pytest.raises(InputError, match="give it the first frame"):
        clone(pipe, clip(), "a cat", SETTINGS)
    with pytest.raises(InputError, match="one picture, for frame 0"):
        clone(pipe, clip(), "a cat", SETTINGS, condition=Condition(clip()[:1], (3,)))


def test_padding_of_1_5_is_dropped_from_the_video():
    backbone = backbone_of(cogvideox(dpm(), patch_size_t=2, **ROTARY))
    assert backbone.latents_shape(17, 32, 48) == (1, 4, 6, 4, 6)
    latents = backbone.encode_video(clip(), torch.Generator().manual_seed(0))
    assert latents.shape == (1, 4, 6, 4, 6)
    assert torch.equal(latents[:, :, 0], latents[:, :, 1])


def test_sizes_beyond_the_known_positions_are_fitted():
    """Those of 1.5 end at its sample size, and learned ones, as of 5B-I2V, are of that size alone."""
    larger = backbone_of(cogvideox(dpm(), patch_size_t=2, **ROTARY))
    assert larger.nearest_size(17, 64, 48) == (17, 32, 48)
    assert larger.nearest_size(17, 16, 48) == (17, 16, 48)
    learned = backbone_of(cogvideox_from_a_picture(use_learned_positional_embeddings=True))
    assert learned.nearest_size(17, 16, 16) == (9, 32, 48)  # its number of frames, too
    with pytest.raises(InputError, match="ask for 17 of 48x32"):
        larger.latents_shape(17, 64, 48)
