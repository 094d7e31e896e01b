"""What a person asks of the studio for one video, and the settings that this makes."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from motionclone.batch.schema import FIELDS
from motionclone.errors import InputError, in_one_line
from motionclone.settings import Settings, check_text

MOST_STEPS = 300
"""Of one job, as in the longest preset: nobody else's job waits for longer ones."""
MOST_STRENGTH = 3.0
MOST_OF_A_SHEET = 64
"""Videos, as of `motionclone sweep`."""

Strength = Annotated[float, Field(ge=0, le=MOST_STRENGTH)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Asked(BaseModel):
    """One video, but for the clip itself, which lies beside it in the job's folder."""

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

    @field_validator("clip")
    @classmethod
    def _short(cls, clip: str) -> str:
        return clip[:200]

    @property
    def videos(self) -> int:
        """How many are made."""
        return len(self.strengths) * len(self.seeds) or 1 + self.unguided

    def settings(self, base: Settings) -> Settings:
        """Those of the model's preset, changed by what is asked for: as large a share of the steps is guided."""
        strength = {} if "weight" in self.more else {"guidance.strength": self.strength}
        more = {FIELDS[name]: value for name, value in self.more.items()}
        return base.changed({"sampling.steps": self.steps, **strength, "seed": self.seed, **more})


def asked_from(**values: object) -> Asked:
    """What is asked for. InputError, one sentence, for values that nobody can mean."""
    try:
        asked = Asked.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{in_one_line(error).replace('Value error, ', '').removeprefix('prompt: ')}.") from error
    if asked.end is not None and asked.end <= asked.start:
        raise InputError(f"the end must come after the start, got {asked.start:g} s to {asked.end:g} s.")
    if bool(asked.strengths) != bool(asked.seeds):
        raise InputError("a sheet has strengths and seeds; give both, or neither for one video.")
    if asked.videos > MOST_OF_A_SHEET:
        raise InputError(f"a sheet has {MOST_OF_A_SHEET} videos at most, not {asked.videos}; ask for fewer.")
    if asked.strengths and asked.unguided:
        raise InputError("of a sheet, strength 0 is the video without guidance; leave unguided out.")
    return asked
