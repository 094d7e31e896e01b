"""Options that several commands share, and the settings they make."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast

from cyclopts import CoercionError, Group, Parameter, Token
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from motionclone.cli.terminal import say
from motionclone.errors import InputError, named
from motionclone.files import check_no_address
from motionclone.settings import (
    FACTOR,
    FLAT_NAMES,
    INNER,
    SHARES,
    Sampling,
    Settings,
    preset,
    preset_names,
)

_MODEL = Group("Model", sort_key=2)
_REFERENCE = Group("Reference", sort_key=1)
_PICTURES = Group("Pictures to follow (for models with SparseCtrl)", sort_key=1)
_SETTINGS = Group("Settings (each overrides the preset)", sort_key=3)
_PLACES = Group("Where things are now (if they are not found)", sort_key=1)


def _whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """Of digits alone: the parser would round fractions."""
    if not re.fullmatch(r"[+-]?[0-9]+", tokens[0].value):
        raise CoercionError(token=tokens[0], target_type=int)
    return int(tokens[0].value)


WHOLE = Parameter(converter=_whole_number)
Output = Annotated[Path | None, Parameter(name=["--output", "-o"])]
RayAddress = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]
"""An option whose value may be left out."""

_SIZE = ("num_frames", "height", "width")


def ray_address(ray: list[str] | None, shared: bool) -> str | None:
    """What `--ray` says, as `Rays` takes it, if it is there. InputError for more, or for `--shared` without it."""
    if ray is not None and len(ray) > 1:
        raise InputError(f"--ray takes one address, got {' '.join(ray)}.")
    if shared and ray is None:
        raise InputError("--shared is about the machines of a Ray; give --ray, or leave it out.")
    return None if ray is None else next(iter(ray), "local")


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
    pickled: Annotated[bool, Parameter(group=_MODEL)] = False
    "Read weights from .bin files where there are no .safetensors; code in them is never run."


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
    crop: Annotated[tuple[float, float, float, float] | None, Parameter(group=_REFERENCE)] = None
    "LEFT TOP RIGHT BOTTOM of the part of the picture that is meant, each from 0 to 1; the whole by default."
    flip: Annotated[bool, Parameter(group=_REFERENCE)] = False
    "Mirror it, so that left becomes right."

    def part(self) -> dict[str, Any]:
        """What was asked for, by name; crop and flip, which older records do not know, only if they were."""
        more = {"crop": self.crop, "flip": self.flip}
        known = {"start": self.start, "end": self.end, "fps": self.fps, "fit": self.fit}
        return known | {name: value for name, value in more.items() if value}


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
    control: Annotated[str | None, Parameter(group=_PICTURES)] = None
    "SparseCtrl to follow them with: a folder, an original file or a hub id; the model's own by default."

    def pictures(self, steered: bool = False) -> tuple[PictureJob, ...]:
        """The pictures that were given. InputError if they, or (`steered`) options for them, make no sense together."""
        given: list[tuple[Literal["image", "sketch", "sketch_from"], list[Path] | None]] = [
            ("image", self.image),
            ("sketch", self.sketch),
            ("sketch_from", self.sketch_from),
        ]
        found = [(*_path_and_frame(path), kind) for kind, paths in given for path in paths or ()]
        if not found and (steered or self.control is not None):
            raise InputError(
                "--control, --condition-scale and --condition-extraction are about pictures to follow; give one with "
                "--image, --sketch or --sketch-from, or leave them out."
            )
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
    check_no_address(given)
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
class PlaceOptions:
    """Where what a record names is now; that it is the same is checked."""

    reference: Annotated[Path | None, Parameter(group=_PLACES)] = None
    "The clip that was cloned."
    motion: Annotated[Path | None, Parameter(group=_PLACES)] = None
    "The motion file that was generated from."
    picture: Annotated[list[Path] | None, Parameter(group=_PLACES)] = None
    "A picture that was followed; for several, repeat it."
    model: Annotated[str | None, Parameter(group=_PLACES)] = None
    "The model: a folder, a model description, or a hub id."
    control: Annotated[str | None, Parameter(group=_PLACES)] = None
    "The SparseCtrl: a folder, a file, or a hub id."


def options(name: str, doc: str, group: Group = _SETTINGS, **sections: type[BaseModel]) -> Any:
    """A class of options, one for each field of these sections of the settings; sizes are among `SettingsOptions`."""
    found = [(section, each) for section, model in sections.items() for each in model.model_fields.items()]
    return _class(name, doc, group, [(section, each, info) for section, (each, info) in found if each not in _SIZE])


def _class(name: str, doc: str, group: Group, settings: list[tuple[str, str, FieldInfo]]) -> Any:
    """A class of options for (section, field, what is known of it): of its type, with its words, None by default."""
    made = []
    for section, each, info in settings:
        option = f"--{FLAT_NAMES[each].replace('_', '-')}" if each in FLAT_NAMES else None
        parameter = Parameter(name=option, group=group, help=_words(info))
        whole = [WHOLE] if info.annotation is int else []
        kept: Any = field(default=None, metadata={"section": section})
        made.append((each, Annotated[cast(Any, info.annotation) | None, parameter, *whole], kept))
    # Cyclopts reads the docstring, and the module to know what annotations mean.
    own = {"__doc__": doc, "__module__": __name__}
    return Parameter(name="*")(make_dataclass(name, made, frozen=True, namespace=own))


def _words(info: FieldInfo) -> str:
    """What help says of a setting: its description, and its bounds."""
    bounds = {name: getattr(each, name) for each in info.metadata for name in ("ge", "gt", "le") if hasattr(each, name)}
    low = f"more than {bounds['gt']:g}" if "gt" in bounds else f"{bounds['ge']:g}" if "ge" in bounds else ""
    high = f"to {bounds['le']:g}" if "le" in bounds else "or more" if "ge" in bounds else ""
    words = (info.description or "").rstrip(".")
    return f"{words} ({low} {high})." if low or high else f"{words}."


if TYPE_CHECKING:  # What they hold, only the settings know.
    SettingsOptions: TypeAlias = Any
    ExtractionOptions: TypeAlias = Any
    GenerationOptions: TypeAlias = Any
    ConditioningOptions: TypeAlias = Any
else:
    _fields = Settings.model_fields.items()
    _sections = {name: info.annotation for name, info in _fields if issubclass(info.annotation, BaseModel)}
    _preset = FieldInfo(
        annotation=str,
        description="One of `motionclone models`; by default the model's own if it has one, with pictures image or "
        "sketch, else camera.",
    )
    _common = [
        ("", "preset", _preset),
        *(("", name, info) for name, info in _fields if name not in _sections),
        *(("sampling", name, Sampling.model_fields[name]) for name in _SIZE),
    ]
    SettingsOptions = _class("SettingsOptions", "The preset, and what every command changes of it.", _SETTINGS, _common)
    ExtractionOptions = options("ExtractionOptions", "How the motion is read.", extraction=_sections.pop("extraction"))
    ConditioningOptions = options(
        "ConditioningOptions", "How pictures steer it.", _PICTURES, conditioning=_sections.pop("conditioning")
    )
    GenerationOptions = options("GenerationOptions", "How the video is made.", **_sections)


def as_option(name: str, value: Any = ...) -> str:
    """An argument or setting, perhaps with its value, as it is typed: "guidance.weight" is --weight."""
    last = name.rpartition(".")[2]
    option = f"--{FLAT_NAMES.get(last, last).replace('_', '-')}"
    if value is ... or value is True:
        return option
    return f"no {option}" if value is None else f"--no-{option[2:]}" if value is False else f"{option} {value}"


def typed(model: ModelOptions, *others: Any) -> dict[str, str]:
    """What was typed of the settings, such as "conditioning.scale", and how, such as "--condition-scale"."""
    found = {"per_frame_norm": "--no-per-frame-norm"} if not model.per_frame_norm else {}
    for each, value in _given(*others):
        section = each.metadata["section"]
        found[f"{section}.{each.name}" if section else each.name] = as_option(
            each.name, False if value is False else ...
        )
    return found


def _given(*parts: Any) -> list[tuple[Field[Any], Any]]:
    """The options of the settings that were given, with their values."""
    found = [(each, getattr(part, each.name)) for part in parts for each in fields(part)]
    return [(each, value) for each, value in found if value is not None and each.name != "preset"]


def _told_steps(before: Settings, settings: Settings, given: Mapping[str, Any]) -> str | None:
    """What to say of another number of steps than the preset's."""
    now, left = settings.sampling.steps, SHARES.keys() - given.keys()
    told = ""
    for where in (FACTOR, INNER):
        name = where.rpartition(".")[2]
        value, usual = (getattr(each.guidance, name) for each in (settings, before))
        if value != usual and where not in given and not settings.guidance.off:
            told += f"; {named(name, value)}"
    if now == before.sampling.steps or not (left or told):
        return None
    guided = f", {settings.sampling.guided_steps} of them guided, as large a share"
    many = f"{now} steps in place of the preset's {before.sampling.steps}"
    return f"note: {many}{guided * ('sampling.guided_steps' in left)}{told}"


