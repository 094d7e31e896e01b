"""The studio's endpoints for programs: the page's own jobs, in plain values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from motionclone.errors import InputError
from motionclone.studio.answers import put_in_line
from motionclone.studio.desk import Desk


def add_api(desk: Desk, asking: list[Any]) -> None:
    """Add the endpoints to the page that is being built.

    Args:
        desk: that they ask.
        asking: the controls of the page, which say what each value is and what it is by default.
    """
    import gradio as gr

    def make(
        clip: str | None, example: str | None, prompt: str, start: float, end: float | None, strength: float,
        steps: int, seed: int, unguided: bool, crop: list[float] | None, flip: bool, image: str | None,
        sketch: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Put a video in line, of a clip or a motion file, or else a ready motion; how its job stands, with its id."""
        with _told():
            values = prompt, start, end, strength, steps, seed, unguided, crop, flip, image, sketch
            return desk.told(put_in_line(desk, clip, example, *values).id)

    def job(id: str) -> dict[str, Any]:
        """How a job stands: state (waiting, running, done, failed, cancelled), sentence, and how far it is."""
        with _told():
            return desk.told(id)

    def cancel(id: str) -> dict[str, Any]:
        """Take a job out of the line, or stop it after its step; how it stands."""
        with _told():
            desk.worker.cancel(id)
            return desk.told(id)

    def jobs() -> list[dict[str, Any]]:
        """How all jobs stand, the oldest first."""
        return [desk.told(entry.id) for entry in desk.store.entries()]

    def result(id: str) -> list[str]:
        """Files of a finished job: video, record, motion, and reference and video side by side."""
        with _told():
            return desk.results(id)

    answer, files = gr.JSON(visible=False), gr.File(visible=False, file_count="multiple")
    name, door = gr.Textbox(visible=False), gr.Button(visible=False)
    door.click(make, asking, answer, api_name="make", show_progress="hidden")
    door.click(job, name, answer, api_name="job", show_progress="hidden")
    door.click(cancel, name, answer, api_name="cancel", show_progress="hidden")
    door.click(jobs, None, answer, api_name="jobs", show_progress="hidden")
    door.click(result, name, files, api_name="result", show_progress="hidden")


@contextmanager
def _told() -> Iterator[None]:
    """What is refused reaches the client as its sentence, which it raises."""
    import gradio as gr

    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from error
