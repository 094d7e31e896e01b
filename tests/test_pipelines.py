"""Loading: the files and folders the authors name, in their layouts, made tiny; oracle: diffusers' own assembly."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import huggingface_hub.constants
import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MotionAdapter,
    PNDMScheduler,
    SparseControlNetModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNetMotionModel,
)
from safetensors.torch import load_file, save_file
from tiny_transformers import FAMILIES
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import has_per_frame_norm, use_per_frame_norm
from motionclone.errors import InputError
from motionclone.models import (
    HubModel,
    ModelDescription,
    load_pipeline,
    name_of,
    named_models,
    read_model_description,
)
from motionclone.models.checkpoints import load_motion_module
from motionclone.models.mini_dit import FramewiseAutoencoder
from motionclone.settings import preset

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Every weight random, those of norms too: a mix-up of two names shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return module.eval()


def tiny_unet(seed: int) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        sample_size=8,
    )
    return randomised(unet, seed)


def tiny_vae(seed: int) -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        sample_size=16,
    )
    return randomised(vae, seed)


def tiny_text_encoder(seed: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=len(WORDS) - 2,
        eos_token_id=len(WORDS) - 1,
    )
    return randomised(CLIPTextModel(config), seed)


def tiny_adapter(seed: int = 3, **changes: object) -> MotionAdapter:
    config = {"motion_layers_per_block": 1, "motion_max_seq_length": 32, "use_motion_mid_block": False}
    return randomised(MotionAdapter(**({"block_out_channels": (32, 64)} | config | changes)), seed)


def write_tokenizer(folder: Path) -> None:
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": WORDS[-2], "eos_token": WORDS[-1], "pad_token": WORDS[-1], "unk_token": WORDS[-1]}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 8}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | special))


def write_base(folder: Path, scheduler: object) -> None:
    write_tokenizer(folder.parent / "tokenizer")
    StableDiffusionPipeline(
        vae=tiny_vae(1),
        text_encoder=tiny_text_encoder(1),
        tokenizer=CLIPTokenizer.from_pretrained(folder.parent / "tokenizer"),
        unet=tiny_unet(1),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    shutil.move(folder.parent / "tokenizer", folder / "tokenizer")
    words = folder / "text_encoder" / "model.safetensors"  # stable-diffusion-v1-5 was saved by an older transformers
    older = {f"text_model.{name.removeprefix('text_model.')}": each for name, each in load_file(words).items()}
    save_file(older, words, metadata={"format": "pt"})


def original_motion_module(adapter: MotionAdapter) -> dict[str, torch.Tensor]:
    """The adapter's weights under AnimateDiff's own names."""
    original = {}
    for name, tensor in adapter.state_dict().items():
        name = re.sub(r"(motion_modules\.\d+)\.", r"\1.temporal_transformer.", name)
        if "pos_embed" in name:
            for each in "01":
                original[name.replace("pos_embed", f"attention_blocks.{each}.pos_encoder")] = tensor.clone()
            continue
        for ours, theirs in {
            ".attn1.": ".attention_blocks.0.",
            ".attn2.": ".attention_blocks.1.",
            ".norm1.": ".norms.0.",
            ".norm2.": ".norms.1.",
            ".norm3.": ".ff_norm.",
        }.items():
            name = name.replace(ours, theirs)
        original[name] = tensor
    return original


def renamed(module: nn.Module, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """The state dict with each pattern replaced, in order."""
    result = {}
    for name, tensor in module.state_dict().items():
        for pattern, replacement in names.items():
            name = re.sub(pattern, replacement, name)
        result[name] = tensor.half().contiguous()
    return result


def original_stable_diffusion(unet: nn.Module, vae: nn.Module, text: nn.Module) -> dict[str, torch.Tensor]:
    """The three networks under the names of the first Stable Diffusion code, in float16."""
    unet_names = {
        r"^conv_in": "input_blocks.0.0",
        r"^time_embedding\.linear_1": "time_embed.0",
        r"^time_embedding\.linear_2": "time_embed.2",
        r"^conv_norm_out": "out.0",
        r"^conv_out": "out.2",
        r"^down_blocks\.0\.resnets\.0": "input_blocks.1.0",
        r"^down_blocks\.0\.attentions\.0": "input_blocks.1.1",
        r"^down_blocks\.0\.downsamplers\.0\.conv": "input_blocks.2.0.op",
        r"^down_blocks\.1\.resnets\.0": "input_blocks.3.0",
        r"^mid_block\.resnets\.0": "middle_block.0",
        r"^mid_block\.attentions\.0": "middle_block.1",
        r"^mid_block\.resnets\.1": "middle_block.2",
        r"^up_blocks\.0\.resnets\.(\d)": r"output_blocks.\1.0",
        r"^up_blocks\.0\.upsamplers\.0": "output_blocks.1.1",
        r"^up_blocks\.1\.resnets\.0": "output_blocks.2.0",
        r"^up_blocks\.1\.attentions\.0": "output_blocks.2.1",
        r"^up_blocks\.1\.resnets\.1": "output_blocks.3.0",
        r"^up_blocks\.1\.attentions\.1": "output_blocks.3.1",
        r"^((in|out)put_blocks\.\d+\.0|middle_block\.[02])\.norm1": r"\1.in_layers.0",
        r"^((in|out)put_blocks\.\d+\.0|middle_block\.[02])\.norm2": r"\1.out_layers.0",
        r"\.conv1\.": ".in_layers.2.",
        r"\.conv2\.": ".out_layers.3.",
        r"\.time_emb_proj\.": ".emb_layers.1.",
        r"\.conv_shortcut\.": ".skip_connection.",
        r"^": "model.diffusion_model.",
    }
    vae_names = {
        r"down_blocks\.(\d)\.resnets": r"down.\1.block",
        r"down_blocks\.(\d)\.downsamplers\.0": r"down.\1.downsample",
        r"up_blocks\.(\d)\.": lambda match: f"up.{1 - int(match[1])}.",
        r"(up\.\d)\.resnets": r"\1.block",
        r"(up\.\d)\.upsamplers\.0": r"\1.upsample",
        r"mid_block\.resnets\.0": "mid.block_1",
        r"mid_block\.resnets\.1": "mid.block_2",
        r"mid_block\.attentions\.0": "mid.attn_1",
        r"group_norm": "norm",
        r"to_([qkv])": r"\1",
        r"to_out\.0": "proj_out",
        r"conv_norm_out": "norm_out",
        r"conv_shortcut": "nin_shortcut",
        r"^": "first_stage_model.",
    }
    text_names = {r"^(text_model\.)?": "cond_stage_model.transformer.text_model."}
    file = renamed(unet, unet_names) | renamed(vae, vae_names) | renamed(text, text_names)
    for name in [name for name in file if re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)]:
        file[name] = file[name][..., None, None].contiguous()  # convolutions there
    file["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(8)[None]
    file["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    return file


def lora(unet: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """A rank-2 LoRA on every spatial attention layer, under the names of v3_sd15_adapter.ckpt."""
    generator, weights = torch.Generator().manual_seed(seed), {}
    for name, layer in unet.named_modules():
        match = re.fullmatch(r"(.+\.attn[12])\.(to_q|to_k|to_v|to_out)(\.0)?", name)
        if match and isinstance(layer, nn.Linear):
            key = f"{match[1]}.processor.{match[2]}_lora"
            weights[f"{key}.down.weight"] = torch.randn(2, layer.in_features, generator=generator) * 0.3
            weights[f"{key}.up.weight"] = torch.randn(layer.out_features, 2, generator=generator) * 0.3
    return weights


def add_lora(unet: nn.Module, halves: dict[str, torch.Tensor], scale: float) -> None:
    for down in [name for name in halves if ".down." in name]:
        name = re.sub(r"processor\.(\w+)_lora\.down", r"\1", down).replace("to_out", "to_out.0")
        unet.get_parameter(name).data += scale * halves[down.replace(".down.", ".up.")] @ halves[down]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' folder of models; plus `adapter`, the same motion module in diffusers' layout."""
    models = tmp_path_factory.mktemp("models")
    for folder in ("StableDiffusion", "DreamBooth_LoRA", "Motion_Module"):
        (models / folder).mkdir()
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = PNDMScheduler(**betas, skip_prk_steps=True, steps_offset=1)
    write_base(models / "StableDiffusion" / "stable-diffusion-v1-5", scheduler)
    dreambooth = original_stable_diffusion(tiny_unet(2), tiny_vae(2), tiny_text_encoder(2))
    save_file(dreambooth, models / "DreamBooth_LoRA" / "realisticVisionV60B1_v51VAE.safetensors")
    adapter = tiny_adapter()
    adapter.save_pretrained(models / "adapter")
    motion = {f"module.{name}": tensor for name, tensor in original_motion_module(adapter).items()}
    torch.save({"epoch": 1, "state_dict": motion}, models / "Motion_Module" / "v3_sd15_mm.ckpt")
    torch.save({"state_dict": lora(tiny_unet(2), 4)}, models / "Motion_Module" / "v3_sd15_adapter.ckpt")
    return models


