"""What is cloned: held-out scenes of the world, whose motion is exactly known, or anybody's clips."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from motionclone.errors import InputError
from motionclone.lab.metrics import SMALLEST_SIDE
from motionclone.lab.world import MOTIONS, Scene, ScenePair, Split, Truth, held_out_pairs, kind_of
from motionclone.media.reading import read_clip
from motionclone.settings import Sampling

CaseKind = Literal["object", "camera", "both", "real"]
CLIP_SUFFIXES = (".mp4", ".webm", ".gif", ".mov", ".mkv", ".avi")
MOST_CASES = 512
MOST_PIXELS = 2_000_000_000
"""Of all frames of all references, which are held at once; some 25 bytes each."""


@dataclass(frozen=True)
class ClipFile:
    """Somebody's clip."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Case:
    """A reference and words for the new video.

    Attributes:
        name: unique; also the name of its videos.
        number: of its noise; two cases of one motion may have the same, with other words.
        motion: name of the motion; cases of one motion are never each other's unrelated reference.
        kind: what moves; "real" if nothing is known of it.
        prompt: what the new video shows.
        caption: what the reference shows, in words; None if nobody said.
        source: the scene of the reference, or the clip's file.
        target: the scene that the prompt describes.
    """

    name: str
    number: int
    motion: str
    kind: CaseKind
    prompt: str
    caption: str | None
    source: Scene | ClipFile
    target: Scene

    def reference(self, sampling: Sampling) -> tuple[Tensor, Truth | None]:
        """The reference's frames (f, 3, h, w) at the size of the generation, and what is known of them."""
        if isinstance(self.source, Scene):
            return self.source.render(sampling.height), self.source.truth(sampling.height)
        clip = read_clip(self.source.path, sampling.num_frames, sampling.height, sampling.width)
        if clip.sha256 != self.source.sha256:
            raise InputError(f"{self.source.path} was changed while this ran; call again.")
        return clip.frames, None

    @property
    def content(self) -> dict[str, Any]:
        """What the reference is, whatever its name: the clip's hash, or the scene's parameters."""
        if isinstance(self.source, ClipFile):
            return {"clip": self.source.path.name, "sha256": self.source.sha256}
        look = {field.name: getattr(self.source, field.name) for field in fields(self.source)}
        return look | {"trajectory": self.motion}


def check_room(count: int, sampling: Sampling, *, square: bool) -> None:
    """Raise InputError, before anything is drawn or read, if so many cases of that size cannot be measured.

    Args:
        count: of the cases.
        sampling: their length and size.
        square: whether they must be, as the world's scenes are.
    """
    frames, height, width = sampling.num_frames, sampling.height, sampling.width
    if not 1 <= count <= MOST_CASES:
        raise InputError(f"cases must be 1 to {MOST_CASES}, got {count}.")
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"motion is measured in videos of {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels or more, not {width}x{height}; "
            "ask for larger ones."
        )
    if count * frames * height * width > MOST_PIXELS:
        raise InputError(
            f"{count} references of {frames} frames of {width}x{height} are too much to hold at once; ask for fewer "
            "cases, fewer frames or a smaller size."
        )
    if square and height != width:
        raise InputError(
            f"the world's scenes are square and {width}x{height} was asked for; give the same height and width, or "
            "clips of your own as references."
        )


def world_cases(split: Split, count: int, sampling: Sampling) -> list[Case]:
    """Held-out cases of the world: whole rounds of its motions, and of the last round some of every kind.

    A round goes through all motions of the split. Of a round that is not whole the kinds (object, camera, both) are
    taken in turn, so that three cases or more have every kind, and few begin with one of each; a case is the same one
    whatever the count.
    """
    check_room(count, sampling, square=True)
    size = len(MOTIONS[split])
    whole, rest = divmod(count, size)
    pairs = held_out_pairs(split, size * (whole + (rest > 0)), sampling.num_frames)
    chosen = [*range(whole * size), *(whole * size + place for place in _by_turns(MOTIONS[split])[:rest])]
    return [_world_case(pairs[number]) for number in chosen]


def _by_turns(motions: Iterable[str]) -> list[int]:
    """Places of the motions in their list: the first of every kind, the second of every kind, and so on."""
    kinds: dict[str, list[int]] = {}
    for place, motion in enumerate(motions):
        kinds.setdefault(kind_of(motion), []).append(place)
    return [place for turn in zip_longest(*kinds.values()) for place in turn if place is not None]


def _world_case(pair: ScenePair) -> Case:
    return Case(
        pair.name,
        pair.noise,
        pair.motion,
        pair.kind,
        pair.target.caption,
        pair.reference.caption,
        pair.reference,
        pair.target,
    )


def clips_in(folder: Path) -> list[Path]:
    """The clips of a folder in the order of their names.

    Raises:
        InputError: if there are none.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"there are no clips in {folder} ({error.strerror}); give a folder that has some.") from error
    clips = [
        path for path in entries if path.suffix.lower() in CLIP_SUFFIXES and path.name[0] != "." and path.is_file()
    ]
    if not clips:
        raise InputError(f"there are no clips ({', '.join(CLIP_SUFFIXES)}) in {folder}; give a folder that has some.")
    return clips


def clip_cases(clips: Sequence[Path], split: Split, count: int, sampling: Sampling) -> list[Case]:
    """`count` cases: the clips in turn, with the words of held-out scenes in which the camera moves."""
    check_room(count, sampling, square=False)
    motions = MOTIONS[split]
    filmed = sum(kind_of(motion) == "camera" for motion in motions)
    pairs = held_out_pairs(split, len(motions) * -(-count // filmed), sampling.num_frames)
    targets = [pair.target for pair in pairs if pair.kind == "camera"]
    names = _file_names(clips)
    hashes = [_sha256(clip) for clip in clips[:count]]
    cases = []
    for number, target in enumerate(targets[:count]):
        turn, place = divmod(number, len(clips))
        source = ClipFile(clips[place], hashes[place])
        cases.append(Case(f"{names[place]}-{turn}", number, names[place], "real", target.caption, None, source, target))
    return cases


def _file_names(clips: Sequence[Path]) -> list[str]:
    """A name for each clip that any file system takes: its stem, or more where two would be the same."""
    names: list[str] = []
    for clip in clips:
        stem = re.sub(r"[^\w .+-]", "_", clip.stem).encode()[:120].decode(errors="ignore")
        whole = f"{stem}{clip.suffix}"  # a.mp4 beside a.gif
        tries = (stem, whole, *(f"{whole}-{number}" for number in range(2, len(clips) + 2)))
        taken = {name.casefold() for name in names}
        names.append(next(name for name in tries if name.casefold() not in taken))
    return names


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable, or take it away.") from error
