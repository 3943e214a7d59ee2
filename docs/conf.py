"""Sphinx settings; build with ``nox -s docs``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "linnet_fast"
author = "The linnet_fast developers"
copyright = "2026, The linnet_fast developers"
version = release = version_of("linnet-fast")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build", "generated/*.txt"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"linnet_fast {version}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2

autodoc_typehints = "none"  # docstrings have shapes and ranges besides the types
autosummary_generate = True
numpydoc_show_class_members = False

generated = Path(__file__).parent / "generated"
generated.mkdir(exist_ok=True)
for command in ("train", "sweep", "show", "cost", "reproduce", "info"):
    help_text = subprocess.run(
        [sys.executable, "-m", "linnet_fast", command, "--help"],
        env=os.environ | {"COLUMNS": "96", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (generated / f"{command}.txt").write_text(help_text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Let docstrings write shapes such as (*run, in) without escapes, which would be hard to read."""

    def escape(_app: Sphinx, *arguments: object) -> None:
        lines = cast("list[str]", arguments[-1])
        for i, line in enumerate(lines):
            if not line.lstrip().startswith((">>>", "...")):
                lines[i] = re.sub(r"(?<!`)(\(|, )\*(?=\w)", r"\1\\*", line)

    def foreign(_app: Sphinx, _what: str, name: str, *arguments: object) -> None:
        # scikit-learn adds methods to every estimator whose docstrings refer to its own pages.
        if re.search(r"set_\w+_request$|get_metadata_routing$", name):
            lines = cast("list[str]", arguments[-1])
            lines[:] = ["As scikit-learn gives it to every estimator."]

    app.connect("autodoc-process-docstring", foreign, priority=300)
    app.connect("autodoc-process-docstring", escape, priority=400)  # numpydoc comes at 500
