"""The command that shares a motion: push."""

from pathlib import Path

from motionclone.cli.terminal import say


def push(motion: Path, repository: str, *, private: bool = False, revision: str | None = None) -> None:
    """Put a motion file on the Hugging Face hub, for `motionclone generate USER/NAME` and `load_motion`.

    You have to be logged in there (`hf auth login`).

    Parameters
    ----------
    motion
        A file made by `motionclone extract`.
    repository
        USER/NAME on the hub; made if it is not there.
    private
        Make a new repository one that only you see.
    revision
        A branch; main by default.
    """
    from motionclone.motion import load_motion

    say(f"pushed to {load_motion(motion).push_to_hub(repository, private=private, revision=revision)}")
