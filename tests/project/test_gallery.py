"""The gallery: `nox -s docs` runs it; here each of its files is read, and names what there is."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest
from support import ROOT

GALLERY = ROOT / "examples" / "gallery"
FILES = sorted(GALLERY.rglob("*.py"))


def imported(tree):
    """Return what a file calls the package and its modules."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "linnet_fast":
                    names[alias.asname or alias.name] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module == "linnet_fast":
            for alias in node.names:
                module = importlib.import_module(f"linnet_fast.{alias.name}")
                names[alias.asname or alias.name] = module
    return names


def meant(node, names):
    """Return what `lf.plot.curves` means; None of what is not the package's."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = meant(node.value, names)
        return None if owner is None else getattr(owner, node.attr)
    return None


def checked_calls(tree, names):
    """Check keywords of each call of the package; return how many there are."""
    n_calls = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (function := meant(node.func, names)) is not None:
            n_calls += 1
            parameters = inspect.signature(function).parameters
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                given = {keyword.arg for keyword in node.keywords if keyword.arg}
                assert given <= set(parameters), ast.unparse(node.func)
    return n_calls


def test_there_are_pictures_of_everything():
    assert len(FILES) >= 15
    assert all((path.parent / "GALLERY_HEADER.rst").exists() for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_says_what_is_seen_and_names_what_exists(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    compile(tree, str(path), "exec")
    title, line, empty, *first = ast.get_docstring(tree).splitlines()
    assert line == "=" * len(title)
    assert empty == ""
    assert len(" ".join(first).split()) >= 20
    assert text.count("plt.subplots(") == 1  # one picture, and one with a title, which describes it
    assert "title" in text
    assert checked_calls(tree, imported(tree)) >= 3
