"""The page: what is asked for on the left, what becomes of it on the right, all that was made below. And its API."""

from typing import Any

from motionclone.models.mini_words import MINI_MODELS
from motionclone.studio import panels
from motionclone.studio.answers import Answers
from motionclone.studio.api import add_api
from motionclone.studio.asked import MOST_STEPS, MOST_STRENGTH
from motionclone.studio.clips import EXAMPLES
from motionclone.studio.desk import Desk
from motionclone.studio.store import UPLOADS

_CARDS = """element.addEventListener("click", (event) => {
  const card = event.target.closest("[data-job]");
  if (card) trigger("click", {job: card.dataset.job});
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
                words = "a red star on blue waves" if called in MINI_MODELS else ""
                prompt = gr.Textbox(
                    words,
                    label="What the new video shows",
                    placeholder="a pig walks in the forest",
                    lines=2,
                    max_length=2000,
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

        asking = [clip, example, prompt, start, end, strength, steps, seed, unguided]  # as `Answers` takes them

        def chosen(event: gr.EventData) -> str:
            return str(event.job)

        quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        ticking = ([current, shown], [state, cancel, result, after, history, shown])
        looking = ([clip, example, start, end], seen)
        for change in (clip.change, example.change, start.change, end.change):
            change(answers.look, *looking, trigger_mode="always_last", **quick)
        for change in (prompt.change, strength.change, steps.change, unguided.change, clip.change, example.change):
            change(answers.foretell, asking, told, trigger_mode="always_last", **quick)
        clip.upload(lambda: None, None, example, **quick)
        example.input(lambda: None, None, clip, **quick)
        made = make.click(answers.submit, asking, [current, refused], **quick)
        made.then(answers.tick, *ticking, **quick)
        cancel.click(answers.stop, current, refused, **quick)
        again.click(answers.again, current, [current, refused], **quick)
        reuse.click(answers.reuse, current, asking, **quick)
        delete.click(answers.delete, current, [current, refused], js=_SURE, **quick)
        history.click(chosen, None, current, **quick).then(answers.tick, *ticking, **quick)
        clock.tick(answers.tick, *ticking, queue=False, **quick)
        blocks.load(lambda identity: answers.tick(identity, ()), current, ticking[1], **quick)
        blocks.load(answers.look, *looking, **quick)
        blocks.load(answers.foretell, asking, told, **quick)
        add_api(desk, desk.folder / UPLOADS)
    return blocks