@pytest.fixture(scope="module")
def plain(models: Path) -> ModelDescription:
    return ModelDescription(
        base=str(models / "StableDiffusion" / "stable-diffusion-v1-5"), motion_adapter=str(models / "adapter")
    )


def sampled(pipe: AnimateDiffPipeline) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    size = {"num_frames": 4, "height": 16, "width": 16, "num_inference_steps": 2}
    return pipe("a fox", output_type="pt", generator=torch.Generator().manual_seed(0), **size).frames


def settings(scheduler: DDIMScheduler) -> dict[str, object]:
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}


def assert_same_weights(module: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    assert module.state_dict().keys() == expected.keys()
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6, msg=name)


def test_the_authors_files_make_what_diffusers_makes_of_the_same_weights(models: Path) -> None:
    (models / "authors.toml").write_text(
        'base = "StableDiffusion/stable-diffusion-v1-5"\n'
        'motion_adapter = "Motion_Module/v3_sd15_mm.ckpt"\n'
        'dreambooth = "DreamBooth_LoRA/realisticVisionV60B1_v51VAE.safetensors"\n'
        'domain_adapter = "Motion_Module/v3_sd15_adapter.ckpt"\n'
        "domain_adapter_scale = 0.5\n"
        'domain_adapter_for = "everything"\n'
    )
    pipe = load_pipeline(models / "authors.toml", device="cpu")

    parts = [part.half().float() for part in (tiny_unet(2), tiny_vae(2), tiny_text_encoder(2))]
    add_lora(parts[0], lora(parts[0], 4), 0.5)
    oracle = AnimateDiffPipeline(
        unet=parts[0],
        vae=parts[1],
        text_encoder=parts[2],
        tokenizer=pipe.tokenizer,
        motion_adapter=tiny_adapter(),
        scheduler=DDIMScheduler(
            beta_schedule="linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            steps_offset=1,
            timestep_spacing="linspace",
        ),
    )
    assert settings(pipe.scheduler) == settings(oracle.scheduler)
    for name in ("unet", "vae", "text_encoder"):
        assert_same_weights(getattr(pipe, name), getattr(oracle, name).state_dict())
    oracle.unet.eval()
    use_per_frame_norm(oracle.unet)
    video = sampled(pipe)
    assert video.shape == (1, 4, 3, 16, 16)
    torch.testing.assert_close(video, sampled(oracle), rtol=0, atol=1e-5)