def _own_preset(model: str) -> Settings | None:
    """Of the model's name, or of its family, which is said."""
    if model in preset_names():
        return preset(model)
    from motionclone.models import name_of
    from motionclone.models.presets import preset_for

    name, chosen = preset_for(model)
    if name is not None and chosen is not None and name != name_of(model):
        blocks = "" if chosen == preset(name) else f", at {', '.join(chosen.extraction.blocks)}"
        say(f"note: {model} takes the preset {name}{blocks}; --preset takes another")
    return chosen


def settings_from(model: str, common: SettingsOptions, *others: Any, otherwise: str = "camera") -> Settings:
    """The preset with the options that were given; without one that of the model's name, or else `otherwise`."""
    chosen = preset(common.preset) if common.preset else _own_preset(model) or preset(otherwise)
    given = {f"{each.metadata['section']}.{each.name}".lstrip("."): value for each, value in _given(common, *others)}
    for side in ("height", "width"):
        pixels = given.get(f"sampling.{side}", 0)
        if pixels > 0 and pixels % 8:
            near = max(8, round(pixels / 8) * 8)
            say(f"note: sides are multiples of 8; the {side} will be {near}, not {pixels}")
            given[f"sampling.{side}"] = near
    settings = chosen.changed(given)
    k, frames = settings.extraction.k, settings.sampling.num_frames
    if "extraction.k" in given:
        settings.extraction.model_fields_set.add("k")  # a preset's is as many as there are, where that is less
        if k > frames:
            raise InputError(f"--k is {k}, more than the {frames} frames of the clip; use at most {frames}.")
    if told := _told_steps(chosen, settings, given):
        say(told)
    return settings
