"""The representation H = {L, M}: what is kept, what the file holds, what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from motionclone.errors import InputError
from motionclone.motion import FORMAT, Motion, SparseMap, heat_map, load_motion, represent, temporal_attention, top_k

SITE = "up_blocks.1.motion_modules.0.transformer_blocks.0.attn1"


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def queries_and_keys(p=6, heads=2, f=4, d=8):
    return {SITE: (normal(p, heads, f, d), normal(p, heads, f, d, seed=1))}


def motion(k=1):
    return Motion(represent(queries_and_keys(), k), {SITE: (4, 2, 3)}, {"model": "tiny", "seed": 3, "blocks": ["up"]})


def refusal(path):
    """The message of the refusal, which is one sentence that names the file."""
    with pytest.raises(InputError) as caught:
        load_motion(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message


def damaged(path, *, values=None, indices=None, grid=(4, 2, 3), **metadata):
    """A motion file with one thing wrong."""
    good = motion().maps[SITE]
    tensors = {
        f"{SITE}.values": good.values.half() if values is None else values,
        f"{SITE}.indices": good.indices if indices is None else indices,
    }
    header = {"format": FORMAT, "grid": json.dumps({SITE: grid}), "record": "{}"}
    save_file(tensors, path, {**header, **metadata})
    return path


def test_attention_is_the_map_that_sdpa_applies():
    query, key = queries_and_keys()[SITE]
    found = temporal_attention(query, key)
    applied = functional.scaled_dot_product_attention(query, key, torch.eye(4).expand(6, 2, 4, 4))
    torch.testing.assert_close(found, applied, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sum(-1), torch.ones(6, 2, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_of_half_precision_is_computed_in_float32(dtype):
    query, key = (x.to(dtype) for x in queries_and_keys()[SITE])
    torch.testing.assert_close(temporal_attention(query, key), temporal_attention(query.float(), key.float()))


def test_autocast_does_not_lower_the_precision_of_attention():
    query, key = queries_and_keys()[SITE]
    with torch.autocast("cpu", torch.bfloat16):
        found = temporal_attention(query, key)
    torch.testing.assert_close(found, temporal_attention(query, key))


def test_float64_stays_float64():
    query = normal(2, 1, 3, 4, dtype=torch.float64)
    assert temporal_attention(query, query).dtype == torch.float64


def test_top_1_by_hand():
    attention = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.0, 0.1, 0.9]])[None, None]
    found = top_k(attention, 1)
    assert found.indices.tolist() == [[[[1], [0], [2]]]]
    torch.testing.assert_close(found.values, torch.tensor([0.7, 0.5, 0.9])[None, None, :, None])


def test_k_of_all_frames_is_the_dense_map():
    attention = temporal_attention(*queries_and_keys()[SITE])
    found = top_k(attention, 4)
    dense = torch.zeros_like(attention).scatter(-1, found.indices.long(), found.values)
    assert torch.equal(dense, attention)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match="between 1 and the 4 frames"):
        top_k(torch.zeros(1, 1, 4, 4), k)


def test_more_frames_than_a_byte_counts():
    attention = torch.zeros(1, 1, 300, 300)
    attention[..., 299] = 1
    assert (top_k(attention, 1).indices == 299).all()


@pytest.mark.parametrize("k", [1, 4])
def test_round_trip(tmp_path, k):
    before, path = motion(k), tmp_path / "motion.safetensors"
    before.save(path)
    assert path.stat().st_size == len(before.to_bytes())
    after = load_motion(path)
    assert (after.k, after.num_frames) == (k, 4)
    assert after.grid == before.grid
    assert after.record == before.record
    assert torch.equal(after.maps[SITE].indices, before.maps[SITE].indices)
    assert after.maps[SITE].indices.dtype == torch.uint8
    assert torch.equal(after.maps[SITE].values, before.maps[SITE].values.half())


def test_save_replaces_only_when_asked(tmp_path):
    path = tmp_path / "motion.safetensors"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        motion().save(path)
    assert path.read_text() == "mine"
    motion().save(path, overwrite=True)
    assert load_motion(path).k == 1
    assert list(tmp_path.iterdir()) == [path]


def test_size_of_the_paper_s_case():
    values, indices = torch.rand(256, 8, 16, 1), torch.zeros(256, 8, 16, 1, dtype=torch.uint8)
    sites = [f"up_blocks.1.motion_modules.{i}.transformer_blocks.0.attn{j}" for i in range(3) for j in (1, 2)]
    real = Motion(
        {s: SparseMap(values.clone(), indices.clone()) for s in sites}, dict.fromkeys(sites, (16, 16, 16)), {}
    )
    assert 589_824 < len(real.to_bytes()) < 600_000


def test_missing_file(tmp_path):
    assert "motionclone extract" in refusal(tmp_path / "none.safetensors")


def test_folder(tmp_path):
    refusal(tmp_path)


def test_pickle_is_refused_unread(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    torch.save(Bomb(), tmp_path / "motion.pt")
    assert "pickled" in refusal(tmp_path / "motion.pt")


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_file(tmp_path, size):
    path = tmp_path / "motion.safetensors"
    path.write_bytes(motion().to_bytes()[:size])
    refusal(path)


def test_other_safetensors_file(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a motion" in refusal(path)


def test_a_file_of_a_newer_version_says_so(tmp_path):
    whole, path = motion().to_bytes(), tmp_path / "motion.safetensors"
    assert FORMAT == "motionclone.motion/1"
    for format, told in [
        (
            "motionclone.motion/2",
            "is a motionclone.motion/2, which a newer motionclone wrote, and this one reads motionclone.motion/1;",
        ),
        ("motionclone.motion/x", "not a motion"),
    ]:
        length = int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8 : 8 + length])
        assert header["__metadata__"]["format"] == FORMAT
        header["__metadata__"]["format"] = format
        changed = json.dumps(header).encode()
        path.write_bytes(len(changed).to_bytes(8, "little") + changed + whole[8 + length :])
        assert told in refusal(path)


def test_dtype_that_nobody_knows(tmp_path):
    header = json.dumps({"x": {"dtype": "Q3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    path = tmp_path / "motion.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    refusal(path)


BYTES = torch.zeros(6, 2, 4, 1, dtype=torch.uint8)
NOT_A_NUMBER = torch.full((6, 2, 4, 1), torch.nan)


@pytest.mark.parametrize(
    "wrong",
    [
        {"indices": BYTES + 4},
        {"indices": BYTES.to(torch.int16) - 1},
        {"indices": BYTES.long()},
        {"indices": BYTES[:5]},
        {"values": NOT_A_NUMBER},
        {"values": NOT_A_NUMBER.nan_to_num(posinf=0) + torch.inf},
        {"values": BYTES},
        {"values": torch.zeros(6, 2, 4, 1).to(torch.float8_e5m2)},
        {"values": torch.zeros(6, 2, 4), "indices": BYTES[..., 0]},
        {"values": torch.zeros(6, 2, 4, 0), "indices": BYTES[..., :0]},
        {"grid": (4, 3, 3)},
        {"grid": (5, 2, 3)},
        {"grid": (4, -2, -3)},
        {"grid": (4, 6)},
        {"grid": (float("inf"), 2, 3)},
        {"grid": "{"},
        {"grid": ("a", "b", "c")},
        {"record": "[]"},
        {"record": "not JSON"},
        {"format": "motionclone.motion/2"},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_damaged_file(tmp_path, wrong):
    refusal(damaged(tmp_path / "motion.safetensors", **wrong))


def test_file_without_its_header_fields(tmp_path):
    path = tmp_path / "motion.safetensors"
    save_file({f"{SITE}.values": torch.zeros(1)}, path, {"format": FORMAT})
    refusal(path)


def test_file_with_a_stranger_among_its_tensors(tmp_path):
    good, path = motion().maps[SITE], tmp_path / "motion.safetensors"
    tensors = {f"{SITE}.values": good.values, f"{SITE}.indices": good.indices, "extra": torch.zeros(1)}
    save_file(tensors, path, {"format": FORMAT, "grid": json.dumps({SITE: (4, 2, 3)}), "record": "{}"})
    refusal(path)


def strength(height, width, frames, strong):
    """A site whose map is 0.25, and more at the given (y, x, frame)."""
    values = torch.full((height * width, 2, frames, 1), 0.25)
    for (y, x, frame), value in strong.items():
        values[y * width + x, :, frame] = value
    return SparseMap(values, torch.zeros_like(values, dtype=torch.uint8))


def test_heat_map_by_hand():
    fine = strength(2, 3, 2, {(0, 2, 0): 0.75, (1, 0, 1): 1.0})
    other = strength(2, 3, 2, {})
    coarse = strength(1, 2, 2, {(0, 0, 0): 1.0})
    found = Motion({"a": fine, "b": other, "c": coarse}, {"a": (2, 2, 3), "b": (2, 2, 3), "c": (2, 1, 2)}, {})
    torch.testing.assert_close(heat_map(found, 0), torch.tensor([[0.25, 0.25, 0.5], [0.25, 0.25, 0.25]]))
    torch.testing.assert_close(heat_map(found, 1), torch.tensor([[0.25, 0.25, 0.25], [0.625, 0.25, 0.25]]))
    torch.testing.assert_close(heat_map(found), (heat_map(found, 0) + heat_map(found, 1)) / 2)


def test_heat_map_of_all_k_is_a_weight_too():
    found = heat_map(motion(k=4))
    assert found.shape == (2, 3)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize("frame", [4, -5])
def test_heat_map_of_no_frame(frame):
    with pytest.raises((ValueError, IndexError)):
        heat_map(motion(), frame)
