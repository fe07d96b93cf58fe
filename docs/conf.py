"""Configuration of the documentation site.

    sphinx-build -W docs build/site         # then open build/site/index.html

Pages are Markdown that can also be read on GitHub. Some of them show files from outside this folder
(`SHOWN`), such as the home page, which shows README.md. Links to these files lead to the pages that
show them.
"""

import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike
from sphinx.util.typing import stringify_annotation

import lenspipe

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

project = "lenspipe"
author = "The lenspipe developers"
copyright = f"2026, {author}"
release = version = lenspipe.__version__

extensions = [
    # MyST, with notebooks that are executed.
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = False

myst_heading_anchors = 4
# "--option" stays as it is.
smartquotes = False
# The notebooks run at every build, on the small run that they write.
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True

myst_enable_extensions = ["colon_fence"]

autosummary_generate = True
# What a package makes public is what its `__init__.py` names, though it is defined in its modules.
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_member_order = "alphabetical"
numpydoc_show_class_members = False

# Only for `-b linkcheck`, which needs a network connection. Not pages: this machine, a placeholder,
# and the address of a service that answers only queries.
linkcheck_ignore = [
    r"http://(localhost|127\.0\.0\.1)",
    r"https://user:password@",
    r"https://datalab\.noirlab\.edu/tap",
]
linkcheck_retries = 2
linkcheck_timeout = 20

highlight_language = "none"

html_theme = "pydata_sphinx_theme"
html_title = "lenspipe"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": [], "glossary": [], "questions": []}
html_js_files = ["site.js"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
}

#: Page of the site -> the file outside this folder that it shows.
SHOWN = {
    "index": ROOT / "README.md",
    "settings": ROOT / "config" / "README.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "changes": ROOT / "CHANGELOG.md",
}


def show_files(app: "Sphinx", page: str, source: list[str]) -> None:
    """Put the file that a page shows into it, and lead links to such files to their pages."""
    if "/" in page:  # notebooks, whose links lead to pages of the site, and generated pages
        return
    text = source[0]
    folder = DOCS
    if page in SHOWN:
        app.env.note_dependency(str(SHOWN[page]))
        folder = SHOWN[page].parent
        shown = SHOWN[page].read_text(encoding="utf-8")
        title, _, rest = shown.partition("\n")
        # The page keeps its own navigation, which stands at its end.
        navigation = "\n".join(re.findall(r"^```{toctree}.*?^```$", text, re.DOTALL | re.MULTILINE))
        text = f"{title}\n{rest}\n{navigation}\n"
    source[0] = re.sub(r"(\]\()(?!https?:|#)([^)#\s]+)", lambda m: m[1] + _link(m[2], folder), text)


def _link(target: str, folder: Path) -> str:
    """Return a link of a page, given as in a file of a folder."""
    path = (folder / target).resolve()
    for page, shown in SHOWN.items():
        if path == shown:
            return f"{page}.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return Path("..", path.relative_to(ROOT)).as_posix()


def write_package_list() -> None:
    """Write the page that autosummary makes the reference of the packages from."""
    names = sorted(module.name for module in pkgutil.iter_modules(lenspipe.__path__))
    lines = ["Packages", "========", "", ".. autosummary::", "   :toctree:", ""]
    lines += [f"   lenspipe.{name}" for name in names if name != "cli"]
    folder = DOCS / "generated"
    folder.mkdir(exist_ok=True)
    text = "\n".join(lines) + "\n"
    page = folder / "packages.rst"
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


write_package_list()


def shorten_types(
    app: "Sphinx", what: str, name: str, item: object, options: Any, signature: str, returned: str
) -> tuple[str, str]:
    """Write ArrayLike in signatures, which is a long union of private types."""
    for mode in ("fully-qualified-except-typing", "smart"):
        union = stringify_annotation(ArrayLike, mode)
        signature, returned = (
            text and text.replace(union, "ArrayLike") for text in (signature, returned)
        )
    return signature, returned


def setup(app: "Sphinx") -> None:
    """Register the handlers."""
    app.connect("source-read", show_files)
    app.connect("autodoc-process-signature", shorten_types)