def in_old_names(name: str) -> str:
    """As diffusers' conversion script writes v3_sd15_adapter, which is what the hub has in its layout."""
    return f"unet.{name}"


def in_new_names(name: str) -> str:
    """As diffusers saves LoRAs today."""
    name = name.replace(".processor.", ".").replace(".to_out_lora.", ".to_out.0_lora.")
    return f"unet.{name.replace('_lora.down', '.lora_A').replace('_lora.up', '.lora_B')}"


@pytest.mark.parametrize("names", [str, in_old_names, in_new_names])
def test_the_domain_adapter_is_for_pictures_as_the_authors_have_it(
    tmp_path: Path, plain: ModelDescription, names: Callable[[str], str]
) -> None:
    control = SparseControlNetModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        layers_per_block=1,
        cross_attention_dim=32,
        conditioning_channels=3,
    )
    control.save_pretrained(tmp_path / "control")
    (tmp_path / "lora").mkdir()
    halves = lora(tiny_unet(1), 4)
    save_file({names(n): each for n, each in halves.items()}, tmp_path / "lora" / "diffusion_pytorch_model.safetensors")
    description = plain.model_copy(
        update={"domain_adapter": str(tmp_path / "lora"), "sketch_control": str(tmp_path / "control")}
    )
    for_text = load_pipeline(description, device="cpu")
    for_sketches = load_pipeline(description, device="cpu", control="sketch")
    changed = tiny_unet(1)
    add_lora(changed, halves, 1.0)
    for pipe, wanted in ((for_text, tiny_unet(1)), (for_sketches, changed)):
        found = pipe.unet.state_dict()
        for name, tensor in wanted.state_dict().items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, msg=name)
    assert for_text.config["_motionclone_sources"].keys() == {"base", "motion_adapter"}
    assert for_sketches.config["_motionclone_sources"]["domain_adapter"] == "lora x 1"


