"""The house: who may import whom, what importing costs, and what the public surface is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import motionclone

SOURCE = Path(motionclone.__file__).parent

# Rooms from the ground up; a room may import rooms on lower floors, and modules of its own.
FLOORS = (
    ("errors",),
    ("complaints",),
    ("files", "hub", "provenance", "settings"),
    ("motion", "guidance"),
    ("objectives", "schedule"),
    ("media", "steps"),
    ("backbones", "plan"),
    ("idle", "calling", "gradient"),
    ("models", "extraction", "sampling"),
    ("inversion", "cloning"),
    ("batch",),
    ("lab",),
    ("studio",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PURE = {"motion": {"torch", "safetensors"}, "guidance": {"torch"}, "objectives": {"torch"}}
KNOW_DIFFUSERS = {"models", "backbones", "schedule", "steps", "lab"}


def imports():
    """(room, imported module) for every import statement in the package."""
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from ((room, name) for name in names if node.module != "motionclone" or alias_is_room(name))
            elif isinstance(node, ast.Import):
                yield from ((room, alias.name) for alias in node.names)


def alias_is_room(name):
    return name.split(".")[1] in FLOOR


def test_imports_go_down_only():
    found = {room for room, _ in imports()}
    assert found <= FLOOR.keys()
    for room, module in imports():
        if module.startswith("motionclone."):
            other = module.split(".")[1]
            assert other == room or FLOOR[other] < FLOOR[room], f"{room} must not import {other}"


def modules():
    """Dotted name to path of every module."""
    for path in SOURCE.rglob("*.py"):
        yield ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"), path


def test_no_module_needs_itself():
    known = dict(modules())
    del known["motionclone"]  # which hands on the names of others, each when it is asked for
    needs = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = (f"{node.module}.{alias.name}" for alias in node.names)
                needs[name] |= {each if each in known else node.module for each in whole} & known.keys() - {name}
    while leaves := [name for name, found in needs.items() if not found & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs


def test_files_are_short():
    lengths = sorted((len(path.read_text().splitlines()), name) for name, path in modules())
    assert lengths[-1][0] <= 350, lengths[-1]
    assert lengths[len(lengths) // 2][0] <= 120


def test_the_paper_needs_only_torch():
    for room, module in imports():
        top = module.split(".")[0]
        if room in PURE and top not in sys.stdlib_module_names and top != "motionclone":
            assert top in PURE[room], f"{room} imports {top}"
        if top == "diffusers":
            assert room in KNOW_DIFFUSERS or module.startswith("diffusers.utils"), f"{room} imports diffusers"


def test_public_names():
    assert set(motionclone.__all__) == {
        "Clip",
        "Condition",
        "Extraction",
        "Generated",
        "Guidance",
        "GuidanceWarning",
        "InputError",
        "ModelDescription",
        "Motion",
        "Sampling",
        "Settings",
        "UnevenDDIMScheduler",
        "clone",
        "extract_motion",
        "generate",
        "heat_map",
        "load_motion",
        "load_pipeline",
        "motion_guidance",
        "per_frame_norm",
        "preset",
        "read_clip",
        "shared_noise",
        "write_video",
        "__version__",
    }
    for name in motionclone.__all__:
        assert getattr(motionclone, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        motionclone.nothing_of_that_name  # noqa: B018


def test_help_and_import_load_no_torch():
    code = (
        "import sys, motionclone.cli as cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print('torch' in sys.modules, 'diffusers' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "clone", "--help"], capture_output=True, text=True, check=True, cwd=SOURCE.parent
    )
    assert "Make a video of PROMPT" in ran.stdout
    assert ran.stdout.endswith("False False\n")
