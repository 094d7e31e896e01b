"""What the page's controls get for an answer: parts of the page, in which also stands what is refused."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from motionclone.errors import InputError
from motionclone.models.mini_words import MINI_MODELS
from motionclone.studio import editing, panels, showing
from motionclone.studio.desk import Desk
from motionclone.studio.making import Engine
from motionclone.studio.seen import addresses
from motionclone.studio.store import OVER, PREVIEW, Entry

_ASK = ("prompt", "start", "end", "strength", "steps", "seed", "unguided", "crop", "flip", "fps", "frames", "image",
        "sketch")  # fmt: skip
_PART = ("start", "end", "crop", "flip", "fps", "frames")


class Answers:
    """Of a desk. Controls are given as the page has them: an upload, an example, and the values named in `_ASK`."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._looks: dict[str, object] = {}
        self._own = desk.engine.frames
        self.tries = showing.TRIES if desk.engine.called in MINI_MODELS else showing.OTHER_TRIES

    def edit(self, upload: str | None, example: str | None, *part: Any) -> str:
        """A clip of one's own as a whole, with handles; nothing where there is nothing to choose."""
        if not upload:
            return ""
        try:
            clip = self.desk.clip(upload, example)
            sampling = self.desk.engine.base.sampling
            return editing.editor(self.desk.whole(clip), sampling.width / sampling.height, *part)
        except InputError:  # `look` tells
            return ""

    def look(self, page: str, upload: str | None, example: str | None, *part: Any) -> Iterator[str]:
        """The frames that will be read; then also, where that is quick, where motion is seen in them.

        Nothing more comes once the same `page` looks again, so that what is slow never takes the place of what is new.
        """
        self._looks[page] = this = object()
        try:
            for shown in self._looked(upload, example, *part):
                if self._looks.get(page) is not this:
                    return
                yield shown
        finally:
            if self._looks.get(page) is this:
                del self._looks[page]

    def _looked(self, upload: str | None, example: str | None, *part: Any) -> Iterator[str]:
        try:
            clip = self.desk.clip(upload, example)
            asked = self.desk.asked(clip, prompt="-", steps=1, **_plain(dict(zip(_PART, part, strict=True)), self._own))
            found = self.desk.look(clip, asked)
            frames = addresses(found.frames)
            if found.motion is not None:
                yield editing.of_motion(found.motion, frames, found.fps)
                return
            yield editing.strip(frames, [], found.notices, found.fps)
            heat = self.desk.engine.heat(found)
            if heat is not None:
                yield editing.strip(frames, addresses(heat), found.notices, found.fps)
        except InputError as error:
            yield panels.refusal(str(error))

    def foretell(self, upload: str | None, example: str | None, *values: Any) -> str:
        """What a job would take; nothing for one that would be refused, which is told when it is asked for."""
        try:
            clip = self.desk.clip(upload, example)
            return panels.note(self.desk.foretell(self.desk.asked(clip, **asked_by(values, self.desk.engine)[0])))
        except InputError:
            return ""

    def submit(self, upload: str | None, example: str | None, *values: Any) -> tuple[Any, str]:
        """The new job's id, for the page to show; or why there is none."""
        return _new(lambda: put_in_line(self.desk, upload, example, *values))

    def submit_sheet(
        self, strengths: str, seeds: str, upload: str | None, example: str | None, *values: Any
    ) -> tuple[Any, str]:
        """As `submit`, for a sheet of all these strengths with all these seeds."""
        sheet = (strengths or " ", seeds or " ")
        return _new(lambda: put_in_line(self.desk, upload, example, *values, sheet=sheet))

    def attempt(self, number: int) -> list[Any]:
        """What is asked for by one of the examples of the empty page, for the controls."""
        import gradio as gr

        example, words = self.tries[number]
        values = {"prompt": words, "start": 0, "end": 0, "crop": None, "flip": False, "fps": 0}
        values |= {"image": None, "sketch": None}
        return [None, example, *(values.get(name, gr.skip()) for name in _ASK)]

    def again(self, identity: str) -> tuple[Any, str]:
        """As `submit`, for the same once more."""
        return _new(lambda: self.desk.again(identity))

    def stop(self, identity: str) -> str:
        """Nothing; or why a job cannot be cancelled."""
        try:
            self.desk.workers.cancel(identity)
        except InputError as error:
            return panels.refusal(str(error))
        return ""

    def choose(self, identity: str) -> str:
        """Make a job a winner, or none any more; nothing to say, or why that cannot be."""
        try:
            self.desk.star(identity, not self.desk.store.entry(identity).chosen)
        except InputError as error:
            return panels.refusal(str(error))
        return ""

    def archive(self, identity: str) -> tuple[Any, str]:
        """Where all files of a job lie in one; or why there is none."""
        try:
            path = self.desk.zip_of(identity)
        except InputError as error:
            return None, panels.refusal(str(error))
        return {"url": panels.address(path)}, ""

    def scores(self, identity: str) -> str:
        """What is measured of a job's video; or why it cannot be."""
        try:
            return showing.scores(self.desk.scores_of(identity))
        except InputError as error:
            return panels.refusal(str(error))

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
        """A job's own clip and settings, for the controls; then a sheet's strengths and seeds.

        What the page has no controls for is told.
        """
        import gradio as gr

        try:
            entry, (clip, picture) = self.desk.store.entry(identity), self.desk.made_of(identity)
        except InputError as error:  # such as that it was deleted on another page
            gr.Warning(escape(panels.sentence(str(error))))
            return [gr.skip()] * (4 + len(_ASK))
        values = entry.asked.model_dump()
        if picture is not None and entry.asked.follows is not None:
            values[entry.asked.follows] = str(picture)
        more = dict(entry.asked.more)
        values |= {"end": values["end"] or 0, "fps": values["fps"] or 0, "frames": more.pop("frames", self._own)}
        values |= {"crop": values["crop"] and list(values["crop"]), "seed": str(values["seed"])}
        sheet = (
            ", ".join(str(each).removesuffix(".0") for each in values[name]) or gr.skip()
            for name in ("strengths", "seeds")
        )
        given = entry.asked.model_dump(include={"fit"}, exclude_defaults=True) | more
        if given:
            told = ", ".join(f"{name} {value}" for name, value in given.items())
            gr.Info(f"A program gave {escape(told)}, which the page has no controls for; Make again keeps that.")
        return [str(clip), None, *(values[name] for name in _ASK), *sheet]

    def tick(self, identity: str, before: tuple[Any, ...]) -> list[Any]:
        """State, cancel button, result, its buttons, scores, history, news for who listens, and what all that shows.

        What is as `before` stays.
        """
        import gradio as gr

        desk, entries = self.desk, self.desk.store.entries()
        entry = next((each for each in entries if each.id == identity), None)
        progress = desk.workers.progress(identity) if entry else None
        ahead, wait = desk.wait_of(identity) if entry and entry.state == "waiting" else (0, None)
        now = (
            (identity, entry and entry.state),
            (progress, ahead, wait and round(wait)),
            (identity, hash(tuple((each.id, each.state, each.chosen) for each in entries))),
        )
        other, further, more = (was != present for was, present in zip(before or (None,) * 3, now, strict=True))
        over = entry is not None and entry.state in OVER
        places = [desk.store.jobs / each.id for each in entries]
        seen = "" if progress is None or entry is None else _preview(desk.store.jobs / entry.id, progress.step)
        shown = panels.status(entry, progress, ahead, wait, seen) if entry else panels.empty(self.tries)
        return [
            shown if other or further else gr.skip(),
            gr.update(visible=entry is not None and not over) if other else gr.skip(),
            self._result(entry) if other else gr.skip(),
            gr.update(visible=over) if other else gr.skip(),
            "" if other else gr.skip(),
            panels.history(entries, places, identity, desk.store.unreadable) if more else gr.skip(),
            panels.news(entry, progress) if other or further else gr.skip(),
            now if other or further or more else gr.skip(),
        ]

    def _result(self, entry: Entry | None) -> str:
        if entry is None or entry.state != "done":
            return ""
        try:
            self.desk.results(entry.id)
            return showing.result(entry, self.desk.store.place(entry.id))
        except InputError as error:  # somebody took files away
            return panels.refusal(str(error))


