"""Models distilled to few steps: their files in the layouts in which they are published, and their samplers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from test_pipelines import tiny_adapter, tiny_text_encoder, tiny_unet, tiny_vae, write_base
from tiny_wan import wan
from torch import nn

from motionclone.errors import InputError
from motionclone.models import HubModel, ModelDescription, load_pipeline, name_of, named_models
from motionclone.models.animatediff import few_step_scheduler
from motionclone.models.description import read_model_description
from motionclone.models.lora import merge_lora
from motionclone.plan import plan_run
from motionclone.schedule import DistilledFlowScheduler, check_schedule
from motionclone.settings import preset

Weights = dict[str, torch.Tensor]


def halves(layer: nn.Module, generator: torch.Generator, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Down and up of a layer, as convolutions have them of convolutions."""
    shape = layer.weight.shape
    down = torch.randn(rank, *shape[1:], generator=generator) * 0.3
    up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=generator) * 0.3
    return down, up


def kohya(unet: nn.Module) -> Weights:
    """As AnimateLCM_sd15_t2v_lora.safetensors: attention, feed-forwards, residual blocks, time; alpha 1 of rank 2."""
    generator, weights = torch.Generator().manual_seed(4), {}
    for name, layer in unet.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d) or not name.startswith(
            ("down_blocks", "mid_block", "up_blocks")
        ):
            continue
        key = f"lora_unet_{name.replace('.', '_')}"
        weights[f"{key}.lora_down.weight"], weights[f"{key}.lora_up.weight"] = halves(layer, generator)
        weights[f"{key}.alpha"] = torch.tensor(1.0)
    return weights


def of_wan(transformer: nn.Module) -> Weights:
    """As wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors: Wan's own names, biases, and norms that stay."""
    generator, weights = torch.Generator().manual_seed(5), {}
    names = {"attn1.to_out.0": "self_attn.o", "attn2.to_out.0": "cross_attn.o", "ffn.net.0.proj": "ffn.0"}
    names |= {"ffn.net.2": "ffn.2"}
    names |= {f"attn{i}.to_{n}": f"{kind}_attn.{n}" for i, kind in ((1, "self"), (2, "cross")) for n in "qkv"}
    for block in range(len(transformer.blocks)):
        for ours, theirs in names.items():
            layer = transformer.get_submodule(f"blocks.{block}.{ours}")
            key = f"diffusion_model.blocks.{block}.{theirs}"
            weights[f"{key}.lora_down.weight"], weights[f"{key}.lora_up.weight"] = halves(layer, generator)
            weights[f"{key}.diff_b"] = torch.randn(layer.bias.shape, generator=generator) * 0.3
        weights[f"diffusion_model.blocks.{block}.self_attn.norm_q.diff"] = torch.zeros(24)
    return weights


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories of AnimateLCM, AnimateDiff-Lightning, a base of theirs, Wan and LightX2V, all tiny."""
    hub = tmp_path_factory.mktemp("hub")
    (hub / "lcm").mkdir()
    (hub / "lightning").mkdir()
    (hub / "loras").mkdir()
    write_base(hub / "base", DDIMScheduler(steps_offset=1, clip_sample=False))
    tiny_adapter(use_motion_mid_block=True).save_pretrained(hub / "lcm")
    save_file(kohya(tiny_unet(1)), hub / "lcm" / "AnimateLCM_sd15_t2v_lora.safetensors")
    for steps in (4, 8):
        adapter = tiny_adapter(steps, use_motion_mid_block=True)
        save_file(adapter.state_dict(), hub / "lightning" / f"animatediff_lightning_{steps}step_diffusers.safetensors")
    pipe = wan()
    pipe.save_pretrained(hub / "wan")
    lora = "wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors"
    save_file(of_wan(pipe.transformer), hub / "loras" / lora)
    return hub


@pytest.fixture
def fetched(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Say which folder a repository is."""
    folders: dict[str, Path] = {}
    monkeypatch.setattr("motionclone.models.places.fetch", lambda place, _files: folders[place.hub_id])
    return lambda hub_id, folder: folders.__setitem__(hub_id, hub / folder)


def of_sd(unet: nn.Module) -> StableDiffusionPipeline:
    parts: dict[str, AutoencoderKL | nn.Module] = {
        "vae": tiny_vae(1),
        "text_encoder": tiny_text_encoder(1),
        "unet": unet,
    }
    none = dict.fromkeys(("tokenizer", "safety_checker", "feature_extractor"))
    return StableDiffusionPipeline(
        **parts, **none, scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), requires_safety_checker=False
    )


