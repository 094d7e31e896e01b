"""The motion representation H = {L, M} of Sec. 3.3 (arXiv:2406.05338, as in all files here), its file and picture.

Axis order everywhere: temporal attention maps are (p, heads, f, f) with p = y * w + x the spatial position, then the
query frame, then the key frame.
"""

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from motionclone.errors import InputError, in_one_line
from motionclone.files import as_path, check_kind, whole_file
from motionclone.provenance import Provenance, grid_from, provenance_from

FORMAT = "motionclone.motion/1"
"""What a motion file says it is; the number goes up when older programs would read a file wrongly."""
SUFFIX = ".safetensors"
MOTION_FILE = f"motion{SUFFIX}"
"""Its name in a folder, or on the hub."""
LARGEST_FILE = 2**30
"""Bytes. Plain control of a transformer at full size takes some hundred millions, everything else far less."""

_CARD = """---
library_name: motionclone
tags: [motion-transfer, video-generation]
---
# {name}

A motion for [motionclone](https://github.com/motionclone/motionclone), to make videos that move like its reference:
`{motion}`

```python
from motionclone import load_motion

motion = load_motion("{id}")
```
"""

QueriesAndKeys = Mapping[str, tuple[Tensor, Tensor]]
"""Site name to (query, key), each (p, heads, f, d). A site is the module path of one temporal attention."""


def temporal_attention(query: Tensor, key: Tensor) -> Tensor:
    """A = softmax(Q K^T / sqrt(d)), the map of Eq. 3; computed in float32 or better.

    Args:
        query: (p, heads, f, d).
        key: (p, heads, f, d).

    Returns:
        (p, heads, f, f); every row sums to 1.
    """
    precise = torch.promote_types(query.dtype, torch.float32)
    query, key = query.to(precise), key.to(precise)
    device = query.device.type
    exact = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with exact:
        return torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)


@dataclass(frozen=True)
class SparseMap:
    """The k strongest entries of every row of one temporal attention map: L, and M as their indices (Eqs. 5, 6)."""

    values: Tensor  # (p, heads, f, k)
    indices: Tensor  # (p, heads, f, k), key frames; uint8 up to 256 frames, int16 above

    def __repr__(self) -> str:
        return f"SparseMap({tuple(self.values.shape)}, {self.values.dtype}, on {self.values.device})"


def top_k(attention: Tensor, k: int) -> SparseMap:
    """Keep the k largest weights along the key frames, for each position, head and query frame (Eq. 5).

    Raises:
        ValueError: if k is not in [1, f].
    """
    frames = attention.shape[-1]
    if not 1 <= k <= frames:
        raise ValueError(f"k must be between 1 and the {frames} frames, got {k}")
    values, indices = attention.topk(k, dim=-1)
    return SparseMap(values, indices.to(torch.uint8 if frames <= 256 else torch.int16))


