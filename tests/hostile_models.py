"""Model folders, weights and descriptions that strangers might hand over, made from the bundled model.

Every case writes into a folder of its own and says what `load_pipeline` is to be asked for; it may load and be good for
a video, or be refused in one sentence, and nothing else.
"""

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tiny import tiny_control

from motionclone.models.known import MINI

CONFIGURATIONS = (
    "base/model_index.json",
    "base/scheduler/scheduler_config.json",
    "base/text_encoder/config.json",
    "base/tokenizer/tokenizer_config.json",
    "base/tokenizer/tokenizer.json",
    "base/unet/config.json",
    "base/vae/config.json",
    "motion_adapter/config.json",
    "image_control/config.json",
)
VALUES = (None, 0, -1, 10**6, 10**9, 2**70, 1e308, -0.5, True, "x", "\x00", [], [[[]]], {}, {"a": [1]}, [10**6] * 4)
ROLES = ("motion_adapter", "dreambooth", "domain_adapter", "image_control")


@dataclass(frozen=True)
class Case:
    """Something to load: a name to tell it by, what makes it, and how it is asked for."""

    name: str
    make: Callable[[Path], Any]
    """Writes into a folder and returns the model."""
    arguments: dict[str, Any] = field(default_factory=dict)


def mini_folder(folder: Path) -> Path:
    """The bundled model's parts, linked but for the small files, which a case may change."""
    for source in MINI.rglob("*"):
        target = folder / source.relative_to(MINI)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix == ".safetensors":
                target.symlink_to(source)
            else:
                target.write_bytes(source.read_bytes())
    return folder


def configurations() -> Iterator[Case]:
    """One value of one configuration changed, or its text."""
    for name in CONFIGURATIONS:
        control = {"control": "image"} if name.startswith("image_control") else {}
        values = json.loads((MINI / name).read_text())
        for key in values:
            for number, value in enumerate(VALUES):
                yield Case(f"{name} {key} #{number}", _changing(name, key, value), control)
        for number, text in enumerate(texts(json.dumps(values))):
            yield Case(f"{name} text #{number}", _writing(name, text), control)
        yield Case(f"{name} missing", _removing(name), control)


def texts(good: str) -> list[bytes]:
    """What else a text file may hold."""
    return [
        b"",
        b"\0",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf" + good.encode(),
        good.encode("utf-16"),
        good.encode()[: len(good) // 2],
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[]",
        b"null",
        b"{}",
        b'{"_class_name": ["../evil", "Evil"], "auto_map": {"AutoModel": "evil.Evil"}}',
        b'{"_class_name": "Evil"}',
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"n": NaN}',
        b'{"n": 1e999}',
        b'{"n": "\\ud800"}',
        b"x" * 1_000_000,
    ]


def _changing(name: str, key: str, value: Any) -> Callable[[Path], Any]:
    def make(folder: Path) -> Path:
        path = mini_folder(folder) / name
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        return folder

    return make


def _writing(name: str, text: bytes) -> Callable[[Path], Any]:
    def make(folder: Path) -> Path:
        (mini_folder(folder) / name).write_bytes(text)
        return folder

    return make


