"""Pictures and sketches through SparseCtrl: parity with the authors, neutral settings, loading, reading pictures."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import SparseControlNetModel
from PIL import Image
from safetensors.torch import load_file
from tiny import sparse_pipe, tiny_control, tiny_pipe

from motionclone.backbones.per_frame_norm import PerFrameGroupNorm, per_frame_norm
from motionclone.cloning import clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.media.conditions import Condition
from motionclone.media.pictures import outlines, read_picture, read_sketch, sketch_from
from motionclone.models import ModelDescription, load_pipeline
from motionclone.models.checkpoints import load_sparse_control
from motionclone.settings import parse_settings
from motionclone.steps import noise_level

GOLDEN = Path(__file__).parent / "golden" / "i2v_rgb_f8_128x192.safetensors"
SETTINGS = parse_settings(
    {
        "sampling": {"steps": 3, "guided_steps": 2, "num_frames": 4, "height": 64, "width": 64},
        "guidance": {"warm_up": 0, "cool_down": 0},
    },
    "test",
)


def test_the_per_frame_norm_is_what_closes_diffusers_issue_9508(tmp_path):
    """SparseCtrl's residuals are the authors' with statistics per frame, and far from them over the whole clip."""
    numbers = load_file(GOLDEN)
    network = tiny_control(channels=(32, 64, 64, 64), layers=2)
    pipe = sparse_pipe(tmp_path, channels=(32, 64, 64, 64), layers=2)
    level = noise_level(pipe.scheduler, 400)
    noisy = level.alpha * numbers["video_latents"] + level.sigma * numbers["motion_noise"]
    picture, mask = pipe.prepare_sparse_control_conditioning(
        numbers["video_latents"][:, :, [0]], 8, [0], torch.device("cpu"), torch.float32
    )

    def residuals(network, dtype=torch.float32):
        """256 values of each."""
        with torch.no_grad():
            down, middle = network(
                noisy.to(dtype),
                400,
                encoder_hidden_states=numbers["null_text_embeds"].to(dtype).repeat_interleave(8, 0),
                controlnet_cond=picture.to(dtype),
                conditioning_mask=mask.to(dtype),
                return_dict=False,
            )
        for found in (*down, middle):
            values = found.unflatten(0, (1, 8)).transpose(1, 2).flatten()
            yield values[torch.linspace(0, len(values) - 1, 256).round().long()]

    golden = [numbers[f"residual.{name}"] for name in (*range(12), "mid")]
    with per_frame_norm(network):
        per_frame = list(residuals(network))
        exact = list(residuals(deepcopy(network).double(), torch.float64))
    for found, wanted, truth in zip(per_frame, golden, exact, strict=True):
        assert (wanted - truth).norm() <= 4 * (found - truth).norm()  # no further than float32's rounding
    first, *others = residuals(network)
    assert torch.equal(first, per_frame[0])  # before the first motion module
    for found, wanted in zip(others, golden[1:], strict=True):
        assert (found - wanted).norm() > 0.2 * wanted.norm()


@pytest.mark.parametrize("kind", ["image", "sketch"])
def test_scale_0_is_the_pipeline_without_pictures_and_scale_1_is_not(tmp_path, kind):
    pipe, plain = sparse_pipe(tmp_path, kind), tiny_pipe(tmp_path)
    frames = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    condition = Condition(frames[:2].flip(0), (0, 3))
    wanted = clone(plain, frames, "a fox", SETTINGS)

    def cloned(scale):
        data = {**SETTINGS.model_dump(), "conditioning": {"scale": scale}}
        return clone(pipe, frames, "a fox", parse_settings(data, "test"), condition=condition)

    torch.testing.assert_close(cloned(0.0).frames, wanted.frames, rtol=0, atol=1e-5)
    first = cloned(1.0)
    assert (first.frames - wanted.frames).abs().max() > 0.01
    assert torch.equal(first.frames, cloned(1.0).frames)  # the picture's latents too are drawn from the seed
    assert first.record["condition"]["frames"] == [0, 3]
    assert first.record["motion"]["shown_frames"] == [0, 3]
    assert {step.index for step in first.steps} == {0, 1}


def test_the_global_generator_is_left_alone(tmp_path):
    pipe = sparse_pipe(tmp_path)
    frames = torch.zeros(4, 3, 64, 64)
    motion = extract_motion(pipe, frames, shown_frames=(0,))
    before = torch.random.get_rng_state()
    generate(pipe, motion, "a fox", SETTINGS, condition=Condition(frames[:1]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_the_network_is_shown_at_extraction_changes_the_motion(tmp_path):
    frames = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for kind in ("image", "sketch"):
        pipe = sparse_pipe(tmp_path, kind)
        shown, not_shown = extract_motion(pipe, frames, shown_frames=(0, 2)), extract_motion(pipe, frames)
        plain = extract_motion(tiny_pipe(tmp_path), frames)
        for site, found in not_shown.maps.items():
            assert torch.equal(found.values, plain.maps[site].values)
        assert any(not torch.equal(shown.maps[site].values, plain.maps[site].values) for site in plain.maps)


@pytest.mark.parametrize(
    ("pictures", "frames", "sentence"),
    [
        (torch.zeros(2, 3, 64, 64), (0,), "2 pictures came with 1 frame numbers"),
        (torch.zeros(2, 3, 64, 64), (1, 1), "two pictures are for frame 1"),
        (torch.zeros(1, 3, 64, 64), (4,), "for frame 4 and the video's frames are 0 to 3"),
        (torch.zeros(1, 3, 64, 64), (-1,), "numbered by whole numbers from 0, not -1"),
        (torch.zeros(1, 3, 32, 64), (0,), "the pictures are 64x32 and the video is 64x64"),
        (torch.full((1, 3, 64, 64), 2.0), (0,), r"values in \[-1, 1\], not from 2 to 2"),
        (torch.zeros(0, 3, 64, 64), (), "one or more"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(tmp_path, pictures, frames, sentence):
    with pytest.raises(InputError, match=sentence):
        clone(
            sparse_pipe(tmp_path), torch.zeros(4, 3, 64, 64), "a fox", SETTINGS, condition=Condition(pictures, frames)
        )


def test_pipelines_with_and_without_sparse_control_say_what_they_need(tmp_path):
    frames = torch.zeros(4, 3, 64, 64)
    with pytest.raises(InputError, match="no picture to follow"):
        clone(sparse_pipe(tmp_path), frames, "a fox", SETTINGS)
    with pytest.raises(InputError, match="has no SparseCtrl"):
        clone(tiny_pipe(tmp_path), frames, "a fox", SETTINGS, condition=Condition(frames[:1]))
    with pytest.raises(InputError, match="has no SparseCtrl"):
        extract_motion(tiny_pipe(tmp_path), frames, shown_frames=(0,))
    for number in (4, -1):
        with pytest.raises(InputError, match="shown_frames are 0 to 3"):
            extract_motion(sparse_pipe(tmp_path), frames, shown_frames=(number,))


def original(network):
    """The network's weights as v3_sd15_sparsectrl_*.ckpt names them, without tables of positions."""
    names = {
        ".transformer_blocks.0.attn1.": ".transformer_blocks.0.attention_blocks.0.",
        ".transformer_blocks.0.norm1.": ".transformer_blocks.0.norms.0.",
        ".transformer_blocks.0.norm3.": ".transformer_blocks.0.ff_norm.",
    }
    weights = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("pos_embed.pe"):
            continue
        if "motion_modules" in name:
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            head, module, rest = name.partition("motion_modules.")
            number, _, rest = rest.partition(".")
            name = f"{head}{module}{number}.temporal_transformer.{rest}"
        weights[f"module.{name}"] = tensor
    return weights


