"""Scores of one job, by the same functions as `motionclone score`."""

from math import isfinite
from pathlib import Path
from typing import Any

from motionclone.lab.metrics import load_embedder
from motionclone.lab.score import score_videos
from motionclone.lab.score_list import listed_videos
from motionclone.lab.scoring import Scores

_JUDGE = (
    "Looks are judged by the bundled CLIP, which knows the world of the bundled models only; "
    "`motionclone score` can be given another."
)


def scored(video: Path, unguided: Path | None) -> dict[str, Any]:
    """Of a video with its record beside it, and of its twin; as `Desk.scores_of` gives them."""
    (listed,) = listed_videos(video)
    videos = [listed, *([listed.model_copy(update={"video": unguided})] if unguided is not None else [])]
    own, *twin = score_videos(videos, load_embedder("mini"))
    found = {"scores": _plain(own.scores), "ceiling": _plain(own.ceiling), "note": _JUDGE}
    return found | ({"unguided": _plain(twin[0].scores)} if twin else {})


def _plain(scores: Scores) -> Scores:
    """None for what says nothing, which JSON has no number for."""
    return {name: None if value is None or not isfinite(value) else value for name, value in scores.items()}
