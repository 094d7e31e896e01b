"""A job of the studio in the words of the job schema, which `clone` and batches have: for programs.

Names, ranges and meanings are those of `batch.schema`; what the studio decides for everybody (the model and how it is
held, where results go) is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from motionclone.batch.schema import FIELDS, Job
from motionclone.errors import InputError, in_one_line
from motionclone.settings import Settings
from motionclone.studio.asked import MOST_TIMES

DECIDED = ("model", "device", "dtype", "offload", "vae_tiling", "per_frame_norm", "pickled", "control", "preset",
           "output", "prompt_metadata")  # fmt: skip
"""Words of the schema that are not for a visitor: the studio was started with them."""
OWN = ("example", "unguided", "strengths", "seeds")
"""Words that the schema has not."""
FILES = ("reference", "motion", "image", "sketch")
"""Words for which a file has been uploaded."""
WORDS = {name: info for name, info in Job.model_fields.items() if name not in (*DECIDED, "sketch_from")}


def asked_of(words: Mapping[str, Any], base: Settings) -> dict[str, Any]:
    """What `Desk.asked` takes, of a job's words; what is None is not said.

    Args:
        words: by the names of `WORDS` and `OWN`; files by any name.
        base: the settings of the studio's model, which say how many steps there are by default.

    Raises:
        InputError: a word is unknown, is not for a visitor, or says what nobody can mean; the sentence says which.
    """
    said = {name: value for name, value in words.items() if value is not None}
    if decided := [name for name in DECIDED if name in said]:
        raise InputError(f"{decided[0]} is not for a job of the studio, which is started with it; leave it out.")
    if "sketch_from" in said:
        raise InputError(
            "the studio draws no sketches of photos; give a line drawing as sketch in place of sketch_from."
        )
    own = {name: said.pop(name) for name in OWN if name in said}
    if not any(said.get(name) for name in ("reference", "motion")):
        said["reference"] = "example"
    elif "example" in own:
        raise InputError("a video is made of a file or of an example; leave one of them out.")
    try:
        job = Job.model_validate(said)
    except ValidationError as error:
        told = in_one_line(error, [*WORDS, *OWN]).replace("Value error, ", "").removeprefix("the whole: ")
        raise InputError(f"{told}.") from error
    changed = job.overrides()
    _check_size(base, base.changed({FIELDS[name]: value for name, value in changed.items()}))
    plain: dict[str, Any] = {name: changed.pop(name) for name in ("strength", "steps", "seed") if name in changed}
    if "weight" in changed and "strength" in plain:
        changed["strength"] = plain.pop("strength")
    of_clip = ("prompt", "start", "end", "fps", "fit", "crop", "flip")
    part = {name: getattr(job, name) for name in of_clip if name in said}
    followed: dict[str, Any] = {name: _only(name, getattr(job, name)) for name in ("image", "sketch") if name in said}
    return {"steps": base.sampling.steps, **part, **followed, **plain, **own, "more": changed}


def _only(name: str, pictures: Sequence[str]) -> str | None:
    if len(pictures) > 1:
        raise InputError(f"the studio follows one picture, of the first frame, not {len(pictures)}; give one {name}.")
    return pictures[0] if pictures else None


def _check_size(base: Settings, wanted: Settings) -> None:
    own, asked = (s.sampling.num_frames * s.sampling.height * s.sampling.width for s in (base, wanted))
    if asked > MOST_TIMES * own:
        raise InputError(
            f"frames x height x width are {asked:,} pixels, more than {MOST_TIMES} times the {own:,} that this model "
            "is made for; ask for fewer."
        )