def _removing(name: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> Path:
        (mini_folder(folder) / name).unlink()
        return folder

    return make


class Trap:
    """Touches a file when a careless reader opens the pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("sprung",)


class Calling:
    """Calls what PyTorch's reader of plain weights may call, with what it should not be called with."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.reduced


def saved(value: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def rezipped(data: bytes, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> bytes:
    """The same archive with other entries, or compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for entry in old.infolist():
            name = entry.filename.rpartition("/")[2].replace(".", "_")
            new.writestr(entry.filename, changes.get(name, old.read(entry)))
    return buffer.getvalue()


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {"weight": torch.zeros(2)}
    cycle["state_dict"] = cycle
    return cycle


def _pickled(operations: bytes) -> bytes:
    """An archive of torch.save's layout with this pickle; operations leave one object."""
    return rezipped(saved({"weight": torch.zeros(4)}), data_pkl=b"\x80\x02" + operations + b".")


def _tensor(numel: int, offset: int, size: int, stride: int) -> bytes:
    """A pickle of {"w": a tensor} that says these things of the storage "0"."""

    def integer(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    return (
        b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + integer(numel)
        + b"tQ"
        + integer(offset)
        + integer(size)
        + b"\x85"
        + integer(stride)
        + b"\x85\x89ccollections\nOrderedDict\n)RtRs"
    )


def weights() -> dict[str, Callable[[], bytes]]:
    """Files named .ckpt, made when they are asked for."""
    plain = torch.zeros(4)
    values: dict[str, Callable[[], object]] = {
        "code": lambda: {"weight": plain, "callback": Trap()},
        "0-d": lambda: {"weight": torch.tensor(1.0)},
        "meta": lambda: {"weight": torch.zeros(4, device="meta")},
        "sparse": lambda: {"weight": torch.eye(4).to_sparse()},
        "complex": lambda: {"weight": plain.to(torch.complex64)},
        "integers": lambda: {"weight": plain.long()},
        "expanded": lambda: {"weight": torch.zeros(1).expand(2**34)},
        "windows": lambda: {"weight": torch.zeros(2**12).as_strided((2**11, 2**11), (1, 1))},
        "nan": lambda: {"weight": plain * float("nan")},
        "shared": lambda: dict.fromkeys(map(str, range(3000)), torch.zeros(2**16)),
        "cycle": _cycle,
        "numbers as names": lambda: {1: plain, (2, 3): plain, None: plain},
        "large number as name": lambda: {10**600: plain},
        "many names": lambda: {f"model.diffusion_model.input_blocks.{i}.x": torch.zeros(1) for i in range(20_000)},
        "odd names": lambda: {"a\nb\x1b[31m": plain, "\ud800": plain, "n" * 100_000: plain, "": plain},
        "list": lambda: [plain],
        "nothing": lambda: None,
        "text inside": lambda: {"state_dict": "weight"},
        "module of modules": lambda: {"module.module.": plain},
        "bytearray": lambda: Calling(bytearray, 2**36),
        "tensor": lambda: {"weight": Calling(torch.Tensor, 2**36)},
        "storage": lambda: {"weight": Calling(torch.UntypedStorage, 2**36)},
        "empty tensor": lambda: {"weight": torch.zeros(0, 4)},
    }
    files = {name: lambda value=value: saved(value()) for name, value in values.items()}
    old = ("code", "expanded", "cycle", "nan", "0-d", "odd names")
    files |= {f"{name}, old": lambda value=values[name]: saved(value(), zipped=False) for name in old}

    def good() -> bytes:
        return saved({"state_dict": {"weight": torch.zeros(4)}})

    return files | {
        "empty": lambda: b"",
        "one byte": lambda: b"x",
        "text": lambda: b"Not Found",
        "zeros": lambda: bytes(1000),
        "half": lambda: good()[: len(good()) // 2],
        "start": lambda: good()[:4],
        "tail cut": lambda: good()[:-30],
        "compressed": lambda: rezipped(good(), zipfile.ZIP_DEFLATED),
        "no pickle in it": lambda: rezipped(good(), data_pkl=b""),
        "text in it": lambda: rezipped(good(), data_pkl=b"words"),
        "old pickle": lambda: pickle.dumps({"weight": [1.0]}),
        "older pickle": lambda: pickle.dumps({"weight": [1.0]}, protocol=0),
        "trap": lambda: pickle.dumps(Trap()),
        "large storage": lambda: _pickled(_tensor(2**34, 0, 4, 1)),
        "large tensor": lambda: _pickled(_tensor(4, 0, 2**34, 1)),
        "large stride": lambda: _pickled(_tensor(4, 0, 2, 2**40)),
        "no stride": lambda: _pickled(_tensor(4, 0, 2**34, 0)),
        "far offset": lambda: _pickled(_tensor(4, 2**40, 1, 1)),
        "negative": lambda: _pickled(_tensor(-1, 0, -4, 1)),
        "deep": lambda: _pickled(b"}X\x0a\x00\x00\x00state_dict" * 10_000 + b"}" + b"s" * 10_000),
        "quantized": lambda: _pickled(b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_qtensor\n)Rs"),
        "name of tuples": lambda: _pickled(b"})" + b"\x85" * 300_000 + b"Ns"),
        "much of nothing": lambda: _pickled(b"N" * 2_000_000),
        "long text": lambda: _pickled(b"X\xff\xff\xff\x7f"),
        "long number": lambda: _pickled(b"L" + b"9" * 6000 + b"L\n"),
    }


def weight_files() -> Iterator[Case]:
    for name, data in weights().items():
        for role in ROLES:
            yield Case(f"{name} as {role}", _as_role(role, data), {"control": "image"})


def changed_weights() -> Iterator[Case]:
    """Good files in which one tensor, which all networks of the kind have, is another."""
    lora = {
        f"up_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.{half}.weight": torch.zeros(shape)
        for half, shape in (("down", (2, 96)), ("up", (96, 2)))
    }
    motion = load_file(MINI / "motion_adapter" / "diffusion_pytorch_model.safetensors")
    good = {"domain_adapter": lora, "motion_adapter": motion, "image_control": tiny_control("image").state_dict()}
    positions = "down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"
    changes: dict[str, Callable[[torch.Tensor], object]] = {
        "missing": lambda _: None,
        "0-d": lambda tensor: tensor.flatten()[0],
        "1-d": lambda tensor: tensor.flatten(),
        "7-d": lambda tensor: tensor[..., None, None, None, None],
        "empty": lambda tensor: tensor[:0],
        "complex": lambda tensor: tensor.to(torch.complex64),
        "integer": lambda tensor: tensor.long(),
        "nan": lambda tensor: torch.full_like(tensor, float("nan")),
        "infinite": lambda tensor: torch.full_like(tensor, float("inf")),
        "double": lambda tensor: tensor.double(),
        "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
        "expanded": lambda _: torch.zeros(1).expand(2**20, 2**14),
        "text": lambda _: "words",
    }
    for role, tensors in good.items():
        names = {next(iter(tensors)), next(reversed(tensors)), *({positions} & tensors.keys())}
        for key in sorted(names):
            for name, change in changes.items():

                def data(tensors: Any = tensors, key: str = key, change: Any = change) -> bytes:
                    return saved(
                        {n: each for n, t in tensors.items() if (each := change(t) if n == key else t) is not None}
                    )

                yield Case(f"{key} {name} as {role}", _as_role(role, data), {"control": "image"})


def _as_role(role: str, data: Callable[[], bytes], suffix: str = ".ckpt") -> Callable[[Path], Any]:
    def make(folder: Path) -> Path:
        (folder / f"weights{suffix}").write_bytes(data())
        places = {name: str(MINI / name) for name in ("base", "motion_adapter", "image_control")}
        places[role] = f"weights{suffix}"
        lines = [f"{name} = {json.dumps(place)}" for name, place in places.items()]
        (folder / "model.toml").write_text("\n".join(lines))
        return folder / "model.toml"

    return make


def safetensors_files() -> Iterator[Case]:
    """In the place of weights in diffusers' layout."""
    for number, data in enumerate(_safetensors()):
        for name in (
            "base/unet/diffusion_pytorch_model",
            "base/text_encoder/model",
            "motion_adapter/diffusion_pytorch_model",
        ):

            def make(folder: Path, name: str = name, data: bytes = data) -> Path:
                path = mini_folder(folder) / f"{name}.safetensors"
                path.unlink()
                path.write_bytes(data)
                return folder

            yield Case(f"safetensors #{number} for {name}", make)


def _safetensors() -> Iterator[bytes]:
    def file(header: object, data: bytes = bytes(16)) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    yield from (b"", b"x", struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2**27) + b"{}" * 100)
    yield file({})
    yield file({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})
    yield file({"w": {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}})
    yield file({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]}})
    yield file({"w": {"dtype": "X", "shape": [4], "data_offsets": [0, 16]}})
    yield file({"w": {"dtype": "F32", "shape": [-4], "data_offsets": [16, 0]}})
    yield file([1])
    yield file({"\ud800": 1})


DESCRIPTIONS = {
    ".toml": [
        b"",
        b"\0",
        b"\xff",
        b"base = ",
        b"base = 1\nmotion_adapter = 2024-01-01",
        b'base = ""\nmotion_adapter = ""',
        b'base = "a\\u0000b"\nmotion_adapter = "c/d"',
        b'base = "~nosuchuser/x"\nmotion_adapter = "c/d"',
        b'base = "' + b"x" * 300 + b'"\nmotion_adapter = "c/d"',
        b'base = "' + b"x/" * 4_000 + b'"\nmotion_adapter = "c/d"',
        b"a = " + b"[" * 4_000,
        b"a." * 4_000 + b"a = 1",
        b"a = " + b"9" * 5000,
        b'base = "."\nmotion_adapter = "."\ndomain_adapter_scale = nan',
        b'base = "."\nmotion_adapter = "."\ndomain_adapter_scale = 1e300',
        b'base = "."\nmotion_adapter = "."',
        b'base = "/dev/zero"\nmotion_adapter = "/dev/zero"',
        b'base = "/etc"\nmotion_adapter = "/etc/passwd"',
        b'base = "a/b"\nmotion_adapter = "c/d"\n' + b"x = 1\n" * 4_000,
    ],
    ".yaml": [
        b"",
        b"\0",
        b"base: [",
        b"base: 2024-01-01\nmotion_adapter: 2024-99-99",
        b"base: !!python/object/apply:os.mkdir [sprung]",
        b"base: !!timestamp x\nmotion_adapter: !!int x",
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nbase: *c",
        b"a: &a {x: 1}\nb: {<<: [*a, *a]}",
        b"a: " + b"[" * 4_000,
        b"- " * 4_000,
        b"? [1]\n: 2",
        b"base: " + b"9" * 5000,
        b"base: " + b":".join([b"1"] * 4_000),
        b"base: " + b":".join([b"1"] * 2000) + b".5",
        b'base: "\\ud800/x"\nmotion_adapter: "\\0"',
        b"base: no\nmotion_adapter: 1e3",
        b"a: 1\na: 2",
        b"--- a\n--- b",
        b"%YAML 9.9\n---\na",
    ],
}


def descriptions() -> Iterator[Case]:
    for suffix, files in DESCRIPTIONS.items():
        for number, text in enumerate(files):

            def make(folder: Path, text: bytes = text, suffix: str = suffix) -> Path:
                (folder / f"model{suffix}").write_bytes(text)
                return folder / f"model{suffix}"

            yield Case(f"description{suffix} #{number}", make)


def places() -> Iterator[Case]:
    """What may be given for a model."""
    odd = ["", ".", "..", "/", "/dev/null", "/dev/zero", "a\0b", "~nosuchuser", "x" * 300, "x/" * 3000, "\ud800"]
    hub = ["a/b/c", "a/b@", "@", "mini@", "mini@x", "a/..", "..//..", "cogvideox-2b@../../x", "a/b@" + "x" * 300]
    for number, place in enumerate([*odd, *hub]):
        yield Case(f"place #{number}", lambda _folder, place=place: place)


def every_case() -> list[Case]:
    return [*configurations(), *weight_files(), *changed_weights(), *safetensors_files(), *descriptions(), *places()]


def some_cases(count: int, seed: int = 0) -> list[Case]:
    """A sample that is the same on every machine, all descriptions and places among it."""
    always = [*descriptions(), *places()]
    others = [*configurations(), *weight_files(), *changed_weights(), *safetensors_files()]
    return [*always, *random.Random(seed).sample(others, count - len(always))]
