"""Sphinx settings; build with ``nox -s docs``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zlib
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, cast

import linnet_fast as lf

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "linnet_fast"
author = "The linnet_fast developers"
copyright = "2026, The linnet_fast developers"
version = release = version_of("linnet-fast")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
html_js_files = []
if (
    "DOCS_URL" in os.environ
):  # the address that pages have: a sitemap is of it, versions lie beside it
    extensions.append("sphinx_sitemap")
    html_baseurl = os.environ["DOCS_URL"]
    html_js_files.append("versions.js")
exclude_patterns = [
    "_build",
    "gallery/**/*.ipynb",  # made of the examples, to be downloaded
    "generated/*.txt",
    "generated/backreferences",
    "**/.ipynb_checkpoints",
]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"linnet_fast {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {"top_of_page_buttons": []}  # many pages are made from elsewhere
sitemap_url_scheme = "{link}"
sitemap_show_lastmod = False  # would ask git, which a source distribution has not

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 2

# Notebooks are kept without what they print and draw: they run when the pages are built.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

# Prompts and what is printed are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # all of them run
    "image_scrapers": ("matplotlib",),
    "image_srcset": ["2x"],
    "thumbnail_size": (400, 280),
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 60,
    "download_all_examples": False,
    "remove_config_comments": True,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("linnet_fast",),
    "reference_url": {"linnet_fast": None},
}
suppress_warnings = ["config.cache"]  # its settings have functions, which are not kept

autodoc_typehints = "none"  # docstrings have shapes and ranges besides the types
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False

# Types in docstrings are links: to these pages, and to those of other projects.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
nouns = {
    name: f"linnet_fast.{name}" for name in lf.__all__ if name[0].isupper() and not name.isupper()
}
numpydoc_xref_aliases = nouns | {
    "Generator": "numpy.random.Generator",
    "Dataset": "xarray.Dataset",
    "xarray.Dataset": "xarray.Dataset",
    "Axes": "matplotlib.axes.Axes",
    "Figure": "matplotlib.figure.Figure",
}

generated = HERE / "generated"
generated.mkdir(exist_ok=True)
for command in ("train", "sweep", "show", "cost", "reproduce", "info", "completion"):
    help_text = subprocess.run(
        [sys.executable, "-m", "linnet_fast", command, "--help"],
        env=os.environ | {"COLUMNS": "96", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (generated / f"{command}.txt").write_text(help_text, encoding="utf-8")


def inventory(name: str, pages: dict[str, str]) -> Path:
    """Write pages of another project as Sphinx keeps them, for builds without a network."""
    lines = []
    for key, address in pages.items():
        role, target = key.split()
        lines.append(f"{target} {role} 1 {address} -\n")
    head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version:\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    path = generated / f"{name}.inv"
    path.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
    return path


intersphinx_timeout = 5
intersphinx_mapping = {}
for name, pages in tomllib.loads((HERE / "elsewhere.toml").read_text(encoding="utf-8")).items():
    url = pages.pop("url")
    intersphinx_mapping[name] = (url, (None, str(inventory(name, pages))))


def setup(app: Sphinx) -> None:
    """Let docstrings be written as they are read, without escapes."""

    def plain(part: str) -> str:
        """Return text whose norms, such as |K|, are no markup, or a noun as a link."""
        if part.startswith("`"):
            target = nouns.get(part.strip("`"))
            return f":obj:`{part[1:-1]} <{target}>`" if target and part[1] != "`" else part
        return re.sub(r"(?<![\w\\])\|(?=\S)", r"\\|", part)

    def escape(_app: Sphinx, *arguments: object) -> None:
        """Escape shapes such as (*run, in) and norms; link nouns in single quotes; not in code."""
        lines = cast("list[str]", arguments[-1])
        first, example = True, False
        for i, line in enumerate(lines):
            first = first and bool(line.strip())
            example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
            if not example:
                parts = re.split(r"(``.*?``|:\w+:`.*?`|`.*?`)", line)
                lines[i] = "".join(map(plain, parts))
                lines[i] = re.sub(r"(?<!`)(\(|, )\*(?=\w)", r"\1\\*", lines[i])
            if first:  # of which the index takes the first sentence, up to a full stop and a space
                lines[i] = re.sub(r"\.\.\.(?=\s)", "…", lines[i]).replace(" . ", " · ")

    def foreign(_app: Sphinx, _what: str, name: str, *arguments: object) -> None:
        # scikit-learn adds methods to every estimator whose docstrings refer to its own pages.
        if re.search(r"set_\w+_request$|get_metadata_routing$", name):
            lines = cast("list[str]", arguments[-1])
            lines[:] = ["As scikit-learn gives it to every estimator."]

    app.connect("autodoc-process-docstring", foreign, priority=300)
    app.connect("autodoc-process-docstring", escape, priority=400)  # numpydoc comes at 500
