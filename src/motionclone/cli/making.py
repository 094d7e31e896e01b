"""Commands that make something: demo, clone, generate, rerun, extract; and inspect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from motionclone.cli.jobs import CloneJob, GenerateJob, run_clone, run_generate
from motionclone.cli.options import (
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    Output,
    PictureOptions,
    ReferenceOptions,
    SettingsOptions,
    control_kind,
    settings_from,
)
from motionclone.cli.reading import fitted_to_model, load_model, read_reference, say_notices, source_facts
from motionclone.cli.terminal import progress_bars, say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from motionclone.motion import Motion


def demo(
    motion: str = "circle",
    *,
    colour: str = "red",
    shape: str = "star",
    background: str = "blue",
    texture: str = "waves",
    image: bool = False,
    sketch: bool = False,
    out_dir: Path = Path("demo"),
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Clone a known motion with the bundled model, and measure how well it was cloned.

    Writes reference.mp4, cloned.mp4, unguided.mp4 (the same noise without guidance) and side-by-side.mp4; with --image
    or --sketch also given.png, the picture that both videos are to start from.

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
    image
        Start from a picture of the new object.
    sketch
        Start from a sketch of the new object.
    out_dir
        Folder for the videos.
    seed
        Of all noise.
    overwrite
        Replace videos that are there.
    """
    from rich.console import Console
    from rich.table import Table

    from motionclone.files import check_free
    from motionclone.lab.demo import Words, run_demo
    from motionclone.media.writing import check_writable, side_by_side, write_image, write_sidecar, write_video
    from motionclone.settings import parse_settings, preset

    if image and sketch:
        raise InputError("a video follows a picture or a sketch, not both; choose --image or --sketch.")
    given: Literal["image", "sketch"] | None = "image" if image else "sketch" if sketch else None
    for name in ("reference", "cloned", "unguided", "side-by-side"):
        check_writable(out_dir / f"{name}.mp4", overwrite)
    if given is not None:
        check_free(out_dir / "given.png", overwrite)
    words = Words(motion, colour, shape, background, texture)
    settings = parse_settings({**preset("mini").model_dump(), "seed": seed}, "the seed")
    pipe = load_model(ModelOptions(device="cpu"), given)
    with progress_bars() as bar:
        made = run_demo(pipe, words, settings, bar, given=given)

    pictures = {"reference": made.reference, "unguided": made.unguided.frames, "cloned": made.cloned.frames}
    if made.condition is not None:
        write_image(out_dir / "given.png", made.condition.pictures[0], overwrite)
    videos = {**pictures, "side-by-side": side_by_side(list(pictures.values()), labels=list(pictures))}
    # The reference was drawn, not generated: it has no record.
    records = {"cloned": made.cloned.record, "unguided": made.unguided.record, "side-by-side": made.cloned.record}
    for name, frames in videos.items():
        write_video(out_dir / f"{name}.mp4", frames, 8.0, provenance=records.get(name), overwrite=overwrite)
    for name in ("cloned", "unguided"):
        write_sidecar(out_dir / f"{name}.mp4", records[name], overwrite)

    table = Table(title=f"motion similarity to the reference ({motion}); 1 is the same motion")
    for title in ("", "object path", "dense flow", *(["first frame and " + given] if given else [])):
        table.add_column(title, justify="left" if not title else "right")
    for name in pictures:
        found = made.similarity[name]
        followed = [f"{found.first:+.2f}"] if found.first is not None else []
        table.add_row(name, f"{found.path:+.2f}", f"{found.flow:+.2f}", *followed)
    console = Console()
    console.print(table)
    say(f"a {colour} {shape} on {background} {texture}: watch {out_dir / 'side-by-side.mp4'}")


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
    pictures = picture_options.pictures()
    settings = settings_from(
        model_options.model,
        settings_options,
        extraction_options,
        generation_options,
        picture_options,
        otherwise=control_kind(pictures) or "camera",
    )
    job = CloneJob(
        str(reference.absolute()),
        prompt,
        reference_options,
        model_options,
        prompt_metadata,
        pictures=pictures,
        control=picture_options.control,
    )
    run_clone(job, settings, output, overwrite, compare)


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
        run_clone(job, settings, output, overwrite, compare=False)
    else:
        run_generate(job, settings, output, overwrite)


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
    settings = settings_from(model_options.model, settings_options, extraction_options)
    clip = read_reference(reference, reference_options, settings)
    pipe = load_model(model_options)
    fitted = fitted_to_model(pipe, settings)
    if fitted != settings:
        settings, clip = fitted, read_reference(reference, reference_options, fitted)
    say_notices(clip.notices)
    check(pipe, "", settings)
    source = source_facts(reference, clip, reference_options)
    motion = extract_motion(pipe, clip.frames, settings.extraction, seed=settings.seed, source=source)
    motion.save(output, overwrite=overwrite)
    say(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")


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
    size = found.record.size or (None, None)
    inherited: dict[str, Any] = {"num_frames": found.video_frames, "height": size[0], "width": size[1]}
    common = replace(
        settings_options,
        **{name: value for name, value in inherited.items() if getattr(settings_options, name) is None},
    )
    if common.seed is not None and generation_options.shared_noise is None:
        generation_options = replace(generation_options, shared_noise=False)
    read_with = {name: getattr(found.record, name) for name in ("t_alpha", "k", "blocks")}
    settings = settings_from(model_options.model, common, ExtractionOptions(**read_with), generation_options)
    job = GenerateJob(str(motion.absolute()), prompt, model_options, prompt_metadata)
    run_generate(job, settings, output or motion.with_suffix(".mp4"), overwrite)


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
    record = found.record.values()
    table = Table(title=escape(str(motion)), show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    source = record.get("source", {})
    facts: dict[str, Any] = {
        "model": record.get("model"),
        "reference": source.get("name") or source.get("world"),
        "frames": found.video_frames,
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
    from motionclone.media.overlay import overlay
    from motionclone.media.reading import read_clip
    from motionclone.media.writing import VIDEO_SUFFIXES, side_by_side, write_image, write_video

    if path.suffix.lower() not in (".png", *VIDEO_SUFFIXES):
        raise InputError(f"a heat map must end in .png or {' or '.join(VIDEO_SUFFIXES)}, got {path}; rename it.")
    check_free(path, overwrite)
    source = motion.record.values().get("source", {})
    clip_path = reference or Path(source.get("path", ""))
    if not clip_path.is_file():
        raise InputError("the reference is not where it was at extraction; give it with --reference.")
    options = {name: source[name] for name in ("start", "end", "fit") if name in source}
    if motion.record.size is None:
        raise InputError("the motion file does not say at which size it was read; extract it again.")
    height, width = motion.record.size
    clip = read_clip(clip_path, motion.video_frames, height, width, fps=source.get("asked_fps"), **options)
    if clip.sha256 != source.get("sha256", clip.sha256):
        raise InputError(f"{clip_path} is not the clip that the motion was read from; give that with --reference.")
    pictures = side_by_side([clip.frames, overlay(motion, clip.frames)])
    if path.suffix.lower() == ".png":
        shown = [pictures[i] for i in (0, len(pictures) // 2, -1)]
        write_image(path, torch.cat(shown, dim=-2), overwrite)
    else:
        write_video(path, pictures, clip.fps, overwrite=overwrite)
    say(f"wrote {path}")
