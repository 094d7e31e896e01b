"""Extraction and guidance on a whole pipeline: what they compute, what they refuse, and that they leave no trace."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from tiny import animatediff_scheduler, leaving_by, state, tiny_pipe
from torch import nn

from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import per_frame_norm
from motionclone.errors import GuidanceWarning, InputError
from motionclone.extraction import extract_motion, kept_of, motion_of_latents
from motionclone.guidance import DISPLACEMENT, first_order_response
from motionclone.motion import Motion, load_motion
from motionclone.objectives import OBJECTIVES, energy
from motionclone.sampling import energy_and_gradient, motion_guidance
from motionclone.schedule import UnevenDDIMScheduler
from motionclone.settings import Extraction, Guidance, parse_settings
from motionclone.steps import noise_levels, solver_responses

FRAMES, HEIGHT, WIDTH, STEPS = 3, 16, 16, 4  # latents: smaller, and deep group norms would see hardly two values
HALF = Guidance(weight=30, guided_fraction=0.5, warm_up=0, cool_down=0, checkpointing="none")
STRONG = Guidance(strength=0.5, guided_fraction=0.5, warm_up=0, cool_down=0, checkpointing="none")
# both guide t = 751 and 501 of 751, 501, 251, 1


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clip(frames=FRAMES, height=HEIGHT, width=WIDTH):
    return normal(1, 4, frames, height, width, seed=1)


def extract(pipe, latents=None, **settings):
    latents = clip() if latents is None else latents
    return motion_of_latents(pipe, latents, normal(*latents.shape), Extraction(**settings))


def generate(pipe, *, until=None, **changes):
    """The latents that the pipeline ends with, or those after `until` steps."""

    def interrupt(_pipe, index, _timestep, _state):
        pipe._interrupt = index + 1 == until
        return {}

    call = {
        "prompt_embeds": normal(1, 6, 32, seed=2),
        "negative_prompt_embeds": normal(1, 6, 32, seed=3),
        "latents": normal(1, 4, FRAMES, HEIGHT, WIDTH, seed=4),
        "num_frames": FRAMES,
        "height": HEIGHT * 8,
        "width": WIDTH * 8,
        "num_inference_steps": STEPS,
        "guidance_scale": 2.0,
        "output_type": "latent",
        "callback_on_step_end": interrupt,
    }
    dtype = pipe.unet.dtype
    return pipe(**{k: v.to(dtype) if torch.is_tensor(v) else v for k, v in {**call, **changes}.items()}).frames


def guide(pipe, motion, settings=HALF, **changes):
    with motion_guidance(pipe, motion, settings) as trace:
        latents = generate(pipe, **changes)
    return latents, trace.steps


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One pipeline for all tests that do not change it; those that do take `pipe`."""
    return tiny_pipe(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def motion(shared):
    return extract(shared)


@pytest.fixture(scope="module")
def plain(shared):
    return generate(shared)


def but(settings, **changes):
    return settings.model_copy(update=changes)


def energies(pipe, motion, settings, **changes):
    """Of the first three steps of a run of fifty, which are short enough for descent."""
    _, steps = guide(pipe, motion, but(settings, guided_fraction=0.1), num_inference_steps=50, until=3, **changes)
    return [step.energy for step in steps]


def lowers_energy(pipe, motion, settings=HALF, **changes):
    """Whether guidance ends its steps at a lower energy than no guidance does, from the same start."""
    faint = {"weight": 1e-12} if settings.strength is None else {"strength": 1e-9}
    unguided = energies(pipe, motion, but(settings, **faint), **changes)  # measures, hardly moves
    guided = energies(pipe, motion, settings, **changes)
    assert guided[0] == unguided[0]
    return guided[-1] < 0.9 * unguided[-1]


def test_weight_0_is_the_plain_pipeline(shared, motion, plain):
    latents, steps = guide(shared, motion, Guidance(weight=0))
    assert torch.equal(latents, plain)
    assert steps == []


def test_steps_below_the_guided_fraction_are_the_plain_pipeline(shared, motion, plain):
    with pytest.warns(GuidanceWarning, match="guided no step"):
        latents, steps = guide(shared, motion, Guidance(guided_fraction=0.2))
    assert torch.equal(latents, plain)
    assert steps == []


def test_steps_after_the_guided_ones_are_the_plain_pipeline(shared, motion):
    seen = []
    guide(shared, motion, callback_on_step_end=lambda _p, _i, _t, now: seen.append(now["latents"]) or {})
    resumed = generate(shared, callback_on_step_end=lambda _p, i, _t, _now: {"latents": seen[1]} if i == 1 else {})
    assert torch.equal(resumed, seen[-1])


def test_vanishing_weight_is_the_plain_pipeline_but_for_rounding(shared, motion):
    latents, _ = guide(shared, motion, but(HALF, weight=1e-12), until=1)
    torch.testing.assert_close(latents, generate(shared, until=1), rtol=0, atol=1e-4)


def test_extraction_leaves_the_pipeline_as_found(shared, plain):
    before = state(shared.unet)
    extract(shared, blocks=("down_blocks.1", "up_blocks.1"))
    assert state(shared.unet) == before
    assert torch.equal(generate(shared), plain)


@pytest.mark.parametrize("end", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["callback_on_step_end", "on_guided_step"])
def test_guidance_leaves_the_pipeline_as_found(shared, motion, end, place):
    before, own = state(shared.unet), vars(shared).copy()

    def interrupt(*_):
        if end is not None:
            raise end
        return {}

    def run():
        ours, theirs = (interrupt, {}) if place == "on_guided_step" else (None, {place: interrupt})
        with motion_guidance(shared, motion, HALF, on_guided_step=ours):
            generate(shared, num_inference_steps=2, **theirs)

    with leaving_by(end):
        run()
    assert state(shared.unet) == before
    assert vars(shared).keys() == own.keys()
    assert shared.scheduler is own["scheduler"]


def test_trace_tells_what_was_done(shared, motion):
    told = []
    settings = but(HALF, warm_up=2)
    with motion_guidance(shared, motion, settings, on_guided_step=told.append) as trace:
        generate(shared)
    assert told == trace.steps
    assert [step.index for step in told] == [0, 1]
    assert [step.timestep for step in told] == [751, 501]
    assert [step.weight for step in told] == [15, 30]
    for step in told:
        assert step.energy_by_site.keys() == motion.maps.keys()
        assert step.energy == pytest.approx(sum(step.energy_by_site.values()))
        assert step.gradient_norm > 0


def test_every_call_is_guided_alike(shared, motion):
    with motion_guidance(shared, motion, HALF) as trace:
        first, second = generate(shared, until=2), generate(shared, until=2)
    assert torch.equal(first, second)
    assert trace.steps[:2] == trace.steps[2:]


def test_checkpointing_changes_nothing(shared, motion):
    kept, _ = guide(shared, motion, until=1)
    latents, _ = guide(shared, motion, but(HALF, checkpointing="least"), until=1)
    torch.testing.assert_close(latents, kept, rtol=0, atol=1e-5)


SCHEDULERS = {
    "DDIM": lambda: animatediff_scheduler(),
    "DDIM-v": lambda: animatediff_scheduler("v_prediction"),
    "uneven-DDIM": lambda: UnevenDDIMScheduler.uneven(animatediff_scheduler(), 5, 0.1),
    "Euler": lambda: EulerDiscreteScheduler.from_config(animatediff_scheduler().config, timestep_spacing="leading"),
    "Euler-fractions": lambda: EulerDiscreteScheduler.from_config(animatediff_scheduler().config),  # t = 978.6
    "DPM++": lambda: DPMSolverMultistepScheduler.from_config(animatediff_scheduler().config),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers' Euler and DPM++ with numpy 2
@pytest.mark.parametrize("name", SCHEDULERS)
def test_guidance_lowers_the_energy(shared, motion, name, monkeypatch):
    monkeypatch.setattr(shared, "scheduler", SCHEDULERS[name]())
    assert lowers_energy(shared, motion)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "DPM++"])