@pytest.mark.parametrize(
    ("config", "wrapper", "prefix", "suffix"),
    [
        ({"motion_max_seq_length": 24}, None, "", ".ckpt"),  # mm_sd_v15.ckpt
        ({"use_motion_mid_block": True, "motion_layers_per_block": 2}, None, "", ".ckpt"),  # mm_sd_v15_v2.ckpt
        ({"motion_layers_per_block": 2}, "state_dict", "module.", ".ckpt"),
        ({}, None, "", ".safetensors"),
    ],
)
def test_motion_modules_need_no_configuration(
    tmp_path: Path, config: dict[str, object], wrapper: str | None, prefix: str, suffix: str
) -> None:
    adapter = tiny_adapter(**config)
    weights = {prefix + name: tensor for name, tensor in original_motion_module(adapter).items()}
    path = tmp_path / f"mm{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({wrapper: weights, "animatediff_config": {"heads": 8}} if wrapper else weights, path)
    loaded = load_motion_module(path, torch.float32)
    assert_same_weights(loaded, adapter.state_dict())
    assert loaded.config.motion_max_seq_length == adapter.config.motion_max_seq_length
    assert loaded.config.use_motion_mid_block == adapter.config.use_motion_mid_block
    if not prefix:
        adapter.save_config(tmp_path / "config")
        theirs = MotionAdapter.from_single_file(str(path), config=str(tmp_path / "config"))
        assert_same_weights(loaded, theirs.state_dict())


def test_a_motion_module_must_fit_exactly(tmp_path: Path) -> None:
    weights = original_motion_module(tiny_adapter())
    first = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks"
    path = tmp_path / "mm.safetensors"
    for change, sentence in [
        ({f"{first}.0.to_q.weight": None}, r"lacks .*attn1\.to_q\.weight"),
        ({"conv_in.weight": torch.zeros(1)}, r"unknown conv_in\.weight"),
        ({f"{first}.0.to_q.weight": torch.zeros(2, 2)}, r"another shape of .*attn1\.to_q\.weight"),
        ({f"{first}.1.pos_encoder.pe": torch.zeros(1, 32, 32)}, "two different position tables"),
    ]:
        save_file({name: each for name, each in (weights | change).items() if each is not None}, path)
        with pytest.raises(InputError, match=sentence):
            load_motion_module(path, torch.float32)


def test_a_domain_adapter_must_fit_exactly(tmp_path: Path, plain: ModelDescription) -> None:
    weights = lora(tiny_unet(2), 4)
    key = next(iter(weights)).removesuffix(".down.weight")
    description = plain.model_copy(
        update={"domain_adapter": str(tmp_path / "adapter.ckpt"), "domain_adapter_for": "everything"}
    )
    for change, sentence in [
        ({"lora_te_something.alpha": torch.zeros(1)}, "lora_te_something.alpha is no LoRA weight"),
        ({f"{key}.up.weight": None}, "only the down half"),
        ({f"{key}.up.weight": torch.zeros(3, 2)}, r"not \(3, 32\)"),
        ({f"{key}.up.weight": torch.zeros(32, 3)}, "halves of ranks 2 and 3"),
        ({f"{key}.up.weight": torch.tensor(1.0)}, "no finite matrix"),
        ({f"{key}.up.weight": torch.full((32, 2), float("nan"))}, "no finite matrix"),
        ({key.replace("blocks.0", "blocks.9") + ".up.weight": torch.zeros(2, 2)}, "only the up half"),
        (
            {
                key.replace("blocks.0", "blocks.9", 1) + half: torch.zeros(2, 2)
                for half in (".up.weight", ".down.weight")
            },
            "has no down_blocks.9",
        ),
    ]:
        torch.save({n: each for n, each in (weights | change).items() if each is not None}, tmp_path / "adapter.ckpt")
        with pytest.raises(InputError, match=sentence):
            load_pipeline(description, device="cpu")


