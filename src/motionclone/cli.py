"""The command line: parse, call, print. Heavy modules load inside the commands, so that help is quick."""

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from motionclone import __version__
from motionclone.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motionclone.cloning import Generated, Step
    from motionclone.conditions import Condition
    from motionclone.motion import Motion
    from motionclone.settings import Settings
    from motionclone.video import Clip

app = App(
    name="motionclone",
    help="Clone the motion of a clip into a new video, without training.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)

_MODEL = Group("Model", sort_key=2)
_REFERENCE = Group("Reference", sort_key=1)
_PICTURES = Group("Pictures to follow (for models with SparseCtrl)", sort_key=1)
_SETTINGS = Group("Settings (each overrides the preset)", sort_key=3)


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is held in memory."""

    model: Annotated[str, Parameter(group=_MODEL)] = "mini"
    "mini (bundled), animatediff, a folder, a model description (.toml, .yaml), or a hub id."
    device: Annotated[str | None, Parameter(group=_MODEL)] = None
    "cuda, mps or cpu; the best there is by default."
    dtype: Annotated[Literal["float16", "bfloat16", "float32"] | None, Parameter(group=_MODEL)] = None
    "float16 on a GPU and float32 on a CPU by default."
    offload: Annotated[Literal["none", "model", "sequential"], Parameter(group=_MODEL)] = "none"
    "Keep what is not at work in main memory: saves GPU memory, costs time."
    per_frame_norm: Annotated[bool, Parameter(group=_MODEL)] = True
    "Normalise motion modules per frame, as AnimateDiff was trained; off is diffusers' way."
    control: Annotated[str | None, Parameter(group=_MODEL)] = None
    "SparseCtrl that follows pictures: a folder, an original file or a hub id; the model's own by default."


@Parameter(name="*")
@dataclass(frozen=True)
class ReferenceOptions:
    """Which part of the reference, and how it is fitted."""

    start: Annotated[float, Parameter(group=_REFERENCE)] = 0.0
    "Seconds into the clip."
    end: Annotated[float | None, Parameter(group=_REFERENCE)] = None
    "Seconds into the clip; its end by default."
    fps: Annotated[float | None, Parameter(group=_REFERENCE)] = None
    "Take frames at this rate from the start; spread evenly over the clip by default."
    fit: Annotated[Literal["crop", "squash"], Parameter(group=_REFERENCE)] = "crop"
    "Cut the middle out, or squash to size as the authors do."


@Parameter(name="*")
@dataclass(frozen=True)
class PictureOptions:
    """What the video follows besides the motion, each for the first frame or, as PATH@FRAME, another (from 0)."""

    image: Annotated[list[Path] | None, Parameter(group=_PICTURES)] = None
    "The picture that the video starts from; for several, repeat it: --image first.png@0 --image last.png@15."
    sketch: Annotated[list[Path] | None, Parameter(group=_PICTURES)] = None
    "A line drawing of a frame."
    sketch_from: Annotated[list[Path] | None, Parameter(group=_PICTURES)] = None
    "A photo of whose outlines the sketch is made."
    scale: Annotated[float | None, Parameter(name="--condition-scale", group=_PICTURES)] = None
    "Strength of the pictures; 0 switches them off."
    at_extraction: Annotated[bool | None, Parameter(name="--condition-extraction", group=_PICTURES)] = None
    "Show the model the reference's own frames when its motion is read, as the authors do."

    def pictures(self) -> "tuple[PictureJob, ...]":
        """The pictures that were given."""
        given = {kind: getattr(self, kind) or [] for kind in ("image", "sketch", "sketch_from")}
        if given["image"] and (given["sketch"] or given["sketch_from"]):
            raise InputError("--image and --sketch need different models of SparseCtrl; give one of them.")
        found = [_picture_job(path, kind) for kind, paths in given.items() for path in paths]
        if len(found) > 1 and any(frame is None for _, frame, _ in found):
            raise InputError("with several pictures, say which frame each is for: first.png@0 last.png@15.")
        return tuple(PictureJob(str(path), frame or 0, kind) for path, frame, kind in found)


def _picture_job(given: Path, kind: str) -> tuple[Path, int | None, str]:
    """Path and frame of PATH or PATH@FRAME."""
    path, _, frame = str(given).rpartition("@")
    if not path or given.exists():
        return given.absolute(), None, kind
    if not frame.isdecimal():
        raise InputError(f"{given}: a frame number was expected behind the @, such as {path}@0.")
    return Path(path).absolute(), int(frame), kind


@Parameter(name="*")
@dataclass(frozen=True)
class SettingsOptions:
    """The preset, and what every command may change of it; None keeps the preset's value."""

    preset: Annotated[str | None, Parameter(group=_SETTINGS)] = None
    "camera, object, image, sketch or mini; mini for the mini model, with pictures image or sketch, else camera."
    seed: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "Of all noise."
    num_frames: Annotated[int | None, Parameter(name="--frames", group=_SETTINGS)] = None
    "Frames of clip and video."
    height: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "Pixels."
    width: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "Pixels."


@Parameter(name="*")
@dataclass(frozen=True)
class ExtractionOptions:
    """How the motion is read; None keeps the preset's value."""

    t_alpha: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "Noise step at which the reference is read, 0 to 999."
    k: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "Strongest attention entries kept; the number of frames is plain control."
    blocks: Annotated[list[str] | None, Parameter(group=_SETTINGS)] = None
    "Blocks whose temporal attention is cloned, such as up_blocks.1."


@Parameter(name="*")
@dataclass(frozen=True)
class GenerationOptions:
    """How the video is made; None keeps the preset's value."""

    weight: Annotated[float | None, Parameter(group=_SETTINGS)] = None
    "Strength of the motion guidance; 0 switches it off."
    update: Annotated[Literal["direction", "noise"] | None, Parameter(group=_SETTINGS)] = None
    "How the gradient enters a step: as the authors' code, or as Eq. 2 is printed."
    match_direction: Annotated[bool | None, Parameter(group=_SETTINGS)] = None
    "With --update noise: weigh every step so that it equals direction."
    steps: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "Denoising steps."
    guided_steps: Annotated[int | None, Parameter(group=_SETTINGS)] = None
    "How many of them are guided."
    guided_fraction: Annotated[float | None, Parameter(group=_SETTINGS)] = None
    "Noisiest share of the schedule that is guided."
    guidance_scale: Annotated[float | None, Parameter(group=_SETTINGS)] = None
    "Classifier-free guidance, diffusers' convention."
    negative_prompt: Annotated[str | None, Parameter(group=_SETTINGS)] = None
    "What the video should not show."
    positive_prompt: Annotated[str | None, Parameter(group=_SETTINGS)] = None
    "Words put behind the prompt."
    shared_noise: Annotated[bool | None, Parameter(group=_SETTINGS)] = None
    "Start from the noise that was added to the reference."


def _settings(
    model: str, common: SettingsOptions, *others: ExtractionOptions | GenerationOptions | PictureOptions
) -> "Settings":
    """The preset with the options that were given."""
    from motionclone.settings import parse_settings, preset

    kind = next((_control_kind(part.pictures()) for part in others if isinstance(part, PictureOptions)), None)
    settings = preset(common.preset or ("mini" if model == "mini" else kind or "camera"))
    given = {name: value for part in (common, *others) for name, value in vars(part).items() if value is not None}
    data = settings.model_dump()
    for part in (data, *(data[name] for name in ("extraction", "guidance", "sampling", "conditioning"))):
        part.update({name: given[name] for name in part.keys() & given.keys()})
    return parse_settings(data, "the combination of preset and options")


Output = Annotated[Path, Parameter(name=["--output", "-o"])]


@app.command
def demo(
    motion: str = "circle",
    *,
    colour: str = "red",
    shape: str = "star",
    background: str = "blue",
    texture: str = "waves",
    out_dir: Path = Path("demo"),
    image: Annotated[bool, Parameter(negative=())] = False,
    sketch: Annotated[bool, Parameter(negative=())] = False,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Clone a known motion with the bundled model, and measure how well it was cloned.

    Writes reference.mp4, cloned.mp4, unguided.mp4 (the same noise without guidance) and side-by-side.mp4.

    Parameters
    ----------
    motion
        circle, figure-eight, bounce, turn-back, right, down, diagonal, zoom-in, zoom-out, pan-left, ..., roll.
    colour
        Of the new object.
    shape
        circle, square, triangle, star, ring or cross.
    background
        Colour of the new ground.
    texture
        plain, stripes, checks, dots, waves, clouds or rocks.
    out_dir
        Folder for the videos.
    image
        Give the model the new video's first frame too.
    sketch
        Give the model a sketch of the new video's first frame too.
    seed
        Of all noise.
    overwrite
        Replace videos that are there.
    """
    from rich.console import Console
    from rich.table import Table

    from motionclone.demo import Words, run_demo
    from motionclone.pipelines import load_pipeline
    from motionclone.settings import parse_settings, preset
    from motionclone.video_writing import check_writable, side_by_side, write_sidecar, write_video

    for name in ("reference", "cloned", "unguided", "side-by-side"):
        check_writable(out_dir / f"{name}.mp4", overwrite)
    words = Words(motion, colour, shape, background, texture)
    if image and sketch:
        raise InputError("--image and --sketch need different models of SparseCtrl; give one of them.")
    given: Literal["image", "sketch"] | None = "image" if image else "sketch" if sketch else None
    settings = parse_settings({**preset("mini").model_dump(), "seed": seed}, "the seed")
    _quiet_libraries()
    pipe = load_pipeline("mini", device="cpu", control=given)
    pipe.set_progress_bar_config(disable=True)
    with _progress() as bar:
        made = run_demo(pipe, words, settings, bar, given=given)

    pictures = {"reference": made.reference, "unguided": made.unguided.frames, "cloned": made.cloned.frames}
    shown = {} if made.condition is None else {str(given): made.condition.pictures.expand_as(made.reference)}
    panels = {"reference": made.reference, **shown, **pictures}
    videos = {**pictures, "side-by-side": side_by_side(list(panels.values()), labels=list(panels))}
    # The reference was drawn, not generated: it has no record.
    records = {"cloned": made.cloned.record, "unguided": made.unguided.record, "side-by-side": made.cloned.record}
    for name, frames in videos.items():
        write_video(out_dir / f"{name}.mp4", frames, 8.0, provenance=records.get(name), overwrite=overwrite)
    for name in ("cloned", "unguided"):
        write_sidecar(out_dir / f"{name}.mp4", records[name], overwrite)

    table = Table(title=f"motion similarity to the reference ({motion}); 1 is the same motion")
    for title in ("", "object path", "dense flow", *(["first frame"] if given else [])):
        table.add_column(title, justify="left" if not title else "right")
    for name in pictures:
        found = made.similarity[name]
        first = [] if found.first is None else [f"{found.first:+.2f}"]
        table.add_row(name, f"{found.path:+.2f}", f"{found.flow:+.2f}", *first)
    console = Console()
    console.print(table)
    _say(f"a {colour} {shape} on {background} {texture}: watch {out_dir / 'side-by-side.mp4'}")


@app.command
def clone(
    reference: Path,
    prompt: str,
    *,
    output: Output,
    reference_options: ReferenceOptions = ReferenceOptions(),
    picture_options: PictureOptions = PictureOptions(),
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
    compare: bool = False,
    overwrite: bool = False,
    prompt_metadata: bool = True,
) -> None:
    """Make a video of PROMPT that moves like REFERENCE.

    Parameters
    ----------
    reference
        Any video file or animated GIF.
    prompt
        What the new video shows.
    output
        .mp4, .webm or .gif; a .json record beside it makes the run again (`motionclone rerun`).
    compare
        Write reference and result side by side, to OUTPUT-compare.
    overwrite
        Replace files that are there.
    prompt_metadata
        Keep prompts in the video file's metadata; the record beside it has them in any case.
    """
    settings = _settings(model_options.model, settings_options, extraction_options, generation_options, picture_options)
    pictures = picture_options.pictures()
    job = CloneJob(str(reference.absolute()), prompt, reference_options, model_options, prompt_metadata, None, pictures)
    _clone(job, settings, output, overwrite, compare)


@dataclass(frozen=True)
class PictureJob:
    """A picture that the video was to follow."""

    path: str
    frame: int
    kind: str  # image, sketch or sketch_from
    sha256: str | None = None


def _control_kind(pictures: "tuple[PictureJob, ...]") -> str | None:
    """Which of a model's SparseCtrls pictures need."""
    return None if not pictures else "image" if pictures[0].kind == "image" else "sketch"


@dataclass(frozen=True)
class CloneJob:
    """What `clone` was asked for, kept in the record so that `rerun` can ask for it again."""

    reference: str
    prompt: str
    reference_options: ReferenceOptions
    model_options: ModelOptions
    prompt_metadata: bool
    sha256: str | None = None  # of the reference
    pictures: tuple[PictureJob, ...] = ()


@dataclass(frozen=True)
class GenerateJob:
    """What `generate` was asked for, likewise."""

    motion: str
    prompt: str
    model_options: ModelOptions
    prompt_metadata: bool
    sha256: str | None = None  # of the motion file


@app.command
def rerun(record: Path, *, output: Output, overwrite: bool = False) -> None:
    """Make a video again from the record (.json) that `clone` or `generate` wrote beside it.

    Parameters
    ----------
    record
        The .json file.
    output
        .mp4, .webm or .gif.
    overwrite
        Replace files that are there.
    """
    import json

    from pydantic import TypeAdapter

    from motionclone.settings import parse_settings

    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
        job: CloneJob | GenerateJob = TypeAdapter(CloneJob | GenerateJob).validate_python(kept["job"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{record} is not a record of `motionclone clone` or `generate` ({why}); give the .json beside a video."
        ) from error
    settings = parse_settings(kept.get("settings"), str(record))
    if isinstance(job, CloneJob):
        _clone(job, settings, output, overwrite, compare=False)
    else:
        _generate(job, settings, output, overwrite)


def _clone(job: CloneJob, settings: "Settings", output: Path, overwrite: bool, compare: bool) -> None:
    from dataclasses import replace

    from motionclone.cloning import clone as clone_motion
    from motionclone.video_writing import check_writable, side_by_side, write_video

    reference, beside = Path(job.reference), output.with_stem(f"{output.stem}-compare")
    for path in (output, beside) if compare else (output,):
        check_writable(path, overwrite)
        if path.absolute() == reference:
            raise InputError(f"{path} is the reference itself; choose another output.")
    clip = _read(reference, job.reference_options, settings)
    if job.sha256 not in (None, clip.sha256):
        raise InputError(f"{reference} has changed since the record was written; restore the file it was.")
    check_writable(output, overwrite, clip.fps)
    job = replace(job, sha256=clip.sha256)
    job, condition = _read_pictures(job, settings)
    pipe = _load(job.model_options, _control_kind(job.pictures))
    source = _source(reference, clip, job.reference_options)
    with _progress() as bar:
        made = clone_motion(
            pipe,
            clip.frames,
            job.prompt,
            settings,
            condition=condition,
            source=source,
            on_step=lambda step: bar("cloning", step),
        )
    _write(output, made, clip.fps, job, overwrite)
    if compare:
        labels = ["reference", job.prompt if job.prompt_metadata else "clone"]
        joined = side_by_side([clip.frames, made.frames], labels=labels)
        write_video(beside, joined, clip.fps, provenance=_public(made.record, job.prompt_metadata), overwrite=overwrite)
        _say(f"wrote {beside}")


def _read_pictures(job: CloneJob, settings: "Settings") -> "tuple[CloneJob, Condition | None]":
    """The pictures of a job, and the job with their hashes."""
    from dataclasses import replace

    import torch

    from motionclone.conditions import Condition
    from motionclone.pictures import read_picture, read_sketch, sketch_from

    if not job.pictures:
        return job, None
    readers = {"image": read_picture, "sketch": read_sketch, "sketch_from": sketch_from}
    size = settings.sampling.height, settings.sampling.width
    found = []
    for wanted in job.pictures:
        picture = readers[wanted.kind](Path(wanted.path), *size)
        if wanted.sha256 not in (None, picture.sha256):
            raise InputError(f"{wanted.path} has changed since the record was written; restore the file it was.")
        for notice in picture.notices:
            _say(f"note: {notice}")
        found.append(picture)
    facts = tuple(
        {"name": Path(wanted.path).name, "kind": wanted.kind, "sha256": picture.sha256}
        for wanted, picture in zip(job.pictures, found, strict=True)
    )
    frames = tuple(wanted.frame for wanted in job.pictures)
    condition = Condition(torch.stack([picture.pixels for picture in found]), frames, facts)
    condition.check_fits(settings.sampling.num_frames, *size)
    hashed = (replace(wanted, sha256=picture.sha256) for wanted, picture in zip(job.pictures, found, strict=True))
    return replace(job, pictures=tuple(hashed)), condition


@app.command
def extract(
    reference: Path,
    *,
    output: Output,
    reference_options: ReferenceOptions = ReferenceOptions(),
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    model_options: ModelOptions = ModelOptions(),
    overwrite: bool = False,
) -> None:
    """Read the motion of REFERENCE into a small file, to generate from as often as you like.

    Parameters
    ----------
    reference
        Any video file or animated GIF.
    output
        The motion file, .safetensors.
    overwrite
        Replace a file that is there.
    """
    from motionclone.cloning import check
    from motionclone.extraction import extract_motion
    from motionclone.files import check_free

    if output.suffix != ".safetensors":
        raise InputError(f"a motion file must end in .safetensors, got {output}; rename it.")
    check_free(output, overwrite)
    settings = _settings(model_options.model, settings_options, extraction_options)
    clip = _read(reference, reference_options, settings)
    pipe = _load(model_options)
    check(pipe, "", settings)
    source = _source(reference, clip, reference_options)
    motion = extract_motion(pipe, clip.frames, settings.extraction, seed=settings.seed, source=source)
    motion.save(output, overwrite=overwrite)
    _say(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")


@app.command
def generate(
    motion: Path,
    prompt: str,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    settings_options: SettingsOptions = SettingsOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
    overwrite: bool = False,
    prompt_metadata: bool = True,
) -> None:
    """Make a video of PROMPT that moves like a motion file.

    Its size and number of frames are the motion's. It starts from the noise of the extraction; with --seed, from other.

    Parameters
    ----------
    motion
        A file made by `motionclone extract`.
    prompt
        What the new video shows.
    output
        .mp4, .webm or .gif; by default the motion's name with .mp4.
    overwrite
        Replace files that are there.
    prompt_metadata
        Keep prompts in the video file's metadata; the record beside it has them in any case.
    """
    from dataclasses import replace

    from motionclone.motion import load_motion

    found = load_motion(motion)
    size = found.record.get("size", (None, None))
    inherited = {"num_frames": found.num_frames, "height": size[0], "width": size[1]}
    common = replace(
        settings_options,
        **{name: value for name, value in inherited.items() if getattr(settings_options, name) is None},
    )
    if common.seed is not None and generation_options.shared_noise is None:
        generation_options = replace(generation_options, shared_noise=False)
    read_with = {name: found.record.get(name) for name in ("t_alpha", "k", "blocks")}
    settings = _settings(model_options.model, common, ExtractionOptions(**read_with), generation_options)
    job = GenerateJob(str(motion.absolute()), prompt, model_options, prompt_metadata)
    _generate(job, settings, output or motion.with_suffix(".mp4"), overwrite)


def _generate(job: GenerateJob, settings: "Settings", output: Path, overwrite: bool) -> None:
    import hashlib
    from dataclasses import replace

    from motionclone.cloning import generate as generate_from
    from motionclone.motion import load_motion
    from motionclone.video_writing import check_writable

    found = load_motion(job.motion)
    sha256 = hashlib.sha256(Path(job.motion).read_bytes()).hexdigest()
    if job.sha256 not in (None, sha256):
        raise InputError(f"{job.motion} has changed since the record was written; restore the file it was.")
    fps = float(found.record.get("source", {}).get("fps", 8.0))
    check_writable(output, overwrite, fps)
    pipe = _load(job.model_options)
    with _progress() as bar:
        made = generate_from(pipe, found, job.prompt, settings, on_step=lambda step: bar("generating", step))
    _write(output, made, fps, replace(job, sha256=sha256), overwrite)


@app.command
def inspect(
    motion: Path, *, heatmap: Path | None = None, reference: Path | None = None, overwrite: bool = False
) -> None:
    """Show what is in a motion file.

    Parameters
    ----------
    motion
        A file made by `motionclone extract`.
    heatmap
        Write where it sees motion over the reference (the paper's Fig. 3): .png for the first, middle and last frame,
        .mp4, .webm or .gif for all.
    reference
        The clip it was extracted from, if it is no longer where it was.
    overwrite
        Replace a file that is there.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from motionclone.motion import load_motion

    found = load_motion(motion)
    record = found.record
    table = Table(title=escape(str(motion)), show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    source = record.get("source", {})
    facts: dict[str, Any] = {
        "model": record.get("model"),
        "reference": source.get("name") or source.get("world"),
        "frames": found.num_frames,
        "pixels": "x".join(str(n) for n in reversed(record.get("size", []))),
        "t_alpha": record.get("t_alpha"),
        "k": found.k,
        "seed": record.get("seed"),
        "per-frame norm": record.get("per_frame_norm"),
        "made with": f"motionclone {record.get('motionclone')}",
        "bytes": f"{motion.stat().st_size:,}",
    }
    for name, value in facts.items():
        table.add_row(name, escape(str(value)))
    for site, m in found.maps.items():
        _, height, width = found.grid[site]
        table.add_row(
            escape(site),
            f"{m.values.shape[1]} heads on {height}x{width} positions, mean top weight {m.values.float().mean():.3f}",
        )
    if heatmap is not None:
        _write_heatmap(found, heatmap, reference, overwrite)
    Console().print(table)


def _write_heatmap(motion: "Motion", path: Path, reference: Path | None, overwrite: bool) -> None:
    import torch

    from motionclone.files import check_free
    from motionclone.heatmap import overlay
    from motionclone.video import read_clip
    from motionclone.video_writing import VIDEO_SUFFIXES, side_by_side, write_image, write_video

    if path.suffix.lower() not in (".png", *VIDEO_SUFFIXES):
        raise InputError(f"a heat map must end in .png or {' or '.join(VIDEO_SUFFIXES)}, got {path}; rename it.")
    check_free(path, overwrite)
    source = motion.record.get("source", {})
    clip_path = reference or Path(source.get("path", ""))
    if not clip_path.is_file():
        raise InputError("the reference is not where it was at extraction; give it with --reference.")
    options = {name: source[name] for name in ("start", "end", "fit") if name in source}
    height, width = motion.record["size"]
    clip = read_clip(clip_path, motion.num_frames, height, width, fps=source.get("asked_fps"), **options)
    if clip.sha256 != source.get("sha256", clip.sha256):
        raise InputError(f"{clip_path} is not the clip that the motion was read from; give that with --reference.")
    pictures = side_by_side([clip.frames, overlay(motion, clip.frames)])
    if path.suffix.lower() == ".png":
        shown = [pictures[i] for i in (0, len(pictures) // 2, -1)]
        write_image(path, torch.cat(shown, dim=-2), overwrite)
    else:
        write_video(path, pictures, clip.fps, overwrite=overwrite)
    _say(f"wrote {path}")


@app.command
def evaluate(
    suite: str,
    *,
    out_dir: Path | None = None,
    references: Path | None = None,
    cases: int | None = None,
    clip: str = "mini",
    workers: int | None = None,
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Measure how well motion is cloned, on known motions or on your clips, and write a report.

    Called again, an interrupted run goes on where it was. Results, videos, report.html and report.md are in OUT-DIR.

    Parameters
    ----------
    suite
        quick (minutes on two cores), paper (all experiments of the paper; hours), pictures (following a picture or a
        sketch) or tune (candidates for presets).
    out_dir
        Folder for results; evaluation-SUITE by default.
    references
        Folder of clips to clone instead of the world's known motions.
    cases
        How many references and prompts; the suite's number by default.
    clip
        The judge of looks: mini (bundled, knows the world only), or the folder or hub id of a CLIP model.
    workers
        Processes that share the work; by default one a core, one on a GPU.
    """
    from dataclasses import replace

    from motionclone.evaluation import load_embedder
    from motionclone.lab.bench import Setup
    from motionclone.lab.cases import clip_cases, world_cases
    from motionclone.lab.report import write_report
    from motionclone.lab.running import run_suite
    from motionclone.lab.suites import suite_named

    base = _settings(model_options.model, settings_options, extraction_options, generation_options)
    chosen = suite_named(suite, base)
    if cases is not None:
        if cases < 1:
            raise InputError(f"--cases must be 1 or more, got {cases}.")
        chosen = replace(chosen, cases=cases)
    if references is None:
        found = world_cases(chosen.split, chosen.cases, base.sampling)
    else:
        found = clip_cases(references, chosen.split, chosen.cases, base.sampling)
        known = tuple(method for method in chosen.methods if method.kind != "drawn")
        chosen = replace(chosen, methods=known)  # nobody can draw a perfect clone of an unknown motion
    if workers is None:
        workers = 1 if _on_gpu(model_options.device) else os.cpu_count() or 1
    if workers < 1:
        raise InputError(f"--workers must be 1 or more, got {workers}.")
    options = model_options
    setup = Setup(chosen, tuple(found), base, options.model, options.dtype, options.device, clip, base.seed)
    folder = out_dir or Path(f"evaluation-{suite}")
    _quiet_libraries()
    load_embedder(clip)  # before anything slow
    with _count(suite) as done:
        run_suite(setup, folder, workers=workers, on_done=done)
    for path in write_report(folder):
        _say(f"wrote {path}")


def _on_gpu(device: str | None) -> bool:
    import torch

    return (torch.cuda.is_available() or torch.backends.mps.is_available()) if device is None else device != "cpu"


@app.command
def score(videos: Path, *, clip: str, output: Output | None = None, overwrite: bool = False) -> None:
    """Score videos against the clips whose motion they should have.

    Scores come with their 95 % interval, their floor (other references) and their ceiling (the reference, re-encoded).

    Parameters
    ----------
    videos
        A folder of videos that motionclone made, with their records; or a list (.jsonl) with video, reference and
        prompt in each line, whatever made them.
    clip
        The judge of looks: the folder or hub id of a CLIP model, or mini (bundled, knows the mini model's world only).
    output
        Write every video's scores here, one JSON object a line (.jsonl).
    overwrite
        Replace a file that is there.
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from motionclone.evaluation import bootstrap, load_embedder
    from motionclone.files import check_free, whole_file
    from motionclone.lab.folder import pairs_of, score_pairs

    if output is not None:
        check_free(output, overwrite)
    pairs = pairs_of(videos)
    _quiet_libraries()
    embedder = load_embedder(clip)
    with _count("scoring") as done:
        scored = score_pairs(pairs, embedder, done)
    if output is not None:
        with whole_file(output, overwrite) as temporary:
            lines = [
                {"video": str(s.pair.video), "scores": s.scores, "floor": s.floor, "ceiling": s.ceiling} for s in scored
            ]
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        _say(f"wrote {output}")
    table = Table("", "mean", "95 % interval", "videos", "floor", "ceiling", title=f"{len(scored)} videos")
    for name in scored[0].scores:
        columns = [[getattr(s, part).get(name) for s in scored] for part in ("scores", "floor", "ceiling")]
        found, floor, ceiling = (bootstrap([float("nan") if v is None else v for v in column]) for column in columns)
        if found.n:
            interval = f"{found.low:+.3f} to {found.high:+.3f}"
            table.add_row(
                name, f"{found.value:+.3f}", interval, str(found.n), f"{floor.value:+.3f}", f"{ceiling.value:+.3f}"
            )
    Console().print(table)


@app.command
def models() -> None:
    """List the models that are known by name, and the presets."""
    from rich.console import Console
    from rich.table import Table

    from motionclone.pipelines import named_models
    from motionclone.settings import preset, preset_names

    table = Table("model", "base", "motion adapter", title="models (--model)")
    for name, description in named_models().items():
        bundled = name == "mini"
        table.add_row(
            name, "bundled" if bundled else description.base, "bundled" if bundled else description.motion_adapter
        )
    chosen = Table("preset", "steps", "guided", "fraction", "weight", "size", "frames", title="presets (--preset)")
    for name in preset_names():
        s = preset(name)
        chosen.add_row(
            name,
            str(s.sampling.steps),
            str(s.sampling.guided_steps),
            f"{s.guidance.guided_fraction:g}",
            f"{s.guidance.weight:g}",
            f"{s.sampling.width}x{s.sampling.height}",
            str(s.sampling.num_frames),
        )
    console = Console()
    console.print(table, chosen)
    console.print("A folder, a model description (.toml, .yaml) or a hub id does as well: see docs/models.md.")


def _load(options: ModelOptions, control: str | None = None) -> Any:
    """The pipeline; with SparseCtrl where `control` is "image" or "sketch"."""
    import torch

    from motionclone.pipelines import load_pipeline

    _quiet_libraries()
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    pipe = load_pipeline(
        options.model,
        device=options.device,
        dtype=dtype,
        offload=options.offload,
        per_frame_norm=options.per_frame_norm,
        control=(options.control or control) if control else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _quiet_libraries() -> None:
    """Keep the libraries' loading bars out of the terminal."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _read(reference: Path, options: ReferenceOptions, settings: "Settings") -> "Clip":
    from motionclone.video import read_clip

    s = settings.sampling
    clip = read_clip(
        reference,
        s.num_frames,
        s.height,
        s.width,
        start=options.start,
        end=options.end,
        fps=options.fps,
        fit=options.fit,
    )
    for notice in clip.notices:
        _say(f"note: {notice}")
    return clip


def _source(reference: Path, clip: "Clip", options: ReferenceOptions) -> dict[str, Any]:
    """What a motion file remembers of its reference."""
    return {
        "name": reference.name,
        "path": str(reference.absolute()),
        "sha256": clip.sha256,
        "fps": clip.fps,
        "start": options.start,
        "end": options.end,
        "asked_fps": options.fps,
        "fit": options.fit,
    }


def _write(output: Path, made: "Generated", fps: float, job: CloneJob | GenerateJob, overwrite: bool) -> None:
    from dataclasses import asdict

    from motionclone.video_writing import write_sidecar, write_video

    public = _public(made.record, job.prompt_metadata)
    write_video(output, made.frames, fps, provenance=public, overwrite=overwrite)
    beside = write_sidecar(output, {**made.record, "job": asdict(job)}, overwrite)
    energies = made.record["energies"]
    fell = f", motion energy {energies[0]:.4f} to {energies[-1]:.4f}" if energies else ""
    _say(f"wrote {output} and {beside.name} in {made.record['seconds']:.0f} s{fell}")


def _public(record: dict[str, Any], prompt_metadata: bool) -> dict[str, Any]:
    """What goes into the video file: the record without paths and, if so wished, without prompts."""
    motion = dict(record["motion"])
    motion["source"] = {name: value for name, value in motion.get("source", {}).items() if name != "path"}
    public = {**record, "motion": motion}
    if not prompt_metadata:
        del public["prompt"]
        sampling = {name: value for name, value in record["settings"]["sampling"].items() if "prompt" not in name}
        public["settings"] = {**record["settings"], "sampling": sampling}
    return public


@contextmanager
def _progress() -> "Iterator[Callable[[str, Step], None]]":
    """A bar for every name it is called with: step, energy, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[energy]:>14}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def show(name: str, step: "Step") -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=step.steps, energy="")
            energy = f"energy {step.guided.energy:.4f}" if step.guided else ""
            bars.update(tasks[name], completed=step.index, energy=energy)

        yield show


@contextmanager
def _count(name: str) -> "Iterator[Callable[[int, int], None]]":
    """A bar that is called with how many are done, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def main() -> None:
    """The console script: InputError becomes one sentence and exit code 2."""
    # The libraries advise on things that are in order here; their errors still come. Read when they are imported.
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    try:
        app(sys.argv[1:])
    except InputError as error:
        _say(f"motionclone: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("motionclone: stopped; no file was left half written")
        sys.exit(130)
