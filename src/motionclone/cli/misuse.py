"""What somebody meant whose words are no command line: one sentence that helps, in place of the parser's."""

import re
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from motionclone.errors import InputError, choice, either
from motionclone.files import kind_of

VIDEOS = (".mp4", ".webm", ".gif", ".mov", ".mkv", ".avi", ".m4v", ".webp", ".apng")
OUTPUTS = (*VIDEOS, ".png", ".safetensors", ".json", ".jsonl")
# What other tools call our options, and people our commands.
_OPTIONS = {
    "--output": "out out-file outfile out-path output-path save to",
    "--out-dir": "output output-dir outdir folder",
    "--steps": "num-inference-steps num-steps inference-steps sampling-steps ddim-steps",
    "--frames": "num-frames video-length length n-frames",
    "--guidance-scale": "cfg cfg-scale scale text-scale",
    "--strength": "motion-strength motion-scale guidance-strength intensity",
    "--weight": "lambda motion-weight guidance-weight",
    "--negative-prompt": "negative neg-prompt n-prompt",
    "--device": "gpu cuda cpu mps",
    "--dtype": "fp16 bf16 fp32 half precision torch-dtype",
    "--overwrite": "force yes f y",
    "--offload": "cpu-offload low-vram lowvram enable-model-cpu-offload",
    "--image": "init-image first-frame picture",
    "--model": "checkpoint ckpt base",
    "--t-alpha": "timestep t",
}
_TEXTS = ("--prompt", "--negative-prompt", "--positive-prompt", "--extraction-prompt")  # which may be empty
_COMMANDS = {
    "clone": "transfer copy run make create video",
    "sweep": "grid sheet sheets variants strengths seeds",
    "extract": "read invert",
    "generate": "gen sample",
    "inspect": "show info view",
    "rerun": "again repeat reproduce",
    "verify-run": "verify check",
    "batch": "many jobs run-all sweep",
    "evaluate": "eval bench benchmark test",
    "models": "model list presets",
}
_EXAMPLE = {  # a call of each command that needs more than its name
    "clone": 'motionclone clone {} "what the new video shows"',
    "sweep": 'motionclone sweep {} "what the new video shows"',
    "generate": 'motionclone generate {} "what the new video shows"',
    "extract": "motionclone extract {}",
    "rerun": "motionclone rerun {}",
    "verify-run": "motionclone verify-run {}",
    "inspect": "motionclone inspect {}",
    "evaluate": "motionclone evaluate quick",
    "push": "motionclone push {} USER/tiger",
    "score": "motionclone score {} --judge openai/clip-vit-base-patch32",
}
_FIRST = {
    "generate": "tiger.safetensors",
    "push": "tiger.safetensors",
    "inspect": "tiger.safetensors",
    "rerun": "pig.json",
    "verify-run": "pig.json",
    "batch status": "videos",
}


def check_words(words: Sequence[str]) -> None:
    """InputError for a dash that an editor has made of what was typed, and for nothing where a name or value goes."""
    for before, word in zip(["", *words], words, strict=False):
        option, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
        names_something = before == words[0] or (option.startswith("-") and option not in _TEXTS)
        if not value.strip() and names_something and ("=" in word or not word.startswith("-")):
            where = f"after {option}" if option.startswith("-") else f"after `motionclone {option}`"
            raise InputError(f"there is an empty word {where}; give a name or a value there.")
        if re.match("[\u2013\u2014\u2212]+[a-z]", word):
            name = word.lstrip("\u2013\u2014\u2212")
            raise InputError(f"{word} begins with a long dash; type {'-' if len(name) == 1 else '--'}{name}.")


def check_no_file(prompt: str, first: Path) -> None:
    """InputError for a file where the words of the new video belong."""
    if not _is_file_name(prompt):
        return
    if not first.exists() and " " in str(first):
        raise InputError(f"the words come last: {_typed('clone', prompt, str(first))}.")
    made = (
        "give the words themselves" if prompt.endswith(".txt") else f"-o goes before the name of an output: -o {prompt}"
    )
    raise InputError(f"{prompt} stands where the prompt goes, which says in words what the new video shows; {made}.")


