"""One job of the studio, from its clip to its files, by the same functions as `motionclone clone`."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from motionclone.batch.schema import FIELDS
from motionclone.cloning import Step, check, fitting, generate, motion_for
from motionclone.errors import GuidanceWarning
from motionclone.files import whole_file
from motionclone.idle import refuse_idle
from motionclone.lab.sweep import Tried, sheet, sweep, with_strength
from motionclone.media.overlay import overlay
from motionclone.media.places import likeness
from motionclone.media.reading import Clip
from motionclone.media.records import write_run
from motionclone.media.writing import side_by_side, write_video
from motionclone.models import load_pipeline, named_models
from motionclone.models.devices import Offload
from motionclone.models.places import path_of
from motionclone.models.presets import preset_for
from motionclone.models.sizes import Sizes, sizes_of
from motionclone.settings import Settings, preset
from motionclone.studio.asked import Asked
from motionclone.studio.clips import read_asked
from motionclone.studio.previews import Previews
from motionclone.studio.seen import png
from motionclone.studio.store import Entry
from motionclone.studio.worker import Heard

VIDEO, RECORD, MOTION, UNGUIDED = "out.mp4", "out.json", "motion.safetensors", "unguided.mp4"
COMPARISON, SEEN, HEAT, POSTER = "out-compare.mp4", "seen.mp4", "heat.mp4", "poster.png"


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and how it is held in memory, as `load_pipeline` takes it."""

    model: str = "mini"
    device: str | None = None
    dtype: str | None = None
    offload: Offload = "none"
    vae_tiling: bool = False


