"""Options that several commands share, and the settings they make."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from motionclone.cli.terminal import say
from motionclone.errors import InputError

if TYPE_CHECKING:
    from motionclone.settings import Settings

_MODEL = Group("Model", sort_key=2)
_REFERENCE = Group("Reference", sort_key=1)
_PICTURES = Group("Pictures to follow (for models with SparseCtrl)", sort_key=1)
_SETTINGS = Group("Settings (each overrides the preset)", sort_key=3)

Output = Annotated[Path, Parameter(name=["--output", "-o"])]


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is held in memory."""

    model: Annotated[str, Parameter(group=_MODEL)] = "mini"
    "mini, mini-dit, one of `motionclone models`, a folder, a model description (.toml, .yaml), or a hub id."
    device: Annotated[str | None, Parameter(group=_MODEL)] = None
    "cuda, mps or cpu; the best there is by default."
    dtype: Annotated[Literal["float16", "bfloat16", "float32"] | None, Parameter(group=_MODEL)] = None
    "What the model was trained in on a GPU and float32 on a CPU by default."
    offload: Annotated[Literal["none", "model", "sequential"], Parameter(group=_MODEL)] = "none"
    "Keep what is not at work in main memory: saves GPU memory, costs time."
    vae_tiling: Annotated[bool, Parameter(group=_MODEL)] = False
    "Let the VAE work on one tile at a time: saves GPU memory at large sizes."
    per_frame_norm: Annotated[bool, Parameter(group=_MODEL)] = True
    "Normalise motion modules per frame, as AnimateDiff was trained; off is diffusers' way."


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


@dataclass(frozen=True)
class PictureJob:
    """A picture that the video was to follow."""

    path: str
    frame: int
    kind: Literal["image", "sketch", "sketch_from"]
    sha256: str | None = None


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
    control: Annotated[str | None, Parameter(group=_PICTURES)] = None
    "SparseCtrl to follow them with: a folder, an original file or a hub id; the model's own by default."

    def pictures(self) -> tuple[PictureJob, ...]:
        """The pictures that were given. InputError if they, or options for them, make no sense together."""
        given: list[tuple[Literal["image", "sketch", "sketch_from"], list[Path] | None]] = [
            ("image", self.image),
            ("sketch", self.sketch),
            ("sketch_from", self.sketch_from),
        ]
        found = [(*_path_and_frame(path), kind) for kind, paths in given for path in paths or ()]
        if not found and (self.scale, self.at_extraction, self.control) != (None, None, None):
            raise InputError("--condition-scale, --condition-extraction and --control are for pictures; give --image.")
        if self.image and len(found) > len(self.image):
            raise InputError("--image and --sketch need different models of SparseCtrl; give one of them.")
        if len(found) > 1 and any(frame is None for _, frame, _ in found):
            raise InputError("with several pictures, say which frame each is for: first.png@0 last.png@15.")
        jobs = tuple(PictureJob(str(path), frame or 0, kind) for path, frame, kind in found)
        if self.control in ("image", "sketch") and self.control != control_kind(jobs):
            raise InputError(f"--control {self.control} is for another kind of picture than was given; leave it out.")
        return jobs


def _path_and_frame(given: Path) -> tuple[Path, int | None]:
    """Path and, if there is one, frame of PATH or PATH@FRAME."""
    path, _, frame = str(given).rpartition("@")
    try:
        whole = given.exists() or not Path(path).is_file()
    except OSError as error:
        raise InputError(f"{given} is no path of a picture ({error.strerror}); give one that is.") from error
    if whole:
        return given.absolute(), None
    if not frame.isdecimal() or len(frame) > 6:
        raise InputError(f"{given}: a frame number was expected behind the @, such as {path}@0.")
    return Path(path).absolute(), int(frame)


def control_kind(pictures: tuple[PictureJob, ...]) -> str | None:
    """Which of a model's SparseCtrls pictures need: "image", "sketch" or, without pictures, none."""
    return None if not pictures else "image" if pictures[0].kind == "image" else "sketch"


@Parameter(name="*")
@dataclass(frozen=True)
class SettingsOptions:
    """The preset, and what every command may change of it; None keeps the preset's value."""

    preset: Annotated[str | None, Parameter(group=_SETTINGS)] = None
    "One of `motionclone models`; by default the model's own if it has one, with pictures image or sketch, else camera."
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
    "Strongest attention entries kept; as many as the attention has frames is plain control."
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


def settings_from(
    model: str,
    common: SettingsOptions,
    *others: ExtractionOptions | GenerationOptions | PictureOptions,
    otherwise: str = "camera",
) -> "Settings":
    """The preset with the options that were given; without one that of the model's name, or else `otherwise`."""
    from motionclone.models import name_of
    from motionclone.settings import parse_settings, preset, preset_names

    name = name_of(model)
    settings = preset(common.preset or (name if name in preset_names() else otherwise))
    given = {name: value for part in (common, *others) for name, value in vars(part).items() if value is not None}
    for side in ("height", "width"):
        if given.get(side, 0) % 8:
            near = max(8, round(given[side] / 8) * 8)
            say(f"note: sides are multiples of 8; the {side} will be {near}, not {given[side]}")
            given[side] = near
    data = settings.model_dump()
    for part in (data, *(data[name] for name in ("extraction", "guidance", "sampling", "conditioning"))):
        part.update({name: given[name] for name in part.keys() & given.keys()})
    return parse_settings(data, "the combination of preset and options")
