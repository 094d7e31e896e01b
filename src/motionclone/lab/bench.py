"""One process's bench: model, judge and references, loaded once; makes and scores one video at a time."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionclone.lab.cases import Case
from motionclone.lab.making import first_frame, make
from motionclone.lab.measured import Measured
from motionclone.lab.metrics import Embedder, load_embedder
from motionclone.lab.scoring import (
    appearance_floor,
    appearance_scores,
    heat_score,
    motion_scores,
    object_scores,
    picture_scores,
    unrelated_scores,
)
from motionclone.lab.suites import Follows, Method, Suite
from motionclone.media.writing import write_video
from motionclone.models import load_pipeline
from motionclone.settings import Settings

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
    def pipes(self) -> dict[Follows, Any]:
        """The model that generates; with SparseCtrl for what the suite's methods follow."""
        dtype = None if self.setup.dtype is None else getattr(torch, self.setup.dtype)
        found: dict[Follows, Any] = {}
        for follows in dict.fromkeys(method.follows for method in self.setup.suite.methods):
            control = None if follows == "nothing" else follows
            found[follows] = load_pipeline(self.setup.model, device=self.setup.device, dtype=dtype, control=control)
            found[follows].set_progress_bar_config(disable=True)
        return found

    @cached_property
    def embedder(self) -> Embedder:
        """The CLIP that judges."""
        return load_embedder(self.setup.clip)

    @cached_property
    def references(self) -> dict[str, Measured]:
        """Every case's reference, by the case's name; each is also written as a video."""
        found = {case.name: case.reference(self.setup.base.sampling) for case in self.setup.cases}
        for name, reference in found.items():
            write_video(self.folder / "videos" / "reference" / f"{name}.mp4", reference.frames, FPS, overwrite=True)
        return found

    @cached_property
    def looks(self) -> dict[str, Tensor]:
        """Every reference's embeddings, (f, d)."""
        return {name: self.embedder.images(reference.frames) for name, reference in self.references.items()}

    @cached_property
    def words(self) -> dict[str, Tensor]:
        """Every case's prompt's embedding, (d,)."""
        texts = self.embedder.texts([case.prompt for case in self.setup.cases])
        return {case.name: text for case, text in zip(self.setup.cases, texts, strict=True)}

    def line(self, method: Method, case: Case) -> dict[str, Any]:
        """Make and score one video: its line of the results."""
        reference = self.references[case.name]
        settings = method.settings(self.setup.base, self.setup.seed_of(case))
        made = make(self.pipes[method.follows], method, case, reference.frames, settings)
        video = f"videos/{method.name}/{case.name}.mp4"
        write_video(self.folder / video, made.frames, FPS, overwrite=True)
        line: dict[str, Any] = {"method": method.name, "case": case.name, "video": video}
        line["seconds"] = round(made.seconds, 2)
        if method.kind == "heat map":
            assert made.motion is not None
            line["scores"] = {"heat": heat_score(made.motion, reference)}
            return line | {"floor": {}, "embedding": None}
        original = method.kind == "ceiling"
        seen = Measured(made.frames, reference.shows if original else case.wanted)
        images = self.embedder.images(made.frames)
        words = self.embedder.texts([case.seen])[0] if original else self.words[case.name]
        line["scores"] = (
            motion_scores(seen, reference, case.kind)
            | appearance_scores(images, words, self.looks[case.name])
            | object_scores(seen, images, self.embedder, case.kind)
        )
        if not original and any(each.follows != "nothing" for each in self.setup.suite.methods):
            line["scores"] |= picture_scores(seen, first_frame(case, settings))
        others = [other for other in self.setup.cases if other.motion != case.motion]
        line["floor"] = unrelated_scores(seen, [(self.references[o.name], o.kind) for o in others]) | appearance_floor(
            images,
            [self.words[o.name] for o in others if o.prompt != case.prompt],
            [self.looks[o.name] for o in others],
        )
        line["embedding"] = [round(float(x), 4) for x in images.mean(0)]
        return line