def test_a_dreambooth_file_must_have_every_weight(tmp_path: Path, models: Path, plain: ModelDescription) -> None:
    weights = load_file(models / "DreamBooth_LoRA" / "realisticVisionV60B1_v51VAE.safetensors")
    path = tmp_path / "dreambooth.ckpt"
    for prefix, network in [
        ("model.diffusion_model.middle_block.1.", "UNet2DConditionModel"),
        ("first_stage_model.", "AutoencoderKL"),
        ("cond_stage_model.", "CLIPTextModel"),
    ]:
        torch.save({"state_dict": {n: each for n, each in weights.items() if not n.startswith(prefix)}}, path)
        with pytest.raises(InputError, match=f"does not fit {network}: it lacks .* and .* more"):
            load_pipeline(plain.model_copy(update={"dreambooth": str(path)}), device="cpu")


def test_a_loaded_pipeline_is_frozen_and_keeps_no_second_motion_adapter(
    plain: ModelDescription, tmp_path: Path
) -> None:
    pipe = load_pipeline(plain, device="cpu", dtype=torch.bfloat16)
    assert has_per_frame_norm(pipe.unet)
    pipe.save_pretrained(tmp_path)
    again = load_pipeline(str(tmp_path), device="cpu", dtype=torch.bfloat16, per_frame_norm=False)
    assert not has_per_frame_norm(again.unet)
    assert_same_weights(again.unet, pipe.unet.state_dict())
    for each in (pipe, again):
        assert each.motion_adapter is None
        for network in (each.unet, each.vae, each.text_encoder):
            assert not any(module.training for module in network.modules())
            assert not any(weight.requires_grad for weight in network.parameters())
            assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


def test_folders(plain: ModelDescription, models: Path, tmp_path: Path) -> None:
    """A pipeline saved by diffusers, and a base beside a motion adapter; a scheduler that fits is kept."""
    betas = {"beta_schedule": "linear", "beta_start": 0.00085, "beta_end": 0.012}
    kept = DDIMScheduler(**betas, prediction_type="v_prediction", steps_offset=0, clip_sample=False)
    shutil.copytree(plain.base, tmp_path / "base")
    shutil.copytree(plain.motion_adapter, tmp_path / "motion_adapter")
    kept.save_pretrained(tmp_path / "base" / "scheduler")
    pair = load_pipeline(tmp_path, device="cpu")
    assert settings(pair.scheduler) == settings(kept)

    oracle = AnimateDiffPipeline.from_pretrained(plain.base, motion_adapter=tiny_adapter())
    oracle.save_pretrained(tmp_path / "saved")
    saved = load_pipeline(tmp_path / "saved", device="cpu")
    assert isinstance(saved.scheduler, PNDMScheduler)
    assert saved.motion_adapter is None
    assert_same_weights(pair.unet, oracle.unet.state_dict())
    assert_same_weights(saved.unet, oracle.unet.state_dict())


