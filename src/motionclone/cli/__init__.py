"""The command line: parse, call, print. Heavy modules load inside the commands, so that help is quick."""

import os
import sys

from cyclopts import App, Parameter

from motionclone import __version__
from motionclone.cli.making import clone, demo, extract, generate, inspect, rerun
from motionclone.cli.measuring import evaluate, score
from motionclone.cli.models import models
from motionclone.cli.terminal import say
from motionclone.errors import InputError

app = App(
    name="motionclone",
    help="Clone the motion of a clip into a new video, without training.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)
for command in (demo, clone, extract, generate, rerun, inspect, evaluate, score, models):
    app.command(command)


def main() -> None:
    """The console script: InputError becomes one sentence and exit code 2."""
    # The libraries advise on things that are in order here; their errors still come. Read when they are imported.
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    try:
        app(sys.argv[1:])
    except InputError as error:
        say(f"motionclone: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("motionclone: stopped; no file was left half written")
        sys.exit(130)
