"""Commands that make something: clone, generate, extract."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from motionclone.cli.extracting import extracted, prepared_to_extract, settings_for
from motionclone.cli.foretelling import advise, check_model, check_prompt, foretell
from motionclone.cli.jobs import CloneJob, GenerateJob
from motionclone.cli.misuse import check_no_file
from motionclone.cli.options import (
    ConditioningOptions,
    ExtractionOptions,
    GenerationOptions,
    ModelOptions,
    Output,
    PictureOptions,
    ReferenceOptions,
    SettingsOptions,
    control_kind,
    settings_from,
    typed,
)
from motionclone.cli.outputs import named_after
from motionclone.cli.reading import load_model, public_name
from motionclone.cli.running import run
from motionclone.cli.sources import Sources, remember_place
from motionclone.cli.terminal import say
from motionclone.errors import InputError
from motionclone.settings import Settings


def clone(
    reference: Path,
    prompt: str,
    *,
    output: Output = None,
    reference_options: ReferenceOptions = ReferenceOptions(),
    picture_options: PictureOptions = PictureOptions(),
    conditioning_options: ConditioningOptions = ConditioningOptions(),
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
    compare: bool = False,
    overwrite: bool = False,
    prompt_metadata: bool = True,
    dry_run: bool = False,
) -> None:
    """Make a video of PROMPT that moves like REFERENCE.

    Parameters
    ----------
    reference
        A video, an animated picture (GIF, WebP, APNG, AVIF) or a folder of pictures.
    prompt
        What the new video shows.
    output
        .mp4, .webm or .gif, by default named after reference and prompt; a .json record beside it makes the run again
        (`motionclone rerun`).
    compare
        Write reference and result side by side, to OUTPUT-compare.
    overwrite
        Replace files that are there.
    prompt_metadata
        Keep prompts in the video file's metadata; the record beside it has them in any case.
    dry_run
        Only say what would be made and the memory that takes, and refuse what would be refused; loads no weights.
    """
    parts = (settings_options, extraction_options, generation_options, conditioning_options)
    job, sources, settings = asked_to_clone(
        reference, prompt, reference_options, picture_options, parts, model_options, prompt_metadata, dry_run
    )
    output = output or named_after(reference, prompt, suffix=".mp4")
    run(job, sources, settings, output, overwrite, compare, typed(model_options, *parts), dry_run)


def asked_to_clone(
    reference: Path,
    prompt: str,
    reference_options: ReferenceOptions,
    picture_options: PictureOptions,
    parts: tuple[SettingsOptions, ExtractionOptions, GenerationOptions, ConditioningOptions],
    model_options: ModelOptions,
    prompt_metadata: bool,
    dry_run: bool,
) -> tuple[CloneJob, Sources, Settings]:
    """What a clone is asked for, where what it names lies, and its settings; refused is what no model need tell."""
    check_no_file(prompt, reference)
    _, _, generation_options, conditioning_options = parts
    pictures = picture_options.pictures(steered=conditioning_options != ConditioningOptions())
    check_prompt(prompt, generation_options.positive_prompt, pictured=bool(pictures))
    check_model(model_options, dry_run)
    advise(model_options)
    settings = settings_from(model_options.model, *parts, otherwise=control_kind(pictures) or "camera")
    control = picture_options.control
    job = CloneJob(
        reference.name,
        prompt,
        reference_options,
        _named(model_options),
        prompt_metadata,
        pictures=pictures,
        control=control and public_name(control),
    )
    paths = tuple(Path(picture.path) for picture in pictures)
    return job, Sources(model_options.model, reference, paths, control), settings


def extract(
    reference: Path,
    *,
    output: Output = None,
    reference_options: ReferenceOptions = ReferenceOptions(),
    settings_options: SettingsOptions = SettingsOptions(),
    extraction_options: ExtractionOptions = ExtractionOptions(),
    model_options: ModelOptions = ModelOptions(),
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Read the motion of REFERENCE into a small file, to generate from as often as you like.

    Parameters
    ----------
    reference
        A video, an animated picture (GIF, WebP, APNG, AVIF) or a folder of pictures.
    output
        The motion file, .safetensors; by default named after the reference.
    overwrite
        Replace a file that is there.
    dry_run
        Only say what would be read and the memory that takes, and refuse what would be refused; loads no weights.
    """
    check_model(model_options, dry_run)
    from motionclone.files import check_free, check_not_input, claimed
    from motionclone.media.places import kept_name
    from motionclone.motion import SUFFIX, check_motion_name

    output = output or named_after(reference, suffix=SUFFIX)
    check_motion_name(output)
    settings = settings_from(model_options.model, settings_options, extraction_options)
    advise(model_options)
    sources = Sources(model_options.model, reference)
    with nullcontext() if dry_run else claimed(output):
        check_free(output, overwrite)
        check_not_input([output], sources.files(), "the motion")
        given = typed(model_options, settings_options, extraction_options)
        load = load_model if not dry_run else partial(load_model, weights=False)
        ready = prepared_to_extract(sources, reference_options, settings, model_options, given, load)
        if dry_run:
            foretell(ready.pipe, ready.settings, model_options, [output], generates=False)
            return
        motion = extracted(ready, reference.name, kept_name(reference, output.absolute().parent))
        motion.save(output, overwrite=overwrite)
    remember_place(ready.clip.sha256, str(reference.absolute()), reference.name)
    say(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")


def generate(
    motion: Path,
    prompt: str,
    *,
    output: Output = None,
    settings_options: SettingsOptions = SettingsOptions(),
    generation_options: GenerationOptions = GenerationOptions(),
    model_options: ModelOptions = ModelOptions(),
    overwrite: bool = False,
    prompt_metadata: bool = True,
    dry_run: bool = False,
) -> None:
    """Make a video of PROMPT that moves like a motion file.

    Its size and number of frames are the motion's. It starts from the noise of the extraction; with --seed, from other.

    Parameters
    ----------
    motion
        A file made by `motionclone extract`, or USER/NAME of one on the hub.
    prompt
        What the new video shows.
    output
        .mp4, .webm or .gif; by default the motion's name with .mp4.
    overwrite
        Replace files that are there.
    prompt_metadata
        Keep prompts in the video file's metadata; the record beside it has them in any case.
    dry_run
        Only say what would be made and the memory that takes, and refuse what would be refused; loads no weights.
    """
    check_prompt(prompt, generation_options.positive_prompt)
    check_model(model_options, dry_run)
    from motionclone.files import sha256_of
    from motionclone.motion import load_motion, motion_file

    check_no_file(prompt, motion)
    place = motion_file(motion)
    found = load_motion(place)
    settings = settings_for(found, model_options.model, settings_options, generation_options)
    job = GenerateJob(motion.name, prompt, _named(model_options), prompt_metadata)
    sources = Sources(model_options.model, place)
    output = output or named_after(motion, prompt, suffix=".mp4")
    if output.is_file() and sha256_of(output) == found.record.source.sha256:
        raise InputError(f"{output} is the clip that the motion was read from; choose another output.")
    given = typed(model_options, settings_options, generation_options)
    run(job, sources, settings, output, overwrite, typed=given, dry_run=dry_run)


def _named(options: ModelOptions) -> ModelOptions:
    """The options as a job has them: the model by its name, wherever it lies."""
    return replace(options, model=public_name(options.model))
