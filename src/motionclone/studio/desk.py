"""What the studio can be asked, by its page and its API alike: to show a clip, to make a video, how far it is."""

from pathlib import Path
from typing import Any

from torch import Tensor

from motionclone.cloning import check_motion
from motionclone.errors import InputError
from motionclone.models.mini_words import MINI_MODELS, advice
from motionclone.studio.asked import Asked, asked_from
from motionclone.studio.clips import check_clip, example_clip, is_motion, kept_name, overview
from motionclone.studio.foretelling import foretold
from motionclone.studio.making import COMPARISON, MOTION, RECORD, VIDEO, Engine
from motionclone.studio.material import Material, nameless, read_material
from motionclone.studio.seen import png
from motionclone.studio.store import Entry, Store
from motionclone.studio.worker import Worker

_SEEN = 128  # pixels of the longer side of frames that are only looked at
DOWNLOADS = {"video": VIDEO, "record": RECORD, "motion": MOTION, "comparison": COMPARISON}


class Desk:
    """A model, the folder of jobs, and the worker that makes them."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder.absolute()
        self.store = Store(folder)
        self.worker = Worker(self.store, engine.make)

    def close(self) -> None:
        """Stop the worker after its step, and leave the folder to others."""
        self.worker.close()
        self.store.close()

    def clip(self, upload: str | None, example: str | None) -> Path:
        """The clip that is meant: what was uploaded, or else an example. InputError if there is neither."""
        if upload:
            return Path(upload)
        if example:
            return example_clip(self.folder / "examples", example)
        raise InputError("there is no clip yet; drop one, or choose an example.")

    def whole(self, clip: Path) -> tuple[Tensor, float] | None:
        """A few frames of a whole clip, and its seconds; None of a motion file. InputError as `look`."""
        return None if is_motion(clip) else overview(clip)

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

    def submit(self, clip: Path, asked: Asked, picture: Path | None = None) -> Entry:
        """Put a video in line; refused at once is what can be. InputError says why.

        Args:
            clip: or a motion file.
            asked: of the video.
            picture: that it follows, of the kind that `asked` tells.
        """
        seen = self.look(clip, asked, picture)
        self.engine.following(asked.follows)
        poster = png(seen.frames[len(seen.frames) // 2])
        return self.worker.submit(asked, clip, kept_name(clip), self.engine.called, poster, picture)

    def again(self, identity: str) -> Entry:
        """Put a job in line once more, as it was."""
        entry, place = self.store.entry(identity), self.store.place(identity)
        return self.submit(place / entry.reference, entry.asked, entry.picture and place / entry.picture)

    def foretell(self, asked: Asked) -> str:
        """What the job will take, and what the model does not know of its words."""
        before = [entry for entry in self.store.entries() if entry.model == self.engine.called]
        settings, pipe = self.engine.settings(asked), self.engine.pipe
        told = foretold(settings, asked, self.engine.choice, pipe._execution_device, before)
        words = advice(self.engine.called, [asked.prompt]) if self.engine.called in MINI_MODELS else None
        return f"{told[0].upper()}{told[1:]} {words[0].upper() + words[1:] if words else ''}".strip()

    def told(self, identity: str) -> dict[str, Any]:
        """How a job stands, plain JSON values."""
        entry, progress = self.store.entry(identity), self.worker.progress(identity)
        found: dict[str, Any] = {"id": entry.id, "state": entry.state, "sentence": entry.sentence}
        if entry.state == "waiting":
            found["ahead"] = self.worker.ahead(identity)
        if entry.state == "running" and progress is not None:
            found |= {"part": progress.part, "step": progress.step, "steps": progress.steps}
            found |= {"energies": list(progress.energies), "seconds_left": progress.left}
        return found | ({"seconds": entry.seconds} if entry.state == "done" else {})

    def results(self, identity: str) -> list[str]:
        """Paths of a finished job's video, record, motion and comparison. InputError if it is not finished."""
        entry, place = self.store.entry(identity), self.store.place(identity)
        if entry.state != "done":
            raise InputError(f"this video is not made: it is {entry.state}; ask for its state until it is done.")
        return [str(place / name) for name in DOWNLOADS.values()]
