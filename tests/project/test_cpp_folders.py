"""The floors of the C++ core: which folder includes which, and where Python and threads may appear."""

from __future__ import annotations

import re

import pytest
from support import ROOT

CPP = ROOT / "cpp"

FOLDERS = (
    "base",
    "algebra",
    "plan",
    "losses",
    "updates",
    "engines",
    "observables",
    "runs",
    "descent",
    "flow",
    "theories",
    "reduction",
)
"""Of cpp/src, from the bottom: each includes only itself, those before it and the public headers."""

SOURCES = sorted(path for path in (CPP / "src").rglob("*") if path.suffix in {".cpp", ".hpp"})


def code(path):
    """Return the text of a file without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def included(path):
    """Return what a file includes by quotes."""
    return re.findall(r'#\s*include\s+"([^"]+)"', code(path))


def name(path):
    return path.relative_to(CPP).as_posix()


def folder(path):
    """Return the folder of cpp/src in which a file lies."""
    return path.relative_to(CPP / "src").parts[0]


def files(*folders):
    for top in folders:
        for path in sorted((CPP / top).rglob("*")):
            if path.suffix in {".cpp", ".hpp"}:
                yield path


def test_every_source_lies_in_a_folder_of_the_list():
    assert {folder(path) for path in SOURCES} == set(FOLDERS)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_folders_include_only_those_before_them(path):
    own = FOLDERS.index(folder(path))
    for target in included(path):
        if target.startswith("linnet/"):
            assert (CPP / "include" / target).exists(), target
        else:
            # By the folder: nothing is found by lying beside it.
            assert (CPP / "src" / target).exists(), target
            assert target.split("/")[0] in FOLDERS[: own + 1], target


def test_public_headers_include_only_each_other():
    for path in files("include"):
        for target in included(path):
            assert target.startswith("linnet/"), f"{name(path)} includes {target}"
            assert (CPP / "include" / target).exists(), target


def test_every_source_is_compiled():
    built = set(re.findall(r"cpp/src/[\w/]+\.cpp", (ROOT / "CMakeLists.txt").read_text()))
    assert built == {f"cpp/{name(path)}" for path in SOURCES if path.suffix == ".cpp"}


def test_python_lives_in_the_bindings():
    for path in files("include", "src"):
        assert not re.search(r"pybind11|Python\.h|\bPy[A-Z]\w+\(", code(path)), path


def test_threads_live_in_one_place():
    """Those of OpenMP in one file, the core's own in another."""
    for path in files("include", "src", "bindings"):
        if name(path) != "src/base/parallel.cpp":
            assert not re.search(r"#\s*pragma\s+omp|omp\.h|\bomp_\w+\(", code(path)), path
            if name(path) != "src/base/pool.cpp":
                assert not re.search(r"std::thread\b", code(path)), path
    text = code(CPP / "src" / "base" / "parallel.cpp")
    assert "#pragma omp" in text
    assert "omp_set_num_threads" not in text


def test_the_core_prints_nothing_and_keeps_ieee_arithmetic():
    for path in files("include", "src", "bindings"):
        assert not re.search(
            r"\bprintf\(|std::c(out|err)|<iostream>|_MM_SET_(FLUSH|DENORM)", code(path)
        ), path
    flags = re.sub(r"#[^\n]*", "", (ROOT / "CMakeLists.txt").read_text())
    assert not re.search(r"-ffast-math|-Ofast|-march=native|-funsafe", flags)
    assert "-ffp-contract=off" in flags
