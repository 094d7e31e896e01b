"""Every family of transformers on tiny random models, through the unmodified pipeline with its default scheduler.

From text and from a picture. "wan-2.1-euler" and "-dpm" have another scheduler.
"""

from contextlib import contextmanager, nullcontext
from functools import partial
from unittest import mock

import pytest
import torch
from diffusers import FirstBlockCacheConfig, LTXImageToVideoPipeline
from tiny import state
from tiny_transformers import FAMILIES
from tiny_wan import without_ftfy
from torch.nn import functional

from motionclone.backbones.backbone import named_arguments
from motionclone.backbones.capture import listening, stopping_at
from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import steps_heard
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.guidance import first_order_response
from motionclone.media.conditions import Condition
from motionclone.motion import SparseMap, represent
from motionclone.objectives import energy
from motionclone.plan import plan_run
from motionclone.sampling import energy_and_gradient, motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling
from motionclone.steps import has_first_order_steps, noise_level, prediction_of

ALWAYS = Guidance(weight=100.0, guided_fraction=0.6, warm_up=1, cool_down=1)


def wide(maps):
    """The maps with indices as energies take them."""
    return {site: SparseMap(each.values, each.indices.long()) for site, each in maps.items()}


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers' DPM++ with numpy 2


class Model:
    """A tiny pipeline with its backbone, a clip and its motion."""

    def __init__(self, name):
        self.name, self.tiny = name, FAMILIES[name]
        self.pipe = self.tiny.make()
        self.backbone = backbone_of(self.pipe)
        self.size = (self.tiny.num_frames, self.tiny.height, self.tiny.width)
        self.sites = self.backbone.sites([self.tiny.block])
        self.reading = Extraction(t_alpha=max(500, int(self.backbone.guided_from)), blocks=(self.tiny.block,))
        self.motion = extract_motion(self.pipe, self.clip(), self.reading)
        self.picture = Condition(-self.clip()[:1]) if self.backbone.shown_frames else None
        self.reference = wide(self.motion.maps)

    def clip(self):
        frames, height, width = self.size
        return torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1

    def noise(self, seed=5):
        shape = self.backbone.latents_shape(*self.size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def call(self, latents=None, timestep=700):
        latents = self.noise() if latents is None else latents
        with torch.no_grad():
            call = self.backbone.denoiser_call(latents, timestep, "a cat")
            if self.picture is not None:
                clean = self.backbone.encode_video(self.clip(), torch.Generator().manual_seed(0))
                call = self.backbone.conditioned(call, self.picture, clean, 1.0)
            return call

    def as_stepped(self, latents):
        """A view of the denoiser's latents as the scheduler has them: two pipelines step them without the picture's."""
        if isinstance(self.pipe, LTXImageToVideoPipeline):  # which also unpacks them
            grid = self.backbone.token_grid(self.call())
            return latents.unflatten(1, grid).permute(0, 4, 1, 2, 3)[:, :, 1:]
        in_place = self.pipe.transformer.config.get("image_condition_type") == "token_replace"
        return latents[:, :, 1:] if in_place else latents

    def run(self, settings=None, guidance_scale=4.0):
        """Latents after every step of the pipeline, and the guided steps."""
        found = []
        sampling = Sampling(
            guidance_scale=guidance_scale,
            steps=self.tiny.steps,
            guided_steps=1,
            num_frames=self.size[0],
            height=self.size[1],
            width=self.size[2],
        )
        guidance = nullcontext() if settings is None else motion_guidance(self.pipe, self.motion, settings)
        shown = {} if self.picture is None else self.backbone.pipeline_condition(self.picture, 1.0)
        with (
            self.backbone.prepared(sampling),
            guidance as trace,
            steps_heard(self.pipe.scheduler, lambda _t, latents: found.append(latents)),
        ):
            torch.manual_seed(0)  # LTX-Video's and others' pictures are sampled from the global generator
            self.pipe(
                **shown,
                prompt="a cat",
                **self.backbone.pipeline_arguments(sampling),
                **self.tiny.arguments,
                num_inference_steps=self.tiny.steps,
                latents=self.backbone.initial_latents(self.noise(), self.picture),
                generator=torch.Generator().manual_seed(0),
                output_type="latent",
            )
        return found, trace.steps if trace else []


@contextmanager
def calls_of(model):
    """The arguments of every call of the denoiser."""
    calls = []

    def note(module, args, kwargs):
        calls.append(named_arguments(module, args, kwargs))

    with model.pipe.transformer.register_forward_pre_hook(note, with_kwargs=True):
        yield calls


@pytest.fixture(scope="module", autouse=True)
def _clean_prompts():
    with pytest.MonkeyPatch.context() as patch:
        without_ftfy(patch)
        yield


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return Model(request.param)


def test_guidance_off_is_the_plain_pipeline(model):
    plain, _ = model.run()
    off, steps = model.run(ALWAYS.model_copy(update={"weight": 0.0}))
    assert not steps
    assert all(torch.equal(a, b) for a, b in zip(plain, off, strict=True))


def test_vanishing_weight_is_the_plain_pipeline_but_for_rounding(model):
    plain, _ = model.run()
    faint, steps = model.run(ALWAYS.model_copy(update={"weight": 1e-12}))
    assert steps
    for a, b in zip(plain, faint, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_everything_is_left_as_found(model):
    before = state(model.pipe.transformer)
    model.run(ALWAYS)
    assert state(model.pipe.transformer) == before


def test_the_denoiser_is_called_at_extraction_as_the_pipeline_calls_it(model):
    """All but the latents, which have other noise: the first of the calls, or in LTX-2 that with the streams apart."""
    told = "guidance" in model.call()  # HunyuanVideo's network is told the pipeline's default scale
    with calls_of(model) as calls:
        model.run(guidance_scale=6.0 if told else 1.0)
    wanted = next(call for call in calls if call.get("isolate_modalities", True))
    found = model.call(timestep=float(wanted["timestep"].max()))
    own = {model.backbone.latents_name, "return_dict", "attention_kwargs"}
    own |= {"audio_hidden_states", "video_coords", "audio_coords", "use_cross_timestep"}  # of LTX-2
    for name in (wanted.keys() | found.keys()) - own:
        torch.testing.assert_close(found.get(name), wanted.get(name), rtol=0, atol=0, check_dtype=False, msg=name)
    assert found[model.backbone.latents_name].shape == wanted[model.backbone.latents_name].shape


def test_query_and_key_are_those_that_attention_gets(model, monkeypatch):
    """In the order (b h w, heads, f, d), without the text."""
    call, site = model.call(), model.sites[0]
    with torch.no_grad():
        plain = model.backbone.denoiser(**call)[0]
        given, attention = [], functional.scaled_dot_product_attention

        def spy(query, key, *args, **kwargs):
            given.append((query, key))
            return attention(query, key, *args, **kwargs)

        monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
        with stopping_at(model.backbone.after(model.sites)):
            model.backbone.denoiser(**call)
        monkeypatch.undo()
        with listening(partial(model.backbone.tap, call), model.sites) as found:
            output = model.backbone.denoiser(**call)[0]
    assert torch.equal(plain, output)
    frames, height, width = model.backbone.grid(call, found[site][0])
    count = frames * height * width
    video = slice(-count, None) if model.backbone.text_tokens == "first" else slice(None, count)
    matching = [pair for pair in given if pair[0].shape == pair[1].shape and pair[0].shape[2] >= count]
    # Self attentions before and in the guided block; the guided one is the last of them.
    for heard, wanted in zip(found[site], matching[-1], strict=True):
        assert (wanted.shape[2] > count) == (model.backbone.text_tokens != "none")
        for y in range(height):
            for x in range(width):
                places = [(f * height + y) * width + x for f in range(frames)]
                assert torch.equal(heard[y * width + x], wanted[0][:, video][:, places])


def test_a_frame_of_the_latents_is_a_frame_of_the_tokens(model):
    """In the first block, before any attention, a changed latent frame changes that frame's queries only."""
    first = model.backbone.sites([model.backbone.stacks[0] + ".0"])
    noise = model.noise()
    heard = []
    for changed in (noise, noise.clone()):
        if heard:
            changed[:, :, -1] += 1
        call = model.call(changed)
        with torch.no_grad():
            tap = partial(model.backbone.tap, call)
            with listening(tap, first) as found, stopping_at(model.backbone.after(first)):
                model.backbone.denoiser(**call)
        heard.append(found[first[0]][0])
    moved = (heard[0] - heard[1]).abs().amax((0, 1, 3))
    assert moved[-1] > 1e-3
    assert (moved[:-1] == 0).all()


def test_cut_and_checkpoints_leave_the_gradient(model):
    """Against a graph through the whole network, with all of it kept."""
    call = model.call()
    output, _, slim = energy_and_gradient(model.backbone, model.pipe.transformer.forward, call, model.motion)
    latents = call[model.backbone.latents_name].clone().requires_grad_()
    call = {**call, model.backbone.latents_name: latents}
    with listening(partial(model.backbone.tap, call), model.sites) as found:
        whole = model.backbone.denoiser(**call)[0]
    naive = model.backbone.denoised(torch.autograd.grad(energy_of_sites(model, found), latents)[0])
    assert whole.requires_grad
    assert not output[0].requires_grad
    assert naive.abs().max() > 0
    torch.testing.assert_close(slim, naive, rtol=1e-4, atol=1e-9)


def energy_of_sites(model, found, reference=None):
    """Sum over the sites, of what was heard there."""
    wanted = reference or model.reference
    return sum(energy(*found[site], wanted[site]) for site in model.sites)


def energy_of(model, latents, timestep):
    """Of latents as the pipeline has them, at a timestep."""
    call = model.call()
    stepped = model.as_stepped(call[model.backbone.latents_name])
    stepped[tuple(map(slice, latents.shape))] = latents  # other channels stay
    call["timestep"] = torch.where(call["timestep"] > 0, timestep, call["timestep"])  # 0 for tokens of a picture
    tap = partial(model.backbone.tap, call)
    with torch.no_grad(), listening(tap, model.sites) as found, stopping_at(model.backbone.after(model.sites)):
        model.backbone.denoiser(**call)
    return float(energy_of_sites(model, found))


@pytest.mark.parametrize("update", ["direction", "noise"])
def test_guidance_lowers_the_energy(model, update):
    weight = model.tiny.weight * (1 if update == "direction" else 10)
    plain, _ = model.run()
    guided, steps = model.run(ALWAYS.model_copy(update={"weight": weight, "update": update}))
    assert len(steps) >= 2
    assert all(torch.isfinite(latents).all() for latents in guided)
    last = steps[-1].index
    timestep = int(model.pipe.scheduler.timesteps[last + 1])
    assert energy_of(model, guided[last], timestep) < energy_of(model, plain[last], timestep)


def test_without_classifier_free_guidance(model):
    plain, _ = model.run(guidance_scale=1.0)
    guided, steps = model.run(ALWAYS.model_copy(update={"weight": model.tiny.weight}), guidance_scale=1.0)
    assert steps
    assert not torch.equal(plain[-1], guided[-1])


def test_a_step_moves_the_latents_down_the_gradient(model):
    """The direction rule through the output is the update z_after -= sigma_after sigma G."""
    if not has_first_order_steps(model.pipe.scheduler):
        pytest.skip("what lasts of a step of this solver is that update once the run is over: tests/test_steps.py")
    with calls_of(model) as calls:
        plain, _ = model.run(ALWAYS.model_copy(update={"weight": 1e-12}))
    guided, steps = model.run(ALWAYS.model_copy(update={"weight": 10.0}))
    levels = [noise_level(model.pipe.scheduler, float(t)) for t in model.pipe.scheduler.timesteps[:2]]
    _, conditional = model.backbone.split(calls[0])
    _, _, gradient = energy_and_gradient(model.backbone, model.pipe.transformer.forward, conditional, model.motion)
    wanted = model.as_stepped(-levels[0].sigma * levels[1].sigma * steps[0].weight * gradient)
    assert (guided[0] - plain[0] - wanted).norm() <= 2e-2 * wanted.norm()


def test_a_strength_is_the_size_of_a_step(model):
    """As a number, over the latents that move; of a multistep solver's, what lasts of it."""
    plans = []

    def noted(*args):
        plans.append(plan_run(*args))
        return plans[-1]

    plain, _ = model.run(Guidance(strength=1e-9, guided_fraction=0.6))
    with mock.patch("motionclone.sampling.plan_run", noted):
        guided, _ = model.run(Guidance(strength=0.5, guided_fraction=0.6))
    (plan,) = plans
    planned = plan.steps[plan.first]
    known = first_order_response(planned.now, planned.after, prediction_of(model.pipe.scheduler))
    wanted = planned.move * (1 if planned.response is None else abs(known / planned.response))
    moved = guided[0] - plain[0]
    moved = moved[moved != 0]  # without a picture's
    assert float(moved.square().mean().sqrt()) == pytest.approx(wanted, rel=0.02)


def test_what_the_attention_cannot_hold_is_refused_in_a_sentence(model):
    frames = model.motion.num_frames
    with pytest.raises(InputError, match=f"k = {frames + 1} is more than the {frames} frames of the attention"):
        extract_motion(model.pipe, model.clip(), model.reading.model_copy(update={"k": frames + 1}))
    whole = extract_motion(model.pipe, model.clip(), model.reading.model_copy(update={"k": frames}))
    assert whole.maps[model.sites[0]].values.sum(-1) == pytest.approx(1, abs=1e-5)  # plain control: all of every row


def test_plain_values_are_refused_in_a_sentence(model):
    frames, height, width = model.size
    for wrong, said in (((frames + 1, height, width), "frames"), ((frames, height + 8, width + 4), "multiples")):
        with pytest.raises(InputError, match=said):
            model.backbone.latents_shape(*wrong)
    with pytest.raises(InputError, match="shorten"):
        model.backbone.check_prompt("word " * 600)
    with pytest.raises(InputError, match="no block"):
        model.backbone.sites(["up_blocks.1"])


def test_the_energy_of_the_reference_with_itself_is_0(model):
    call = model.call()
    with torch.no_grad(), listening(partial(model.backbone.tap, call), model.sites) as found:
        model.backbone.denoiser(**call)
        assert float(energy_of_sites(model, found, wide(represent(found)))) == 0


@pytest.fixture
def cogvideox_pipe():
    return FAMILIES["cogvideox-5b"].make()


@pytest.mark.parametrize("part", ["", "transformer_blocks.0"])
def test_a_compiled_denoiser_is_refused(cogvideox_pipe, part):
    cogvideox_pipe.transformer.get_submodule(part).compile(backend="eager")
    with pytest.raises(InputError, match=r"from before torch\.compile"):
        backbone_of(cogvideox_pipe)


def test_a_feature_cache_is_refused(cogvideox_pipe):
    cogvideox_pipe.transformer.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(InputError, match="disable_cache"):
        backbone_of(cogvideox_pipe)


def test_attention_that_is_not_pytorchs_is_refused():
    """As with set_attention_backend("flash"), which this machine may not have."""
    model = Model("ltx")

    def elsewhere(query, *_, **__):
        return query

    call = model.call()
    with (
        mock.patch("diffusers.models.transformers.transformer_ltx.dispatch_attention_fn", elsewhere),
        pytest.raises(InputError, match=r'set_attention_backend\("native"\)'),
        torch.no_grad(),
        listening(partial(model.backbone.tap, call), model.sites),
    ):
        model.backbone.denoiser(**call)


def test_a_motion_of_another_family_is_refused(cogvideox_pipe):
    motion = Model("wan-2.1").motion
    with (
        pytest.raises(InputError, match=r"no blocks\.1\.attn1; extract it again"),
        motion_guidance(cogvideox_pipe, motion),
    ):
        pass


def test_one_frame_of_attention_is_no_motion():
    pipe = FAMILIES["cogvideox-1.5"].make()
    backbone = backbone_of(pipe)
    assert backbone.nearest_size(2, 32, 48) == (5, 32, 48)
    clip = torch.zeros(5, 3, 32, 48)  # two latents, of which 1.5 makes one token
    with pytest.raises(InputError, match="use more frames"):
        extract_motion(pipe, clip, Extraction(blocks=("transformer_blocks.1",)))
