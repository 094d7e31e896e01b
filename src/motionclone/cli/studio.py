"""The command that serves the studio."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from motionclone.cli.options import WHOLE
from motionclone.cli.terminal import quiet_libraries, say
from motionclone.errors import InputError


def studio(
    *,
    model: str = "mini",
    workers: Annotated[int | None, WHOLE] = None,
    folder: Path = Path("studio"),
    host: str = "127.0.0.1",
    port: Annotated[int | None, WHOLE] = None,
    password: Annotated[str | None, Parameter(env_var="MOTIONCLONE_STUDIO_PASSWORD")] = None,
    browser: bool = True,
    mcp: bool = False,
    share: Annotated[bool, Parameter(show=False)] = False,
    device: str | None = None,
    dtype: Literal["float16", "bfloat16", "float32"] | None = None,
    offload: Literal["none", "model", "sequential"] = "none",
    vae_tiling: bool = False,
) -> None:
    """Make videos on a web page of this machine: choose a clip, say what it becomes, watch, compare, keep.

    Needs the extra: pip install 'motionclone[web]'. Every video with its record stays in FOLDER. The page can be seen
    from this machine alone; there is no link that shares it with the world.

    Parameters
    ----------
    model
        As of `motionclone clone`; the bundled one needs no download.
    workers
        Videos that are made at the same time, each by a model of its own; by default one a GPU, or one.
    folder
        For all that is made.
    host
        Address to listen at. Any but this machine's own needs a password.
    port
        Port to listen at; by default the first free one from 7860.
    password
        That visitors give, as user `studio`.
    browser
        Open the page in a browser.
    mcp
        Let programs that speak the Model Context Protocol use it, too; needs the extra `mcp`.
    device
        cuda, mps or cpu; the best there is by default.
    dtype
        What the model was trained in on a GPU and float32 on a CPU by default.
    offload
        Keep what is not at work in main memory: saves GPU memory, costs time.
    vae_tiling
        Let the VAE work on one tile at a time: saves GPU memory at large sizes.
    """
    if share:
        raise InputError(
            "--share is not to be had: such a link leads from the whole internet to this machine by way of a "
            "stranger's; give --host 0.0.0.0 and --password for your own network, or use an SSH tunnel."
        )
    if workers is not None and not 1 <= workers <= 100:
        raise InputError(f"--workers must be 1 to 100, got {workers}.")
    import threading
    import webbrowser

    from motionclone.models import check_reachable
    from motionclone.studio.making import ModelChoice
    from motionclone.studio.serving import served

    check_reachable(model)
    quiet_libraries()
    choice = ModelChoice(model, device, dtype, offload, vae_tiling)
    with served(choice, folder, host, port, password, mcp, workers) as address:
        say(f"the studio is at {address}, its videos are in {folder}; Ctrl-C stops it")
        if browser:
            webbrowser.open(address)
        threading.Event().wait()
