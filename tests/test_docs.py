"""README and docs: every command and snippet is run on the bundled model, or held against what there is."""

import re

import pytest
from PIL import Image
from snippets import (
    GUIDED,
    PLAIN,
    ROOT,
    STEPS,
    Block,
    blocks_of,
    cells_of,
    check_command,
    check_data,
    check_snippet,
    commands_of,
    inline_commands,
    names_made,
    needs_real_model,
    run_command,
    run_python,
    runs_here,
)

import motionclone
from motionclone import settings
from motionclone.lab.world import Scene, named_trajectory
from motionclone.media.reading import read_clip
from motionclone.media.writing import write_video

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "training" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# Of which much is made; the README's stands for them in short.
LONG = {"batches", "command-line", "evaluation", "index", "own-clip", "own-pipeline", "transformers"}
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of three seconds and a picture, that stand for the reader's."""
    folder = tmp_path_factory.mktemp("clips")
    frames = Scene("circle", "green", "dots", "gray", named_trajectory("right", 24)).render(64)
    write_video(folder / "clip.mp4", frames, 8)
    Image.new("RGB", (64, 64), "red").save(folder / "picture.png")
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Presets with two steps; on the command line, where nothing else says how many, with eight frames."""
    length = {}
    plain = settings.parse_settings

    def few(data, source):
        if source is not None and source.startswith("preset "):
            fewer = {"steps": STEPS, "guided_steps": GUIDED} | length
            data = {**data, "sampling": {**data.get("sampling", {}), **fewer}}
            data["guidance"] = {**data.get("guidance", {}), "warm_up": 1, "cool_down": 1}
        return plain(data, source)

    monkeypatch.setattr(settings, "parse_settings", few)
    return length


# It is said that the ramps of a hundred steps are too long for the few that are made here.
few_steps_are_made = pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning")


@few_steps_are_made
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.long] if page.stem in LONG else []) for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_what_a_page_says_can_be_done(page, tmp_path, monkeypatch, run, quick, clips, made_here):
    shell, python = tmp_path / "shell", tmp_path / "python"
    shell.mkdir()
    python.mkdir()
    for path in (python / f"{name}.mp4" for name in ("tiger", "reference", "ball")):
        path.write_bytes((clips / "clip.mp4").read_bytes())
    for command in inline_commands(page):
        for words in commands_of(command):
            check_command(words)
    # Pages other than the README leave out what the one before them has said.
    namespace = {} if page.name == "README.md" else {n: getattr(motionclone, n) for n in motionclone.__all__}
    if page.name != "README.md":
        namespace["clip"] = read_clip(clips / "clip.mp4", num_frames=16, height=64, width=64)
    real = {"pipe"} - namespace.keys()
    for block in blocks_of(page):
        if block.language in ("sh", "bash", "console"):
            monkeypatch.chdir(shell)
            quick["num_frames"] = 8
            for words in commands_of(block.text):
                check_command(words)
                if runs_here(words):
                    run_command(words, run, clips)
        elif block.text.startswith("# the studio runs"):
            continue  # tests/test_studio.py and test_studio_server.py run it, against a studio
        elif block.language in ("python", "py"):
            monkeypatch.chdir(python)
            quick.clear()
            check_snippet(block)
            if needs_real_model(block, real):
                real |= names_made(block)
            else:
                run_python(block, namespace)
                real -= names_made(block)
        elif block.language not in PLAIN:
            monkeypatch.chdir(shell)
            check_data(block)


@pytest.mark.long
@few_steps_are_made
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch, run, quick, clips):
    monkeypatch.chdir(tmp_path)
    namespace = {"_run": lambda line: [run_command(words, run, clips) for words in commands_of(line)]}
    for cell in cells_of(notebook):
        run_python(
            Block(cell.place, "python", re.sub(r"^!(.*)$", r"_run(r'''\1''')", cell.text, flags=re.M)), namespace
        )


def test_notebooks_are_kept_without_outputs():
    assert len(NOTEBOOKS) == 2
    for notebook in NOTEBOOKS:
        assert '"outputs": [\n' not in notebook.read_text()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("motionclone clone a.mp4 words -o b.mp4 --no-such-option", "no-such-option"),
        ("motionclone clone a.mp4 words -o b.mp4 --model animatedif", "no model animatedif"),
        ("motionclone clone a.mp4 words -o b.mp4 --preset film", "no preset film"),
        ("motionclone nothing", "no command nothing"),
        ("python training/vae.py --hours 3", "no option --hours"),
        ("pip install 'motionclone[everything]'", "no such extra"),
        ("make coffee", "no target"),
        ("brew install it", "how 'brew' is checked"),
    ],
)
def test_a_command_that_does_not_work_is_found(text, what):
    with pytest.raises(BaseException, match=what):
        check_command(next(commands_of(text)))


@pytest.mark.parametrize(
    "text",
    [
        "from motionclone import clonee",
        "clone(pipe, frames)",
        "extract_motion(pipe, frames, noise=3)",
        "pipe = load_pipeline('animatedif')",
        "s = preset('film')",
    ],
)
def test_a_snippet_that_does_not_work_is_found(text):
    with pytest.raises((AssertionError, TypeError)):
        check_snippet(Block("page.md:1", "python", text))


def test_which_snippets_run():
    assert not needs_real_model(Block("", "python", "pipe = load_pipeline('mini')"), {"pipe"})
    assert needs_real_model(Block("", "python", "pipe = load_pipeline('animatediff')"), set())
    assert needs_real_model(Block("", "python", "pipe('a pig')"), {"pipe"})
    assert runs_here(["motionclone", "clone", "a.mp4", "words", "-o", "b.mp4"])
    assert not runs_here(["motionclone", "clone", "a.mp4", "words", "-o", "b.mp4", "--model", "animatediff"])


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: motionclone\.(\w+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(set(motionclone.__all__) - {"__version__"})


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link
