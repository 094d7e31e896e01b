"""The server of the page: whom it lets in, what of the disk it serves, and that it asks nobody on the network."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from motionclone.errors import InputError, from_extra, named
from motionclone.studio.guard import Guard, is_local, is_right
from motionclone.studio.making import ModelChoice
from motionclone.studio.store import UPLOADS

LEAST_PASSWORD = 8
MOST_PORT = 2**16 - 1
# Of the page's frame, to which Gradio lets the rules in `css` not apply. What sticks to the window needs the first.
_FRAME = (
    ".gradio-container { overflow: clip !important; } "
    "@media (max-width: 640px) { .gradio-container .main.app { padding: 8px 16px !important; } }"
)


def check_host(host: str, password: str | None) -> bool:
    """Whether only this machine reaches an address.

    Raises:
        InputError: others do, and there is no password, or one that is guessed at once.
    """
    if password is not None and len(password) < LEAST_PASSWORD:
        raise InputError(f"a password has {LEAST_PASSWORD} characters or more; choose a longer {named('password')}.")
    local = is_local(host)
    if not local and password is None:
        raise InputError(
            f"at {host} others on the network could use this machine and see all that was made; give "
            f"{named('password')} (the user is called studio), or leave {named('host')} out."
        )
    return local


def check_place(host: str, port: int | None) -> None:
    """Refuse what cannot be listened at whatever else runs: Gradio would try every port, or show a traceback.

    Raises:
        InputError: the host is no address of this machine, or the port no number of one.
    """
    if port is not None and not 1 <= port <= MOST_PORT:
        raise InputError(f"a port is 1 to {MOST_PORT}, got {port}; choose another {named('port')}, or leave it out.")
    try:
        family, kind, _, _, (address, *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.bind((address, 0))
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"{host} is no address of this machine ({told}); choose another {named('host')}.") from error


@contextmanager
def served(
    choice: ModelChoice,
    folder: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    mcp: bool = False,
    workers: int | None = None,
) -> Iterator[str]:
    """Serve the studio for as long as the `with` lasts, and yield its address.

    Args:
        choice: the model that makes all videos.
        folder: of the jobs, made if it is missing; nothing else of the disk is served.
        host: address to listen at; only this machine reaches the default.
        port: to listen at; by default the first free one from 7860.
        password: that visitors give, as user `studio`.
        mcp: whether the endpoints are tools, too, by the Model Context Protocol, at `gradio_api/mcp`.
        workers: how many make jobs at the same time, each with the model once more; None is one a GPU, or one.

    Raises:
        InputError: Gradio or, for `mcp`, its extra is missing, `check_host` refuses, the model or folder is no good,
            or the port is taken; or several workers cannot work on the device.
    """
    local = check_host(host, password)
    check_place(host, port)
    # Gradio reads these as it is imported: nobody is told that it runs, and uploads lie in the studio's own folder.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(folder.absolute() / UPLOADS))
    with from_extra("web", "the studio"):
        import gradio  # noqa: F401
    if mcp:
        with from_extra("mcp", "the studio with mcp"):
            import_module("mcp.server")
    from motionclone.studio.desk import Desk
    from motionclone.studio.elsewhere import computing_with, elsewhere, loaded, places_of
    from motionclone.studio.making import load_engine
    from motionclone.studio.page import page

    places, threads = places_of(choice, workers)
    others = [elsewhere(partial(loaded, choice), gpu, threads) for gpu in places[1:]]
    with computing_with(threads), closing(Desk(load_engine(choice), folder, *others)) as desk:
        blocks = page(desk)
        try:
            _, address, _ = blocks.launch(**_options(desk, host, port, password, local, mcp))
        except OSError as error:
            place = host if port is None else f"{host}, port {port},"
            raise InputError(
                f"{place} cannot be listened at: it is taken, or no address of this machine; choose another "
                f"{named('port')} or {named('host')}."
            ) from error
        try:
            yield address
        finally:
            blocks.close(verbose=False)


def _options(desk: Any, host: str, port: int | None, password: str | None, local: bool, mcp: bool) -> dict[str, Any]:
    """How Gradio serves the page."""
    import gradio as gr
    from starlette.middleware import Middleware

    from motionclone.studio.clips import MOST_BYTES

    css, js = (files("motionclone.studio").joinpath(f"page.{end}").read_text(encoding="utf-8") for end in ("css", "js"))
    system = ["system-ui", "sans-serif"]  # others would be fetched from elsewhere
    theme = gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", radius_size="lg", font=system, font_mono=["monospace"]
    ).set(
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_padding="0px",
        block_shadow="none",
        block_title_text_color="*body_text_color",
        block_title_text_weight="600",
        body_text_color_subdued="*neutral_500",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        body_text_color_subdued_dark="*neutral_400",
    )
    return {
        "server_name": host,
        "server_port": port,
        "share": False,
        "quiet": True,
        "show_error": True,
        "prevent_thread_lock": True,
        "_frontend": False,  # else the page is asked for, and all given up if a machine at work takes 3 s to answer
        "auth": None if password is None else lambda user, given: is_right(user, given, password),
        "allowed_paths": [str(desk.store.jobs)],
        "max_file_size": MOST_BYTES,
        # Every call of a program is a session, of some 0.2 MB; pages that are open are among the latest.
        "state_session_capacity": 200,
        "app_kwargs": {
            "middleware": [Middleware(Guard, folder=desk.folder, local=local, password=password)],
            "openapi_url": None,
        },
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": mcp,
        "footer_links": ["api"],
        "theme": theme,
        "css": css,
        "head": f"<style>{_FRAME}</style><script>{js}</script>",
    }
