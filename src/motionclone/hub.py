"""Bring what is needed of a repository on the Hugging Face hub here, or files there, and never wait long."""

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from motionclone.errors import InputError, in_one_line

PATIENCE = 2.5  # seconds that the hub has to begin an answer, unless HF_HUB_ETAG_TIMEOUT says others
PAUSE = 60.0  # seconds for which a hub that did not is not asked again
_silent_since = -PAUSE
_ID = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)


@dataclass(frozen=True)
class HubPlace:
    """A repository of models, and one of its revisions."""

    hub_id: str
    revision: str | None = None
    """A commit, tag or branch; None is what the hub shows first."""

    @staticmethod
    def parsed(place: str) -> "HubPlace | None":
        """From organisation/name or organisation/name@revision; None if it has neither form."""
        match = _ID.fullmatch(place) if isinstance(place, str) and len(place) <= 200 else None
        return None if match is None else HubPlace(match[1], match[2])

    def at(self, revision: str | None) -> "HubPlace":
        """This repository at a revision, unless that is None. InputError if it is none, or one is behind the @."""
        if revision is None:
            return self
        if self.revision is not None:
            raise InputError(f"{self} has a revision behind the @ and another was given; leave one of them out.")
        place = HubPlace.parsed(f"{self.hub_id}@{revision}")
        if place is None or ".." in str(revision):
            raise InputError(f"{revision!r} is no revision; give a commit, tag or branch.")
        return place

    def __str__(self) -> str:
        return self.hub_id if self.revision is None else f"{self.hub_id}@{self.revision}"


def fetch(place: HubPlace, files: Sequence[str], *, largest: int | None = None) -> Path:
    """The folder of a snapshot that has these files (patterns), as far as the repository does; its name is the commit.

    What is here already is not asked for again. Without a connection, or with HF_HUB_OFFLINE, it is what is here.

    Raises:
        InputError: there is no such repository or revision, or it is not here and the hub cannot be reached, or one of
            the files, by its name, is larger than `largest` bytes.
    """

    def ask(wait: float) -> None:
        sized = largest is not None
        info = huggingface_hub.HfApi().model_info(
            place.hub_id, revision=place.revision, timeout=wait, files_metadata=sized
        )
        for file in info.siblings or ():
            if largest is not None and file.rfilename in files and (file.size or 0) > largest:
                raise ValueError(f"{file.rfilename} has {file.size:,} bytes and at most {largest:,} make sense")

    problem = _problem(ask)
    try:
        folder = huggingface_hub.snapshot_download(
            place.hub_id,
            revision=place.revision,
            allow_patterns=list(files),
            local_files_only=problem is not None,
        )
    except Exception as error:  # of the network, the hub and the disk
        raise InputError(_why_not(place, problem or error)) from error
    return Path(folder)


def _why_not(place: HubPlace, problem: Exception) -> str:
    if isinstance(problem, RevisionNotFoundError):
        return f"{place.hub_id} has no revision {place.revision} on the hub; give another one behind the @."
    why = str(problem).strip().partition("\n")[0].rstrip(".")
    remedy = "check the id and the connection, or download it elsewhere and give its folder"
    if isinstance(problem, GatedRepoError):
        why, remedy = "its terms were not accepted", "accept them there and log in with `hf auth login`"
    elif isinstance(problem, RepositoryNotFoundError):
        why, remedy = "there is none of that id, or it is private", "check the id, or log in with `hf auth login`"
    return f"{place} is no folder here and could not be fetched from the Hugging Face hub ({why}); {remedy}."


def publish(
    place: HubPlace, files: Mapping[str, bytes], message: str, *, private: bool = False, kept: Sequence[str] = ()
) -> str:
    """Put files into a repository, in one commit; the repository, and its branch, are made if there are none.

    Args:
        place: the revision is a branch; None is main.
        files: name to content.
        message: of the commit.
        private: what a new repository is; one that is there stays what it is.
        kept: names of files that are left alone where there are such.

    Returns:
        The address of the commit.

    Raises:
        InputError: nobody is logged in, the hub refuses, or it cannot be reached.
    """
    api = huggingface_hub.HfApi()
    problem = _problem(lambda _: api.whoami())
    try:
        if problem is not None:
            raise problem
        api.create_repo(place.hub_id, private=private or None, exist_ok=True)  # None: as one's organisation has it
        if place.revision is not None:
            api.create_branch(place.hub_id, branch=place.revision, exist_ok=True)
        new = {
            name: content
            for name, content in files.items()
            if name not in kept or not api.file_exists(place.hub_id, name, revision=place.revision)
        }
        operations = [huggingface_hub.CommitOperationAdd(name, content) for name, content in new.items()]
        done = api.create_commit(place.hub_id, operations, commit_message=message, revision=place.revision)
    except Exception as error:  # of the network and the hub
        remedy = "check the id, the connection and that you may write there"
        if isinstance(error, LocalTokenNotFoundError):
            error, remedy = PermissionError("nobody is logged in"), "log in with `hf auth login`"
        raise InputError(
            f"{place} could not be written to on the Hugging Face hub ({in_one_line(error)}); {remedy}."
        ) from error
    return str(done.commit_url)


def _problem(question: Callable[[float], object]) -> Exception | None:
    """What goes wrong when the hub is asked something, with the seconds it has to answer; None if nothing does.

    It is asked in a thread, as a name server that does not answer keeps a program longer than any timeout says.
    """
    global _silent_since
    if constants.HF_HUB_OFFLINE:
        return ConnectionError("HF_HUB_OFFLINE is set")
    silence = TimeoutError("it does not answer")
    if time.monotonic() - _silent_since < PAUSE:  # for the other parts of the same model
        return silence
    patience = constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else PATIENCE
    answers: list[Exception | None] = []

    def ask() -> None:
        try:
            question(patience)
            answers.append(None)
        except Exception as error:  # of the network, and what the hub answers
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience + 0.25)
    answer = answers[0] if answers else silence
    if answer is silence or "Timeout" in type(answer).__name__:
        _silent_since = time.monotonic()
    return answer