def test_a_step_moves_the_latents_by_the_noise_levels_times_the_gradient(shared, motion, name, monkeypatch):
    """z_after -= sigma_after sigma G, with z = alpha x0 + sigma eps; Euler's samples are z / alpha.

    Of DPM++'s steps it is what lasts (tests/test_steps.py).
    """
    scheduler = SCHEDULERS[name]()
    monkeypatch.setattr(shared, "scheduler", scheduler)
    run = {"num_inference_steps": 50, "until": 1}
    plain, _ = guide(shared, motion, but(HALF, weight=1e-12), **run)
    latents, steps = guide(shared, motion, **run)
    bars = [scheduler.alphas_cumprod[int(t)].item() for t in scheduler.timesteps[:2]]
    moved = float((latents - plain).norm()) * (bars[1] ** 0.5 if name.startswith("Euler") else 1)
    wanted = ((1 - bars[0]) * (1 - bars[1])) ** 0.5 * steps[0].gradient_norm
    assert moved == pytest.approx(wanted, rel=0.05 if name == "Euler-fractions" else 1e-3)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_strength_is_the_size_of_a_step_whatever_the_energys(shared, motion, name, monkeypatch):
    """As a number, of z = alpha x0 + sigma eps; of DPM++'s step, what lasts of it."""
    scheduler = SCHEDULERS[name]()
    monkeypatch.setattr(shared, "scheduler", scheduler)
    run = {"num_inference_steps": 12, "until": 1}
    plain, _ = guide(shared, motion, but(STRONG, strength=1e-9), **run)
    latents, (step,) = guide(shared, motion, STRONG, **run)
    now, after = noise_levels(scheduler, float(scheduler.timesteps[0]), 0)
    guided = [i for i, t in enumerate(scheduler.timesteps.tolist()) if t >= 500]
    left = [noise_levels(scheduler, float(scheduler.timesteps[i]), i)[1].sigma for i in guided]
    wanted = 0.5 * DISPLACEMENT * left[0] / sum(left)
    if name == "DPM++":
        known = first_order_response(now, after, "epsilon")
        fresh = SCHEDULERS[name]()
        fresh.set_timesteps(12)
        wanted *= known / solver_responses(fresh, 0)[0].moves
    moved = (latents - plain) * (after.alpha if name.startswith("Euler") else 1)
    assert float(moved.square().mean().sqrt()) == pytest.approx(wanted, rel=1e-2)
    assert moved.mean(2).abs().max() < 1e-3 * wanted
    assert moved.mean((3, 4)).abs().max() < 1e-3 * wanted

    def loud(*site):
        return 1024 * energy(*site)

    monkeypatch.setitem(OBJECTIVES, "control", loud)
    again, (louder,) = guide(shared, motion, STRONG, **run)
    assert louder.energy == pytest.approx(1024 * step.energy)
    torch.testing.assert_close(again, latents, rtol=0, atol=1e-6)