def test_animatelcm(fetched: Callable[[str, str], None]) -> None:
    """The LoRA is merged as diffusers fuses it, at the scale of its page."""
    fetched("SG161222/Realistic_Vision_V5.1_noVAE", "base")
    fetched("wangfuyun/AnimateLCM", "lcm")
    pipe = load_pipeline("animatelcm", device="cpu")
    assert isinstance(pipe.scheduler, LCMScheduler)
    assert pipe.scheduler.config.beta_schedule == "linear"
    assert pipe.config["_motionclone_sources"]["lora"] == (
        "wangfuyun/AnimateLCM@lcm/AnimateLCM_sd15_t2v_lora.safetensors x 0.8"
    )
    plain, oracle = tiny_unet(1), of_sd(tiny_unet(1))
    oracle.load_lora_weights(kohya(plain))
    oracle.fuse_lora(lora_scale=0.8)
    oracle.unload_lora_weights()
    loaded = pipe.unet.state_dict()
    for name, weight in oracle.unet.state_dict().items():
        torch.testing.assert_close(loaded[name], weight, rtol=0, atol=1e-5, msg=name)
    changed = [name for name, weight in plain.state_dict().items() if not torch.equal(weight, loaded[name])]
    assert len(changed) == len(kohya(plain)) // 3


@pytest.mark.parametrize("steps", [4, 8])
def test_animatediff_lightning(fetched: Callable[[str, str], None], steps: int) -> None:
    fetched("SG161222/Realistic_Vision_V5.1_noVAE", "base")
    fetched("ByteDance/AnimateDiff-Lightning", "lightning")
    pipe = load_pipeline(f"lightning-{steps}step", device="cpu")
    assert isinstance(pipe.scheduler, EulerDiscreteScheduler)
    assert (pipe.scheduler.config.timestep_spacing, pipe.scheduler.config.beta_schedule) == ("trailing", "linear")
    name = "mid_block.motion_modules.0.transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(
        pipe.unet.get_parameter(name), tiny_adapter(steps, use_motion_mid_block=True).get_parameter(name)
    )


def test_wan_with_lightx2v(fetched: Callable[[str, str], None], tmp_path: Path) -> None:
    fetched("Wan-AI/Wan2.1-T2V-14B-Diffusers", "wan")
    fetched("lightx2v/Wan2.1-Distill-Loras", "loras")
    pipe = load_pipeline("wan2.1-lightx2v", device="cpu")
    oracle = wan()
    oracle.load_lora_weights(of_wan(oracle.transformer))
    oracle.fuse_lora()
    oracle.unload_lora_weights()
    loaded, plain = pipe.transformer.state_dict(), wan().transformer.state_dict()
    for name, weight in oracle.transformer.state_dict().items():
        torch.testing.assert_close(loaded[name], weight, rtol=0, atol=1e-5, msg=name)
    assert not torch.equal(loaded["blocks.0.attn1.to_q.bias"], plain["blocks.0.attn1.to_q.bias"])
    assert pipe.config["_motionclone_sources"]["lora"].startswith("lightx2v/Wan2.1-Distill-Loras@loras/wan2.1_t2v_14b")
    pipe.scheduler.set_timesteps(4)
    assert pipe.scheduler.timesteps.tolist() == pytest.approx([1000, 937.5, 2500 / 3, 625])
    # 1000, 750, 500, 250 shifted by 5
    assert pipe.scheduler.sigmas.tolist() == pytest.approx([5 * s / (1 + 4 * s) for s in (1, 0.75, 0.5, 0.25, 0)])
    with pytest.raises(InputError, match=r"distilled for 4 steps, at t = 1000, 937.5, 833.333, 625; ask for as many"):
        check_schedule(pipe.scheduler, 8, 4, 0.16)
    assert name_of("Wan-AI/Wan2.1-T2V-14B-Diffusers") == "wan2.1-14b"
    pipe.save_pretrained(tmp_path)
    again = load_pipeline(tmp_path, device="cpu").scheduler
    assert type(again) is DistilledFlowScheduler
    again.set_timesteps(4)
    assert torch.equal(again.sigmas, pipe.scheduler.sigmas)


def test_steps_of_a_distilled_model_are_saved_with_it(tmp_path: Path) -> None:
    made = DistilledFlowScheduler((1000.0, 993.0, 725.0))
    made.save_pretrained(tmp_path)
    for again in (DistilledFlowScheduler.from_pretrained(tmp_path), DistilledFlowScheduler.from_config(made.config)):
        again.set_timesteps(sigmas=[1.0, 0.5, 0.2], mu=1.5)  # as LTX-Video's pipeline calls it
        assert again.timesteps.tolist() == pytest.approx([1000, 993, 725])


