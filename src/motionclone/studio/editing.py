"""The parts of the page that show what is read: the whole clip with handles, and the frames that are taken, as HTML."""

from collections.abc import Iterable, Sequence
from html import escape

from torch import Tensor

from motionclone.motion import Motion
from motionclone.studio.clips import CAMERA_MOVES, OBJECT_PATHS
from motionclone.studio.icons import icon
from motionclone.studio.panels import note, sentence
from motionclone.studio.seen import addresses

_PARTS = 200  # of a clip's time, between which its handles stand
_KEYS = "Arrow keys move it, plus and minus change its size, Escape takes the whole picture."


def ready_motions(chosen: str) -> str:
    """The ready motions to choose from, each with a drawing of it; one is chosen at first."""
    groups = {"The object moves": OBJECT_PATHS, "The camera moves": CAMERA_MOVES}
    return "".join(
        f'<fieldset class="mc-ready"><legend>{title}</legend>'
        f"{''.join(_choice(*each, chosen) for each in motions.items())}</fieldset>"
        for title, motions in groups.items()
    )


def _choice(name: str, motion: str, chosen: str) -> str:
    short = name.removeprefix("Camera ")
    return (
        f'<label title="{name}"><input type="radio" name="mc-ready" value="{name}" aria-label="{name}"'
        f"{' checked' * (name == chosen)}>{icon(motion)}"
        f"<span>{short[:1].upper()}{short[1:]}</span></label>"
    )


def editor(
    whole: tuple[Tensor, float] | None, aspect: float, start: float | None, end: float | None,
    crop: Sequence[float] | None,
) -> str:  # fmt: skip
    """A clip as a whole, with two handles in its time and a box in its picture; nothing for a motion file.

    Args:
        whole: some frames, (f, 3, h, w) in [-1, 1], and the seconds from the first to the last.
        aspect: width over height of what the model makes, which the box keeps.
        start: seconds; nothing is the clip's own.
        end: likewise.
        crop: left, top, right and bottom, in [0, 1]; nothing is the whole picture.
    """
    if whole is None:
        return ""
    frames, seconds = whole
    pictures = addresses(frames)
    thumbs = "".join(f'<img src="{picture}" alt="">' for picture in pictures)
    height, width = frames.shape[-2:]
    box = ",".join(f"{share:g}" for share in crop or (0, 0, 1, 1))
    first, last = (round(_PARTS * min(at, seconds) / seconds) for at in (start or 0, end or seconds))
    handle = f'type="range" min="0" max="{_PARTS}"'
    return (
        f'<div class="mc-edit" data-seconds="{seconds:.6f}" data-aspect="{aspect * height / width:.4f}" '
        f'data-box="{box}">'
        f'<p class="mc-title">Which part of it</p>'
        f'<div class="mc-whole"><img src="{pictures[len(pictures) // 2]}" alt="A frame of the whole clip" '
        'draggable="false"><button type="button" class="mc-box" '
        f'aria-label="Part of the picture that is read. {_KEYS}" title="Drag over the picture. {_KEYS}"></button></div>'
        f'<div class="mc-trim" role="group" aria-label="Part of the clip"><div class="mc-thumbs">{thumbs}</div>'
        f'<input {handle} value="{first}" class="mc-from" aria-label="Start">'
        f'<input {handle} value="{last}" class="mc-to" aria-label="End"></div>'
        '<p class="mc-note mc-said"></p></div>'
    )


def easel(width: int, height: int) -> str:
    """A place to draw the lines of a first frame, over the one of the clip.

    Args:
        width: in pixels, of the video.
        height: likewise; only their proportion counts.
    """
    buttons = {"undo": "Undo", "clear": "Clear", "take": "Start from this drawing"}
    controls = "".join(f'<button type="button" data-draw="{does}">{said}</button>' for does, said in buttons.items())
    return (
        '<p class="mc-title">Or draw it here, over the first frame of the clip</p><div class="mc-easel"><canvas '
        f'width="384" height="{round(384 * height / width)}" role="img" '
        'aria-label="Your drawing, with the mouse, a pen or a finger"></canvas></div>'
        f'<div class="mc-film-controls">{controls}</div>'
    )


def strip(frames: Sequence[str], heat: Sequence[str], notices: Iterable[str], fps: float) -> str:
    """The frames that will be read: one after the other, in motion, and with where motion is seen in them.

    Args:
        frames: addresses of their pictures.
        heat: likewise, of the heat map over each; none where it is not known.
        notices: what was done to the clip.
        fps: frames a second.
    """
    title = f"The {len(frames)} frames that will be read"
    told = "".join(note(sentence(each)) for each in notices)
    switch = (
        '<label class="mc-switch"><input type="checkbox" data-film="heat" checked> Where motion is seen</label>'
        if heat
        else ""
    )
    return _film(title, frames, heat, fps, switch) + told


def of_motion(motion: Motion, heat: Sequence[str], fps: float) -> str:
    """What a motion file is of, and where it sees motion."""
    record = motion.record
    whose = f" of {record.source.name[:80]}" if record.source.name else ""
    told = f"A motion file{whose}: {motion.video_frames} frames; it is taken as it is."
    return _film("Where this motion is seen", heat, (), fps, "") + note(told)


def _film(title: str, frames: Sequence[str], heat: Sequence[str], fps: float, switch: str) -> str:
    pictures = "".join(
        f'<img src="{frame}"{f" data-heat={chr(34)}{heat[at]}{chr(34)}" if heat else ""} '
        f'alt="frame {at + 1} of {len(frames)}">'
        for at, frame in enumerate(frames)
    )
    return (
        f'<p class="mc-title">{escape(title)}</p><div class="mc-film" data-fps="{fps:g}"><div class="mc-stage">'
        f'<img src="{frames[0]}" alt="The frames in motion"></div><div class="mc-strip" tabindex="0" role="group" '
        f'aria-label="{escape(title)}">{pictures}</div><div class="mc-film-controls"><button type="button" '
        f'data-film="play">Pause</button>{switch}</div></div>'
    )
