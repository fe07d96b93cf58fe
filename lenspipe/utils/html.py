"""HTML pages from templates, all of them based on ``base.html`` beside this module."""

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lenspipe.utils.files import atomic

__all__ = ["write_html"]

#: Templates are named by their path below ``lenspipe/``.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_html(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Write a page.

    Parameters
    ----------
    template
        Path below ``lenspipe/``, such as ``status/page.html``.
    values
        Variables of the template; texts are escaped.
    """
    text = _ENVIRONMENT.get_template(template).render(values)
    with atomic(path) as temporary:
        temporary.write_text(f"{text}\n")