def _new(put: Callable[[], Entry]) -> tuple[Any, str]:
    """Id of a job that is put in line, and nothing to say; or why there is none."""
    import gradio as gr

    try:
        return put().id, ""
    except InputError as error:
        return gr.skip(), panels.refusal(str(error))


def _preview(place: Path, step: int) -> str:
    """Address of the picture of where a job is heading; "" if there is none."""
    path = place / PREVIEW
    return f"{panels.address(path)}?{step}" if path.is_file() else ""


def put_in_line(
    desk: Desk, upload: str | None, example: str | None, *values: Any, sheet: tuple[str, str] = ("", "")
) -> Entry:
    """A new job of what the controls say, or of a `sheet` of strengths and seeds. InputError if it is refused."""
    clip = desk.clip(upload, example)
    named, picture = asked_by(values, desk.engine)
    if any(sheet):
        named |= {"strengths": _numbers(sheet[0], "0.5, 1, 2"), "seeds": _numbers(sheet[1], "0, 1"), "unguided": False}
    return desk.submit(clip, desk.asked(clip, **named), picture)


def asked_by(values: Sequence[Any], engine: Engine) -> tuple[dict[str, Any], Path | None]:
    """Values of controls as `Asked` takes them, and where the picture lies; what is empty is as the model has it."""
    named = dict(zip(_ASK, values, strict=True))
    given = named["image"] or named["sketch"]
    called = {name: named[name] and Path(named[name]).name for name in ("image", "sketch")}
    named["strength"] = 1.0 if named["strength"] is None else named["strength"]
    named["steps"] = engine.base.sampling.steps if named["steps"] is None else named["steps"]
    return _plain({**named, **called, "seed": named["seed"] or 0}, engine.frames), Path(given) if given else None


def _plain(named: dict[str, Any], own: int) -> dict[str, Any]:
    """Likewise, of a part of a clip: an empty control is a plain one, the end 0 the clip's own, the rate 0 none."""
    frames = own if named["frames"] is None else named["frames"]
    del named["frames"]
    empty = {name: named[name] or None for name in ("end", "crop", "fps")}
    return {**named, **empty, "start": named["start"] or 0.0, "more": {} if frames == own else {"frames": frames}}


def _numbers(text: str, example: str) -> tuple[str, ...]:
    """Numbers with commas between, which `Asked` checks. InputError if there are none."""
    found = tuple(each.strip() for each in text.split(",") if each.strip())
    if not found:
        raise InputError(
            f"a sheet has strengths and seeds, numbers with commas between; write some, such as {example}."
        )
    return found
