"""What the studio can be asked, by its page and its API alike: to show a clip, to make a video, how far it is."""

import json
from collections.abc import Iterable
from heapq import heapify, heapreplace
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import ZipFile

from torch import Tensor

from motionclone.batch.schema import as_field
from motionclone.cloning import check_condition, check_motion
from motionclone.errors import InputError, naming
from motionclone.files import read_json
from motionclone.models.mini_words import MINI_MODELS, advice
from motionclone.studio.asked import Asked, asked_from
from motionclone.studio.clips import check_clip, example_clip, is_motion, kept_name, overview
from motionclone.studio.foretelling import foretold, time_of
from motionclone.studio.making import DOWNLOADS, SCORES, Engine, download_name
from motionclone.studio.material import Material, read_material
from motionclone.studio.placeless import nameless
from motionclone.studio.scores import scored
from motionclone.studio.seen import png
from motionclone.studio.store import Entry, Store
from motionclone.studio.worker import Maker, Workers, here

_SEEN = 128  # pixels of the longer side of frames that are only looked at
ZIP = "all.zip"


class Desk:
    """A model, the folder of jobs, and the workers that make them: with this model, and others elsewhere."""

    def __init__(self, engine: Engine, folder: Path, *others: Maker) -> None:
        self.engine, self.folder = engine, folder.absolute()
        self.store = Store(folder)
        self.workers = Workers(self.store, here(engine.make), *others)
        self._scoring = Lock()

    def close(self) -> None:
        """Stop the workers after their steps, and leave the folder to others."""
        self.workers.close()
        self.store.close()

    def clip(self, upload: str | None, example: str | None) -> Path:
        """The clip that is meant: what was uploaded, or else an example. InputError if there is neither."""
        if upload:
            return Path(upload)
        if example:
            examples = self.folder / "examples"
            with nameless(examples / str(example)):
                return example_clip(examples, example)
        raise InputError("there is no clip yet; drop one, or choose an example.")

    def whole(self, clip: Path) -> tuple[Tensor, float] | None:
        """A few frames of a whole clip, and its seconds; None of a motion file. InputError as `look`."""
        return None if is_motion(clip) else overview(clip)

    @naming(as_field)
    def look(self, clip: Path, asked: Asked, picture: Path | None = None) -> Material:
        """What would be read, in small frames. InputError for a clip that is too large, too long or none."""
        with nameless(clip, picture):
            check_clip(clip)
            settings = self.engine.settings(asked)
            found = read_material(clip, picture, asked, settings, self.engine.sizes, _SEEN)
            if found.motion is not None:
                check_motion(self.engine.pipe, found.motion, found.settings)
            return found

    def asked(self, clip: Path, **values: Any) -> Asked:
        """What is asked for, in the words of the page; see `Asked`. InputError for what cannot be."""
        return asked_from(clip=clip.name, motion=is_motion(clip), **values)

    @naming(as_field)
    def submit(self, clip: Path, asked: Asked, picture: Path | None = None) -> Entry:
        """Put a video in line; refused at once is what can be. InputError says why.

        Args:
            clip: or a motion file.
            asked: of the video.
            picture: that it follows, of the kind that `asked` tells.
        """
        seen = self.look(clip, asked, picture)
        check_condition(self.engine.following(asked.follows), seen.condition, seen.settings)
        poster = png(seen.frames[len(seen.frames) // 2])
        return self.workers.submit(asked, clip, kept_name(clip), self.engine.called, poster, picture)

    def again(self, identity: str) -> Entry:
        """Put a job in line once more, as it was."""
        clip, picture = self.made_of(identity)
        return self.submit(clip, self.store.entry(identity).asked, picture)

    def made_of(self, identity: str) -> tuple[Path, Path | None]:
        """The clip, or motion file, of a job, and the picture that it follows. InputError if they are gone."""
        entry, place = self.store.entry(identity), self.store.place(identity)
        clip, picture = place / entry.reference, None if entry.picture is None else place / entry.picture
        for path in (clip, picture or clip):
            if not path.is_file():
                raise InputError(f"{path.name} of this job was taken away; drop the clip and make it anew.")
        return clip, picture

    def foretell(self, asked: Asked) -> str:
        """What the job will take, and what the model does not know of its words."""
        settings, pipe = self.engine.settings(asked), self.engine.pipe
        told = foretold(settings, asked, self.engine.choice, pipe._execution_device, self._times([asked])[0])
        words = advice(self.engine.called, [asked.prompt]) if self.engine.called in MINI_MODELS else None
        return f"{told[0].upper()}{told[1:]} {words[0].upper() + words[1:] if words else ''}".strip()

    def told(self, identity: str) -> dict[str, Any]:
        """How a job stands, plain JSON values."""
        entry, progress = self.store.entry(identity), self.workers.progress(identity)
        found: dict[str, Any] = {"id": entry.id, "state": entry.state, "sentence": entry.sentence}
        found |= {"prompt": entry.asked.prompt, "chosen": entry.chosen}
        if entry.state == "waiting":
            ahead, seconds = self.wait_of(identity)
            found |= {"ahead": ahead, "seconds_ahead": seconds}
        if entry.state == "running" and progress is not None:
            found |= {"part": progress.part, "step": progress.step, "steps": progress.steps}
            found |= {"energies": list(progress.energies), "seconds_left": progress.left}
        return found | ({"seconds": entry.seconds} if entry.state == "done" else {})

    def wait_of(self, identity: str) -> tuple[int, float | None]:
        """How many jobs are begun before one that waits, and in about how many seconds it is, if that is known."""
        before = self.workers.before(identity)
        takes = self._times([entry.asked for entry in before])
        free, waiting = list[float](), list[float]()  # when each worker is free; what those take that wait for them
        for entry, seconds in zip(before, takes, strict=True):
            if seconds is None:
                return len(before), None
            progress = self.workers.progress(entry.id)
            if progress is None:
                waiting.append(seconds)
            else:
                done = (progress.made + progress.step / max(progress.steps, 1)) / entry.asked.videos
                free.append(seconds * (1 - done))
        free += [0.0] * max(self.workers.size - len(free), not free)
        heapify(free)
        for seconds in waiting:
            heapreplace(free, free[0] + seconds)
        return len(before), round(free[0], 1)

    def _times(self, jobs: Iterable[Asked]) -> list[float | None]:
        """Seconds that jobs take, as far as that is known by those of this model."""
        made = [entry for entry in self.store.entries() if entry.model == self.engine.called]
        return [time_of(asked, made, self.engine.frames) for asked in jobs]

    def results(self, identity: str) -> dict[str, Path]:
        """Files of a finished job by what they are: video, record, and as far as there are motion, comparison and more.

        Raises:
            InputError: if it is not finished, or somebody took its files away.
        """
        entry, place = self.store.entry(identity), self.store.place(identity)
        if entry.state != "done":
            raise InputError(f"this video is not made: it is {entry.state}; ask for its state until it is done.")
        there = {what: place / name for what, name in DOWNLOADS.items()}
        found = {what: path for what, path in there.items() if path.is_file()}
        for what in ("video", "record"):
            if what not in found:
                raise InputError(f"{there[what].name} of this job was taken away; make it again, or delete it.")
        return found

    def zip_of(self, identity: str) -> Path:
        """A zip of all files of a finished job, made anew, whole and kept with it. InputError if it is not finished."""
        found, asked = self.results(identity), self.store.entry(identity).asked

        def write(new: Path) -> None:
            with ZipFile(new, "w") as archive:  # what is in it is small, or compressed already
                for what, path in found.items():
                    archive.write(path, download_name(asked, what))

        return self.store.keep(identity, ZIP, write)

    def scores_of(self, identity: str) -> dict[str, Any]:
        """What `motionclone score` says of a finished job's video and of its unguided twin; kept with the job.

        Returns:
            `scores`, `ceiling` (the reference, re-encoded) and, if there is a twin, `unguided`, each by the names of
            metrics, None for what says nothing; and a `note`, or "".

        Raises:
            InputError: if it is not finished, is a sheet, or cannot be measured.
        """
        found, entry = self.results(identity), self.store.entry(identity)
        if entry.asked.strengths:
            raise InputError("a sheet has no scores; make the video of it that you like, and ask for those of that.")
        with self._scoring:  # one at a time, as it takes the processor
            if "scores" not in found:
                try:
                    with nameless(found["video"]):
                        measured = scored(found["video"], found.get("unguided"))
                    told = json.dumps(measured, indent=2) + "\n"
                except InputError as error:
                    if not entry.asked.motion:
                        raise
                    raise InputError(
                        "the clip that this motion was read from is not here, so there is nothing to compare with; "
                        "make the video of the clip, and ask for the scores of that."
                    ) from error
                found["scores"] = self.store.keep(identity, SCORES, lambda new: _written(new, told))
            return dict(read_json(found["scores"], "the scores of a video"))

    def star(self, identity: str, on: bool) -> Entry:
        """Mark a job as one of the best, or take that back. InputError if there is none, or no more."""
        self.store.place(identity)
        return self.store.change(identity, chosen=bool(on))


def _written(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
