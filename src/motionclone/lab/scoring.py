"""Score a video against its goal, and against goals that are not its own."""

from collections.abc import Sequence
from statistics import fmean, median

from motionclone.lab.metric import Goal, Video
from motionclone.lab.metric_list import METRICS
from motionclone.lab.metrics.statistics import Statistic

Scores = dict[str, float | None]
"""Metric to value; None where it says nothing: no object, nothing that moves."""


def score(video: Video, goal: Goal) -> Scores:
    """All metrics that the video and its goal have what they need for."""
    if video.heat is not None:
        return {metric.name: metric.of(video, goal) for metric in METRICS.values() if metric.needs == "heat"}
    there = {"", *(["target"] if video.target else []), *(["picture"] if goal.picture is not None else [])}
    return {metric.name: metric.of(video, goal) for metric in METRICS.values() if metric.needs in there}


def floor(video: Video, prompt: str | None, unrelated: Sequence[Goal]) -> Scores:
    """What chance gives: the mean, or median, of every metric that has a floor over goals that are not the video's own.

    Where words make the floor, goals with the video's own `prompt` are left out.
    """
    if video.heat is not None or not unrelated:
        return {}
    others = [goal for goal in unrelated if goal.prompt != prompt]
    return {
        metric.name: middle(
            [metric.of(video, goal) for goal in (others if metric.floor == "words" else unrelated)], metric.statistic
        )
        for metric in METRICS.values()
        if metric.floor
    }


def middle(values: Sequence[float | None], statistic: Statistic) -> float | None:
    """Mean or median of those that are there."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    return round(median(there) if statistic == "median" else fmean(there), 6)