def test_strength_lowers_the_energy_and_0_is_the_plain_pipeline(shared, motion, plain):
    assert lowers_energy(shared, motion, but(STRONG, strength=1.0))
    latents, steps = guide(shared, motion, but(STRONG, strength=0.0))
    assert torch.equal(latents, plain)
    assert steps == []


def test_words_count_more_in_guided_steps_alone(shared, motion, plain):
    """The first step, at a factor, is the plain pipeline's at a guidance scale so many times as large."""
    factor = but(STRONG, strength=1e-9, guidance_scale_factor=3.0)
    found, (step, *_) = guide(shared, motion, factor, until=1)
    torch.testing.assert_close(found, generate(shared, until=1, guidance_scale=6.0), rtol=0, atol=1e-3)
    assert step.index == 0
    assert not torch.allclose(found, generate(shared, until=1), rtol=0, atol=0.1)
    assert torch.equal(guide(shared, motion, but(factor, strength=0.0))[0], plain)
    with pytest.warns(GuidanceWarning, match="guidance_scale_factor does not act: no guided call held both halves"):
        guide(shared, motion, factor, guidance_scale=1.0)


def test_cross_entropy_lowers_its_energy(shared, motion):
    assert lowers_energy(shared, motion, but(HALF, objective="cross-entropy", weight=3))
    unknown = Guidance(objective="none")
    with pytest.raises(InputError, match="no objective 'none'"), motion_guidance(shared, motion, unknown):
        pytest.fail("guided by no objective")


