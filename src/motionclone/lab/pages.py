"""Pages from the templates beside this file: what is put in is text, never markup, and nothing may be missing."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(template: str, **values: Any) -> str:
    """The page of a template."""
    jinja = Environment(
        loader=PackageLoader("motionclone.lab", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return jinja.get_template(template).render(**values)
