"""The page: what is asked for on the left, what becomes of it on the right, all that was made below. And its API."""

from collections.abc import Callable
from typing import Any

from motionclone.errors import InputError
from motionclone.studio import panels
from motionclone.studio.api import add_api
from motionclone.studio.asked import MOST_STEPS, MOST_STRENGTH, Asked
from motionclone.studio.clips import EXAMPLES
from motionclone.studio.desk import Desk
from motionclone.studio.seen import addresses
from motionclone.studio.store import OVER

_CARDS = """element.addEventListener("click", (event) => {
  const card = event.target.closest("[data-job]");
  if (card) trigger("click", {job: card.dataset.job});
});"""
_SURE = "(id) => [id && confirm('Delete this video, its record and its motion from the disk?') ? id : '']"
_ASK = ("prompt", "start", "end", "strength", "steps", "seed", "unguided")
_MODEL = (
    "**{}**, {} frames of {} x {} pixels. Nothing leaves this machine; videos carry a note that they are AI-generated."
)


def page(desk: Desk) -> Any:
    """The studio's page over a desk, `gradio.Blocks`."""
    import gradio as gr

    base, called = desk.engine.base, desk.engine.called
    with gr.Blocks(title="motionclone studio", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        size = base.sampling
        gr.HTML(
            "<h1>motionclone studio</h1><p>The motion of a clip, in a new video of your own words.</p>",
            elem_id="mc-head",
        )
        with gr.Row(elem_id="mc-columns"):
            with gr.Column(scale=5, min_width=320, elem_id="mc-ask"):
                clip = gr.File(label="Your clip", type="filepath", height=150, elem_id="mc-clip")
                example = gr.Radio(list(EXAMPLES), value=EXAMPLES[0], label="Or an example motion")
                seen = gr.HTML()
                prompt = gr.Textbox(
                    "a red star on blue waves", label="What the new video shows", lines=2, max_length=2000
                )
                strength = gr.Slider(0, MOST_STRENGTH, 1.0, step=0.05, label="Strength of the motion")
                unguided = gr.Checkbox(False, label="Make it without guidance, too")
                with gr.Accordion("More settings", open=False):
                    with gr.Row():
                        start = gr.Number(0, label="Start in the clip (s)", minimum=0, step=0.1, min_width=120)
                        end = gr.Number(0, label="End (s; 0: its end)", minimum=0, step=0.1, min_width=120)
                    with gr.Row():
                        steps = gr.Slider(1, MOST_STEPS, size.steps, step=1, label="Steps", min_width=120)
                        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=120)
                told = gr.HTML()
                make = gr.Button("Make the video", variant="primary", size="lg")
                refused = gr.HTML()
            with gr.Column(scale=6, min_width=320):
                state = gr.HTML(panels.EMPTY, elem_id="mc-state")
                cancel = gr.Button("Cancel", size="md", visible=False)
                result = gr.HTML()
                with gr.Row(visible=False) as after:
                    again = gr.Button("Make again", size="md", min_width=90)
                    reuse = gr.Button("Edit", size="md", min_width=90)
                    delete = gr.Button("Delete", size="md", min_width=90)
        gr.HTML('<h2 class="mc-title" style="margin-top:28px">History</h2>')
        history = gr.HTML(js_on_load=_CARDS)
        gr.Markdown(_MODEL.format(called, size.num_frames, size.width, size.height), elem_classes="mc-note")
        current = gr.BrowserState("", storage_key="motionclone-studio-job", secret="a job's name is no secret")
        shown, clock = gr.State(()), gr.Timer(1.0)

        asking = [clip, example, prompt, start, end, strength, steps, seed, unguided]

        def asked_of(upload: str | None, ready: str | None, *given: Any) -> tuple[Any, Asked]:
            place = desk.clip(upload, ready)
            values = dict(zip(_ASK, given, strict=True))
            values |= {"start": values["start"] or 0.0, "end": values["end"] or None, "seed": values["seed"] or 0}
            return place, desk.asked(place, **values)

        def look(upload: str | None, ready: str | None, begin: float | None, until: float | None) -> str:
            """The frames that will be read."""
            place = desk.clip(upload, ready)
            found = desk.look(place, desk.asked(place, prompt="-", start=begin or 0.0, end=until or None, steps=1))
            return panels.strip(addresses(found.frames), found.notices)

        def foretell(*given: Any) -> str:
            return panels.note(desk.foretell(asked_of(*given)[1]))

        def submit(*given: Any) -> str:
            return desk.submit(*asked_of(*given)).id

        def stop(identity: str) -> str:
            desk.worker.cancel(identity)
            return ""

        def tick(identity: str, before: tuple[Any, ...]) -> list[Any]:
            """Everything that tells of jobs, as far as it has changed since `before`."""
            entries = desk.store.entries()
            entry = next((each for each in entries if each.id == identity), None)
            progress = desk.worker.progress(identity) if entry else None
            ahead = desk.worker.ahead(identity) if entry and entry.state == "waiting" else 0
            now = (entry and (entry.id, entry.state), progress, ahead, hash(tuple((e.id, e.state) for e in entries)))
            if now == before:
                return [gr.skip()] * 6
            over, done = entry is not None and entry.state in OVER, entry is not None and entry.state == "done"
            changed = not before or before[0] != now[0]
            places = [desk.store.jobs / each.id for each in entries]
            return [
                panels.status(entry, progress, ahead) if entry else panels.EMPTY,
                gr.update(visible=entry is not None and not over) if changed else gr.skip(),
                (panels.result(entry, desk.store.place(identity)) if entry and done else "") if changed else gr.skip(),
                gr.update(visible=over) if changed else gr.skip(),
                panels.history(entries, places, identity, desk.store.unreadable),
                now,
            ]

        def chosen(event: gr.EventData) -> str:
            return str(event.job)

        def remove(identity: str) -> Any:
            if not identity:  # not sure
                return gr.skip()
            desk.store.delete(identity)
            return ""

        def values_of(identity: str) -> list[Any]:
            """A job's own clip and settings, for the controls."""
            try:
                entry = desk.store.entry(identity)
            except InputError:  # it was deleted on another page
                return [gr.skip()] * len(asking)
            asked = entry.asked
            place = desk.store.place(identity) / entry.reference
            return [str(place), None, *(getattr(asked, name) for name in _ASK)]

        quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        ticking = ([current, shown], [state, cancel, result, after, history, shown])
        looking = ([clip, example, start, end], seen)
        for change in (clip.change, example.change, start.change, end.change):
            change(_shown(look), *looking, trigger_mode="always_last", **quick)
        for change in (prompt.change, strength.change, steps.change, unguided.change, clip.change, example.change):
            change(_shown(foretell, quiet=True), asking, told, trigger_mode="always_last", **quick)
        clip.upload(lambda: None, None, example, **quick)
        example.input(lambda: None, None, clip, **quick)
        made = make.click(_job(submit), asking, [current, refused], **quick)
        made.then(tick, *ticking, **quick)
        cancel.click(_shown(stop), current, refused, **quick)
        again.click(_job(lambda identity: desk.again(identity).id), current, [current, refused], **quick)
        reuse.click(values_of, current, asking, **quick)
        delete.click(_job(remove), current, [current, refused], js=_SURE, **quick)
        history.click(chosen, None, current, **quick).then(tick, *ticking, **quick)
        clock.tick(tick, *ticking, queue=False, **quick)
        blocks.load(lambda identity: tick(identity, ()), current, ticking[1], **quick)
        blocks.load(_shown(look), *looking, **quick)
        blocks.load(_shown(foretell, quiet=True), asking, told, **quick)
        add_api(desk, asking, submit)
    return blocks


def _shown(call: Callable[..., str], quiet: bool = False) -> Callable[..., str]:
    """What is refused is told in the place of what would be shown; or, where that is told elsewhere, nothing is."""

    def shown(*given: Any) -> str:
        try:
            return call(*given)
        except InputError as error:
            return "" if quiet else panels.refusal(str(error))

    return shown


def _job(call: Callable[..., str]) -> Callable[..., tuple[Any, str]]:
    """The job that is shown from now on; or, if it is refused, why, and the other stays."""

    def tried(*given: Any) -> tuple[Any, str]:
        import gradio as gr

        try:
            return call(*given), ""
        except InputError as error:
            return gr.skip(), panels.refusal(str(error))

    return tried