@pytest.fixture
def saved(tmp_path):
    """A saved tiny model, and SparseCtrl for it as a folder and as original files."""
    pipe = tiny_pipe(tmp_path)
    pipe.save_pretrained(tmp_path / "model")
    for kind in ("image", "sketch"):
        network = tiny_control(kind)
        network.save_pretrained(tmp_path / kind)
        torch.save({"epoch": 3, "controlnet": original(network)}, tmp_path / f"{kind}.ckpt")
    return tmp_path


@pytest.mark.parametrize("kind", ["image", "sketch"])
@pytest.mark.parametrize("suffix", ["", ".ckpt"])
def test_sparse_control_loads_from_folders_and_original_files(saved, kind, suffix):
    pipe = load_pipeline(saved / "model", device="cpu", control=saved / f"{kind}{suffix}")
    wanted = tiny_control(kind)
    for name, tensor in wanted.state_dict().items():
        torch.testing.assert_close(pipe.controlnet.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    ours, theirs = (
        {k: v for k, v in each.config.items() if not k.startswith("_")} for each in (pipe.controlnet, wanted)
    )
    ours["conditioning_embedding_out_channels"] = theirs["conditioning_embedding_out_channels"]  # not used for latents
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in ours.items()} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in theirs.items()
    }
    assert any(isinstance(part, PerFrameGroupNorm) for part in pipe.controlnet.modules())
    assert not any(weight.requires_grad for weight in pipe.controlnet.parameters())