@dataclass(frozen=True)
class Engine:
    """A model that is loaded once and makes all jobs."""

    choice: ModelChoice
    called: str
    """In records and on the page: its name, without where it lies."""
    pipe: Any
    base: Settings
    """Of its preset."""
    sizes: Sizes

    def make(self, entry: Entry, folder: Path, heard: Heard) -> str:
        """Make a job's files in its folder; what is to be said of them."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", GuidanceWarning)
            self._make(entry, folder, heard)
        return " ".join(dict.fromkeys(str(each.message) for each in told if each.category is GuidanceWarning))

    def _make(self, entry: Entry, folder: Path, heard: Heard) -> None:
        asked = entry.asked
        clip, settings = self._read(asked, folder / entry.reference)
        check(self.pipe, asked.prompt, settings)
        refuse_idle(self.pipe, settings, {FIELDS[name]: name for name in asked.more})
        heard("reading the motion", None)
        source = {"name": entry.reference, "sha256": clip.sha256, "fps": clip.fps, "start": asked.start,
                  "end": asked.end, "asked_fps": None, "fit": "crop"}  # fmt: skip
        if asked.strengths:
            self._make_sheet(entry, folder, clip, settings, source, heard)
            return
        motion = motion_for(self.pipe, clip.frames, settings, source=source)
        motion.save(folder / MOTION, overwrite=True)
        write_video(folder / SEEN, clip.frames, clip.fps, overwrite=True)
        write_video(folder / HEAT, overlay(motion, clip.frames), clip.fps, overwrite=True)
        with self._seen(heard, settings, folder, "making the video") as on_step:
            made = generate(self.pipe, motion, asked.prompt, settings, on_step=on_step)
        shown = {"reference": clip.frames, asked.prompt: made.frames}
        if asked.unguided:
            plain = settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"weight": 0.0})})
            twin = generate(
                self.pipe, motion, asked.prompt, plain, on_step=partial(heard, "making it without guidance")
            )
            write_video(folder / UNGUIDED, twin.frames, clip.fps, provenance=twin.record, overwrite=True)
            shown = {"reference": clip.frames, "without guidance": twin.frames, asked.prompt: made.frames}
        heard("writing", None)
        record = json.loads(json.dumps(made.record))
        record["motion"]["source"]["path"] = entry.reference
        write_run(
            folder / VIDEO,
            made.frames,
            clip.fps,
            {**record, "job": self._job(entry, clip)},
            public=made.record,
            comparison=side_by_side(list(shown.values()), labels=list(shown)),
            overwrite=True,
        )
        with whole_file(folder / POSTER, overwrite=True) as picture:
            picture.write_bytes(png(made.frames[len(made.frames) // 2]))

    @contextmanager
    def _seen(self, heard: Heard, settings: Settings, folder: Path, part: str) -> Iterator[Callable[[Step], None]]:
        """Inside the `with`, steps of this part of the work are told, and shown now and then."""
        previews = Previews(self.pipe, settings, folder, held=self.choice.offload == "none")

        def on_step(step: Step) -> None:
            heard(part, step)
            previews.hear(step)

        try:
            yield on_step
        finally:
            previews.end()

    def _make_sheet(
        self, entry: Entry, folder: Path, clip: Clip, settings: Settings, source: dict[str, Any], heard: Heard
    ) -> None:
        """The sheet that `motionclone sweep` makes, and beside it what every video of it reached."""
        asked = entry.asked
        settings = with_strength(settings, max(asked.strengths), asked.seeds[0])
        write_video(folder / SEEN, clip.frames, clip.fps, overwrite=True)
        videos = {pair: number for number, pair in enumerate(product(asked.seeds, asked.strengths), 1)}

        def on_step(strength: float, seed: int, step: Step) -> None:
            heard(f"video {videos[seed, strength]} of {len(videos)}", step)

        tried = sweep(
            self.pipe, clip.frames, asked.prompt, settings, asked.strengths, asked.seeds, source=source, on_step=on_step
        )
        heard("writing", None)
        record = {**tried[0].generated.record, "sheet": [_cell(each) for each in tried]}
        write_run(folder / VIDEO, sheet(clip.frames, tried), clip.fps, record, public=record, overwrite=True)
        with whole_file(folder / POSTER, overwrite=True) as picture:
            picture.write_bytes(png(tried[-1].generated.frames[len(clip.frames) // 2]))

    def _read(self, asked: Asked, path: Path) -> tuple[Clip, Settings]:
        clip, settings = read_asked(path, asked, asked.settings(self.base), self.sizes)
        fitted = fitting(self.pipe, settings)
        return (clip, settings) if fitted == settings else read_asked(path, asked, fitted, self.sizes)

    def _job(self, entry: Entry, clip: Clip) -> dict[str, Any]:
        """What `motionclone rerun` asks a record for."""
        local = _is_local(self.choice.model)
        model = {**asdict(self.choice), "model": self.called, "per_frame_norm": True, "pickled": False}
        return {
            "reference": entry.reference,
            "prompt": entry.asked.prompt,
            "reference_options": {"start": entry.asked.start, "end": entry.asked.end, "fps": None, "fit": "crop"},
            "model_options": model,
            "prompt_metadata": True,
            "sha256": clip.sha256,
            "model_sha256": likeness(path_of(self.choice.model)) if local else None,
        }


def _cell(tried: Tried) -> dict[str, Any]:
    """As a sheet of `motionclone sweep` knows a video of it."""
    return {"strength": tried.strength, "seed": tried.seed, "energies": tried.generated.record["energies"]}


def load_engine(choice: ModelChoice) -> Engine:
    """Load a model, and the settings of its preset. InputError as `load_pipeline`."""
    _, base = preset_for(choice.model)
    dtype = None if choice.dtype is None else getattr(torch, choice.dtype)
    pipe = load_pipeline(
        choice.model, device=choice.device, dtype=dtype, offload=choice.offload, vae_tiling=choice.vae_tiling
    )
    pipe.set_progress_bar_config(disable=True)
    called = choice.model
    if _is_local(choice.model):
        called = path_of(choice.model).resolve().name
    else:  # of the hub, which revision it was
        source = str(pipe.config.get("_motionclone_sources", {}).get("model", ""))
        called = source if source.partition("@")[0] == choice.model.partition("@")[0] else called
    pipe.register_to_config(_name_or_path=called)
    return Engine(choice, called, pipe, base or preset("camera"), sizes_of(choice.model))


def _is_local(model: str) -> bool:
    return model not in named_models() and path_of(model).exists()