def test_noise_update_lowers_the_energy(shared, motion):
    assert lowers_energy(shared, motion, but(HALF, update="noise", weight=1000))


def test_guidance_works_without_classifier_free_guidance(shared, motion):
    assert lowers_energy(shared, motion, guidance_scale=1.0)


def test_plain_control_lowers_the_energy(shared):
    dense = extract(shared, k=FRAMES)
    assert lowers_energy(shared, dense, but(HALF, weight=100))


def test_motion_of_a_file_guides_like_the_one_in_memory(shared, motion, tmp_path):
    motion.save(tmp_path / "motion.safetensors")
    latents, steps = guide(shared, motion, until=1)
    again, steps_again = guide(shared, load_motion(tmp_path / "motion.safetensors"), until=1)
    assert steps_again[0].energy == pytest.approx(steps[0].energy, rel=1e-3)
    assert (again - latents).norm() <= 1e-3 * latents.norm()


def test_batch_gives_each_prompt_the_same_as_alone(shared, motion):
    prompts, noise = normal(2, 6, 32, seed=5), normal(2, 4, FRAMES, HEIGHT, WIDTH, seed=6)
    both = {"prompt_embeds": prompts, "negative_prompt_embeds": normal(1, 6, 32, seed=3).expand(2, -1, -1)}
    together, steps = guide(shared, motion, latents=noise, until=1, **both)
    alone = [
        guide(shared, motion, prompt_embeds=prompts[i : i + 1], latents=noise[i : i + 1], until=1) for i in range(2)
    ]
    torch.testing.assert_close(together, torch.cat([latents for latents, _ in alone]), rtol=0, atol=1e-3)
    assert steps[0].energy == pytest.approx(sum(one[0].energy for _, one in alone) / 2, rel=1e-5)


@pytest.mark.parametrize(("dtype", "similarity"), [(torch.float16, 0.99), (torch.bfloat16, 0.94)])
def test_half_precision_gradient_agrees_with_float32(pipe, dtype, similarity):
    reference, found = extract(pipe), []
    for precision in (torch.float32, dtype):
        pipe.unet.to(precision)
        call = {
            "sample": normal(1, 4, FRAMES, HEIGHT, WIDTH, seed=4).to(precision),
            "timestep": torch.tensor(751),
            "encoder_hidden_states": normal(FRAMES, 6, 32, seed=2).to(precision),
        }
        _, _, gradient = energy_and_gradient(backbone_of(pipe), pipe.unet.forward, call, reference)
        assert gradient.dtype == torch.float32
        found.append(gradient.flatten())
    full, half = found
    assert torch.cosine_similarity(full, half, dim=0) > similarity
    assert float(half.norm()) == pytest.approx(float(full.norm()), rel=0.1)


def test_half_precision_model_takes_the_motion_of_a_float32_model(pipe):
    """Extract on one machine, generate on another in another precision: these are the same weights."""
    reference = extract(pipe)
    pipe.to(torch.bfloat16)
    latents, steps = guide(pipe, reference, until=1)
    assert latents.dtype == torch.bfloat16
    assert latents.isfinite().all()
    assert len(steps) == 1


@pytest.mark.parametrize("checkpointing", ["none", "auto", "least"])
@pytest.mark.parametrize("trainable", [False, True])
def test_guidance_works_in_inference_mode(pipe, trainable, checkpointing):
    """Also with weights that require gradients, as those of hand-built pipelines do."""
    pipe.unet.requires_grad_(trainable)
    settings = but(HALF, checkpointing=checkpointing)
    latents, _ = guide(pipe, extract(pipe), settings, until=1)
    with torch.inference_mode():
        found, _ = guide(pipe, extract(pipe), settings, until=1)
    torch.testing.assert_close(found, latents, rtol=0, atol=1e-5)
    assert not latents.requires_grad
    assert all(parameter.grad is None for parameter in pipe.unet.parameters())


