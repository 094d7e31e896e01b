"""Commands and snippets in documents: found, run on the bundled model in few steps, or checked up to the model.

A command or snippet runs if it needs nothing that is not here. One that needs a real model, the hub or hours is
checked as far as that: its options, and the names of models and presets; in Python imports, names and arguments.
"""

import ast
import importlib
import inspect
import json
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import yaml

import motionclone
from motionclone import cli
from motionclone.batch.jobfile import read_jobs
from motionclone.models import ModelDescription, named_models
from motionclone.settings import preset_names

ROOT = Path(__file__).parents[1]
BUNDLED = {"mini", "mini-dit"}
STEPS, GUIDED = 4, 2  # of which even a plain schedule has one in the noisiest 0.3
SIDE = 64
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:motionclone|make|python|pip) [^`]+)`")
# Programs that are no concern of ours; what they are told is the reader's.
TRUSTED = {"cd", "git", "export", "source", ".", "mkdir", "ls", "cp", "head", "sudo", "apt-get", "apt", "docker", "tar"}
PLAIN = {"text", "bibtex", "svg", "mermaid"}  # languages of blocks in which there is nothing to run
RUNS = {"batch", "clone", "demo", "doctor", "extract", "generate", "inspect", "models", "rerun", "score", "sweep"}
RUNS |= {"verify-run"}
NEEDS_MORE = {"push", "evaluate", "studio"}  # the hub; hours, but for the quick suite; a browser
VIDEO, PICTURE = (".mp4", ".webm", ".gif", ".mov"), (".png", ".jpg", ".jpeg", ".webp")
_evaluated: set[tuple[str, ...]] = set()  # which takes too long to be done twice
JOBS = {"yaml", "csv"}
OF_HUB = re.compile(r"from_pretrained\(|push_to_hub\(|load_motion\([\"'][\w.-]+/[\w.-]+[\"']\)")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    place: str
    language: str
    text: str


def blocks_of(path: Path) -> list[Block]:
    """All fenced blocks of a document."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}", found[1], found[2])
        for found in FENCE.finditer(text)
    ]


def inline_commands(path: Path) -> Iterator[str]:
    """Commands in the running text."""
    for found in INLINE.finditer(FENCE.sub("", path.read_text(encoding="utf-8"))):
        yield " ".join(found[1].split())


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of every command of a shell block: without comments and prompts, each part of a pipe by itself."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|;&")
        lexer.whitespace_split, lexer.commenters = True, "#"
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip("|;&"):
                command.append(word)
            elif command:
                yield command
                command = []


def check_command(words: list[str]) -> None:
    """Hold a command against what there is: targets, files, options, names. AssertionError tells what is not."""
    program, *rest = words
    if "=" in program:  # VARIABLE=value, perhaps before a command
        return check_command(rest) if rest else None
    if program in TRUSTED or program.startswith("$"):
        return None
    if program == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert all(re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE) for word in rest), f"no target: {words}"
    elif program in ("pip", "uv", "pipx"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for found in re.finditer(r"(?:motionclone|\.)\[([\w,-]+)\]", " ".join(rest)):
            assert set(found[1].split(",")) <= extras.keys(), f"no such extra: {words}"
    elif program in ("python", "python3", "torchrun"):
        check_python(rest)
    elif program == "motionclone":
        check_motionclone(rest)
    elif program.endswith(".sh"):
        assert os.access(ROOT / program, os.X_OK), f"no script: {words}"
    else:
        raise AssertionError(f"{words}: say in tests/snippets.py how {program!r} is checked")
    return None


def check_python(words: list[str]) -> None:
    """`python -m MODULE ...` and `python FILE ...`."""
    if words[0] == "-m":
        if words[1] == "motionclone":
            return check_motionclone(words[2:])
        assert importlib.util.find_spec(words[1]), f"no module: {words}"
        return None
    script = next(word for word in words if word.endswith(".py"))
    source = (ROOT / script).read_text()
    for word in words[words.index(script) + 1 :]:
        option = word.split("=")[0]
        assert not option.startswith("--") or f'"{option}"' in source, f"{script} has no option {option}"
    return None


def check_motionclone(words: list[str]) -> None:
    """A command and its options exist, and so do the models and presets that it names."""
    if words == ["COMMAND"] or not words:
        return
    if len(words) == 1:
        assert words[0] in {"--help", "--version"} or words[0] in cli.app, f"no command {words[0]}"
        return
    _, _, unused, *_ = cli.app.parse_known_args(words)
    assert not unused, f"motionclone {' '.join(words)}: nobody takes {unused}"
    options = dict(pairwise(words))
    check_names(options.get("--model"), options.get("--preset"))


def check_names(model: str | None, preset: str | None) -> None:
    """Names of models are known, unless they are placeholders, places or ids of the hub."""
    if model is not None and not re.search(r"[/.]|^[A-Z]+$", model):
        assert model.split("@")[0] in named_models(), f"no model {model}"
    if preset is not None and not preset.isupper():
        assert preset in preset_names(), f"no preset {preset}"


def runs_here(words: list[str]) -> bool:
    """Whether a command needs nothing but what is bundled, and no hours."""
    program, command = [*words, "", ""][:2]
    if program != "motionclone":
        return False
    options = dict(pairwise(words))
    judge = options.get("--judge", options.get("--clip", "mini"))
    bundled = options.get("--model", "mini") in BUNDLED and judge == "mini"
    if command == "batch" and ("--ray" in words or any("$" in word for word in words)):  # a cluster, or another shell
        return False
    if command.startswith("-") or (command == "score" and not Path(words[2]).exists()):
        return False
    assert command in RUNS | NEEDS_MORE, f"say in tests/snippets.py whether 'motionclone {command}' runs in a test"
    return bundled and (command in RUNS or words == ["motionclone", "evaluate", "quick"])


def run_command(words: list[str], run: Callable[..., tuple[int, str]], clips: Path) -> None:
    """Run a command here. Its clips and pictures, which stand for any, are put where it looks."""
    outputs = {after for word, after in pairwise(words) if word in ("-o", "--output", "--heatmap")}
    named = (
        [job.reference for job in read_jobs(Path(words[2]))]
        if words[:3] == ["motionclone", "batch", "jobs.yaml"]
        else []
    )
    for word in {*words[2:], *named}:
        path = Path(word.rpartition("@")[0] or word)
        if word in outputs or path.exists():
            continue
        if path.suffix in VIDEO + PICTURE:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((clips / ("clip.mp4" if path.suffix in VIDEO else "picture.png")).read_bytes())
        elif word.endswith("/"):
            path.mkdir()
            (path / "clip.mp4").write_bytes((clips / "clip.mp4").read_bytes())
    more = []
    if words[1] == "evaluate":
        if tuple(words) in _evaluated:
            return
        _evaluated.add(tuple(words))
        more = ["--cases", "1", "--workers", "1"]
    code, said = run(*words[1:], *more)
    assert code == 0, f"{shlex.join(words)} ended with {code}:\n{said}"


class _Few(ast.NodeTransformer):
    """Few steps of small frames, where a snippet writes more."""

    FEW = MappingProxyType(
        {"num_inference_steps": STEPS, "steps": STEPS, "guided_steps": GUIDED, "height": SIDE, "width": SIDE}
    )

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg in self.FEW and isinstance(node.value, ast.Constant):
            node.value = ast.copy_location(ast.Constant(self.FEW[node.arg]), node.value)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        uneven = isinstance(node.func, ast.Attribute) and node.func.attr == "uneven" and len(node.args) > 1
        if uneven and isinstance(node.args[1], ast.Constant):
            node.args[1] = ast.copy_location(ast.Constant(GUIDED), node.args[1])
        return self.generic_visit(node)


def run_python(block: Block, namespace: dict[str, object]) -> None:
    """Run a snippet here, in few steps of small frames."""
    tree = ast.fix_missing_locations(_Few().visit(ast.parse(block.text)))
    exec(compile(tree, block.place, "exec"), namespace)


def needs_real_model(block: Block, names: set[str]) -> bool:
    """Whether a snippet loads what is not here, or uses one of `names`, which such a snippet made."""
    tree = ast.parse(block.text)
    loaded = [first for call, first in _calls(tree) if call == "load_pipeline"]
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    made = names_made(block)
    return bool(OF_HUB.search(block.text) or set(loaded) - BUNDLED - {None} or used & (names - made))


def names_made(block: Block) -> set[str]:
    """Names that a snippet gives a value."""
    nodes = ast.walk(ast.parse(block.text))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def check_snippet(block: Block) -> None:
    """Imports exist, our functions take the arguments, and models and presets have these names."""
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block.place}: {node.module} has no {alias.name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in motionclone.__all__:
            signature = inspect.signature(getattr(motionclone, node.func.id))
            arguments = [...] * sum(not isinstance(each, ast.Starred) for each in node.args)
            keywords = {each.arg: ... for each in node.keywords if each.arg}
            signature.bind_partial(*arguments, **keywords) if _open(node) else signature.bind(*arguments, **keywords)
    for call, first in _calls(tree):
        check_names(first if call == "load_pipeline" else None, first if call == "preset" else None)


def _open(call: ast.Call) -> bool:
    """Whether a call leaves some arguments unsaid: f(...), *args, **kwargs."""
    ellipsis = any(isinstance(each, ast.Constant) and each.value is ... for each in call.args)
    return ellipsis or any(isinstance(each, ast.Starred) for each in call.args) or any(not k.arg for k in call.keywords)


def _calls(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Name and first argument, if it is written out, of every call of a plain name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            yield node.func.id, first if isinstance(first, str) else None


def check_data(block: Block) -> None:
    """TOML describes a model, JSON is JSON."""
    if block.language == "toml":
        found = tomllib.loads(block.text)
        assert found.keys() <= ModelDescription.model_fields.keys(), f"{block.place}: a description has no such key"
    elif block.language in JOBS or (block.language == "jsonl" and '"video"' not in block.text):
        sky = block.text.startswith("# sky.yaml")
        run = yaml.safe_load(block.text)["run"] if sky else None
        for words in commands_of(run) if sky else ():
            check_command(words)
        if not sky:
            jobs_of(block, Path.cwd())
    elif block.language in ("json", "jsonl"):
        for line in block.text.splitlines() if block.language == "jsonl" else [block.text]:
            json.loads(line)
    else:
        raise AssertionError(f"{block.place}: say in tests/snippets.py how {block.language!r} is checked")


def jobs_of(block: Block, folder: Path) -> None:
    """Hold a block against job files; where it says its name, it is kept."""
    named = re.match(r"# (\S+)\n", block.text)
    path = folder / (named[1] if named else f"unnamed.{block.language}")
    path.write_text(block.text, encoding="utf-8")
    assert len(read_jobs(path)) > 0


def cells_of(path: Path) -> list[Block]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [Block(f"{path.name}[{n}]", "python", "".join(cell["source"])) for n, cell in enumerate(code)]
