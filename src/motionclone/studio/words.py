"""A job of the studio in the words of the job schema, which `clone` and batches have: for programs.

Names, ranges and meanings are those of `batch.schema`; what the studio decides for everybody (the model and how it is
held, where results go) is refused.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from motionclone.batch.schema import FIELDS, Job
from motionclone.errors import InputError, in_one_line
from motionclone.settings import Settings
from motionclone.studio.asked import Asked

DECIDED = ("model", "device", "dtype", "offload", "vae_tiling", "per_frame_norm", "pickled", "control", "preset",
           "output", "prompt_metadata")  # fmt: skip
"""Words of the schema that are not for a visitor: the studio was started with them."""
OWN = ("example", "unguided", "strengths", "seeds")
"""Words that the schema has not."""
FILES = ("reference", "motion", "image", "sketch", "sketch_from")
"""Words for which a file has been uploaded."""
WORDS = {name: info for name, info in Job.model_fields.items() if name not in DECIDED}
_LARGEST = 8
"""Times as many pixels as the model's own preset makes are too many for one visitor."""


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
    own = {name: said.pop(name) for name in OWN if name in said}
    known = [*WORDS, *OWN]
    if not any(said.get(name) for name in ("reference", "motion")):
        said["reference"] = "example"
    try:
        job = Job.model_validate(said)
    except ValidationError as error:
        raise InputError(f"{in_one_line(error, known).replace('Value error, ', '')}.") from error
    changed = job.overrides()
    plain = {name: changed.pop(name) for name in ("strength", "steps", "seed") if name in changed}
    if "weight" in changed and "strength" in plain:
        changed["strength"] = plain.pop("strength")
    part = {name: getattr(job, name) for name in Asked.model_fields if name in said and name in WORDS}
    asked = {"steps": base.sampling.steps, **part, **plain, **own, "more": changed}
    _check_size(base, base.changed({FIELDS[name]: value for name, value in changed.items()}))
    return asked


def _check_size(base: Settings, wanted: Settings) -> None:
    own, asked = (s.sampling.num_frames * s.sampling.height * s.sampling.width for s in (base, wanted))
    if asked > _LARGEST * own:
        raise InputError(
            f"frames x height x width are {asked:,} pixels, more than {_LARGEST} times the {own:,} that this model is "
            "made for; ask for fewer."
        )
