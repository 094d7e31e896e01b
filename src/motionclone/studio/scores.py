"""Scores of one job, by the same functions as `motionclone score`."""

from pathlib import Path
from typing import Any

from motionclone.lab.metrics import load_embedder
from motionclone.lab.score import score_videos
from motionclone.lab.score_list import listed_videos

_JUDGE = (
    "Looks are judged by the bundled CLIP, which knows the world of the bundled models only; "
    "`motionclone score` can be given another."
)


def scored(video: Path, unguided: Path | None) -> dict[str, Any]:
    """Of a video with its record beside it, and of its twin; as `Desk.scores_of` gives them."""
    (listed,) = listed_videos(video)
    videos = [listed, *([listed.model_copy(update={"video": unguided})] if unguided is not None else [])]
    own, *twin = score_videos(videos, load_embedder("mini"))
    found = {"scores": own.scores, "ceiling": own.ceiling, "note": _JUDGE}
    return found | ({"unguided": twin[0].scores} if twin else {})
