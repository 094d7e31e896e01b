"""One process's bench: model, judge and references, loaded once; makes and scores one video at a time."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from motionclone.errors import InputError
from motionclone.lab.cases import Case
from motionclone.lab.facts import ModelFacts
from motionclone.lab.identity import without_places
from motionclone.lab.making import Made, first_frame, make
from motionclone.lab.measures import measure_motion
from motionclone.lab.methods import ConditionKind, Method
from motionclone.lab.metric import Goal, Video
from motionclone.lab.metrics import Embedder, load_embedder
from motionclone.lab.results import VIDEOS
from motionclone.lab.scoring import floor, score
from motionclone.lab.suites import Suite
from motionclone.lab.world import Scene
from motionclone.media.writing import write_video
from motionclone.settings import Settings

FPS = 8.0


@dataclass(frozen=True)
class Setup:
    """Everything that decides the results of a suite. Goes to other processes, so nothing here is loaded."""

    suite: Suite
    cases: tuple[Case, ...]
    base: Settings  # the preset that methods change
    model: str
    load: Callable[..., Any]  # the pipeline; takes `control`, "image" or "sketch", to follow pictures
    loading: Mapping[str, Any]  # how it is loaded: whatever else decides what the model computes
    facts: ModelFacts
    judge: str  # of looks

    def seed_of(self, case: Case) -> int:
        """Every case has noise of its own, the same for all methods."""
        return (self.base.seed + 1000 * case.number) % 2**63


@dataclass(frozen=True)
class Reference:
    """A case's reference, and its goal for the videos."""

    frames: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    goal: Goal


@dataclass(frozen=True)
class Bench:
    """Makes videos of a setup and writes them to `folder/videos`."""

    setup: Setup
    folder: Path
    pipes: dict[ConditionKind, Any] = field(default_factory=dict)  # or the error with which one cannot be had

    def pipe(self, condition: ConditionKind) -> Any:
        """The model that generates; with SparseCtrl for pictures, which not every model has."""
        if condition not in self.pipes:
            try:
                self.pipes[condition] = self.setup.load(control=None if condition == "none" else condition)
                self.pipes[condition].set_progress_bar_config(disable=True)
            except Exception as error:
                if condition == "none":
                    raise
                self.pipes[condition] = error
        if isinstance(self.pipes[condition], Exception):
            raise self.pipes[condition]
        return self.pipes[condition]

    def load(self) -> None:
        """Load every model of the suite now, rather than between two videos."""
        self.pipe("none")
        for method in self.setup.suite.methods:
            with suppress(Exception):  # which the lines of the method will tell
                self.pipe(method.condition)

    @cached_property
    def judge(self) -> Embedder:
        """The CLIP that judges looks."""
        return load_embedder(self.setup.judge)

    @cached_property
    def references(self) -> dict[str, Reference]:
        """Every case's reference, by the case's name."""
        references = {}
        words = self.judge.texts([case.prompt for case in self.setup.cases])
        for case, embedding in zip(self.setup.cases, words, strict=True):
            frames, truth = case.reference(self.setup.base.sampling)
            goal = Goal(
                measure_motion(frames, truth=truth), case.kind, self.judge.images(frames), case.prompt, embedding
            )
            references[case.name] = Reference(frames, goal)
        return references

    def write_references(self) -> None:
        """Each as a video, to be looked at."""
        for name, reference in self.references.items():
            write_video(self.folder / VIDEOS / "reference" / f"{name}.mp4", reference.frames, FPS, overwrite=True)

    def line(self, method: Method, case: Case) -> dict[str, Any]:
        """Make and score one video: its line of the results, or the reason why there is none.

        What stops more than this video, such as a full disk, is raised.
        """
        line: dict[str, Any] = {"method": method.name, "case": case.name}
        try:
            settings = method.settings(self.setup.base, self.setup.seed_of(case))
            made = make(self.pipe(method.condition), method, case, self.references[case.name].frames, settings)
            scores = self._scores(method, case, settings, made)
        except InputError as error:
            return line | {"outcome": "refused", "reason": without_places(str(error))[:2000]}
        except Exception as error:
            reason = without_places(f"{type(error).__name__}: {error}")[:2000]
            return line | {"outcome": "failed", "reason": reason}
        video = f"{VIDEOS}/{method.name}/{case.name}.mp4"
        provenance = dict(made.provenance) | {"method": method.name, "case": case.name}
        write_video(self.folder / video, made.frames, FPS, provenance=provenance, overwrite=True)
        return line | {"video": video, "seconds": round(made.seconds, 2)} | scores

    def _scores(self, method: Method, case: Case, settings: Settings, made: Made) -> dict[str, Any]:
        """Scores, floor and mean embedding of a video."""
        goal = self.references[case.name].goal
        target: Scene | None = case.target
        if method.kind == "ceiling":  # it shows what the reference shows
            words = None if case.caption is None else self.judge.texts([case.caption])[0]
            goal = replace(goal, prompt=case.caption, words=words)
            target = case.source if isinstance(case.source, Scene) else None
        elif any(each.condition != "none" for each in self.setup.suite.methods):
            goal = replace(goal, picture=first_frame(case, settings))
        video = Video(made.frames, self.judge, target, made.heat)
        unrelated = [self.references[other.name].goal for other in self.setup.cases if other.motion != case.motion]
        embedding = None if made.heat else [round(float(x), 4) for x in video.images.mean(0)]
        return {"scores": score(video, goal), "floor": floor(video, case.prompt, unrelated), "embedding": embedding}
