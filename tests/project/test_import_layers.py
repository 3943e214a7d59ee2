"""The rules of the house: who imports whom, where what may appear, and that the lists agree."""

from __future__ import annotations

import ast
import functools
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support import EVERYTHING, ROOT, make_loss, make_start, python

import linnet_fast as lf
from linnet_fast import _core, reference
from linnet_fast.losses.registry import LOSSES
from linnet_fast.records.observables import OBSERVABLES

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


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


@functools.cache
def imports(path, *, nested=True):
    """Return the full names that a module imports, at its top level or anywhere."""
    tree = tree_of(path)
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
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
    assert {path.stem for path in MODULES} >= {"train", "loop", "trajectory", "__init__"}
    assert "linnet_fast._core" in imports(PACKAGE / "training" / "descent.py")


def test_the_house_has_few_doors():
    entries = {
        path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")
    }
    assert len(entries) <= 25, sorted(entries)


def test_import_pulls_in_no_optional_package():
    done = python("import json, sys, linnet_fast; print(json.dumps(sorted(sys.modules)))")
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "linnet_fast" in loaded
    assert loaded & OPTIONAL == set()
    # Nor what takes its time and is needed by few.
    slow = {"scipy.special", "scipy.optimize", "scipy.integrate", "scipy.sparse", "scipy.linalg"}
    slow |= {"asyncio", "concurrent.futures", "email", "importlib.metadata", "multiprocessing"}
    later = ("cli", "costs", "figures", "plot", "sklearn", "sweeps", "datasets", "reference")
    later += ("directional_convergence", "rank_dynamics", "regularizers")
    own = {f"linnet_fast.{name}" for name in later}
    assert (slow | own) & set(json.loads(done.stdout)) == set()
    # A module is most of a millisecond; 0.25 s of processor, NumPy's share included, is the goal.
    assert sum(name.startswith("linnet_fast") for name in json.loads(done.stdout)) < 135


def test_what_is_imported_later_is_all_there():
    code = "import linnet_fast as lf; print(len([getattr(lf, name) for name in dir(lf)]), dir(lf) == sorted(dir(lf)))"
    assert python(code).stdout.split() == [str(len(dir(lf))), "True"]
    assert set(lf.__all__) < set(dir(lf))
    assert {"plot", "datasets", "sklearn"} < set(dir(lf))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lf.nothing


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
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders | {"datasets", "sklearn"} <= layered
    assert sum(len(c.get("layers", ())) for c in contracts) <= 12


def test_only_trainings_train_with_the_core():
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any("linnet_fast._core" in name for name in imports(path))
    }
    assert users == {
        "_core/__init__.py",
        "_base/machine.py",
        "_base/algebra.py",
        "_base/elementary.py",
        "_base/config.py",
        "training/descent.py",
        "training/flow.py",
        "training/observe.py",
        "rank_dynamics/descent.py",
        "rank_dynamics/factors.py",
        "rank_dynamics/momentum.py",
        "directional_convergence/dynamics.py",
        "costs/solvers/convolutions.py",
    }
    for call, module in (("train", "descent"), ("train_flow", "flow"), ("observe", "observe")):
        calling = {path.stem for path in MODULES if f"_core.{call}(" in path.read_text()}
        assert calling == {module}


def test_reference_shares_nothing_with_the_core():
    for path in (PACKAGE / "reference").glob("*.py"):
        assert "_core" not in path.read_text()
        assert not any("_core" in name or "training.train" in name for name in imports(path))


NOUNS = r"isinstance\([^)]*(Loss|Descent|GradientFlow|Adam|RMSProp|Observable)\b"


def test_nouns_are_not_asked_for_their_class():
    """What differs between losses, methods and observables is asked of them, see CONTRIBUTING."""
    for path in MODULES:
        if path.parent.name not in ("losses", "methods", "records"):
            assert not re.search(NOUNS, path.read_text()), path


def test_no_pickle_no_eval_in_the_package():
    forbidden = {"eval", "exec", "compile", "__import__"}
    for path in MODULES:
        assert not {n.split(".")[0] for n in imports(path)} & {
            "pickle",
            "shelve",
            "marshal",
            "dill",
        }, path
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in forbidden, path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


# --- the lists agree -------------------------------------------------------------------------------


def test_python_and_core_know_the_same_nouns():
    known = _core.known()
    assert set(known["observables"]) == {
        name for name, row in OBSERVABLES.items() if not row.is_measure
    }
    assert set(known["losses"]) == {kind.core for kind in LOSSES.values() if kind.core}
    half = {"momentum": 0.5}
    methods = (
        *(lf.GradientDescent(0.1, **o) for o in ({}, half, {**half, "dampening": 0.5})),
        *(lf.Adam(0.1, amsgrad=a) for a in (True, False)),
        *(lf.RMSProp(0.1, per=p, **o) for p in ("entry", "layer") for o in ({}, half)),
        *(lf.RMSProp(0.1, centered=True, **o) for o in ({}, half)),
        lf.Adagrad(0.1),
        *(lf.SignDescent(0.1, **o) for o in ({}, half)),
        lf.SharpnessAware(lf.GradientDescent(0.1)),
        lf.FeedbackAlignment(lf.GradientDescent(0.1)),
        *(lf.SpectralDescent(0.1, iterations=n, **o) for n in (None, 5) for o in ({}, half)),
    )
    assert set(known["updates"]) == {method.core_fields(())["name"] for method in methods}


@pytest.mark.parametrize("name", EVERYTHING)
def test_core_and_reference_record_what_the_registry_says(name):
    widths = (3, 5, 2)
    network = lf.Dense(widths)
    shape = OBSERVABLES[name].record_shape(network)
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
    header = (CPP / "include" / "linnet" / "index.hpp").read_text()
    listed = re.search(r"enum class Status.*?\{(.*?)\}", header, re.DOTALL)[1]
    values = {name.upper(): int(number) for name, number in re.findall(r"(\w+) = (\d+)", listed)}
    assert values == {status.name: int(status) for status in lf.Status}


def test_the_core_is_of_this_version():
    info = _core.build_info()
    assert info["version"] == lf.__version__
    assert info["float64_lanes"] in (2, 4, 8)
    assert info["isa"] in _core.levels.built()


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
