"""What one job says: the words and options of `clone` or `generate` under the same names, in plain values."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from motionclone.settings import FLAT_NAMES, Settings, Text

MOST_JOBS = 100_000
"""Of one batch."""

_PICTURE = "Path of a picture, or path@frame; relative to the job file, as all paths. Several make a list."


def _listed(given: object) -> object:
    """One text stands for a list of one."""
    return (given,) if isinstance(given, str) else given


def _numbers(given: object) -> object:
    """Numbers with blanks between, as a command line and a .csv have them."""
    return tuple(given.split()) if isinstance(given, str) else given


def _short(name: str) -> str:
    if len(name.encode()) > 150:  # file systems take 255, and more comes behind it
        raise ValueError(f"a name has 150 bytes at most, and this has {len(name.encode())}")
    return name


Path = Annotated[str, Field(min_length=1, max_length=4096)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_listed), Field(max_length=1000)]
Shares = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers)]
Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f.][^/\\\x00-\x1f]*$"), AfterValidator(_short)]


class Part(BaseModel):
    """Everything of a job but the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reference: Path | None = Field(default=None, description="The clip to clone; this or a motion.")
    motion: Path | None = Field(default=None, description="A motion file, or user/name of one on the hub.")
    prompt: Text = Field(default="", description="What the new video shows.")
    output: Name | None = Field(default=None, description="Name of the video, .mp4, .webm or .gif.")
    prompt_metadata: bool = Field(default=True, description="Keep prompts in the video file's metadata.")
    start: float = Field(default=0.0, ge=0, description="Seconds into the clip.")
    end: float | None = Field(default=None, gt=0, description="Seconds into the clip; its end by default.")
    fps: float | None = Field(default=None, gt=0, description="Take frames at this rate; spread evenly by default.")
    fit: Literal["crop", "squash"] = Field(default="crop", description="Cut the middle out, or squash to size.")
    crop: Shares | None = Field(default=None, description="Left, top, right and bottom of the part, 0 to 1.")
    flip: bool = Field(default=False, description="Mirror the clip.")
    image: Paths = Field(default=(), description=f"Pictures that the video follows. {_PICTURE}")
    sketch: Paths = Field(default=(), description=f"Line drawings that it follows. {_PICTURE}")
    sketch_from: Paths = Field(default=(), description=f"Photos whose outlines it follows. {_PICTURE}")
    control: Path | None = Field(default=None, description="SparseCtrl for the pictures; the model's own by default.")
    model: Path = Field(default="mini", description="A name, a folder, a model description, or a hub id.")
    device: str | None = Field(default=None, description="cuda, mps or cpu; the best there is by default.")
    dtype: Literal["float16", "bfloat16", "float32"] | None = Field(default=None, description="Of the weights.")
    offload: Literal["none", "model", "sequential"] = Field(default="none", description="To main memory.")
    vae_tiling: bool = Field(default=False, description="Let the VAE work on tiles.")
    per_frame_norm: bool = Field(default=True, description="Normalise AnimateDiff's motion modules per frame.")
    pickled: bool = Field(default=False, description="Read weights from .bin files, too.")
    preset: Text | None = Field(default=None, description="One of `motionclone models`; the model's own by default.")

    @model_validator(mode="after")
    def _fits(self) -> "Part":
        if (self.reference is None) == (self.motion is None):
            raise ValueError("a job has a reference or a motion, one of the two")
        if self.motion is not None:
            idle = [
                name
                for name in ("start", "end", "fps", "fit", "crop", "flip", *PICTURES)
                if name in self.model_fields_set
            ]
            if idle:
                raise ValueError(f"{idle[0]} is for a reference, and this job has a motion; leave it out")
        return self

    def overrides(self) -> dict[str, Any]:
        """The settings that the job changes, by their flat names."""
        return {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}


PICTURES = ("image", "sketch", "sketch_from", "control")


def _settings() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every setting under its flat name, by section and name, and what is known of it."""
    for name, info in Settings.model_fields.items():
        inner = getattr(info.annotation, "model_fields", None)
        for each, about in (inner or {name: info}).items():
            yield FLAT_NAMES.get(each, each) if inner else each, f"{name}.{each}" if inner else each, about


FIELDS = {flat: field for flat, field, _ in _settings()}
"""Settings by their flat names: `scale` of the section `conditioning` is {"condition_scale": "conditioning.scale"}."""
SETTINGS = tuple(FIELDS)


def as_field(name: str, value: Any = ...) -> str:
    """An argument or setting as a job has it."""
    last = name.rpartition(".")[2]
    flat = FLAT_NAMES.get(last, last)
    return flat if value is ... else f"{flat}: {value}"


def _optional(info: FieldInfo) -> Any:
    """The type and the bounds of a setting, or nothing."""
    kind: Any = info.annotation
    return Annotated[kind, *info.metadata] | None if info.metadata else kind | None


_fields: dict[str, Any] = {
    name: (_optional(info), Field(default=None, description=info.description)) for name, _, info in _settings()
}

Job = create_model("Job", __base__=Part, __doc__="One video.", **_fields)


def _range(given: object) -> object:
    """`0..9` is 0 to 9."""
    found = re.fullmatch(r"\s*(\d{1,18})\s*\.\.\s*(\d{1,18})\s*", given) if isinstance(given, str) else None
    return range(int(found[1]), int(found[2]) + 1) if found else given


class Products(BaseModel):
    """What stands for several jobs; with several of these, every combination is one."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    seeds: Annotated[Any, BeforeValidator(_range), Field(description="A list, or a range: 0..9 is ten seeds.")] = None
    prompts: list[Any] | None = None
    references: list[Any] | None = None
    motions: list[Any] | None = None
    models: list[Any] | None = None
    each: dict[str, list[Any]] = Field(default={}, description="Lists of values by the name of any other field.")


def json_schema() -> str:
    """The JSON Schema of a job file's content (YAML), or (`$defs/Entry`) of one line of a .jsonl."""
    seeds = Field(default=None, description="A list, or a range: 0..9 is ten seeds.")
    more: dict[str, Any] = {name: (info.annotation, info) for name, info in Products.model_fields.items()}
    more["seeds"] = (list[int] | Annotated[str, Field(pattern=r"^\d+\.\.\d+$")] | None, seeds)
    entry = create_model("Entry", __base__=Job, __doc__="One video, or with lists one of every combination.", **more)
    defaults = create_model("Defaults", __base__=Job, __doc__="What every job has that does not say otherwise.")
    optional: Any = defaults | None
    file = create_model(
        "JobFile",
        __config__=ConfigDict(extra="forbid"),
        __doc__="A batch of motionclone: `motionclone batch jobs.yaml`.",
        jobs=(list[entry], Field(max_length=MOST_JOBS)),  # type: ignore[valid-type]
        defaults=(optional, None),
    )
    return json.dumps(file.model_json_schema(), indent=2) + "\n"
