"""What is said where an optional package is missing: a command that installs it, wherever it is typed."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest
from support import ROOT

from linnet_fast._base import files

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]


def test_an_extra_is_the_packages_that_it_brings():
    assert files.packages_of("plot") == ["matplotlib>=3.9"]
    assert files.packages_of("dask") == [*EXTRAS["sweep"], EXTRAS["dask"][1]]
    assert set(files.packages_of("cli")) == {
        package
        for extra in ("plot", "progress", "xarray", "data", "sweep", "page", "completion")
        for package in EXTRAS[extra]
    }
    assert [re.split("[>=]", package)[0] for package in files.packages_of("mpi")[-2:]] == [
        "mpi4py",
        "mpich",
    ]


def test_what_is_missing_comes_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(
        ImportError, match=r"^this needs zarr \(extra sweep\): pip install "
    ) as told:
        files.optional("zarr", "sweep")
    assert re.findall('"(.+?)"', str(told.value)) == EXTRAS["sweep"]


def test_every_extra_that_is_asked_for_exists():
    asked = set()
    for path in (ROOT / "python").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "files.optional":
                asked |= {part.value for part in node.args[1:] if isinstance(part, ast.Constant)}
    assert {"plot", "sweep", "data"} < asked <= set(EXTRAS)
