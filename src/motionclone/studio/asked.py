"""What a person asks of the studio for one video, and the settings that this makes."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from motionclone.batch.schema import FIELDS, Job
from motionclone.errors import InputError, in_one_line
from motionclone.settings import Settings, check_text

MOST_STEPS = 300
"""Of one job, as in the longest preset: nobody else's job waits for longer ones."""
MOST_STRENGTH = 3.0
MOST_TIMES = 8
"""As many pixels, frames x height x width, as the model's own preset makes are the most for one visitor."""
MOST_OF_A_SHEET = 64
"""Videos, as of `motionclone sweep`."""
_WHOLE = (0.0, 0.0, 1.0, 1.0)

Strength = Annotated[float, Field(ge=0, le=MOST_STRENGTH)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Asked(BaseModel):
    """One video, but for the files that it is made of, which lie beside it in the job's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clip: str
    """What the clip is called, for the eye; never a path."""
    prompt: str
    start: float = Field(default=0.0, ge=0)
    """Seconds into the clip."""
    end: float | None = None
    """Seconds into the clip; None is its end."""
    strength: float = Field(default=1.0, ge=0, le=MOST_STRENGTH)
    """How much of the motion; as in `Guidance`, in place of a preset's weight."""
    steps: int = Field(ge=1, le=MOST_STEPS)
    seed: int = Field(default=0, ge=0, lt=2**63)
    unguided: bool = False
    """Whether its twin without guidance is wanted, too."""
    crop: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the part of the picture that is read, in [0, 1]; None is the whole."""
    flip: bool = False
    """Whether the clip is mirrored."""
    fps: float | None = Field(default=None, gt=0)
    """At which rate frames are taken; None spreads them evenly."""
    fit: Literal["crop", "squash"] = "crop"
    """Whether the middle is cut out, or all of it squashed to size."""
    motion: bool = False
    """Whether what is called `clip` is a motion file."""
    image: str | None = None
    """What the picture is called that the video starts from, if there is one."""
    sketch: str | None = None
    """Likewise, of a line drawing of the first frame."""
    strengths: tuple[Strength, ...] = ()
    """Of the columns of a sheet, as `motionclone sweep` makes it, in place of one video; () for one video."""
    seeds: tuple[Seed, ...] = ()
    """Of its rows."""
    more: dict[str, Any] = {}
    """Further settings that a program gives, by the flat names of the job schema."""

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("there are no words; say what the new video shows, such as 'a red star on blue waves'")
        return check_text(prompt)

    @field_validator("clip", "image", "sketch")
    @classmethod
    def _short(cls, name: str | None) -> str | None:
        return name and name[:200]

    @field_validator("crop")
    @classmethod
    def _leaves_something(cls, crop: tuple[float, float, float, float] | None) -> object:
        if crop is None or crop == _WHOLE:
            return None
        left, top, right, bottom = crop
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError("crop is left, top, right and bottom of a part of the picture, each from 0 to 1")
        return crop

    @field_validator("more")
    @classmethod
    def _known(cls, more: dict[str, Any]) -> dict[str, Any]:
        if unknown := more.keys() - FIELDS.keys():
            raise ValueError(f"there is no setting {sorted(unknown)[0]}")
        try:
            job = Job.model_validate({"reference": "a clip", **more})
        except ValidationError as error:
            raise ValueError(in_one_line(error)) from error
        return {name: getattr(job, name) for name in more}

    @model_validator(mode="after")
    def _fits(self) -> "Asked":
        if self.image and self.sketch:
            raise ValueError("a video follows a first frame or a sketch; leave one of them out")
        if self.motion and self.follows:
            raise ValueError("a first frame or a sketch goes with a clip, not with a motion file; leave one out")
        if self.motion and (self.start or self.end is not None or self.fps or self.crop or self.flip):
            raise ValueError(
                "a motion file is taken as it is; start, end, frame rate, crop and mirroring are for clips"
            )
        if bool(self.strengths) != bool(self.seeds):
            raise ValueError("a sheet has strengths and seeds; give both, or neither for one video")
        if self.videos > MOST_OF_A_SHEET:
            raise ValueError(f"a sheet has {MOST_OF_A_SHEET} videos at most, not {self.videos}; ask for fewer")
        if self.strengths and (self.unguided or self.motion):
            raise ValueError("a sheet is made of a clip, and its strength 0 is without guidance; leave the rest out")
        return self

    @property
    def follows(self) -> Literal["image", "sketch"] | None:
        """Which kind of picture the video follows, if any."""
        return "image" if self.image else "sketch" if self.sketch else None

    @property
    def stem(self) -> str:
        """What files to take away are called by the words, without an ending."""
        return re.sub(r"[^a-z0-9]+", "-", self.prompt.lower())[:60].strip("-") or "video"

    @property
    def videos(self) -> int:
        """How many are made."""
        return len(self.strengths) * len(self.seeds) or 1 + self.unguided

    def settings(self, base: Settings) -> Settings:
        """Those of the model's preset, changed by what is asked for, as `Settings.changed` does."""
        strength = {} if "weight" in self.more else {"guidance.strength": self.strength}
        more = {FIELDS[name]: value for name, value in self.more.items()}
        return base.changed({"sampling.steps": self.steps, **strength, "seed": self.seed, **more})


def asked_from(**values: object) -> Asked:
    """What is asked for. InputError, one sentence, for values that nobody can mean."""
    try:
        asked = Asked.model_validate(values)
    except ValidationError as error:
        own = [str(each["ctx"]["error"]) for each in error.errors() if each["type"] == "value_error"]
        raise InputError(f"{(own[0] if own else in_one_line(error)).rstrip('.')}.") from error
    if asked.end is not None and asked.end <= asked.start:
        raise InputError(f"the end must come after the start, got {asked.start:g} s to {asked.end:g} s.")
    return asked