def meaning(error: CycloptsError, app: App, words: Sequence[str]) -> str:
    """One sentence for what the parser refused.

    Args:
        error: of the parser.
        app: with all commands.
        words: that were typed.
    """
    error.verbose = False
    command = " ".join(error.command_chain or ())
    after = list(words[list(words).index(command) + 1 :]) if command in words else list(words)
    if words[0].startswith("-"):
        return _no_option(words[0], "", [], app)
    if isinstance(error, UnknownCommandError):
        return _no_command((error.unused_tokens or [""])[0], list(_names(app)))
    if isinstance(error, UnusedCliTokensError):
        return _too_much(command, after, list(error.unused_tokens or ()))
    if isinstance(error, UnknownOptionError):
        word = error.token.keyword or error.token.value
        known = [name for each in error.argument_collection if each.parse for name in each.names]
        return _no_option(word.partition("=")[0], command, known, app, words)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error, command, after, app)
    if isinstance(error, CoercionError) and error.token is not None and error.argument is not None:
        return _not_of_type(error)
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given twice; give it once"
    return " ".join(str(error).split()).rstrip(".")


def _names(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _typed(command: str, first: str, prompt: str = "") -> str:
    """A call, as it is typed."""
    call = _EXAMPLE.get(command, f"motionclone {command} {{}}").format(_quoted(first))
    return call.replace("what the new video shows", prompt) if prompt else call


def _quoted(word: str) -> str:
    """In double quotes, which every shell knows, if it has spaces."""
    return f'"{word}"' if re.search(r"\s", word) else word


def _is_file_name(word: str) -> bool:
    if Path(word).suffix.lower() in (*OUTPUTS, ".txt", ".jpg", ".jpeg", ".ckpt") and not re.search(r"\s\S*\s", word):
        return True
    return _is_there(word)


def _is_there(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _no_command(word: str, known: list[str]) -> str:
    place = Path(word)
    kind = kind_of(place)
    if kind in ("video", "GIF") or place.suffix.lower() in VIDEOS or "://" in word:
        return f"a command comes first: {_typed('clone', word)}"
    if kind == "motion file" or place.suffix.lower() == ".safetensors":
        return f"a command comes first: {_typed('generate', word)}, or {_typed('inspect', word)}"
    if kind == "record" or place.suffix.lower() == ".json":
        return f"a command comes first: {_typed('rerun', word)}"
    if place.suffix.lower() in (".yaml", ".yml", ".jsonl", ".csv"):
        return f"a command comes first: {_typed('batch', word)}"
    if kind == "folder":
        return f"a command comes first, such as {_typed('clone', word)} for a folder of pictures"
    meant = next((name for name, others in _COMMANDS.items() if word.casefold() in others.split()), None)
    return f"there is no command {word!r}; {choice(word, known) if meant is None else f'did you mean {meant}?'}"


def _too_much(command: str, after: list[str], unused: list[str]) -> str:
    """Words without an option: an output's name, or those of a prompt without quotes."""
    last = unused[-1]
    if len(unused) == 1 and _is_file_name(last):
        option = {"inspect": "--heatmap", "score": "-o", "evaluate": "--references"}.get(command, "-o")
        return f"an option goes before {last}: {option} {last}"
    if command in ("evaluate", "score") and len(unused) == 1:
        return f"an option goes before {last}: --references {last}"
    if command in ("clone", "sweep", "generate"):
        outputs = [word for word in unused if _is_file_name(word)]
        start = next((place for place, word in enumerate(after) if after[place + 1 : place + 2] == unused[:1]), 1)
        said = [after[start], *(word for word in unused if word not in outputs)]
        rest = [word for place, word in enumerate(after) if place > 0 and word not in (*said, *outputs)]
        rest += [word for output in outputs[-1:] for word in ("-o", output)]
        call = _typed(command, after[0], " ".join(said).strip("'\"\u2018\u2019\u201c\u201d`"))
        return f"a prompt of several words stands in double quotes: {' '.join([call, *map(_quoted, rest)])}"
    many = f"{' '.join(unused)!r} is more than `motionclone {command}` takes" if command else f"{last!r} is too much"
    joined = (
        f"; a name of several words is joined by hyphens: {'-'.join([after[0], *unused])}" if command == "demo" else ""
    )
    return f"{many}{joined or f'; see motionclone {command} --help'}"


def _no_option(word: str, command: str, known: list[str], app: App, words: Sequence[str] = ()) -> str:
    short = word.lstrip("-").replace("_", "-")
    if not command:
        return (
            f"a command comes before options: motionclone {either(_names(app)[:2])} ... {word}; see motionclone --help"
        )
    if _is_there(word):
        return f"a name that begins with a dash is written with its folder: ./{word}"
    sentence = f"`motionclone {command}` has no option {word}"
    if f"--{short}" in known and "--" in words:
        return f"behind -- all words are names; {word} goes before it"
    if f"--{short}" in known:
        return f"{sentence}; did you mean --{short}?"
    other = [option for option, names in _OPTIONS.items() if short.casefold() in names.split() and option in known]
    if other:
        value = f" {short}" if other[0] == "--device" and short != "gpu" else ""
        return f"{sentence}; did you mean {either(other)}{value}?"
    near = choice(short, [name for name in known if name.startswith("--")])
    if near.startswith("did you mean"):
        return f"{sentence}; {near}"
    having = [name for name in _names(app) if f"--{short}" in _options_of(app, name)]
    if command == "generate" and {"extract", "clone"} <= set(having):
        return f"{sentence}: that was decided when the motion was read; extract it again with {word}"
    told = f"which is one of {either(having)}" if having else f"see motionclone {command} --help"
    return f"{sentence}, {told}" if having else f"{sentence}; {told}"


def _options_of(app: App, command: str) -> list[str]:
    return [name for argument in app[command].assemble_argument_collection() for name in argument.names]


def _missing(error: MissingArgumentError, command: str, after: list[str], app: App) -> str:
    assert error.argument is not None
    name = error.argument.name
    given = [word for word in after if not word.startswith("-")]
    if error.keyword is not None:  # the option is there, without its value
        place = after.index(error.keyword) + 1 if error.keyword in after else len(after)
        value = after[place] if place < len(after) else ""
        if _is_file_name(value):
            return f"a name that begins with a dash is written with its folder: {error.keyword} ./{value}"
        wanted = error.argument.token_count()[0]
        if wanted > 1:
            return f"{error.keyword} takes {wanted} values with blanks between, all behind it"
        if value.startswith("-") and not value.startswith("--"):
            return f"{value} behind {error.keyword} begins with a dash, as options do; give another value"
        return f"{error.keyword} has no value; give one behind it, or leave it out"
    unknown = [word for word in error.unused_tokens or () if word.startswith("--")]
    if unknown:
        return _no_option(unknown[0].partition("=")[0], command, _options_of(app, command), app)
    if name in ("--prompt", "PROMPT") and given:
        if " " in given[0] and kind_of(Path(given[0])) is None:
            return (
                f"the {'motion file' if command == 'generate' else 'clip'} is missing; it comes before the words: "
                + (_typed(command, _FIRST.get(command, "tiger.mp4"), given[0]))
            )
        rest = [_quoted(word) for word in after if word != given[0]]
        return f"the prompt is missing, the words for the new video: {' '.join([_typed(command, given[0]), *rest])}"
    what = name.lstrip("-").lower()
    call = _typed(command, _FIRST.get(command, "tiger.mp4"))
    return f"`motionclone {command}` needs {'an' if what[0] in 'aeiou' else 'a'} {what}, such as: {call}"


def _not_of_type(error: CoercionError) -> str:
    assert error.token is not None
    assert error.argument is not None
    name, value = error.token.keyword or error.argument.name, error.token.value
    kinds = str(error.target_type)
    choices = re.findall(r"'([^']+)'", kinds) if "Literal" in kinds else []
    if choices:
        return f"{name} is {either(choices)}, not {value!r}" + (
            f"; {near}" if (near := choice(value, choices))[0] == "d" else ""
        )
    wanted = "a whole number" if "int" in kinds else "a number" if "float" in kinds else None
    return f"{name} must be {wanted}, got {value!r}" if wanted else " ".join(str(error).split()).rstrip(".")
