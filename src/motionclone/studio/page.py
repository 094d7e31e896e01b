"""The page: what is asked for on the left, what becomes of it on the right, all that was made below. And its API."""

from collections.abc import Iterator
from typing import Any

from motionclone.models.mini_words import MINI_MODELS
from motionclone.studio import editing, panels
from motionclone.studio.answers import Answers
from motionclone.studio.api import add_api
from motionclone.studio.asked import MOST_STEPS, MOST_STRENGTH
from motionclone.studio.clips import READY
from motionclone.studio.desk import Desk
from motionclone.studio.store import UPLOADS

# Events of parts that are HTML; page.js keeps what they are about.
_READY = 'element.addEventListener("change", () => trigger("pick"));'
_EDIT = 'element.addEventListener("mc-part", () => trigger("part"));'
_DRAW = """element.addEventListener("mc-drawn", async (event) => {
  const {path, url} = await upload(event.detail);
  motionclone.keep(path, url, event.detail);
  trigger("drawn");
});"""
_TRY = """element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-try]");
  if (button) trigger("attempt", {number: Number(button.dataset.try)});
});"""
_CARDS = """element.addEventListener("click", (event) => {
  const [card, star] = ["[data-job]", "[data-star]"].map((each) => event.target.closest(each));
  if (card) trigger("show", {job: card.dataset.job});
  if (star) trigger("star", {job: star.dataset.star});
});"""
_SURE = "(id) => [id && confirm('Delete this video, its record and its motion from the disk?') ? id : '']"
_MODEL = (
    "**{}**, {} frames of {} x {} pixels. Everything stays on the machine that serves this page; videos carry a note "
    "that they are AI-generated."
)


