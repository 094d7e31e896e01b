"""One job of the studio, from its clip to its files, by the same functions as `motionclone clone`."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.backbones.families import backbone_of
from motionclone.batch.schema import FIELDS, as_field
from motionclone.cloning import Step, check, check_condition, check_motion, fitting, generate, motion_for
from motionclone.errors import GuidanceWarning, InputError, named, naming
from motionclone.extraction import extract_motion
from motionclone.files import whole_file
from motionclone.idle import refuse_idle
from motionclone.media.overlay import overlay
from motionclone.media.places import likeness
from motionclone.media.records import without_places, write_run
from motionclone.media.writing import side_by_side, write_video
from motionclone.models import load_pipeline, named_models
from motionclone.models.devices import Offload
from motionclone.models.loading import follows, made_to_follow
from motionclone.models.mini_words import MINI_MODELS
from motionclone.models.places import path_of
from motionclone.models.presets import preset_for
from motionclone.models.sizes import Sizes, sizes_of
from motionclone.motion import Motion
from motionclone.settings import Settings, preset
from motionclone.studio.asked import MOST_TIMES, Asked
from motionclone.studio.clips import part_of
from motionclone.studio.material import Material, read_material
from motionclone.studio.placeless import nameless
from motionclone.studio.previews import Previews
from motionclone.studio.seen import png
from motionclone.studio.sheets import write_sheet
from motionclone.studio.store import Entry
from motionclone.studio.worker import Heard

VIDEO, RECORD, MOTION, UNGUIDED = "out.mp4", "out.json", "motion.safetensors", "unguided.mp4"
COMPARISON, SEEN, HEAT, POSTER, SCORES = "out-compare.mp4", "seen.mp4", "heat.mp4", "poster.png", "scores.json"
DOWNLOADS = {
    "video": VIDEO,
    "record": RECORD,
    "motion": MOTION,
    "comparison": COMPARISON,
    "unguided": UNGUIDED,
    "scores": SCORES,
}
"""What of a job can be taken away, as far as it is there."""


def download_name(asked: Asked, what: str) -> str:
    """What a download is called."""
    return f"{asked.stem}{'' if what in ('video', 'record') else f'-{what}'}{Path(DOWNLOADS[what]).suffix}"


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
    own: bool = True
    """Whether the preset is the model's; of others, the paper's for pictures are taken with pictures."""
    at_work: Lock = field(default_factory=Lock, repr=False)
    """Held while the networks are, of which there is one copy."""
    _following: dict[str, Any] = field(default_factory=dict, repr=False)
    _making: Lock = field(default_factory=Lock, repr=False)

    def settings(self, asked: Asked) -> Settings:
        """Of one video, at the preset's size."""
        return asked.settings(self.base if self.own or asked.follows is None else preset(asked.follows))

    def following(self, kind: Literal["image", "sketch"] | None) -> Any:
        """The pipeline that follows such pictures, made of the same weights; for None, the plain one.

        Raises:
            InputError: the model cannot, or is held in parts.
        """
        if kind is None:
            return self.pipe
        if self.choice.offload != "none":
            raise InputError(
                f"pictures are followed by a model that is held whole; start the studio without {named('offload')}."
            )
        with self._making:
            if kind not in self._following:
                self._following[kind] = made_to_follow(self.pipe, self.choice.model, kind)
            return self._following[kind]

    @property
    def follows(self) -> list[Literal["image", "sketch"]]:
        """Which kinds of pictures the model can follow."""
        kinds: tuple[Literal["image", "sketch"], ...] = ("image", "sketch")
        able = self.choice.offload == "none"
        return [kind for kind in kinds if able and follows(self.pipe, self.choice.model, kind)]

    @cached_property
    def frames(self) -> int:
        """Of a video of which no other number is asked for, by a clip that has as many."""
        return fitting(self.pipe, self.base).sampling.num_frames

    @property
    def counts(self) -> list[int]:
        """Numbers of frames that the model makes, as far as a visitor may ask for them."""
        backbone, size = backbone_of(self.pipe), self.base.sampling

        def makes(count: int) -> bool:
            frames, height, width = backbone.nearest_size(count, size.height, size.width)
            try:
                backbone.latents_shape(frames, height, width)
            except InputError:
                return False
            return frames == count

        return [count for count in range(2, MOST_TIMES * self.frames + 1) if makes(count)]

    def heat(self, found: Material) -> Tensor | None:
        """Where motion is seen, over the frames that are looked at; None where that takes long, or a job is made."""
        quick = self.choice.model in MINI_MODELS or self.pipe._execution_device.type == "cuda"
        if found.motion is not None or not quick or not self.at_work.acquire(blocking=False):
            return None
        try:
            sampling, frames = found.settings.sampling, found.frames
            size = (sampling.height, sampling.width)
            large = functional.interpolate(frames, size, mode="bilinear").clamp(-1, 1)
            motion = extract_motion(self.pipe, large, found.settings.extraction, seed=found.settings.seed)
            return overlay(motion, frames)
        finally:
            self.at_work.release()

    @naming(as_field)
    def make(self, entry: Entry, folder: Path, heard: Heard) -> str:
        """Make a job's files in its folder; what is to be said of them."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", GuidanceWarning)
            self._make(entry, folder, heard)
        return " ".join(dict.fromkeys(str(each.message) for each in told if each.category is GuidanceWarning))

    def _make(self, entry: Entry, folder: Path, heard: Heard) -> None:
        asked, pipe = entry.asked, self.following(entry.asked.follows)
        heard("reading the clip", None)
        material = self._read(entry, folder)
        settings, condition = material.settings, material.condition
        check(pipe, asked.prompt, settings)
        check_condition(pipe, condition, settings)
        refuse_idle(pipe, settings, {FIELDS[name]: name for name in asked.more}, condition=condition)
        heard("reading the motion", None)
        with self.at_work:
            if asked.strengths:
                write_video(folder / SEEN, material.frames, material.fps, overwrite=True)
                poster = write_sheet(folder / VIDEO, pipe, material, asked, _source(entry, material), heard)
                _write_poster(folder, poster)
                return
            motion = material.motion or motion_for(
                pipe, material.frames, settings, condition=condition, source=_source(entry, material)
            )
            self._write(folder, entry, material, motion, pipe, heard)

    def _write(self, folder: Path, entry: Entry, material: Material, motion: Motion, pipe: Any, heard: Heard) -> None:
        asked, settings, fps = entry.asked, material.settings, material.fps
        motion.save(folder / MOTION, overwrite=True)
        if not asked.motion:
            write_video(folder / SEEN, material.frames, fps, overwrite=True)
        heat = material.frames if asked.motion else overlay(motion, material.frames)
        write_video(folder / HEAT, heat, fps, overwrite=True)
        guided = partial(generate, pipe, motion, asked.prompt, condition=material.condition)
        with self._seen(pipe, heard, settings, folder) as on_step:
            made = guided(settings, on_step=on_step)
        shown = {"where motion is seen" if asked.motion else "reference": material.frames}
        if asked.unguided:
            plain = settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"weight": 0.0})})
            twin = guided(plain, on_step=partial(heard, "making it without guidance"))
            write_video(folder / UNGUIDED, twin.frames, fps, provenance=without_places(twin.record), overwrite=True)
            shown["without guidance"] = twin.frames
        shown[asked.prompt] = made.frames
        heard("writing", None)
        record = without_places(made.record)
        if not asked.motion:
            record["motion"]["source"]["path"] = entry.reference
        write_run(
            folder / VIDEO,
            made.frames,
            fps,
            {**record, "job": self._job(entry, material)},
            public=without_places(made.record),
            comparison=side_by_side(list(shown.values()), labels=list(shown)),
            overwrite=True,
        )
        _write_poster(folder, made.frames[len(made.frames) // 2])

    @contextmanager
    def _seen(self, pipe: Any, heard: Heard, settings: Settings, folder: Path) -> Iterator[Callable[[Step], None]]:
        """Inside the `with`, the steps of the video are told, and shown now and then."""
        previews = Previews(pipe, settings, folder, held=self.choice.offload == "none")

        def on_step(step: Step) -> None:
            heard("making the video", step)
            previews.hear(step)

        try:
            yield on_step
        finally:
            previews.end()

    def _read(self, entry: Entry, folder: Path) -> Material:
        asked, path = entry.asked, folder / entry.reference
        picture = None if entry.picture is None else folder / entry.picture
        with nameless(path, picture):
            found = read_material(path, picture, asked, self.settings(asked), self.sizes)
            if found.motion is not None:
                check_motion(self.pipe, found.motion, found.settings)
                return found
            fitted = fitting(self.pipe, found.settings)
            again = fitted != found.settings
            return read_material(path, picture, asked, fitted, self.sizes) if again else found

    def _job(self, entry: Entry, material: Material) -> dict[str, Any]:
        """What `motionclone rerun` asks a record for."""
        asked, local = entry.asked, _is_local(self.choice.model)
        model = {**asdict(self.choice), "model": self.called, "per_frame_norm": True, "pickled": False}
        job = {
            "prompt": asked.prompt,
            "model_options": model,
            "prompt_metadata": True,
            "sha256": material.sha256,
            "model_sha256": likeness(path_of(self.choice.model)) if local else None,
        }
        if asked.motion:
            return {"motion": entry.reference, **job}
        picture = {"path": entry.picture, "frame": 0, "kind": asked.follows, "sha256": material.picture_sha256}
        return {
            "reference": entry.reference,
            "reference_options": part_of(asked),
            "pictures": [picture] if asked.follows else [],
            **job,
        }


def _source(entry: Entry, material: Material) -> dict[str, Any]:
    """What the motion remembers of its clip, as the command line has it."""
    part = part_of(entry.asked)
    more = {name: part.pop(name) for name in ("crop", "flip")}
    about = {"name": entry.reference, "sha256": material.sha256, "fps": material.fps, "asked_fps": part.pop("fps")}
    return {**about, **part, **{name: value for name, value in more.items() if value}}


def _write_poster(folder: Path, frame: Tensor) -> None:
    with whole_file(folder / POSTER, overwrite=True) as picture:
        picture.write_bytes(png(frame))


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
    return Engine(choice, called, pipe, base or preset("camera"), sizes_of(choice.model), base is not None)


def _is_local(model: str) -> bool:
    return model not in named_models() and path_of(model).exists()