@pytest.mark.filterwarnings("ignore:__array__")  # of diffusers' Euler with numpy 2
def test_presets_of_distilled_models_guide_as_many_steps_as_they_say() -> None:
    found = 0
    for name, model in named_models().items():
        if isinstance(model, HubModel) and model.distilled_timesteps is not None:
            scheduler = DistilledFlowScheduler(model.distilled_timesteps)
        elif isinstance(model, ModelDescription) and model.scheduler != "ddim":
            scheduler = few_step_scheduler(model.scheduler)
        else:
            continue
        settings, found = preset(name), found + 1
        scheduler.set_timesteps(settings.sampling.steps)
        plan = plan_run(scheduler, float(scheduler.timesteps[0]), settings.guidance)
        assert len(plan.steps) == settings.sampling.guided_steps, name
        assert plan.shortfall is None
    assert found == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lora_te_text_model.lora_down.weight": torch.ones(2, 2)}, "is no LoRA weight|has only the down half"),
        ({"lora_unet_mid_block_attentions_9_proj_in.alpha": torch.tensor(1.0)}, "is no LoRA weight of a layer"),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": torch.ones(32, 2, 3, 3)}, "does not fit"),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.alpha": torch.tensor(float("inf"))}, "no finite matrix"),
    ],
)
def test_a_lora_must_fit_exactly(tmp_path: Path, change: Weights, sentence: str) -> None:
    unet = tiny_unet(1)
    save_file(kohya(unet) | change, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match=sentence):
        merge_lora(unet, tmp_path / "lora.safetensors", 1.0)


def test_what_diffusers_would_leave_out_of_wan_s_is_refused(tmp_path: Path) -> None:
    transformer = wan().transformer
    changed = {"diffusion_model.blocks.0.self_attn.norm_q.diff": torch.ones(24)}
    save_file(of_wan(transformer) | changed, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match=r"changes .*norm_q\.diff, which no LoRA can"):
        merge_lora(transformer, tmp_path / "lora.safetensors", 1.0)
    strange = {"diffusion_model.blocks.0.something.lora_up.weight": torch.ones(2, 2)}
    save_file(of_wan(transformer) | strange, tmp_path / "lora.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        merge_lora(transformer, tmp_path / "lora.safetensors", 1.0)


@pytest.mark.parametrize(
    ("part", "file", "sentence"),
    [
        ("lora", "other.safetensors", "has no other.safetensors; lora_file is the name of a file"),
        ("lora", None, "there is no lora"),
        ("motion_adapter", "../base/model_index.json", "String should match|motion_adapter_file"),
    ],
)
def test_a_part_and_its_file_are_there(hub: Path, tmp_path: Path, part: str, file: str | None, sentence: str) -> None:
    description = tmp_path / "model.toml"
    places = {
        "base": hub / "base",
        "motion_adapter": hub / "lcm",
        "lora": hub / "lcm" if file else hub / "gone.safetensors",
    }
    lines = [f'{name} = "{place}"' for name, place in places.items()] + [f'{part}_file = "{file}"'] * bool(file)
    description.write_text("\n".join(lines))
    for weights in (True, False):
        with pytest.raises(InputError, match=sentence):
            load_pipeline(description, device="cpu", weights=weights)


def test_a_bias_is_scaled_as_the_matrices_are(tmp_path: Path) -> None:
    layer = nn.Linear(2, 3)
    before = layer.bias.detach().clone()
    weights = {"0.lora_A.weight": torch.ones(2, 2), "0.lora_B.weight": torch.zeros(3, 2)}
    weights |= {"0.lora_B.bias": torch.ones(3), "0.alpha": torch.tensor(0.5)}
    save_file(weights, tmp_path / "lora.safetensors")
    merge_lora(nn.Sequential(layer), tmp_path / "lora.safetensors", 2.0)
    torch.testing.assert_close(layer.bias.detach() - before, torch.full((3,), 0.5))  # 2 x alpha 0.5 / rank 2


@pytest.mark.parametrize(
    "idle", ['lora_file = "a.safetensors"', "lora_scale = 0.5", 'domain_adapter_for = "everything"']
)
def test_what_a_description_says_of_a_part_that_is_not_there_is_refused(tmp_path, idle):
    path = tmp_path / "model.toml"
    path.write_text(f'base = "a/b"\nmotion_adapter = "a/c"\n{idle}\n', encoding="utf-8")
    with pytest.raises(InputError, match=f"{idle.split()[0]} is about a .*, and there is none; give one, or leave"):
        read_model_description(path)