@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_paths_in_a_description_start_at_the_file(tmp_path: Path, suffix: str) -> None:
    assign = " = " if suffix == ".toml" else ": "
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "base").mkdir()
    path = tmp_path / f"model{suffix}"
    path.write_text(
        "\n".join(
            f'{name}{assign}"{place}"'
            for name, place in {
                "base": "here/base",  # could be a hub id as well
                "motion_adapter": "guoyww/animatediff-motion-adapter-v1-5-3",
                "dreambooth": "elsewhere/realistic.safetensors",
                "domain_adapter": "/absolute/adapter.ckpt",
            }.items()
        )
    )
    assert read_model_description(path) == ModelDescription(
        base=str(tmp_path / "here" / "base"),
        motion_adapter="guoyww/animatediff-motion-adapter-v1-5-3",
        dreambooth=str(tmp_path / "elsewhere" / "realistic.safetensors"),
        domain_adapter="/absolute/adapter.ckpt",
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("unknown", None, "mini, mini-dit, animatediff.*folder.*hub id"),
        ("./no/such/folder", None, "there is no model './no/such/folder'"),
        ("missing.toml", None, "there is no model description"),
        ("model.toml", 'base = "a/b"', "motion_adapter: Field required"),
        ("model.toml", 'base = "a/b"\nmotion_adapter = "c/d"\nloar = "e"', "loar: Extra inputs"),
        ("model.toml", "base =", "cannot be read"),
        ("model.yaml", "just words", "is no model description"),
        ("model.toml", 'base = "./sd"\nmotion_adapter = "c/d"', "there is no base .*sd"),
        ("model.toml", 'base = "a/b"\nmotion_adapter = "mm.ckpt"', r"there is no motion_adapter .*mm\.ckpt"),
        ("model.safetensors", "", "is one part of a model"),
        ("empty/", "", "neither model_index.json nor base and motion_adapter"),
        ("base/", "adapter", "is a StableDiffusionPipeline, which is not supported"),
    ],
)
def test_bad_models_are_named_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: ModelDescription,
    name: str,
    content: str | None,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "base/":
        shutil.copytree(plain.base, name)
    elif name.endswith("/"):
        Path(name).mkdir()
    elif content is not None:
        Path(name).write_text(content)
    with pytest.raises(InputError, match=sentence) as raised:
        load_pipeline(name, device="cpu")
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("PIAPipeline", r"PIA's UNet takes an image; use AnimateDiff with a picture for its SparseCtrl instead"),
        ("AnimateDiffVideoToVideoPipeline", "save it as an AnimateDiffPipeline, which makes videos from text"),
        ("AnimateDiffControlNetPipeline", "save it as an AnimateDiffPipeline, without its ControlNet"),
        ("StableDiffusionXLPipeline", r"write a description \(\.toml\): base, motion_adapter"),
        ("os.system", r"write a description \(\.toml\)"),
        (["pipeline", "Own"], r"write a description \(\.toml\)"),
    ],
)
def test_other_pipelines_are_refused_by_name_with_a_remedy(tmp_path: Path, name: object, remedy: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(InputError, match=f"which is not supported .*{remedy}") as raised:
        load_pipeline(tmp_path, device="cpu")
    assert str(name) in str(raised.value)


def test_pia_is_refused_by_name(tmp_path: Path, plain: ModelDescription) -> None:
    tiny_adapter(conv_in_channels=9).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"a motion adapter for PIA, .* follow the picture with a SparseCtrl"):
        load_pipeline(plain.model_copy(update={"motion_adapter": str(tmp_path)}), device="cpu")
    pia = type("PIAPipeline", (), {"unet": UNetMotionModel.from_unet2d(tiny_unet(1), tiny_adapter(conv_in_channels=9))})
    with pytest.raises(InputError, match="PIAPipeline is not supported: its UNet takes an image; use AnimateDiff"):
        backbone_of(pia())


def test_a_part_of_another_kind_is_refused(tmp_path: Path, plain: ModelDescription) -> None:
    AnimateDiffPipeline.from_pretrained(plain.base, motion_adapter=tiny_adapter()).save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    good = json.loads(index.read_text())
    for change, sentence in [
        ({"unet": ["diffusers", "AutoencoderKL"]}, "has a AutoencoderKL as its unet"),
        ({"unet": ["os", "system"]}, "which is no class of diffusers or transformers"),
        ({"unet": ["diffusers", "load_image"]}, "which is no class of diffusers or transformers"),
        ({"scheduler": ["transformers", "CLIPTextModel"]}, "has a CLIPTextModel as its scheduler"),
        ({"tokenizer": ["transformers", "AutoTokenizer"]}, "has a AutoTokenizer as its tokenizer"),
        ({"vae": [None, None]}, "cannot be read"),
    ]:
        index.write_text(json.dumps({**good, **change}))
        with pytest.raises(InputError, match=sentence):
            load_pipeline(tmp_path, device="cpu")


