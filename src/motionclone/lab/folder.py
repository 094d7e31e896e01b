"""Score a folder of videos, however they were made, against the clips whose motion they should have."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from motionclone.errors import InputError
from motionclone.lab.cases import CLIP_SUFFIXES
from motionclone.lab.measured import Measured
from motionclone.lab.metrics import Embedder
from motionclone.lab.scoring import Scores, appearance_floor, appearance_scores, motion_scores, unrelated_scores
from motionclone.media.places import find
from motionclone.media.reading import clip_size, read_clip
from motionclone.media.writing import write_video


class Pair(BaseModel):
    """A video, the clip whose motion it should have, and its words. Paths are relative to the list they stand in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video: Path
    reference: Path
    prompt: str
    start: float = 0.0
    end: float | None = None
    fps: float | None = None
    fit: Literal["crop", "squash"] = "crop"


@dataclass(frozen=True)
class Scored:
    """One video's scores, its floor (other pairs' references and words) and its ceiling (the reference, re-encoded)."""

    pair: Pair
    scores: Scores
    floor: Scores
    ceiling: Scores


def pairs_of(place: Path) -> list[Pair]:
    """Pairs from a .jsonl list, or from the records (.json) that motionclone wrote beside the videos of a folder.

    Raises:
        InputError: if there are none, or one is damaged or leads to a file that is not there.
    """
    pairs = _listed(place) if place.suffix == ".jsonl" else _recorded(place)
    if not pairs:
        raise InputError(
            f"there are no videos with a record (.json) in {place}; give a list (.jsonl) of video, reference, prompt."
        )
    for pair in pairs:
        for path in (pair.video, pair.reference):
            if not path.is_file():
                raise InputError(f"{place} speaks of {path}, which is not there; restore it or take the pair out.")
    return pairs


def _listed(place: Path) -> list[Pair]:
    try:
        lines = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines() if line.strip()]
        pairs = [Pair.model_validate(line) for line in lines]
    except (OSError, ValueError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(
            f"{place} is not a list of video, reference and prompt, one JSON object a line ({said})."
        ) from error
    at = place.parent
    return [p.model_copy(update={"video": at / p.video, "reference": at / p.reference}) for p in pairs]


def _recorded(folder: Path) -> list[Pair]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give a folder of videos or a list (.jsonl).")
    pairs = []
    for video in sorted(folder.glob("*")):
        record = video.with_suffix(".json")
        if video.suffix.lower() not in CLIP_SUFFIXES or not record.exists():
            continue
        try:
            kept: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            source = kept["motion"]["source"]
            options = {name: source.get(name) for name in ("start", "end", "fit") if source.get(name) is not None}
            name = source.get("path") or source["name"]
            reference = find(name, source.get("sha256"), folder, "a list (.jsonl)")
            pairs.append(
                Pair(video=video, reference=reference, prompt=kept["prompt"], fps=source.get("asked_fps"), **options)
            )
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{record} is not a record of a cloned video ({error!r}); move {video} elsewhere."
            ) from error
    return pairs


def score_pairs(
    pairs: Sequence[Pair], embedder: Embedder, on_done: Callable[[int, int], None] | None = None
) -> list[Scored]:
    """Score every pair. References are read at the length and size of their videos.

    Raises:
        InputError: if the videos differ in length, or a file cannot be read.
    """
    sizes = [clip_size(pair.video) for pair in pairs]
    lengths = sorted({frames for frames, _, _ in sizes})
    if len(lengths) > 1:
        odd = next(pair.video for pair, size in zip(pairs, sizes, strict=True) if size[0] != sizes[0][0])
        raise InputError(
            f"{pairs[0].video} has {sizes[0][0]} frames and {odd} has {next(n for n in lengths if n != sizes[0][0])}; "
            "scores depend on the length, so score videos of each length by themselves."
        )
    references = [_reference(pair, *size) for pair, size in zip(pairs, sizes, strict=True)]
    looks = [embedder.images(reference.frames) for reference in references]
    words = embedder.texts([pair.prompt for pair in pairs])
    scored = []
    for i, (pair, size, reference, look) in enumerate(zip(pairs, sizes, references, looks, strict=True)):
        video = Measured(read_clip(pair.video, *size).frames)
        images = embedder.images(video.frames)
        others = [j for j, other in enumerate(pairs) if other.reference != pair.reference]
        floor = unrelated_scores(video, [(references[j], "real") for j in others])
        floor |= appearance_floor(
            images, [words[j] for j in others if pairs[j].prompt != pair.prompt], [looks[j] for j in others]
        )
        scores = motion_scores(video, reference, "real") | appearance_scores(images, words[i], look)
        again = Measured(_reencoded(reference.frames))
        ceiling = motion_scores(again, reference, "real")
        ceiling |= appearance_scores(embedder.images(again.frames), None, look)  # nobody said what it shows
        scored.append(Scored(pair, scores, floor, ceiling))
        if on_done is not None:
            on_done(i + 1, len(pairs))
    return scored


def _reference(pair: Pair, frames: int, height: int, width: int) -> Measured:
    clip = read_clip(pair.reference, frames, height, width, start=pair.start, end=pair.end, fps=pair.fps, fit=pair.fit)
    return Measured(clip.frames)


def _reencoded(frames: Tensor) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.mp4"
        write_video(path, frames, 8.0)
        return read_clip(path, len(frames), *frames.shape[-2:]).frames
