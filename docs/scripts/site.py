"""What MkDocs does not do by itself: pages made at the build, formulas, and that readers fetch nothing."""

import ast
import json
import re
import sys
from html import escape, unescape
from pathlib import Path
from typing import Any

from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Path2D
from matplotlib.textpath import TextPath, text_to_path
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import house

ROOT = Path(__file__).parents[2]
# Pages that lie elsewhere in the repository, for those who read them there.
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "training/README.md": "training.md",
    "training/curves.svg": "curves.svg",
}
HERE_OF = {"../training/README.md": "training.md"}
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FETCHED = re.compile(r'<(?:script|img|iframe|video|source|link)\b[^>]*\b(?:src|href)="?(?:https?:)?//[^>]*>')


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    for place, name in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / place)))
    files.append(File.generated(config, "commands.md", content=commands()))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=notebook_page(notebook)))
    return files


def commands() -> str:
    """Every command's help."""
    from motionclone.cli import app

    text = app.generate_docs(output_format="markdown")
    return re.sub(r"## Table of Contents.*?(?=\*\*Commands\*\*)", "", text, flags=re.DOTALL)


def notebook_page(path: Path) -> str:
    """A notebook's words and code; it is kept without outputs, which whoever runs it sees."""
    parts = [f"[Download this notebook]({path.name}){{ .md-button }}"]
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join([parts[1], parts[0], *parts[2:]])


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links to pages that lie elsewhere, code beside its equation, and the picture of the house."""
    for there, here in HERE_OF.items():
        markdown = markdown.replace(f"]({there}", f"]({here}")
    markdown = re.sub(r"<!-- code: ([\w.]+)\.(\w+) -->", lambda found: code_of(found[1], found[2]), markdown)
    return markdown.replace("<!-- the house, drawn -->", f'<div class="house">{house.picture()}</div>')


def code_of(module: str, function: str) -> str:
    """A function of the package as it is, without its docstring."""
    text = (ROOT / "src" / "motionclone" / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    (found,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == function)
    lines = text.splitlines()
    head, body = lines[found.lineno - 1 : found.body[0].lineno - 1], lines[found.body[1].lineno - 1 : found.end_lineno]
    return "\n".join(["```python", *head, *body, "```"])


def on_page_content(html: str, *, page: Any, config: Any, files: Files) -> str:
    """Formulas as pictures in the page, which look the same everywhere and need neither script nor font."""
    return FORMULA.sub(lambda found: f"<{found[1]} class='formula'>{drawn(found[2])}</{found[1]}>", html)


def drawn(latex: str) -> str:
    """The formula as SVG in the text's colour, on its line; `latex` as it stands in HTML."""
    font = FontProperties(size=10, math_fontfamily="stix")
    source = f"${unescape(latex).strip()}$"
    width, height, depth = text_to_path.get_text_width_height_descent(source, font, ismath=True)
    path = TextPath((0, 0), source, prop=font)
    steps = {Path2D.MOVETO: "M", Path2D.LINETO: "L", Path2D.CURVE3: "Q", Path2D.CURVE4: "C", Path2D.CLOSEPOLY: "Z"}
    shape = "".join(
        steps[code] + ("" if code == Path2D.CLOSEPOLY else " ".join(f"{value:.2f}" for value in points))
        for points, code in path.iter_segments(simplify=False)
    )
    box = f"0 {depth - height:.2f} {width:.2f} {height:.2f}"
    return (
        f'<svg role="img" aria-label="{escape(source[1:-1])}" viewBox="{box}" '
        f'style="width:{width / 10:.3f}em;height:{height / 10:.3f}em;vertical-align:{-depth / 10:.3f}em">'
        f'<path transform="scale(1 -1)" fill="currentColor" d="{shape}"/></svg>'
    )


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Refuse a page of which a browser would fetch a part from another site."""
    if found := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri}: {found[0]} is fetched from another site; keep it in docs/")
    return output
