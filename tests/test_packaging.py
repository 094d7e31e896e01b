"""What a release holds: extras told in a sentence, links that lead somewhere on PyPI, one version, named files."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import motionclone

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOME = "https://github.com/motionclone/motionclone"


def without(name, code, *words, folder):
    """Run Python as if a package were not installed."""
    run = [sys.executable, "-c", f"import sys; sys.modules[{name!r}] = None\n{code}", *words]
    return subprocess.run(run, capture_output=True, text=True, cwd=folder, check=False)


def test_everything_but_the_report_works_without_the_lab_s_packages(tmp_path):
    """All modules of the package are imported, but for those that make the report."""
    code = (
        "import motionclone, pkgutil, importlib\n"
        "refused = []\n"
        "for module in pkgutil.walk_packages(motionclone.__path__, 'motionclone.'):\n"
        "    try: importlib.import_module(module.name)\n"
        "    except motionclone.InputError as error: refused.append(module.name); said = str(error)\n"
        "for name in motionclone.__all__: getattr(motionclone, name)\n"
        "print(*refused); print(said)"
    )
    done = without("matplotlib", code, folder=tmp_path)
    modules, said = done.stdout.splitlines()
    assert modules.split() == [
        f"motionclone.lab.{name}" for name in ("markdown", "montages", "plots", "report", "sections")
    ]
    assert said == "the report needs matplotlib, which cannot be imported; pip install 'motionclone[lab]'."


def test_evaluate_says_which_extra_it_needs_before_anything_else(tmp_path):
    done = without(
        "jinja2",
        "import motionclone.cli as cli; cli.main()",
        "evaluate",
        "quick",
        "--out-dir",
        "found",
        folder=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "motionclone: the report needs jinja2, which cannot be imported; pip install 'motionclone[lab]'.\n"
    )
    assert not list(tmp_path.iterdir())


def test_the_extras_are_those_that_sentences_name():
    extras = PROJECT["project"]["optional-dependencies"]
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        named |= set(re.findall(r'from_extra\("(\w+)"', path.read_text()))
    assert named <= extras.keys()
    needed = {re.match(r"[\w-]+", each)[0] for each in PROJECT["project"]["dependencies"]}
    assert not needed & {re.match(r"[\w-]+", each)[0] for each in extras["lab"]}
    assert f"motionclone[{','.join(sorted(extras.keys() - {'dev', 'docs'}))}]" in extras["dev"]


def test_readme_on_pypi_has_no_link_that_leads_nowhere():
    """As hatch-fancy-pypi-readme substitutes."""
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    readme = (ROOT / "README.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme)
    local = [place for place in re.findall(r"\]\(([^)]+)\)", readme) if not place.startswith(("http", "#"))]
    assert pictures
    for place in local:
        assert (ROOT / place.partition("#")[0]).exists(), place
    headings = {
        "#" + re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.+)$", readme, re.M)
    }
    assert headings.issuperset(re.findall(r"\]\((#[^)]+)\)", readme))
    for each in hook["substitutions"]:
        readme = re.sub(each["pattern"], each["replacement"], readme)
    for place in re.findall(r"\]\(([^)]+)\)", readme):
        assert place.startswith("https://"), place
    found = re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme)
    raw = HOME.replace("github.com", "raw.githubusercontent.com")
    assert found == [f"{raw}/v$HFPR_VERSION/{place}" for place in pictures]
    assert f"]({HOME}/blob/v$HFPR_VERSION/docs/models.md)" in readme


def test_the_versions_are_one_and_the_addresses_too():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {PROJECT["project"]["version"], citation["version"]} == {motionclone.__version__}
    assert {citation["repository-code"], PROJECT["project"]["urls"]["Source"]} == {HOME}
    assert len(citation["preferred-citation"]["authors"]) == 9
    for path in [*(ROOT / ".github").rglob("*.yml"), ROOT / "SECURITY.md"]:
        text = path.read_text()
        assert all(HOME in line for line in text.splitlines() if "github.com/" in line), path
        assert path.suffix == ".md" or isinstance(yaml.safe_load(text), dict)


def test_continuous_integration_calls_what_people_call():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run", "make release-check", "make test-long gpu-tiny"]
