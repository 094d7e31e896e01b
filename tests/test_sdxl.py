"""AnimateDiff on Stable Diffusion XL: the extraction's call, guidance, precision of the VAE, and loading."""

import pytest
import torch
from tiny_sdxl import sdxl_adapter, sdxl_base, sdxl_pipe

from motionclone.backbones.backbone import named_arguments
from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import has_per_frame_norm
from motionclone.cloning import clone
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.models import ModelDescription, load_pipeline
from motionclone.sampling import energy_and_gradient, motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

FRAMES, HEIGHT, WIDTH = 4, 64, 96
READING = Extraction(blocks=("up_blocks.1",))
ALWAYS = Guidance(weight=30.0, guided_fraction=0.6, warm_up=1, cool_down=1)


def clip():
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) * 2 - 1


def noise(seed=5):
    shape = (1, 4, FRAMES, HEIGHT // 8, WIDTH // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(pipe, motion=None, guidance=None, scale=4.0):
    """Latents after every step, the guided steps, and the arguments of the denoiser's calls."""
    latents, calls = [], []

    def note(module, args, kwargs):
        calls.append(named_arguments(module, args, kwargs))

    def end(_pipe, _index, _timestep, state):
        latents.append(state["latents"])
        return {}

    arguments = backbone_of(pipe).pipeline_arguments(
        Sampling(num_frames=FRAMES, height=HEIGHT, width=WIDTH, guidance_scale=scale, negative_prompt="bad")
    )
    calling = {**arguments, "prompt": "a cat", "num_inference_steps": 6, "latents": noise()}
    with pipe.unet.register_forward_pre_hook(note, with_kwargs=True):
        if motion is None:
            pipe(**calling, output_type="latent", callback_on_step_end=end)
            return latents, [], calls
        with motion_guidance(pipe, motion, guidance) as trace:
            pipe(**calling, output_type="latent", callback_on_step_end=end)
    return latents, trace.steps, calls


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return sdxl_pipe(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def motion(pipe):
    return extract_motion(pipe, clip(), READING)


def test_the_denoiser_is_called_at_extraction_as_the_pipeline_calls_it(pipe):
    """All but the latents, which have other noise."""
    _, _, calls = run(pipe, scale=1.0)
    wanted = calls[0]
    with torch.no_grad():
        found = backbone_of(pipe).denoiser_call(noise(), float(wanted["timestep"]), "a cat")
    assert wanted["added_cond_kwargs"].keys() == found["added_cond_kwargs"].keys() == {"text_embeds", "time_ids"}
    assert wanted["added_cond_kwargs"]["time_ids"].tolist() == [[HEIGHT, WIDTH, 0, 0, HEIGHT, WIDTH]]
    for name in (wanted.keys() | found.keys()) - {"sample", "return_dict"}:
        torch.testing.assert_close(found.get(name), wanted.get(name), rtol=0, atol=0, check_dtype=False, msg=name)
    assert found["sample"].shape == wanted["sample"].shape


def test_guidance_off_is_the_plain_pipeline(pipe, motion):
    plain, _, _ = run(pipe)
    off, steps, _ = run(pipe, motion, ALWAYS.model_copy(update={"weight": 0.0}))
    assert not steps
    assert all(torch.equal(a, b) for a, b in zip(plain, off, strict=True))


def test_guidance_lowers_the_energy(pipe, motion):
    """By the energy of what both runs have after the last guided step, where the next step would read it."""
    plain, _, calls = run(pipe)
    guided, steps, _ = run(pipe, motion, ALWAYS)
    assert len(steps) >= 2
    last = steps[-1].index
    backbone = backbone_of(pipe)
    _, conditional = backbone.split(calls[last + 1])
    assert conditional["added_cond_kwargs"]["time_ids"].shape == (1, 6)
    energies = {}
    for name, latents in (("plain", plain[last]), ("guided", guided[last])):
        call = {**conditional, "sample": latents}
        _, by_site, gradient = energy_and_gradient(backbone, pipe.unet.forward, call, motion)
        assert gradient.abs().max() > 0
        energies[name] = float(sum(by_site.values()))
    assert energies["guided"] < energies["plain"]


def test_a_whole_video(pipe):
    settings = Settings(
        extraction=READING,
        guidance=ALWAYS,
        sampling=Sampling(steps=4, guided_steps=2, num_frames=FRAMES, height=HEIGHT, width=WIDTH),
    )
    assert clone(pipe, clip(), "a cat", settings).frames.shape == (FRAMES, 3, HEIGHT, WIDTH)


def test_both_readers_must_take_the_prompt(pipe, monkeypatch):
    backbone = backbone_of(pipe)
    backbone.check_prompt("a cat")
    monkeypatch.setattr(pipe.tokenizer_2, "model_max_length", 5)
    with pytest.raises(InputError, match="4 tokens long and the model reads 3; shorten"):
        backbone.check_prompt("cats")


def test_the_vae_works_in_float32_as_the_pipeline_has_it(tmp_path):
    pipe = sdxl_pipe(tmp_path)
    pipe.vae.half().float()  # the weights are rounded
    exact = backbone_of(pipe).encode_video(clip(), torch.Generator().manual_seed(0))
    decoded = backbone_of(pipe).decode_video(exact)
    pipe.vae.half()
    assert torch.equal(backbone_of(pipe).encode_video(clip(), torch.Generator().manual_seed(0)), exact)
    assert torch.equal(backbone_of(pipe).decode_video(exact), decoded)
    assert pipe.vae.dtype == torch.float16


def test_loading(tmp_path):
    """A base and a motion adapter, and the pipeline that diffusers makes of them; both, saved and loaded."""
    (tmp_path / "words").mkdir()
    sdxl_base(tmp_path / "words").save_pretrained(tmp_path / "base")
    sdxl_adapter().save_pretrained(tmp_path / "motion_adapter")
    pair = load_pipeline(tmp_path, device="cpu")
    oracle = sdxl_pipe(tmp_path / "words")
    oracle.save_pretrained(tmp_path / "saved")
    saved = load_pipeline(tmp_path / "saved", device="cpu")
    for pipe in (pair, saved):
        assert type(pipe) is type(oracle)
        assert pipe.config.force_zeros_for_empty_prompt
        assert pipe.motion_adapter is None
        assert has_per_frame_norm(pipe.unet)
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            found, wanted = getattr(pipe, part).state_dict(), getattr(oracle, part).state_dict()
            assert found.keys() == wanted.keys()
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(InputError, match="cannot be made to follow a sketch"):
        load_pipeline(tmp_path / "saved", device="cpu", control="sketch")
    description = ModelDescription(base=str(tmp_path / "base"), motion_adapter=str(tmp_path / "motion_adapter"))
    (tmp_path / "dream.ckpt").touch()
    with pytest.raises(InputError, match=r"bases of Stable Diffusion 1\.x"):
        load_pipeline(description.model_copy(update={"dreambooth": str(tmp_path / "dream.ckpt")}), device="cpu")
