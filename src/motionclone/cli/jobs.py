"""What `clone` and `generate` are asked for; kept in records, so that `rerun` can ask for it again."""

from dataclasses import dataclass

from motionclone.cli.options import ModelOptions, PictureJob, ReferenceOptions


@dataclass(frozen=True)
class CloneJob:
    """What `clone` was asked for.

    Files and folders are named by their last part, or by the way down from the record's folder (in older records by
    absolute paths), and known by their hashes.
    """

    reference: str
    prompt: str
    reference_options: ReferenceOptions
    model_options: ModelOptions
    prompt_metadata: bool
    sha256: str | None = None  # of the reference
    pictures: tuple[PictureJob, ...] = ()
    control: str | None = None  # which SparseCtrl, if not the model's own
    model_sha256: str | None = None  # its `likeness`, if it lay here
    control_sha256: str | None = None  # likewise


@dataclass(frozen=True)
class GenerateJob:
    """What `generate` was asked for, likewise."""

    motion: str
    prompt: str
    model_options: ModelOptions
    prompt_metadata: bool
    sha256: str | None = None  # of the motion file
    model_sha256: str | None = None
