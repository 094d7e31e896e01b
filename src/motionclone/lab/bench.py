"""One process's bench: model, judge and references, loaded once; makes and scores one video at a time."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionclone.evaluation import Embedder, load_embedder
from motionclone.lab.cases import Case, Reference
from motionclone.lab.making import make
from motionclone.lab.scoring import Scores, Video, appearance_scores, heat_score, motion_scores, unrelated_scores
from motionclone.lab.suites import Method, Suite
from motionclone.pipelines import load_pipeline
from motionclone.settings import Settings
from motionclone.video_writing import write_video
from motionclone.world import Scene

FPS = 8.0


@dataclass(frozen=True)
class Setup:
    """Everything that decides the results of a suite."""

    suite: Suite
    cases: tuple[Case, ...]
    base: Settings  # the preset that methods change
    model: str
    dtype: str | None
    device: str | None
    clip: str  # what judges appearance
    seed: int

    def seed_of(self, case: Case) -> int:
        """Every case has noise of its own, the same for all methods."""
        return self.seed + 1000 * [c.name for c in self.cases].index(case.name)


@dataclass(frozen=True)
class Bench:
    """Makes videos of a setup and writes them to `folder/videos`."""

    setup: Setup
    folder: Path

    @cached_property
    def pipe(self) -> Any:
        """The model that generates."""
        dtype = None if self.setup.dtype is None else getattr(torch, self.setup.dtype)
        pipe = load_pipeline(self.setup.model, device=self.setup.device, dtype=dtype)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    @cached_property
    def embedder(self) -> Embedder:
        """The CLIP that judges."""
        return load_embedder(self.setup.clip)

    @cached_property
    def references(self) -> dict[str, Reference]:
        """Every case's reference, by the case's name; each is also written as a video."""
        found = {case.name: case.reference(self.setup.base.sampling) for case in self.setup.cases}
        for name, reference in found.items():
            write_video(self.folder / "videos" / "reference" / f"{name}.mp4", reference.frames, FPS, overwrite=True)
        return found

    @cached_property
    def looks(self) -> dict[str, Tensor]:
        """Every reference's embeddings, (f, d)."""
        return {name: self.embedder.images(reference.frames) for name, reference in self.references.items()}

    def line(self, method: Method, case: Case) -> dict[str, Any]:
        """Make and score one video: its line of the results."""
        reference = self.references[case.name]
        settings = method.settings(self.setup.base, self.setup.seed_of(case))
        made = make(self.pipe, method, case, reference, settings)
        video = f"videos/{method.name}/{case.name}.mp4"
        write_video(self.folder / video, made.frames, FPS, overwrite=True)
        line: dict[str, Any] = {"method": method.name, "case": case.name, "video": video}
        line["seconds"] = round(made.seconds, 2)
        if method.kind == "heat map":
            assert made.motion is not None
            line["scores"] = {"heat": heat_score(made.motion, reference)}
            return line | {"floor": {}, "embedding": None}
        original = method.kind == "ceiling"
        shows = (case.source if isinstance(case.source, Scene) else None) if original else case.wanted
        seen = Video(made.frames, shows)
        line["scores"] = motion_scores(seen, reference, case.kind) | appearance_scores(
            seen, case.seen if original else case.prompt, self.looks[case.name], self.embedder, case.kind
        )
        line["floor"] = self._floor(seen, case)
        line["embedding"] = [round(float(x), 4) for x in self.embedder.images(made.frames).mean(0)]
        return line

    def _floor(self, video: Video, case: Case) -> Scores:
        """The same video against what it has nothing to do with."""
        others = [other for other in self.setup.cases if other.motion != case.motion]
        floor = unrelated_scores(video, [(self.references[o.name], o.kind) for o in others])
        images = self.embedder.images(video.frames)
        unrelated = torch.stack([self.looks[o.name].mean(0) for o in others]) if others else None
        words = [o.prompt for o in others if o.prompt != case.prompt]
        floor["leakage"] = None if unrelated is None else round(float((images @ unrelated.T).mean()), 6)
        floor["text"] = round(float((images @ self.embedder.texts(words).T).mean()), 6) if words else None
        return floor