def test_bad_parts_are_named_in_a_sentence(tmp_path: Path, plain: ModelDescription, models: Path) -> None:
    (tmp_path / "words.ckpt").write_text("not a pickle")
    (tmp_path / "words.txt").write_text("no weights")
    torch.save({"epoch": 1}, tmp_path / "empty.ckpt")
    tiny_adapter(block_out_channels=(32, 64, 64)).save_pretrained(tmp_path / "three-blocks")
    tiny_adapter(block_out_channels=(32, 32)).save_pretrained(tmp_path / "narrow")
    unet, dreambooth = f"{plain.base}/unet", str(models / "DreamBooth_LoRA" / "realisticVisionV60B1_v51VAE.safetensors")
    for change, sentence in [
        ({"motion_adapter": str(tmp_path / "words.ckpt")}, "cannot be read as plain weights"),
        ({"motion_adapter": str(tmp_path / "words.txt")}, "is no weight file"),
        ({"motion_adapter": str(tmp_path / "empty.ckpt")}, "holds no weights"),
        ({"motion_adapter": dreambooth}, "is no AnimateDiff motion module"),
        ({"motion_adapter": unet}, "is a UNet2DConditionModel, not a MotionAdapter"),
        ({"motion_adapter": str(tmp_path / "three-blocks")}, "does not fit .*number of blocks"),
        ({"motion_adapter": str(tmp_path / "narrow")}, "does not fit UNetMotionModel: it has another shape of"),
        ({"base": unet}, "model_index.json"),
        ({"base": str(tmp_path)}, "model_index.json"),
        ({"dreambooth": str(models / "Motion_Module" / "v3_sd15_mm.ckpt")}, "is no Stable Diffusion checkpoint"),
        (
            {
                "domain_adapter": str(models / "Motion_Module" / "v3_sd15_mm.ckpt"),
                "domain_adapter_for": "everything",
            },
            "is no domain adapter",
        ),
    ]:
        with pytest.raises(InputError, match=sentence):
            load_pipeline(plain.model_copy(update=change), device="cpu")


def test_a_base_must_be_complete(tmp_path: Path, plain: ModelDescription) -> None:
    """Where transformers and diffusers would go on with made-up weights and an empty tokenizer."""
    base = tmp_path / "base"
    unet, text = base / "unet" / "diffusion_pytorch_model.safetensors", base / "text_encoder" / "model.safetensors"
    for damage, sentence in [
        (lambda: shutil.rmtree(base / "tokenizer"), "tokenizer of .* has no vocabulary"),
        (lambda: unet.write_bytes(unet.read_bytes()[:999]), "the unet of .* cannot be read"),
        (lambda: text.write_bytes(text.read_bytes()[:999]), "the text_encoder of .* cannot be read"),
        (lambda: save_file({"conv_in.weight": torch.zeros(32, 4, 3, 3)}, unet), r"lacks .*UNet.* conv_in\.bias"),
        (lambda: save_file({"text_model.final_layer_norm.bias": torch.zeros(32)}, text), "lacks .*CLIPTextModel"),
    ]:
        shutil.copytree(plain.base, base, dirs_exist_ok=True)
        damage()
        with pytest.raises(InputError, match=sentence):
            load_pipeline(plain.model_copy(update={"base": str(base)}), device="cpu")


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "callbacks": Trap()}, "mm.ckpt")
    with pytest.raises(InputError, match=r"convert it to \.safetensors"):
        load_motion_module(Path("mm.ckpt"), torch.float32)
    assert not Path("sprung").exists()
    pickle.loads(pickle.dumps(Trap()))  # the trap is a real one
    assert Path("sprung").exists()


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")  # diffusers, to huggingface_hub
def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, plain: ModelDescription) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for model in (
        "nobody/no-such-model",
        plain.model_copy(update={"base": "nobody/no-such-model"}),
        plain.model_copy(update={"motion_adapter": "nobody/no-such-model"}),
    ):
        with pytest.raises(InputError, match=r"nobody/no-such-model .*could not be fetched"):
            load_pipeline(model, device="cpu")


def test_devices_and_offload(plain: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert load_pipeline(plain).device.type == "cpu"
    for change, sentence in [
        ({"offload": "model"}, "offload='model' needs a GPU .* leave it out"),
        ({"offload": "disk"}, "offload is one of none, model, sequential"),
        ({"device": "cuda"}, "cuda is not available"),
        ({"device": "gpu"}, "'gpu' is no device"),
        ({"device": 1.5}, "1.5 is no device"),
        ({"device": "meta"}, "meta is not available"),
    ]:
        with pytest.raises(InputError, match=sentence):
            load_pipeline("no-such-model", **change)
    for dtype in (torch.int8, torch.float8_e4m3fn, "float16"):
        with pytest.raises(InputError, match=r"dtype is torch\.float32, torch\.float16 or torch\.bfloat16, not"):
            load_pipeline(plain, dtype=dtype)
    with pytest.raises(InputError, match="per_frame_norm is about AnimateDiff's motion modules"):
        load_pipeline("cogvideox-2b", per_frame_norm=False)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="there is no device cuda:2; cuda has 2 here, counted from 0"):
        load_pipeline("no-such-model", device="cuda:2")
    asked = []
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload", "to"):
        monkeypatch.setattr(
            AnimateDiffPipeline,
            name,
            lambda pipe, device, name=name: asked.append(
                (name, device.type, pipe.unet.dtype, has_per_frame_norm(pipe.unet))
            ),
        )
    for offload in ("model", "sequential", "none"):
        load_pipeline(plain, offload=offload)
    ready = ("cuda", torch.float16, True)
    assert asked == [("enable_model_cpu_offload", *ready), ("enable_sequential_cpu_offload", *ready), ("to", *ready)]


