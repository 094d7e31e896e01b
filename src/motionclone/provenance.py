"""Where a motion comes from: what its file remembers, typed, so that nothing has to guess at what a stranger wrote."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from motionclone.errors import InputError, in_one_line

Count = Annotated[int, Field(ge=1, le=2**20)]
_GRID = TypeAdapter(dict[str, tuple[Count, Count, Count]])


class Source(BaseModel):
    """Facts about the clip; a caller may add others, plain JSON values."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str = ""
    path: str = ""
    sha256: str = ""
    fps: float = Field(default=8.0, gt=0, le=1e6)
    start: float = Field(default=0.0, ge=0)
    end: float | None = None
    asked_fps: float | None = Field(default=None, gt=0)
    fit: Literal["crop", "squash"] = "crop"
    crop: tuple[float, float, float, float] | None = None
    flip: bool = False


class Provenance(BaseModel):
    """What made a motion, and what it was made of. None where it is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    motionclone: str | None = None
    """Version."""
    model: str | None = None
    fingerprints: Mapping[str, Mapping[str, float] | tuple[float, ...]] = Field(default={}, repr=False)
    """Of the weights at each site. Lists of numbers, in older files, are of weights that adapters change."""
    per_frame_norm: bool | None = None
    t_alpha: Annotated[int, Field(ge=0, le=2**20)] | None = None
    k: Count | None = None
    blocks: tuple[str, ...] | None = None
    prompt: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    source: Source = Source()
    num_frames: Count | None = None
    """Of the clip."""
    size: tuple[Count, Count] | None = None
    """(height, width) of the clip in pixels."""
    shown_frames: tuple[Annotated[int, Field(ge=0, le=2**20)], ...] = ()
    condition_scale: Annotated[float, Field(ge=0)] | None = None

    def values(self) -> dict[str, Any]:
        """What is known, as plain JSON values."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def source_from(facts: Any) -> Source:
    """Facts about a clip as a caller has them, a mapping or None. InputError if they are not plain JSON values."""
    try:
        return Source.model_validate(json.loads(json.dumps(dict(facts or {}), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"source holds plain JSON values by name, or is left out ({in_one_line(error)}).") from error


def provenance_from(text: str) -> Provenance:
    """From JSON. ValueError if it is not that of a provenance."""
    return Provenance.model_validate_json(text, strict=True)


def grid_from(text: str) -> dict[str, tuple[int, int, int]]:
    """From JSON: the (frames, height, width) of the positions at each site. ValueError if it is something else."""
    return _GRID.validate_json(text, strict=True)
