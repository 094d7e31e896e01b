"""What the page's controls get for an answer: parts of the page, in which also stands what is refused."""

from typing import Any

from motionclone.errors import InputError
from motionclone.studio import panels
from motionclone.studio.desk import Desk
from motionclone.studio.seen import addresses
from motionclone.studio.store import OVER, Entry

_ASK = ("prompt", "start", "end", "strength", "steps", "seed", "unguided")


class Answers:
    """Of a desk. Controls are given as the page has them: an upload, an example, and the values named in `_ASK`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def look(self, upload: str | None, example: str | None, start: float | None, end: float | None) -> str:
        """The frames that will be read."""
        try:
            clip = self.desk.clip(upload, example)
            asked = self.desk.asked(clip, prompt="-", start=start or 0.0, end=end or None, steps=1)
            found = self.desk.look(clip, asked)
        except InputError as error:
            return panels.refusal(str(error))
        return panels.strip(addresses(found.frames), found.notices)

    def foretell(self, upload: str | None, example: str | None, *values: Any) -> str:
        """What a job would take; nothing for one that would be refused, which is told when it is asked for."""
        try:
            clip = self.desk.clip(upload, example)
            return panels.note(self.desk.foretell(self.desk.asked(clip, **_named(values))))
        except InputError:
            return ""

    def submit(self, upload: str | None, example: str | None, *values: Any) -> tuple[Any, str]:
        """The new job's id, for the page to show; or why there is none."""
        import gradio as gr

        try:
            return put_in_line(self.desk, upload, example, *values).id, ""
        except InputError as error:
            return gr.skip(), panels.refusal(str(error))

    def again(self, identity: str) -> tuple[Any, str]:
        """As `submit`, for the same once more."""
        import gradio as gr

        try:
            return self.desk.again(identity).id, ""
        except InputError as error:
            return gr.skip(), panels.refusal(str(error))

    def stop(self, identity: str) -> str:
        """Nothing; or why a job cannot be cancelled."""
        try:
            self.desk.worker.cancel(identity)
        except InputError as error:
            return panels.refusal(str(error))
        return ""

    def delete(self, identity: str) -> tuple[Any, str]:
        """No job is shown from now on; or why it cannot be deleted. Without an id nobody is sure, and all stays."""
        import gradio as gr

        if not identity:
            return gr.skip(), ""
        try:
            self.desk.store.delete(identity)
        except InputError as error:
            return gr.skip(), panels.refusal(str(error))
        return "", ""

    def reuse(self, identity: str) -> list[Any]:
        """A job's own clip and settings, for the controls."""
        import gradio as gr

        try:
            entry, place = self.desk.store.entry(identity), self.desk.store.place(identity)
        except InputError:  # it was deleted on another page
            return [gr.skip()] * (2 + len(_ASK))
        values = entry.asked.model_dump()
        return [str(place / entry.reference), None, *(values[name] for name in _ASK)]

    def tick(self, identity: str, before: tuple[Any, ...]) -> list[Any]:
        """State, cancel button, result, its buttons, history, and what all that shows; what is as `before` stays."""
        import gradio as gr

        desk, entries = self.desk, self.desk.store.entries()
        entry = next((each for each in entries if each.id == identity), None)
        progress = desk.worker.progress(identity) if entry else None
        ahead = desk.worker.ahead(identity) if entry and entry.state == "waiting" else 0
        now = (
            (identity, entry and entry.state),
            (progress, ahead),
            (identity, hash(tuple((each.id, each.state) for each in entries))),
        )
        other, further, more = (was != present for was, present in zip(before or (None,) * 3, now, strict=True))
        over = entry is not None and entry.state in OVER
        places = [desk.store.jobs / each.id for each in entries]
        return [
            (panels.status(entry, progress, ahead) if entry else panels.EMPTY) if other or further else gr.skip(),
            gr.update(visible=entry is not None and not over) if other else gr.skip(),
            self._result(entry) if other else gr.skip(),
            gr.update(visible=over) if other else gr.skip(),
            panels.history(entries, places, identity, desk.store.unreadable) if more else gr.skip(),
            now if other or further or more else gr.skip(),
        ]

    def _result(self, entry: Entry | None) -> str:
        if entry is None or entry.state != "done":
            return ""
        try:
            return panels.result(entry, self.desk.store.place(entry.id))
        except InputError as error:  # somebody took files away
            return panels.refusal(str(error))


def put_in_line(desk: Desk, upload: str | None, example: str | None, *values: Any) -> Entry:
    """A new job of what the controls say. InputError if it is refused."""
    clip = desk.clip(upload, example)
    return desk.submit(clip, desk.asked(clip, **_named(values)))


def _named(values: tuple[Any, ...]) -> dict[str, Any]:
    """Values of controls by name; an empty one is a plain one, and the end 0 is the clip's own."""
    named = dict(zip(_ASK, values, strict=True))
    return named | {"start": named["start"] or 0.0, "end": named["end"] or None, "seed": named["seed"] or 0}
