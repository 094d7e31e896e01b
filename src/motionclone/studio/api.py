"""The studio's endpoints for programs: the page's own jobs, over HTTP, by Gradio's client and as tools (MCP)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any
from urllib.parse import quote

from motionclone.errors import InputError
from motionclone.studio.clips import EXAMPLES
from motionclone.studio.desk import Desk
from motionclone.studio.words import FILES, OWN, WORDS, asked_of

Told = dict[str, Any]

_MAKE = f"""Put a video in line: the motion of a clip, in a new video of your own words.

Answers at once how the job stands, with its id; call `job` with it until the state is done, then `result`. Of a clip
(reference), upload the file first: POST it as form field `files` to /gradio_api/upload of this server, and give the
path that this answers. Without a clip, name an example. What you leave out is as the model's preset has it.

Args:
    example: In place of a clip, one of: {", ".join(EXAMPLES)}.
    unguided: Make the video without guidance, too, to compare.
    strengths: For a sheet of small videos to choose from in place of one: strengths of its columns, such as [0.5, 1].
    seeds: Seeds of the rows of a sheet, such as [0, 1].
"""


def add_api(desk: Desk, uploads: Path) -> None:
    """Add the endpoints to the page that is being built.

    Args:
        desk: that they ask.
        uploads: the folder of uploads, the only files that a program can name.
    """

    def make(*given: Any) -> Told:
        words = dict(zip(_order(kinds), given, strict=True))
        files = {name: _uploaded(words.get(name), uploads) for name in FILES}
        asked = asked_of({**words, **{name: path and path.name for name, path in files.items()}}, desk.engine.base)
        example = asked.pop("example", None)
        material = files["reference"] or files["motion"]
        clip = desk.clip(None if material is None else str(material), example)
        return desk.told(desk.submit(clip, desk.asked(clip, **asked), files["image"] or files["sketch"]).id)

    def job(id: str) -> Told:
        """Tell how a job stands.

        Its state is waiting, running, done, failed or cancelled; the sentence says why it failed, or what is to be
        said of the video. Of one that waits, how many jobs and seconds are ahead; of one that runs, its step, steps,
        energies (the distance from the reference's motion, which falls) and seconds left.

        Args:
            id: Of the job, as `make` or `jobs` told it.
        """
        return desk.told(id)

    def jobs() -> list[Told]:
        """Tell how all jobs stand, the oldest first, as `job` does for one."""
        return [desk.told(entry.id) for entry in desk.store.entries()]

    def cancel(id: str) -> Told:
        """Take a job out of the line, or stop it after the step that it is at; tell how it stands.

        Args:
            id: Of the job.
        """
        desk.workers.cancel(id)
        return desk.told(id)

    def result(id: str) -> Told:
        """Give the files of a finished job: video, record, and as far as there are motion, comparison and unguided.

        Each has a path, and a url to download it from.

        Args:
            id: Of the job.
        """
        return {what: _file(path) for what, path in desk.results(id).items()}

    def archive(id: str) -> Told:
        """Give all files of a finished job in one zip.

        Args:
            id: Of the job.
        """
        return _file(desk.zip_of(id))

    def scores(id: str) -> Told:
        """Measure how well a finished job's video has the motion of its reference; takes seconds.

        Args:
            id: Of the job.
        """
        return desk.scores_of(id)

    make.__doc__ = _MAKE + "".join(f"    {name}: {info.description}\n" for name, info in WORDS.items())
    plain: dict[str, Any] = {name: info.annotation for name, info in WORDS.items()}
    kinds = {name: Any if name in FILES else kind | None for name, kind in plain.items()}
    kinds |= {"example": str | None, "unguided": bool, "strengths": list[float] | None, "seeds": list[int] | None}
    make.__signature__ = _signature(kinds)  # type: ignore[attr-defined]
    make.__annotations__ = {**kinds, "return": Told}
    for call in (make, job, jobs, cancel, result, archive, scores):
        _add(call)


def _order(names: Iterable[str]) -> list[str]:
    """What is asked for first, first."""
    return sorted(names, key=lambda name: ("prompt", "reference", *OWN, name).index(name))


def _signature(kinds: dict[str, Any]) -> Signature:
    """Of a function of these words, of which only the prompt must be given; what else is not given is None."""
    defaults = {"prompt": Parameter.empty, "unguided": False}
    words = (
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(name), annotation=kinds[name])
        for name in _order(kinds)
    )
    return Signature(list(words), return_annotation=Told)


def _add(call: Callable[..., Any]) -> None:
    """An endpoint of a function's own name; what is refused reaches the client as its sentence, which it raises."""
    import gradio as gr

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error

    gr.api(told()(call), api_name=call.__name__, queue=False, concurrency_limit=4)


def _uploaded(given: Any, uploads: Path) -> Path | None:
    """The file that is meant. InputError for what is no upload."""
    if given is None or given in ("", []):
        return None
    if isinstance(given, list) and len(given) == 1:
        (given,) = given
    named = given.get("path") if isinstance(given, dict) else given
    try:
        path = Path(str(named)).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        path = uploads
    if not isinstance(named, str) or not path.is_relative_to(uploads.resolve()) or not path.is_file():
        raise InputError(
            "a file is given by the path that its upload answered: POST it to /gradio_api/upload, as form field files."
        )
    return path


def _file(path: Path) -> dict[str, Any]:
    """As Gradio's clients know a file, which they download."""
    about = {"path": str(path), "url": f"/gradio_api/file={quote(str(path))}", "orig_name": path.name}
    return {**about, "meta": {"_type": "gradio.FileData"}}