def test_user_s_own_hooks_on_the_denoiser_still_fire(shared, motion):
    fired = []
    hooks = [
        shared.unet.register_forward_pre_hook(lambda *_: fired.append("before")),
        shared.unet.register_forward_hook(lambda *_: fired.append("after")),
    ]
    guide(shared, motion, num_inference_steps=2)
    for hook in hooks:
        hook.remove()
    assert fired == ["before", "after"] * 2


def test_every_call_of_an_offloaded_pipeline_is_guided(pipe):
    """diffusers takes accelerate's hooks off and puts them on again at the end of every call."""
    reference, plain = extract(pipe), vars(pipe.unet).keys()
    pipe.enable_model_cpu_offload(device="cpu")
    with motion_guidance(pipe, reference, HALF) as trace:
        first, second = generate(pipe, until=1), generate(pipe, until=1)
    assert torch.equal(first, second)
    assert len(trace.steps) == 2
    with motion_guidance(pipe, reference, HALF):
        pass
    assert not torch.equal(generate(pipe, until=1), first)
    pipe.remove_all_hooks()
    assert vars(pipe.unet).keys() - plain <= {"forward"}  # accelerate leaves the bound method behind
    assert not torch.equal(generate(pipe, until=1), first)


def test_free_noise_is_refused(pipe):
    """It calls a temporal attention once for every window, of which only one would be guided."""
    motion = extract(pipe, clip(8))
    pipe.enable_free_noise(context_length=4, context_stride=2)
    with pytest.raises(InputError, match=r"disable_free_noise\(\)"):
        extract(pipe, clip(8))
    with pytest.raises(InputError, match=r"disable_free_noise\(\)"), motion_guidance(pipe, motion, HALF):
        pipe("a cat", num_frames=8, height=8 * HEIGHT, width=8 * WIDTH, num_inference_steps=4, output_type="latent")


@pytest.mark.parametrize(
    ("settings", "changes", "remedy"),
    [
        (HALF, {"latents": torch.full((1, 4, FRAMES, HEIGHT, WIDTH), torch.nan)}, "in float32 or bfloat16"),
        (but(HALF, weight=1e38), {}, "a lower weight"),
    ],
    ids=["latents", "weight"],
)
def test_not_finite_is_refused_with_the_step_and_a_remedy(shared, motion, settings, changes, remedy):
    before = state(shared.unet)
    with pytest.raises(InputError, match=rf"guided step 1 \(t = 751\).*{remedy}"):
        guide(shared, motion, settings, **changes)
    assert state(shared.unet) == before


@pytest.mark.parametrize("other", [{"frames": 4}, {"height": 8, "width": 32}], ids=["frames", "size"])
def test_motion_of_another_shape_is_refused(shared, other):
    before = state(shared.unet)
    with pytest.raises(InputError, match=r"motion has .* and this generation has 3 frames of 4x4 positions"):
        guide(shared, extract(shared, clip(**other)))
    assert state(shared.unet) == before


def test_motion_of_other_sites_is_refused(shared, motion):
    strange = Motion(
        {site.replace("up_blocks", "top_blocks"): m for site, m in motion.maps.items()},
        {site.replace("up_blocks", "top_blocks"): g for site, g in motion.grid.items()},
        {"model": "a stranger"},
    )
    with pytest.raises(InputError, match=r"a stranger.*top_blocks\.1"), motion_guidance(shared, strange):
        pytest.fail("guided by a stranger")


def test_motion_of_other_weights_is_refused(pipe):
    reference = extract(pipe)
    last = list(reference.maps)[-1]
    with torch.no_grad():
        for weight in pipe.unet.get_submodule(last.rpartition(".")[0]).parameters():
            weight.mul_(1.05)
    with pytest.raises(InputError, match="other weights"), motion_guidance(pipe, reference):
        pytest.fail("guided by other weights")