def test_diffusers_reads_the_same_from_the_original_file(saved):
    bare = {name.removeprefix("module."): tensor for name, tensor in original(tiny_control()).items()}
    torch.save(bare, saved / "bare.ckpt")
    theirs = SparseControlNetModel.from_single_file(str(saved / "bare.ckpt"), config=str(saved / "image"))
    ours = load_sparse_control(saved / "image.ckpt", torch.float32).state_dict()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0, msg=name)


def test_a_pipeline_saved_with_sparse_control_brings_it(tmp_path):
    sparse_pipe(tmp_path).save_pretrained(tmp_path / "whole")
    for control in (None, "image"):
        pipe = load_pipeline(tmp_path / "whole", device="cpu", control=control)
        assert any(isinstance(part, PerFrameGroupNorm) for part in pipe.controlnet.modules())


def test_sparse_control_that_cannot_be_is_refused(saved, tmp_path):
    with pytest.raises(InputError, match="no SparseCtrl of its own for pictures"):
        load_pipeline(saved / "model", device="cpu", control="image")
    with pytest.raises(InputError, match=r"there is no SparseCtrl nowhere\.ckpt"):
        load_pipeline(saved / "model", device="cpu", control="nowhere.ckpt")
    torch.save({"controlnet": {"conv_in.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="is no SparseCtrl"):
        load_pipeline(saved / "model", device="cpu", control=tmp_path / "other.ckpt")
    tiny_control(channels=(32, 64, 32, 32)).save_pretrained(tmp_path / "wide")
    with pytest.raises(InputError, match="block_out_channels"):
        load_pipeline(saved / "model", device="cpu", control=tmp_path / "wide")
    description = ModelDescription(base="a/b", motion_adapter="c/d")
    with pytest.raises(InputError, match="no SparseCtrl of its own for sketches"):
        load_pipeline(description, device="cpu", control="sketch")


def test_pictures_are_read_upright_on_white_and_cropped_with_a_notice(tmp_path):
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = (255, 0, 0)  # the middle
    Image.fromarray(wide).save(tmp_path / "wide.png")
    picture = read_picture(tmp_path / "wide.png", 20, 20)
    assert torch.equal(picture.pixels[:, 3:-3, 3:-3], torch.tensor([1.0, -1, -1]).view(3, 1, 1).expand(3, 14, 14))
    assert picture.notices == ("wide.png: centre-cropped 80x40 to 1:1",)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(wide[:, :40]).save(tmp_path / "turned.png", exif=exif)
    turned = read_picture(tmp_path / "turned.png", 40, 40).pixels
    assert turned[0, 5, 20] == -1  # black was left, is above
    assert turned[0, 35, 20] == 1
    Image.fromarray(np.full((20, 20), 32768, np.uint16)).save(tmp_path / "deep.png")  # 16 bits: half bright
    assert (read_picture(tmp_path / "deep.png", 20, 20).pixels.abs() < 0.01).all()
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    found = read_picture(tmp_path / "clear.png", 20, 20)
    assert bool((found.pixels == 1).all())
    assert "put on white" in found.notices[0]
    assert read_picture(tmp_path / "clear.png", 10, 10).notices[1] == "clear.png: scaled from 20x20 to 10x10"
    photos = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    photos[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=photos[1:])
    assert read_picture(tmp_path / "phone.jpg", 20, 20).pixels[0].min() > 0.9  # the first of the two


def test_pictures_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (20, 20), "white").save(tmp_path / "blank.png")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "float.tiff")
    (tmp_path / "torn.gif").write_bytes((tmp_path / "moving.gif").read_bytes()[:30])
    for read, name, sentence in [
        (read_picture, "nowhere.png", "there is no picture"),
        (read_picture, "text.png", "cannot be read as a picture"),
        (read_picture, "moving.gif", "is animated"),
        (read_picture, "float.tiff", "32 bits a pixel"),
        (read_picture, "torn.gif", "cannot be read as a picture"),
        (read_sketch, "blank.png", "has no lines"),
        (sketch_from, "blank.png", "no outline was found"),
    ]:
        with pytest.raises(InputError, match=sentence):
            read(tmp_path / name, 16, 16)


def test_sketches_are_white_on_black_however_they_were_drawn(tmp_path):
    drawn = np.zeros((32, 32), np.uint8)
    drawn[8:12] = 200
    Image.fromarray(drawn).save(tmp_path / "chalk.png")
    Image.fromarray(255 - drawn).save(tmp_path / "ink.png")
    chalk, ink = (read_sketch(tmp_path / f"{name}.png", 32, 32) for name in ("chalk", "ink"))
    torch.testing.assert_close(chalk.pixels, ink.pixels, rtol=0, atol=1e-5)
    assert chalk.pixels[:, 9].min() > 0.99
    assert chalk.pixels[:, 20].max() < -0.99
    assert not chalk.notices
    assert "was inverted" in ink.notices[0]


def test_fine_lines_are_seen_at_a_small_size(tmp_path):
    drawn = np.zeros((1024, 1024), np.uint8)
    drawn[:, 511] = 255
    Image.fromarray(drawn).save(tmp_path / "fine.png")
    assert (read_sketch(tmp_path / "fine.png", 64, 64).pixels[0, :, 31:33].amax(1) > 0.99).all()
    drawn[:] = 0
    drawn[511, 511] = 255
    Image.fromarray(drawn).save(tmp_path / "dot.png")
    with pytest.raises(InputError, match="vanish at 64x64"):
        read_sketch(tmp_path / "dot.png", 64, 64)


def test_a_photograph_given_as_a_sketch_is_offered_its_outlines(tmp_path):
    y, x = np.mgrid[:64, :64]
    Image.fromarray(((np.sin(x / 9) + np.cos(y / 7)) * 60 + 128).astype(np.uint8)).save(tmp_path / "photo.png")
    photo = read_sketch(tmp_path / "photo.png", 64, 64)
    assert photo.notices == ("photo.png looks like a photograph; to have its outlines drawn, give it with sketch_from",)


def test_outlines_are_where_things_end():
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    distance = ((x - 64) ** 2 + (y - 64) ** 2).sqrt()
    disc = torch.where(distance < 40, torch.tensor([[1.0], [-1], [-1]]).view(3, 1, 1), torch.tensor(0.0))
    textured = disc + 0.05 * torch.sin(3 * x)
    lines = outlines(textured.clamp(-1, 1))
    near = (distance - 40).abs() < 4
    assert lines[~near].max() == 0
    sector = ((torch.atan2(y - 64, x - 64) / (2 * torch.pi) + 0.5) * 35.99).long()
    for each in range(36):  # all the way round
        assert lines[near & (sector == each)].max() == 1
