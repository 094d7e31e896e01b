"""What is cloned: held-out clips of the world, whose motion is exactly known, or anybody's clips."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from motionclone.errors import InputError
from motionclone.lab.measured import Measured
from motionclone.lab.world import Scene, Split, held_out_cases
from motionclone.media.reading import read_clip
from motionclone.settings import Sampling

Kind = Literal["object", "camera", "both", "real"]
CLIP_SUFFIXES = (".mp4", ".webm", ".gif", ".mov", ".mkv", ".avi")


@dataclass(frozen=True)
class Case:
    """A reference and words for the new video.

    Attributes:
        name: unique; also the name of its videos.
        motion: name of the motion; cases of one motion are never each other's unrelated reference.
        kind: what moves; "real" if nothing is known of it.
        prompt: what the new video shows.
        seen: caption or file name of the reference.
        source: the scene of the reference, or the clip's file.
        wanted: the scene that the prompt describes, if it is one.
    """

    name: str
    motion: str
    kind: Kind
    prompt: str
    seen: str
    source: Scene | Path
    wanted: Scene | None

    def reference(self, sampling: Sampling) -> Measured:
        """Draw or read the reference at the size of the generation; of a scene the motion is known."""
        if isinstance(self.source, Scene):
            truth = self.source.truth(sampling.height)
            return Measured(self.source.render(sampling.height), self.source, truth.path, truth.flow)
        return Measured(read_clip(self.source, sampling.num_frames, sampling.height, sampling.width).frames)


def world_cases(split: Split, count: int, sampling: Sampling) -> list[Case]:
    """Held-out cases of the world."""
    return [
        Case(c.name, c.motion, c.kind, c.wanted.caption, c.reference.caption, c.reference, c.wanted)
        for c in held_out_cases(split, count, sampling.num_frames)
    ]


def clip_cases(folder: Path, split: Split, count: int, sampling: Sampling) -> list[Case]:
    """Clips of a folder in turn, with the words of held-out cases in which the camera moves.

    Raises:
        InputError: if there are no clips.
    """
    clips = sorted(path for path in folder.glob("*") if path.suffix.lower() in CLIP_SUFFIXES)
    if not clips:
        raise InputError(f"there are no clips ({', '.join(CLIP_SUFFIXES)}) in {folder}; give a folder that has some.")
    words = [c.wanted for c in held_out_cases(split, 16 * count, sampling.num_frames) if c.kind == "camera"]
    return [
        Case(f"{clip.stem}-{i // len(clips)}", clip.stem, "real", wanted.caption, clip.name, clip, wanted)
        for i, wanted in enumerate(words[: max(count, len(clips))])
        for clip in (clips[i % len(clips)],)
    ]
