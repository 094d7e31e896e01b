"""The command line: parse, call, print. Heavy modules load inside the commands, so that help is quick."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError

from motionclone import __version__
from motionclone.cli.batching import batch
from motionclone.cli.demo import demo
from motionclone.cli.doctor import doctor
from motionclone.cli.examples import epilogue
from motionclone.cli.inspecting import inspect
from motionclone.cli.making import clone, extract, generate
from motionclone.cli.measuring import evaluate, score
from motionclone.cli.misuse import check_words, meaning
from motionclone.cli.models import models
from motionclone.cli.options import as_option
from motionclone.cli.rerunning import rerun, verify_run
from motionclone.cli.sharing import push
from motionclone.cli.studio import studio
from motionclone.cli.sweeping import sweep
from motionclone.cli.terminal import NobodyReads, Stopped, say, standard_streams, stopping_in_order, warnings_said
from motionclone.errors import InputError, naming
from motionclone.settings import check_text

app = App(
    name="motionclone",
    help="Clone the motion of a clip into a new video, without training.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)
for command in (
    demo,
    clone,
    sweep,
    extract,
    generate,
    rerun,
    verify_run,
    inspect,
    push,
    studio,
    evaluate,
    score,
    models,
    doctor,
):
    name = command.__name__.replace("_", "-")
    app.command(command, name=name, help_epilogue=epilogue(name))
app.command(batch)
app.register_install_completion_command(help="Make the shell complete commands and options with the tab key.")


def main() -> None:
    """The console script.

    Exit codes: 0 if all went well; 1 if `verify-run` found a difference; 2, with one sentence, for bad input and what
    the machine refuses; 128 and the signal's number if it was stopped.
    """
    # The libraries advise on things that are in order here; their errors still come. Read when they are imported.
    for library in ("TRANSFORMERS", "DIFFUSERS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    # A process that ends would otherwise search all that it has loaded for what nobody needs, for a second or two.
    atexit.register(gc.freeze)
    with standard_streams(), stopping_in_order() as came, warnings_said(), naming(as_option):
        sys.exit(_run(sys.argv[1:], came))


def _run(words: list[str], came: Sequence[int] = ()) -> int:
    """Do what the words say; the exit code. Of signals that ask to stop, the numbers are in `came` once they come."""
    try:
        try:
            _do(words)
        except Exception as error:
            if came:  # a library made an error of its own of it
                raise Stopped(came[0]) from error
            raise
    except InputError as error:
        say(f"motionclone: {error}")
        return 2
    except CycloptsError as error:
        say(f"motionclone: {InputError(meaning(error, app, words))}")
        return 2
    except OSError as error:  # of what nobody thought of: it still is no fault of the program
        place = f"{error.filename}: " if error.filename else ""
        say(f"motionclone: {place}{error.strerror or error}")
        return 2
    except NobodyReads:
        return 128 + 13  # as if SIGPIPE had ended it, which is what shells expect
    except KeyboardInterrupt as stop:
        say("motionclone: stopped; no file was left half written")
        # Some libraries make a Ctrl-C of every signal.
        return 128 + (came[0] if came else getattr(stop, "number", signal.SIGINT))
    return 0


def _do(words: list[str]) -> None:
    for word in words:
        check_text(word)  # names of files, too, go into libraries and records that know only Unicode
        if "\0" in word:
            raise InputError(f"{word!r} holds NUL, which no name or prompt has; take it out")
    check_words(words)
    app(words, result_action="return_value", exit_on_error=False, print_error=False)
    sys.stdout.flush()