@dataclass(frozen=True)
class Motion:
    """A motion, ready to guide: sparse maps by site, and where they come from.

    Attributes:
        maps: site name to `SparseMap`.
        grid: (frames, height, width) of the temporal attention's positions at each site.
        record: what it was made of, and by what. Plain values are taken, too, and checked.

    Raises:
        ValueError: if plain values do not make a `Provenance`.
    """

    maps: Mapping[str, SparseMap]
    grid: Mapping[str, tuple[int, int, int]]
    record: Provenance

    def __post_init__(self) -> None:
        if not isinstance(self.record, Provenance):
            object.__setattr__(self, "record", Provenance.model_validate(self.record))

    def __repr__(self) -> str:
        size, name, model = self.record.size, self.record.source.name, self.record.model
        told = f"{self.video_frames} frames" + (f" of {size[1]}x{size[0]}" if size else "")
        told += (f" of {name[:60]!r}" if name else "") + f", k {self.k} at {len(self.maps)} sites"
        return f"Motion({told}" + (f" of {model[:60]!r})" if model else ")")

    @property
    def k(self) -> int:
        """Entries kept in each row."""
        return next(iter(self.maps.values())).values.shape[-1]

    @property
    def num_frames(self) -> int:
        """Frames f of the attention maps, of which one may stand for several of the video's."""
        return next(iter(self.maps.values())).values.shape[-2]

    @property
    def video_frames(self) -> int:
        """Frames of the clip that it was read from."""
        return self.record.num_frames or self.num_frames

    def to(self, *args: Any, **kwargs: Any) -> "Motion":
        """This motion on another device, or its values in another floating-point type: arguments as of `Tensor.to`.

        Guidance works from wherever a motion is; on the model's own device no step has to fetch it.

        Raises:
            InputError: there is no such device here, or the type is no floating-point one.
        """
        moved = {}
        for site, m in self.maps.items():
            try:
                values = m.values.to(*args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except (AssertionError, RuntimeError, TypeError) as error:
                where = ", ".join(map(repr, (*args, *kwargs.values())))
                raise InputError(
                    f"a motion cannot go to {where}; give a device that is here, such as cpu, a type, or both."
                ) from error
            if not values.is_floating_point():
                raise InputError(f"a motion's values are floating point, not {values.dtype}; give such a type.")
            moved[site] = SparseMap(values, m.indices.to(values.device))
        return replace(self, maps=moved)

    def to_bytes(self) -> bytes:
        """The motion as a safetensors file: values in fp16, indices as they are, the record as JSON metadata."""
        tensors = {}
        for site, m in self.maps.items():
            tensors[f"{site}.values"] = m.values.to("cpu", torch.float16).contiguous()
            tensors[f"{site}.indices"] = m.indices.to("cpu").contiguous()
        header = {"format": FORMAT, "grid": json.dumps(dict(self.grid)), "record": json.dumps(self.record.values())}
        return bytes(save(tensors, metadata=header))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the .safetensors, whole or not at all. InputError if `path` exists or cannot be written."""
        path = as_path(path)
        check_motion_name(path)
        with whole_file(path, overwrite) as temporary:
            temporary.write_bytes(self.to_bytes())

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write motion.safetensors into a folder, which is made if need be. InputError as `save`."""
        folder = as_path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be a folder ({error.strerror}); give another.") from error
        self.save(folder / MOTION_FILE, overwrite=overwrite)

    @staticmethod
    def from_pretrained(place: str | Path, *, revision: str | None = None) -> "Motion":
        """`load_motion`, by the name that diffusers has for it."""
        return load_motion(place, revision=revision)

    def push_to_hub(
        self, repo_id: str, *, private: bool = False, revision: str | None = None, commit_message: str = "Add a motion"
    ) -> str:
        """Put the motion, and a card if there is none, into a repository of the Hugging Face hub.

        The repository is made if need be. What the record says of places on this machine does not go there.

        Args:
            repo_id: user/name, which is all that `load_motion` needs.
            private: what a new repository is.
            revision: a branch, made if need be; main by default.
            commit_message: what the hub's history says.

        Returns:
            The address of the commit.

        Raises:
            InputError: nobody is logged in, the hub refuses or cannot be reached, or the id is none.
        """
        from motionclone.hub import HubPlace, publish

        place, record = HubPlace.parsed(repo_id), self.record
        if place is None:
            raise InputError(f"{repo_id} is no id of a repository and one branch; give user/name.")
        place = place.at(revision)
        model = record.model and (Path(record.model).name if Path(record.model).is_absolute() else record.model)
        source = record.source.model_copy(update={"path": ""})
        record = record.model_copy(update={"model": model, "source": source})
        shared = replace(self, record=record)
        card = _CARD.format(motion=shared, name=place.hub_id.partition("/")[2], id=place.hub_id)
        files = {MOTION_FILE: shared.to_bytes(), "README.md": card.encode()}
        return publish(place, files, commit_message, private=private, kept=["README.md"])


def check_motion_name(path: Path) -> None:
    """InputError if no motion file is called so."""
    if path.suffix != SUFFIX:
        remedy = f"did you mean {path.with_suffix(SUFFIX)}?" if path.name else "give the name of a file."
        raise InputError(f"a motion file must end in {SUFFIX}, got {path}; {remedy}")


def check_is_motion(given: object) -> None:
    """InputError if it is none."""
    if not isinstance(given, Motion):
        raise InputError(
            f"a Motion was expected, not {type(given).__name__}; read one with extract_motion or load_motion."
        )


def represent(queries_and_keys: QueriesAndKeys, k: int = 1) -> dict[str, SparseMap]:
    """The sparse maps of every site (Eqs. 3, 5)."""
    return {site: top_k(temporal_attention(q, key), k) for site, (q, key) in queries_and_keys.items()}


def motion_file(place: str | Path, revision: str | None = None) -> Path:
    """The file of a motion on this machine: as it is, in a folder, or brought here from the hub.

    Raises:
        InputError: it is not here, and not on the hub or out of reach.
    """
    from motionclone.hub import HubPlace, fetch

    path = as_path(place)
    check_kind(place, "motion file", "file of weights", "folder")
    try:
        there, folder = path.exists(), path.is_dir()
    except OSError as error:
        raise InputError(f"{path} cannot be a path ({error.strerror}); check it.") from error
    on_hub = None if there or path.suffix.lower() == ".safetensors" else HubPlace.parsed(path.as_posix())
    if on_hub is None:
        if revision is not None:
            raise InputError(f"{path} is no repository of the hub, and only those have revisions; leave it out.")
        if not there:
            raise InputError(f"there is no motion file {path}; make one with `motionclone extract REF -o {path}`.")
        found = path / MOTION_FILE if folder else path
    else:
        found = fetch(on_hub.at(revision), [MOTION_FILE], largest=LARGEST_FILE) / MOTION_FILE
    if not found.is_file():
        raise InputError(f"{place} holds no {MOTION_FILE}; give a motion file, or where one was saved or pushed.")
    return found


def load_motion(place: str | Path, *, revision: str | None = None) -> Motion:
    """Read a motion: a file, a folder with motion.safetensors, or user/name of the Hugging Face hub.

    The file is data: no code in it is ever run.

    Args:
        place: path or id; behind an id, @revision may stand.
        revision: commit, tag or branch of the hub; main by default.

    Raises:
        InputError: if it is missing or out of reach, not a safetensors file, not a motion, or inconsistent.
    """
    path = motion_file(place, revision)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes, and no motion has more than {LARGEST_FILE:,}.")
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}); motion files are made by `motionclone extract`, "
            "or extract_motion; pickled files (.pt, .ckpt) are refused."
        ) from error
    if (told := header.get("format", "")) != FORMAT:
        why = "is a safetensors file but not a motion of format {}, such as `motionclone extract` makes"
        if re.fullmatch(r"motionclone\.motion/[1-9]\d{0,8}", told, re.ASCII):
            why = f"is a {told}, which a newer motionclone wrote, and this one reads {{}}; update it, or extract again"
        raise InputError(f"{path} {why.format(FORMAT)}.")
    try:
        record = provenance_from(header["record"])
        grid = grid_from(header["grid"])
        maps = {site: SparseMap(tensors.pop(f"{site}.values"), tensors.pop(f"{site}.indices")) for site in grid}
        if tensors or not maps:
            raise ValueError("sites and tensors do not agree")
        for site, m in maps.items():
            frames, height, width = grid[site]
            heads, k = m.values.shape[1], m.values.shape[3]
            if m.values.shape != (height * width, heads, frames, k) or m.indices.shape != m.values.shape:
                raise ValueError(f"{site} has shape {tuple(m.values.shape)} on a grid of {grid[site]}")
            if min(frames, height, width, heads, k) < 1:
                raise ValueError(f"{site} is empty")
            if m.indices.dtype not in (torch.uint8, torch.int16) or m.values.dtype != torch.float16:
                raise ValueError(f"{site} has values of {m.values.dtype} and indices of {m.indices.dtype}")
            if int(m.indices.max()) >= frames or int(m.indices.min()) < 0 or not m.values.isfinite().all():
                raise ValueError(f"{site} holds indices or values out of range")
        if len({m.values.shape[2:] for m in maps.values()}) > 1:
            raise ValueError("its sites do not have the same frames and k")
        if len({(grid[site], m.values.shape[1]) for site, m in maps.items()}) > len(set(grid.values())):
            raise ValueError("sites on one grid have different numbers of heads")
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is a damaged motion file ({in_one_line(error)}); extract it again.") from error
    return Motion(maps, grid, record)


def heat_map(motion: Motion, frame: int | None = None) -> Tensor:
    """Where and how strongly things move: the mean intensity of L (Fig. 3).

    Kept entries are summed; the mean is taken over heads, the sites on the finest grid and the query frames, or at one
    query `frame`.

    Returns:
        (h, w) in [0, 1] of the grid: attention weights as they are, not stretched.

    Raises:
        InputError: if that is no motion, or has no such frame.
    """
    check_is_motion(motion)
    finest = max(h * w for _, h, w in motion.grid.values())
    sites = [site for site, (_, h, w) in motion.grid.items() if h * w == finest]
    _, height, width = motion.grid[sites[0]]
    if frame is not None and not 0 <= frame < motion.num_frames:
        raise InputError(f"frame must be between 0 and {motion.num_frames - 1}, got {frame}; choose one of those.")
    total = torch.stack([motion.maps[site].values.float() for site in sites]).mean(0)  # (p, heads, f, k)
    chosen = total if frame is None else total[:, :, frame : frame + 1]
    return chosen.sum(-1).mean((1, 2)).reshape(height, width)
