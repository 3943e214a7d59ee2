"""The rules of the house: who imports whom, where what may appear, and that the lists agree."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support import EVERYTHING, ROOT, make_loss, make_start, python

import linnet_fast as lf
from linnet_fast import _core, _reference_observables, reference
from linnet_fast.record import OBSERVABLES, OF_DIRECTION

PACKAGE = ROOT / "python" / "linnet_fast"
CPP = ROOT / "cpp"
MODULES = sorted(PACKAGE.rglob("*.py"))

OPTIONAL = {
    "sklearn",
    "matplotlib",
    "xarray",
    "tqdm",
    "jax",
    "torch",
    "numba",
    "h5netcdf",
    "pandas",
}


def imports(path, *, nested=True):
    """Return the full names that a module imports, at its top level or anywhere."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    names = set()
    for node in ast.walk(tree) if nested else tree.body:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_there_is_something_to_check():
    assert {path.stem for path in MODULES} >= {"train", "reference", "trajectory", "__init__"}
    assert "linnet_fast._core" in imports(PACKAGE / "train.py")


def test_import_pulls_in_no_optional_package():
    done = python("import json, sys, linnet_fast; print(json.dumps(sorted(sys.modules)))")
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "linnet_fast" in loaded
    assert loaded & OPTIONAL == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_optional_packages_are_imported_inside_functions(path):
    tops = {name.split(".")[0] for name in imports(path, nested=False)}
    assert tops & OPTIONAL == set()


def test_nothing_imports_upward():
    """The layers are a contract of import-linter, in pyproject.toml."""
    pyproject = str(ROOT / "pyproject.toml")
    code = f"from importlinter.cli import lint_imports; raise SystemExit(lint_imports({pyproject!r}, no_cache=True))"
    done = python(code, check=False)
    assert done.returncode == 0, done.stdout
    contracts = tomllib.loads(Path(pyproject).read_text())["tool"]["importlinter"]["contracts"]
    layered = {
        n.split(".")[1]
        for c in contracts
        for layer in c.get("layers", ())
        for n in layer.split(" | ")
    }
    assert {"train", "reference", "trajectory", "loss", "architecture", "_validate"} <= layered


def test_only_train_trains_with_the_core():
    users = {path.name for path in MODULES if any("_core" in name for name in imports(path))}
    assert users <= {
        "train.py",
        "_machine.py",
        "config.py",
        "__init__.py",
        "cli.py",
        "descent.py",
        "dynamics.py",
        "convolutions.py",
    }
    calling = {path.name for path in MODULES if "_core.train(" in path.read_text()}
    assert calling == {"train.py"}
    calling = {path.name for path in MODULES if "_core.train_flow(" in path.read_text()}
    assert calling == {"train.py"}


def test_reference_shares_nothing_with_the_core():
    names = set()
    for file in (
        "reference.py",
        "_reference_draws.py",
        "_reference_observables.py",
        "_compatible.py",
    ):
        names |= imports(PACKAGE / file)
        assert "_core" not in (PACKAGE / file).read_text()
    assert not any("_core" in name or name.startswith("linnet_fast.train") for name in names)
    allowed = {"_validate", "architecture", "layers", "loss", "method", "record", "state"}
    allowed |= {
        "trajectory",
        "binary_loss",
        "_compatible",
        "_reference_draws",
        "_reference_observables",
        "laws",
    }
    assert {n.split(".")[1] for n in names if n.startswith("linnet_fast.")} <= allowed


def test_no_pickle_no_eval_in_the_package():
    forbidden = {"eval", "exec", "compile", "__import__"}
    for path in MODULES:
        assert not {n.split(".")[0] for n in imports(path)} & {
            "pickle",
            "shelve",
            "marshal",
            "dill",
        }, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in forbidden, path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


# --- the lists agree -------------------------------------------------------------------------------


def test_registry_reference_core_and_properties_name_the_same_observables():
    assert {*_reference_observables._OBSERVERS, *OF_DIRECTION} == set(OBSERVABLES)
    properties = {n for n, v in vars(lf.Trajectory).items() if isinstance(v, property)}
    assert set(OBSERVABLES) <= properties
    known = re.search(r"known\{(.*?)\}", (CPP / "bindings" / "problem.hpp").read_text(), re.DOTALL)
    assert set(re.findall(r'"(\w+)"', known[1])) == set(OBSERVABLES)


@pytest.mark.parametrize("name", EVERYTHING)
def test_core_and_reference_record_what_the_registry_says(name):
    widths = (3, 5, 2)
    network = lf.Dense(widths)
    shape = OBSERVABLES[name](network)
    for train in (lf.train, reference.train):
        run = train(network, make_loss(widths), make_start(widths, (4,)), n_steps=2,
                    method=lf.GradientDescent(0.1), record=lf.Record.every(1, (name,)))  # fmt: skip
        assert list(run.observables) == [name]
        value = getattr(run, name)
        if name == "weights":
            assert [w.shape for w in value] == [(4, 3, *s) for s in shape]
        else:
            assert value.shape == (4, 3, *shape)
        for other in set(EVERYTHING) - {name}:
            with pytest.raises(AttributeError, match=f"{other} was not recorded, only {name}"):
                getattr(run, other)


def test_statuses_of_python_and_core_agree():
    messages = _core.status_messages()
    assert set(messages) == {int(status) for status in lf.Status}
    assert len(set(messages.values())) == len(messages)
    words = {"COMPLETED": "all steps", "CONVERGED": "stop rule", "DIVERGED": "infinite or NaN"}
    words["EXHAUSTED"] = "steps it may take"
    for status in lf.Status:
        assert words[status.name] in messages[status]
    header = (CPP / "include" / "linnet" / "train.hpp").read_text()
    listed = re.search(r"enum class Status.*?\{(.*?)\}", header, re.DOTALL)[1]
    values = {name.upper(): int(number) for name, number in re.findall(r"(\w+) = (\d+)", listed)}
    assert values == {status.name: int(status) for status in lf.Status}


def test_the_core_is_of_this_version():
    info = _core.build_info()
    assert info["version"] == lf.__version__
    assert info["float64_lanes"] in (2, 4, 8)
    assert info["isa"] in _core._built_levels()


def test_stubs_name_what_the_core_has():
    tree = ast.parse((PACKAGE / "_core" / "__init__.pyi").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(functions) == set(_core.__all__)
    stub = {argument.arg for argument in functions["train"].args.kwonlyargs}
    assert stub == set(re.findall(r"(\w+): ", _core.train.__doc__.split("->")[0]))


def test_no_module_of_the_installation_is_missing():
    here = Path(lf.__file__).parent
    assert {p.name for p in PACKAGE.glob("*.py")} <= {p.name for p in here.glob("*.py")}
    assert np.isfinite(_core.fma_peak(1, 0.001, "float64"))