def test_named_models() -> None:
    assert list(named_models())[:3] == ["mini", "mini-dit", "animatediff"]
    assert Path(named_models()["mini"].base).parent.name == "mini"
    for name, model in named_models().items():
        if isinstance(model, HubModel):
            assert re.fullmatch("[0-9a-f]{40}", model.revision)
            assert preset(name).extraction.blocks[0].split(".")[0].endswith("blocks")
            assert all(hasattr(diffusers, kind) for kind in (model.pipeline, model.network, model.autoencoder))


def test_hub_ids_of_named_models_are_the_named_models(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    named = named_models()["cogvideox-2b"]

    def load_saved(place: str, *_: object) -> None:
        asked.append(place)
        raise InputError("far enough")

    monkeypatch.setattr("motionclone.models.loading.load_saved", load_saved)
    for name in ("zai-org/CogVideoX-2b", "cogvideox-2b", "zai-org/CogVideoX-2b@refs/pr/1", "cogvideox-2b@refs/pr/1"):
        with pytest.raises(InputError, match="far enough"):
            load_pipeline(name, device="cpu")
        assert name_of(name) == "cogvideox-2b"
    assert asked == [named.place, named.place, "zai-org/CogVideoX-2b@refs/pr/1", "zai-org/CogVideoX-2b@refs/pr/1"]
    assert name_of("someone/else@main") == "someone/else@main"
    with pytest.raises(InputError, match=r"mini is not one repository .* write a description"):
        load_pipeline("mini@main", device="cpu")


@pytest.mark.parametrize(("name", "kind"), [("cogvideox-2b", "CogVideoXPipeline"), ("wan-2.1", "WanPipeline")])
def test_saved_pipelines_of_transformers(tmp_path: Path, name: str, kind: str) -> None:
    saved = FAMILIES[name].make()
    saved.save_pretrained(tmp_path)
    pipe = load_pipeline(tmp_path, device="cpu", vae_tiling=True)
    assert type(pipe).__name__ == kind
    assert not pipe.transformer.training
    assert not any(weight.requires_grad for weight in pipe.transformer.parameters())
    assert pipe.vae.use_tiling
    half = load_pipeline(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert half.transformer.dtype == torch.bfloat16
    assert half.vae.dtype == (torch.float32 if kind == "WanPipeline" else torch.bfloat16)
    for weight, wanted in zip(pipe.transformer.parameters(), saved.transformer.parameters(), strict=True):
        assert torch.equal(weight, wanted)
    with pytest.raises(InputError, match=f"a {kind}, cannot be made to follow a picture"):
        load_pipeline(tmp_path, device="cpu", control="image")


def test_a_text_to_video_model_that_can_start_from_a_picture(tmp_path: Path) -> None:
    FAMILIES["ltx"].make().save_pretrained(tmp_path)
    assert type(load_pipeline(tmp_path, device="cpu", control="image")).__name__ == "LTXImageToVideoPipeline"


def test_the_frames_vae_of_the_mini_transformer_is_the_mini_models() -> None:
    frames = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    video = frames.movedim(0, 1)[None]
    place = str(Path(named_models()["mini"].base))
    of_frames = FramewiseAutoencoder.from_pretrained(place, subfolder="vae").eval()
    of_pictures = AutoencoderKL.from_pretrained(place, subfolder="vae").eval()
    with torch.no_grad():
        latents = of_frames.encode(video).latent_dist.mode()
        wanted = of_pictures.encode(frames).latent_dist.mode()
        assert latents.shape == (1, 8, 4, 16, 16)
        torch.testing.assert_close(latents[0].movedim(1, 0), wanted)
        torch.testing.assert_close(of_frames.decode(latents).sample[0].movedim(1, 0), of_pictures.decode(wanted).sample)
