"""The course: notebooks that run from beginning to end, and are kept without what they print."""

from __future__ import annotations

import json
import re

import pytest
from support import ROOT

import linnet_fast as lf

FOLDER = ROOT / "docs" / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path, kind):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == kind]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def texts(path, kind):
    return ["".join(cell["source"]) for cell in cells(path, kind)]


def test_there_are_three():
    assert [path.stem for path in BOOKS] == ["costs", "directions", "ranks"]
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(f"\nnotebooks/{path.stem}\n" in index for path in BOOKS)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_kept(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_each_has_exercises_that_name_what_exists(path):
    last = texts(path, "markdown")[-1]
    assert last.startswith("## Exercises")
    assert len(re.findall(r"^\d\. ", last, re.MULTILINE)) >= 4
    modules = {"lf": lf, "dc": lf.directional_convergence, "rank_dynamics": lf.rank_dynamics}
    names = re.findall(
        r"\b(lf|dc|rank_dynamics)((?:\.(?!md\b)\w+)+)", "\n".join(texts(path, "markdown"))
    )
    assert names
    for module, attributes in names:
        found = modules[module]
        for name in attributes[1:].split("."):
            found = getattr(found, name)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_they_run_and_draw(path):
    import nbclient
    import nbformat

    book = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
    assert not [output for output in outputs if output.get("name") == "stderr"]  # no warnings