def page(desk: Desk) -> Any:
    """The studio's page over a desk, `gradio.Blocks`."""
    import gradio as gr

    answers, base, called = Answers(desk), desk.engine.base, desk.engine.called
    follows, counts = desk.engine.follows, desk.engine.counts
    with gr.Blocks(title="motionclone studio", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        add_api(desk, desk.folder / UPLOADS)  # first, so that these names are theirs
        size = base.sampling
        gr.HTML(
            "<h1>motionclone studio</h1><p>The motion of a clip, in a new video of your own words.</p>",
            elem_id="mc-head",
        )
        with gr.Row(elem_id="mc-columns"):
            with gr.Column(scale=5, min_width=320, elem_id="mc-ask"):
                gr.HTML('<h2 class="mc-part"><span>1</span> The motion</h2>')
                clip = gr.File(label="Your clip, or a motion file", type="filepath", height=140, elem_id="mc-clip")
                with gr.Accordion("Or a ready motion", open=True) as readies:
                    ready = gr.HTML(editing.ready_motions(next(iter(READY))), js_on_load=_READY)
                example = gr.Dropdown(list(READY), value=next(iter(READY)), label="Ready motion", visible=False)
                editor = gr.HTML(js_on_load=_EDIT)
                flip = gr.Checkbox(False, label="Mirror it")
                crop = gr.JSON(visible=False, label="Left, top, right and bottom of the part that is read, 0 to 1")
                seen = gr.HTML(elem_id="mc-seen")
                gr.HTML('<h2 class="mc-part"><span>2</span> The new video</h2>')
                words = answers.tries[0][1] if called in MINI_MODELS else ""
                prompt = gr.Textbox(
                    words,
                    label="What it shows",
                    placeholder="a pig walks in the forest",
                    lines=1,
                    max_lines=5,
                    max_length=2000,
                )
                strength = gr.Slider(0, MOST_STRENGTH, 1.0, step=0.05, label="Strength of the motion")
                unguided = gr.Checkbox(False, label="Make it without guidance, too, to compare")
                with gr.Accordion("Start from a picture", open=False, visible=bool(follows)):
                    with gr.Row(elem_id="mc-pictures"):
                        image = gr.File(label="Its first frame", height=132, visible="image" in follows)
                        sketch = gr.File(label="Or a line drawing of it", height=132, visible="sketch" in follows)
                    easel = gr.HTML(
                        editing.easel(size.width, size.height), visible="sketch" in follows, js_on_load=_DRAW
                    )
                with gr.Accordion("More settings", open=False):
                    with gr.Row():
                        start = gr.Number(0, label="Start in the clip (s)", minimum=0, step=0.1, min_width=120)
                        end = gr.Number(0, label="End (s; 0: its end)", minimum=0, step=0.1, min_width=120)
                    with gr.Row():
                        fps = gr.Number(0, label="Frames/s (0: even)", minimum=0, step=1, min_width=120)
                        frames = gr.Slider(
                            counts[0],
                            counts[-1],
                            desk.engine.frames,
                            step=counts[-1] - counts[-2] if len(counts) > 1 else 1,
                            label="Frames",
                            visible=len(counts) > 1,
                            min_width=120,
                        )
                    with gr.Row():
                        steps = gr.Slider(1, MOST_STEPS, size.steps, step=1, label="Steps", min_width=120)
                        seed = gr.Textbox("0", label="Seed", max_length=20, min_width=120)
                with gr.Accordion("A sheet of strengths and seeds", open=False):
                    with gr.Row():
                        strengths = gr.Textbox("0.5, 1, 2", label="Strengths", max_length=100, min_width=120)
                        seeds = gr.Textbox("0, 1", label="Seeds", max_length=200, min_width=120)
                    sheet = gr.Button("Make the sheet", size="md")
                with gr.Column(elem_id="mc-go"):
                    told = gr.HTML()
                    make = gr.Button("Make the video", variant="primary", size="lg")
                    refused = gr.HTML()
            with gr.Column(scale=6, min_width=320, elem_id="mc-made"):
                heard = gr.HTML()
                state = gr.HTML(panels.empty(answers.tries), js_on_load=_TRY, elem_id="mc-state")
                cancel = gr.Button("Cancel", size="md", visible=False)
                result = gr.HTML()
                with gr.Row(visible=False) as after:
                    again = gr.Button("Make again", size="md", min_width=90)
                    reuse = gr.Button("Edit", size="md", min_width=90)
                    measure = gr.Button("Scores", size="md", min_width=90)
                    zipped = gr.Button("Zip", size="md", min_width=90)
                    delete = gr.Button("Delete", size="md", min_width=90)
                parcel, scored = gr.JSON(visible=False), gr.HTML()
        gr.HTML(
            '<div class="mc-past"><h2>History</h2><label class="mc-switch"><input type="checkbox" id="mc-only"> '
            "Winners only</label></div>"
        )
        history = gr.HTML(js_on_load=_CARDS)
        gr.Markdown(_MODEL.format(called, size.num_frames, size.width, size.height), elem_classes="mc-note")
        current = gr.BrowserState("", storage_key="motionclone-studio-job", secret="a job's name is no secret")
        shown, clock = gr.State(()), gr.Timer(1.0)

        numbers: tuple[Any, ...] = (strength, start, end, fps, frames, steps)
        for number in numbers:  # judged with all else, in a sentence and in place; Gradio would show errors of its own
            number.preprocess = lambda given: given

        # As `Answers` takes them.
        asking = [clip, example, prompt, start, end, strength, steps, seed, unguided, crop, flip, fps, frames]
        asking += [image, sketch]
        part = [start, end, crop, flip, fps]

        def chosen(event: gr.EventData) -> str:
            return str(event.job)

        def starred(event: gr.EventData) -> str:
            return answers.choose(str(event.job))

        def attempted(event: gr.EventData) -> list[Any]:
            return answers.attempt(int(event.number))

        def look(
            clip: Any, example: Any, start: Any, end: Any, crop: Any, flip: Any, fps: Any, frames: Any,
            request: gr.Request,
        ) -> Iterator[Any]:  # fmt: skip
            yield gr.skip()
            yield from answers.look(str(request.session_hash), clip, example, start, end, crop, flip, fps, frames)

        quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        last: dict[str, Any] = {**quick, "trigger_mode": "always_last"}
        ticking = ([current, shown], [state, cancel, result, after, scored, history, heard, shown])
        looking = ([clip, example, *part, frames], seen)

        def show_clip(event: Any) -> None:
            """After another clip is meant."""
            event.then(answers.edit, [clip, example, start, end, crop], editor, **quick)
            event.then(lambda: "", None, refused, **quick)
            event.then(look, *looking, **last).then(answers.foretell, asking, told, **last)

        def show_job(event: Any) -> None:
            """After another job is meant."""
            event.then(answers.tick, *ticking, **quick)

        whole = [0, 0, None, False, 0]
        show_clip(
            clip.upload(lambda: [None, *whole, gr.Accordion(open=False)], None, [example, *part, readies], **quick)
        )
        show_clip(
            clip.clear(
                lambda: [next(iter(READY)), *whole, gr.Accordion(open=True)], None, [example, *part, readies], **quick
            )
        )
        show_clip(ready.pick(None, None, [clip, example, *part], js="() => motionclone.picked()", **quick))
        example.change(None, example, None, js="(name) => motionclone.mark(name)", **quick)
        editor.part(None, None, [start, end, crop], js="() => motionclone.part()", **quick).then(look, *looking, **last)
        gr.on([start.input, end.input], answers.edit, [clip, example, start, end, crop], editor, **last)
        gr.on([each.input for each in (start, end, flip, fps, frames)], look, *looking, **last)
        foretelling = (prompt, strength, steps, unguided, frames)
        gr.on([each.change for each in foretelling], answers.foretell, asking, told, **last)
        made = gr.on([make.click, prompt.submit], answers.submit, asking, [current, refused], **quick)
        sheets = sheet.click(answers.submit_sheet, [strengths, seeds, *asking], [current, refused], **quick)
        for asked_for in (made, sheets):
            show_job(asked_for)
            asked_for.then(None, None, None, js="() => motionclone.reveal()", **quick)
        attempt = state.attempt(attempted, None, asking, **quick)
        show_clip(attempt)
        show_job(attempt.then(answers.submit, asking, [current, refused], **quick))
        cancel.click(answers.stop, current, refused, **quick)
        again.click(answers.again, current, [current, refused], **quick)
        show_clip(reuse.click(answers.reuse, current, [*asking, strengths, seeds], **quick))
        measure.click(lambda: panels.note("Measuring, which takes a while ..."), None, scored, **quick).then(
            answers.scores, current, scored, **quick
        )
        zipped.click(answers.archive, current, [parcel, refused], **quick).then(
            None, parcel, None, js="(parcel) => motionclone.save(parcel)", **quick
        )
        delete.click(answers.delete, current, [current, refused], js=_SURE, **quick)
        show_job(history.show(chosen, None, current, **quick))
        show_job(history.star(starred, None, refused, **quick))
        easel.drawn(None, None, sketch, js="() => motionclone.drawing()", **quick)
        clock.tick(answers.tick, *ticking, queue=False, **quick)
        blocks.load(lambda identity: answers.tick(identity, ()), current, ticking[1], **quick)
        show_clip(blocks.load(lambda: None, None, None, **quick))
    return blocks