def test_motion_of_the_other_norm_is_refused(tmp_path):
    pipe = tiny_pipe(tmp_path, per_frame_norm=False)
    with per_frame_norm(pipe.unet):
        reference = extract(pipe)
    with pytest.raises(InputError, match="per_frame_norm"), motion_guidance(pipe, reference):
        pytest.fail("guided by the other norm")
    with per_frame_norm(pipe.unet):
        guide(pipe, reference, until=1)


@pytest.mark.parametrize("end", [None, KeyboardInterrupt])
def test_per_frame_norm_leaves_the_network_as_found(tmp_path, end):
    pipe = tiny_pipe(tmp_path, per_frame_norm=False)
    before, weights, plain = state(pipe.unet), pipe.unet.state_dict(), generate(pipe, until=1)

    def run():
        with per_frame_norm(pipe.unet):
            assert pipe.unet.state_dict().keys() == weights.keys()
            assert not torch.equal(generate(pipe, until=1), plain)
            if end is not None:
                raise end

    with leaving_by(end):
        run()
    assert state(pipe.unet) == before
    assert torch.equal(generate(pipe, until=1), plain)


def test_per_frame_norm_is_a_group_norm_of_every_frame(shared):
    norm = shared.unet.get_submodule("up_blocks.1.motion_modules.0.norm")
    video = normal(2, norm.num_channels, FRAMES, 4, 5)
    by_hand = nn.GroupNorm(norm.num_groups, norm.num_channels, norm.eps)
    by_hand.load_state_dict(norm.state_dict())
    wanted = torch.stack([by_hand(video[:, :, i]) for i in range(FRAMES)], dim=2)
    torch.testing.assert_close(norm(video), wanted, rtol=0, atol=1e-5)


def pictures(frames=FRAMES, height=64, width=64):
    return torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_extraction_from_pictures_is_that_of_their_latents(shared):
    found = extract_motion(shared, pictures(), seed=7, source={"name": "clip"})
    again = extract_motion(shared, pictures(), seed=7, source={"name": "clip"})
    other = extract_motion(shared, pictures(), seed=8)
    assert found.num_frames == FRAMES
    assert (found.record.seed, found.record.source.name, found.record.size) == (7, "clip", (64, 64))
    assert (found.record.t_alpha, found.record.k, found.record.per_frame_norm) == (400, 1, True)
    for site, m in found.maps.items():
        assert torch.equal(m.values, again.maps[site].values)
        assert not torch.equal(m.values, other.maps[site].values)
    assert list(found.maps) == list(other.maps)


def test_extraction_with_a_vae_of_another_precision(pipe):
    """Stable Diffusion's VAE is often kept in float32 beside a half precision UNet."""
    pipe.unet.to(torch.bfloat16)
    pipe.text_encoder.to(torch.bfloat16)
    assert extract_motion(pipe, pictures()).num_frames == FRAMES


def test_of_few_frames_a_preset_keeps_all():
    """A number that a person set is refused."""
    of_a_preset = parse_settings({"extraction": {"k": 4}}, "a preset").extraction
    assert [kept_of(of_a_preset, frames).k for frames in (2, 4, 9)] == [2, 4, 4]
    with pytest.raises(InputError, match="k = 4 is more than the 3 frames"):
        kept_of(Extraction(k=4), 3)


@pytest.mark.parametrize(
    ("frames", "settings", "about"),
    [
        (pictures(), {"k": 4}, "k = 4"),
        (pictures(33), {}, "33"),
        (pictures(height=68), {}, "68"),
        (pictures()[:, :1], {}, "3"),
        (pictures()[0], {}, "3"),
        (pictures() * torch.nan, {}, "finite"),
        (pictures(), {"blocks": ("mid_block",)}, "mid_block"),
    ],
    ids=["k", "frames", "size", "channels", "picture", "nan", "block"],
)
def test_extraction_refuses_what_the_model_cannot_take(shared, frames, settings, about):
    before = state(shared.unet)
    with pytest.raises(InputError, match=about):
        extract_motion(shared, frames, Extraction(**settings))
    assert state(shared.unet) == before
