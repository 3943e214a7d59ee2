"""Sweep files that are wrong, settings that change them, and files of anything."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_files import BASE, MOMENTS, key_of, refused, toml

from linnet_fast.sweeps.file import reader
from linnet_fast.sweeps.file.toml import setting


class TestErrors:
    @pytest.mark.parametrize(
        ("tables", "message"),
        [
            ({"n_step": 3}, "key must be one of .*did you mean 'n_steps'"),
            ({"loss": {"dat": "iris"}}, "key of loss must be one of .*did you mean 'data'"),
            ({"loss": {"kind": "SquareLoss"}}, "loss.kind must be .*did you mean 'SquaredLoss'"),
            ({"loss": {"data": "irs"}}, "source must be one of .*did you mean 'iris'"),
            ({"loss": {"data": 3}}, "loss.data must be a text, got 3"),
            ({"loss": {"data": "iris", "targets": "class"}}, "did you mean 'classes'"),
            ({"loss": {"data": "iris", "center": 1}}, "loss.center must be a bool, got int"),
            ({"loss": {"data": "iris", **MOMENTS}}, "either data or input_cov, .*got both"),
            ({"loss": {}}, r"loss must have data \(or input_cov, .*got nothing"),
            ({"loss": {"center": True}}, "loss must have data for center, got center"),
            ({"loss": {"input_cov": [[1.0]]}}, "loss must have cross_cov and output_power"),
            ({"loss": 3}, "loss must be a table, got 3"),
            (
                {"loss": {"kind": "LogisticLoss", "data": "diabetes"}},
                "classes or labels 1 and -1 for LogisticLoss, got diabetes: 442 samples",
            ),
            (
                {"loss": {"kind": "LogisticLoss", "data": "breast_cancer", "center": True}},
                "key of loss must be one of kind, data, .*got 'center'",
            ),
            (
                {"loss": {"kind": "SphericalLogisticLoss", "direction": [1.0, 0.0],
                          "law": {"kind": "Gauss"}}},
                "loss.law.kind must be one of .*did you mean 'Gaussian'",
            ),
            ({"network": {"hidde": 3}}, "key of network must be .*did you mean 'hidden'"),
            ({"network": {"kind": "Dens"}}, "network.kind must be .*did you mean 'Dense'"),
            ({"network": {"hidden": 3}}, "network must have n_layers, or widths; got hidden"),
            ({"network": {}}, "network must have hidden and n_layers, or widths; got nothing"),
            ({"network": {"widths": [2, 2], "hidden": 3}}, "either widths or hidden and n_layers"),
            ({"network": {"widths": [3, 2]}}, r"loss must match the network's widths \(3, 2\)"),
            ({"network": "Dens((2, 2))"}, "architecture must be one of .*did you mean 'Dense'"),
            ({"network": "import os"}, "architecture must be a text such as"),
            ({"network": 3}, "network must be a table, got 3"),
            ({"start": {"kind": "gaussia"}}, "kind must be one of .*did you mean 'gaussian'"),
            ({"start": {"scale": 1.0}}, "start must have kind, got scale"),
            ({"start": {"kind": "gaussian", "scal": 1}}, "key of start .*did you mean 'scale'"),
            ({"start": "gaussian"}, "start must be a table, got 'gaussian'"),
            ({"start": {"kind": "balanced", "product": {"array": "x"}}}, "start.product must be"),
            ({"method": {}}, "method must have step_size, got nothing"),
            ({"method": {"kind": "Newton"}}, "method.kind must be one of GradientDescent"),
            ({"method": {"step_size": {"kind": "powr"}}}, "kind must be one of .*'power'"),
            ({"method": {"step_size": -1.0}}, "step_size must be > 0, got -1"),
            ({"record": {"geomspac": 3}}, "key of record must be .*did you mean 'geomspace'"),
            ({"record": {"every": 3, "at": [1]}}, "record must have one of .*got every and at"),
            ({"record": {"observables": ["loss"]}}, "record must have one of .*got none"),
            ({"record": {"every": 3, "observables": ["los"]}}, "did you mean 'loss'"),
            ({"stop": {"los": 3}}, "key of stop must be one of .*did you mean 'loss'"),
            ({"stop": {}}, "loss, gradient_norm, evaluate, below or above must be given"),
            ({"dtype": "float16"}, "dtype must be float64 or float32"),
            ({"n_steps": 2.5}, "n_steps must be an integer, got float 2.5"),
            ({"until": 1.0}, "until"),
            ({"replicates": 0}, "replicates must be >= 1, got 0"),
            ({"rng": -1}, "rng must be >= 0, got -1"),
            ({"common_seeds": 1}, "common_seeds must be a bool"),
            ({"keep_records": True}, "training must have a record"),
            ({"derived": ["final_los"]}, "did you mean 'final_loss'"),
            ({"derived": [3]}, r"derived\[0\] must be a name, got 3"),
            ({"derived": 3}, "derived must be a list of names or a table, got 3"),
            ({"derived": ["m:f"]}, "derived must be a table to name functions"),
            ({"derived": {"a": 3}}, "derived.a must be a name or 'module:function', got 3"),
            ({"derived": {"a": {"dims": ["b"]}}}, "derived.a must have function, got dims"),
            ({"derived": {"a": {"func": "b"}}}, "key of derived.a must be one of function, dims"),
            ({"paired": {"n_steps": [1]}}, r"\[grid\], \[paired\].*got \[grid\] and \[paired\]"),
            ({"plot": 3}, "plot must be a table, got 3"),
        ],
        ids=str,
    )  # fmt: skip
    def test_tables(self, make, tables, message):
        refused(make, message, **tables)

    @pytest.mark.parametrize(
        ("grid", "message"),
        [
            ({"strt.scale": [1]}, "key of grid must be one of .*did you mean 'start'"),
            ({"start.scal": [1]}, "key of grid.start must be one of .*did you mean 'scale'"),
            ({"start": {"scal": [1]}}, "key of grid.start must be .*did you mean 'scale'"),
            ({"start.scale": 3}, r"grid.start.scale must be a list or a table such as .*got 3"),
            ({"start.scale": []}, "grid.start.scale must have at least one value, got none"),
            ({"start.scale": [1, 1]}, "labels must be different, got 1 twice"),
            ({"start.scale": [-1.0]}, "scale must be >= 0, got -1"),
            ({"start.scale": {"geomspac": [1, 2, 3]}}, "did you mean 'geomspace'"),
            ({"start.scale": {"geomspace": [0, 2, 3]}}, "between positive numbers, got 0"),
            ({"start.scale": {"geomspace": [1, 2]}}, r"must be \[low, high, n\], got \[1, 2\]"),
            ({"start.scale": {"geomspace": 3}}, r"must be \[low, high, n\], got 3"),
            ({"start.scale": {"linspace": [1, 2, 0]}}, "n of grid.start.scale.linspace must be"),
            ({"start.scale": {"linspace": [1, 2, 2.5]}}, "linspace must be an integer, got float"),
            ({"start.scale": {"linspace": [1, math.inf, 3]}}, "all finite"),
            ({"start.scale": {"linspace": [1, True, 3]}}, r"must be \[low, high, n\]"),
            ({"start.scale": {"arange": [2, 1]}}, "number of values of .*must be >= 1"),
            ({"start.scale": {"arange": [0, 1, 0]}}, "number of values of .*must be >= 1"),
            ({"start.scale": {"uniform": [0, 1]}}, r"got uniform, for \[sampled\]"),
            (
                {"start.scale": [1], "start": {"scale": [2]}},
                "given once, got grid.start.scale twice",
            ),
            ({"depth": {"n_steps": [3]}}, "grid.depth must have labels, got n_steps"),
            ({"depth": {"a": 3}}, "key of grid must be one of .*got 'depth'"),
            ({"depth": {"labels": [1]}}, "grid.depth must have a parameter besides labels"),
            ({"depth": {"labels": 1, "n_steps": [3]}}, "grid.depth.labels must be a list, got 1"),
            (
                {"depth": {"labels": [1], "n_step": [3]}},
                "key of grid.depth .*did you mean 'n_steps'",
            ),
            (
                {"depth": {"labels": [1, 2], "n_steps": [3]}},
                "grid.depth.n_steps must have 2 values, one per label, got 1",
            ),
            ({"seed": {"labels": [1], "n_steps": [3]}}, "names of dimensions"),
            ({"loss.dta": ["iris"]}, "key of grid.loss must be .*did you mean 'data'"),
            ({"loss.data": ["iris", "irs"]}, "did you mean 'iris'"),
            ({"loss.data": ["iris"], "loss.center": [True]}, r"must vary together, in a table"),
            ({"n_steps": [1.5]}, "n_steps must be an integer"),
            ({"loss": [0]}, "values of loss must be tables, got 0"),
            ({"start": ["gaussian"]}, "values of start must be tables, got 'gaussian'"),
        ],
        ids=str,
    )
    def test_grids(self, make, grid, message):
        loss = {} if any("loss.data" in key for key in grid) else MOMENTS
        refused(make, message, grid=grid, loss=loss)

    @pytest.mark.parametrize(
        ("sampled", "message"),
        [
            ({"start.scale": [1]}, "sampled must have n, got start.scale"),
            ({"n": 0, "start.scale": [1]}, "n must be >= 1, got 0"),
            ({"n": 3, "method": "sbol", "start.scale": [1]}, "did you mean 'sobol'"),
            ({"n": 3}, "parameters must name at least one, got none"),
            ({"n": 3, "start.scale": 3}, r"such as \{loguniform = \[1e-6, 1.0\]\}, got 3"),
            ({"n": 3, "start.scale": {"logunifrm": [1, 2]}}, "did you mean 'loguniform'"),
            ({"n": 3, "start.scale": {"loguniform": [0, 2]}}, "between positive numbers, got 0"),
            ({"n": 3, "start.scale": {"uniform": [2, 1]}}, r"\[low, high\] with low < high"),
            ({"n": 3, "start.scale": {"normal": [2, 0]}}, "with a positive deviation"),
            (
                {"n": 3, "start.scale": {"choice": 3}},
                "choice must be a list or a table such as .*got 3",
            ),
            ({"n": 3, "start.scale": {"integers": [1.5, 3]}}, "must be an integer"),
            ({"n": 3, "a": {"labels": [1], "n_steps": [1]}}, "got a table with labels"),
            ({"n": 3, "loss.data": {"uniform": [0, 1]}}, "sampled.loss.data must be a list|text"),
            ({"n": 3, "loss.data": ["iris"], "loss.center": [True]}, "one of what makes the loss"),
        ],
        ids=str,
    )
    def test_random_designs(self, make, sampled, message):
        loss = {} if any("loss.data" in key for key in sampled) else MOMENTS
        refused(make, message, without=["grid"], sampled=sampled, loss=loss)

    def test_lists(self, make):
        paired = {"n_steps": [1, 2], "start.scale": [1.0]}
        refused(make, "must be 2, one per label, got 1", without=["grid"], paired=paired)
        data = {"loss.data": ["iris"], "loss.center": [True, False]}
        refused(make, "equally many values", without=["grid"], loss={"data": "iris"}, paired=data)

    def test_what_is_missing(self, make):
        refused(make, "it must have loss, start; got n_steps", without=["loss", "start"])
        refused(make, r"it must have n_steps \(or until, for a flow\)", without=["n_steps"])
        refused(make, r"\[grid\], \[paired\] and \[sampled\].*got none", without=["grid"])

    def test_the_text(self, make, tmp_path):
        refused(make, r"sweep.toml: Invalid value \(at line 2, column 5\)", text="a = 1\nb = =")
        (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
        with pytest.raises(reader.SweepFileError, match="UTF-8 text, got byte 0xff at 5"):
            reader.read(tmp_path / "bytes.toml")
        refused(make, "values must be nested at most 64 deep", text="a = " + "[" * 10_000)
        with pytest.raises(FileNotFoundError):
            reader.read(tmp_path / "none.toml")

    def test_missing_data(self, make, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none.npz"):
            make(loss={"data": "none.npz"})
        (tmp_path / "broken.npz").write_bytes(b"PK nothing")
        refused(make, "broken.npz cannot be read", loss={"data": "broken.npz"})


@pytest.mark.parametrize(
    "text",
    [
        "start.scale=" + "[" * 10**5 + "]" * 10**5,
        "start.scale=" + "{a=" * 10**5,
        "a." * 400 + "a=1",
        "a." * 10**5 + "a=1",
        "=" * 10**5,
        "start.scale=" + "-" * 10**5 + "1",
        "start.scale=" + "1+" * 10**5 + "1",
    ],
    ids=lambda text: text[:14],
)
def test_settings_without_end_are_refused_shortly(text):
    with pytest.raises(
        ValueError, match=r"nested at most 64|must be key=value|is no value"
    ) as caught:
        setting(text)
    assert len(str(caught.value)) < 1000


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "names", "value"),
        [
            ("n_steps=3", ["n_steps"], 3),
            ("a.b = [1, 2]", ["a", "b"], [1, 2]),
            ('grid."start.scale"={geomspace=[1,2,3]}', ["grid", "start", "scale"],
             {"geomspace": [1, 2, 3]}),
            ('"a=b".c=true', ["a=b", "c"], True),
            ("start.kind=orthogonal", ["start", "kind"], "orthogonal"),
            ("network=Dense((2, 3))", ["network"], "Dense((2, 3))"),
            ("loss.data=../d.npz", ["loss", "data"], "../d.npz"),
            ("a='b=c'", ["a"], "b=c"),
        ],
    )  # fmt: skip
    def test_form(self, text, names, value):
        assert setting(text) == (names, value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("n_steps", "--set n_steps: it must be key=value"),
            ("=3", "it must be key=value"),
            ("a b=3", "it must be key=value"),
            ("n_steps=", "'' is no value of TOML"),
            ("n_steps=3x", "'3x' is no value of TOML"),
            ("n_steps=[1", "is no value of TOML"),
            ("n_steps=1\nb=2", "one value"),
            ("n_steps.a=3", "n_steps must be a table, got 20"),
            ("grid.start.scale.x.y=3", "grid.start.scale must be a table, got a list"),
        ],
    )
    def test_errors(self, make, text, message):
        refused(make, message, text)

    def test_what_they_change(self, make):
        spec = make("n_steps=30", "method.step_size=0.1", "stop.loss=0.5", "replicates=2").spec
        assert spec.training.n_steps == 30
        assert float(spec.training.method.step_size) == 0.1
        assert float(spec.training.stop.loss) == 0.5
        assert spec.replicates == 2

    @pytest.mark.parametrize("key", ["grid.start.scale", 'grid."start.scale"'])
    def test_quoted_keys(self, make, key):
        for grid in ({"start.scale": [1.0]}, {"start": {"scale": [1.0]}}):
            spec = make(f"{key}=[0.3, 0.4]", grid=grid).spec
            assert spec.axes["scale"].labels.tolist() == [0.3, 0.4]

    def test_new_parameters_and_parts_of_values(self, make):
        assert make("grid.method.step_size=[0.1, 0.2]").spec.dims == ("scale", "step_size")
        grid = {"start.scale": {"geomspace": [0.01, 1.0, 3]}}
        assert make("grid.start.scale.geomspace=[0.1, 1, 5]", grid=grid).spec.n_runs == 5
        grid = {"d": {"labels": [1, 2], "start.scale": [0.1, 0.2]}}
        spec = make("grid.d.labels=['a', 'b']", "grid.d.start.scale=[1, 2]", grid=grid).spec
        assert spec.axes["d"].labels.tolist() == ["a", "b"]
        assert make("sampled.n=9", without=["grid"], sampled={"start.scale": [1]}).spec.n_runs == 9


def _tables():
    scalars = st.one_of(
        st.integers(-3, 10**6),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.sampled_from(
            ["gaussian", "digits", "x.npz", "iris", "a:b", "power", "Dense((2, 2))", ""]
        ),
        st.text(max_size=5),
    )
    keys = st.sampled_from(
        [
            *("kind", "data", "labels", "scale", "step_size", "n", "geomspace", "array", "float"),
            *("start", "start.scale", "network.n_layers", "loss", "loss.data", "method", "n_steps"),
            *("law", "widths", "hidden", "n_layers", "of", "select", "every", "", ".", "a.b"),
            *("uniform", "choice", "arange", "exponent", "input_cov", "record", "stop", "network"),
        ]
    )
    inner = st.recursive(
        scalars,
        lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4),
        max_leaves=8,
    )
    top = st.sampled_from(
        [
            *("n_steps", "until", "replicates", "rng", "derived", "loss", "network", "start"),
            *("method", "record", "stop", "grid", "paired", "sampled", "plot", "dtype", "other"),
        ]
    )
    return st.dictionaries(top, inner, min_size=1, max_size=3), keys, inner


_TOPS, _KEYS, _INNER = _tables()


class TestNothingBreaks:
    """Whatever a file says, it is a sweep or an error that begins with the file's name."""

    @staticmethod
    def check(folder, tree):
        path = folder / "sweep.toml"
        text = "\n".join(f"{key_of(k)} = {toml(v)}" for k, v in tree.items())
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            file = reader.read(path)
        except (reader.SweepFileError, OSError, MemoryError) as error:
            assert str(error)  # noqa: PT017
        else:
            assert file.spec.n_runs >= 1

    @settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(tables=_TOPS)
    def test_any_tables(self, tables, tmp_path):
        self.check(tmp_path, copy.deepcopy(BASE) | tables)

    @settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        table=st.sampled_from(["loss", "network", "start", "method", "grid", "plot"]),
        key=_KEYS,
        value=_INNER,
    )
    def test_any_value(self, table, key, value, tmp_path):
        tree = copy.deepcopy(BASE) | {"plot": {}}
        tree[table][key] = value
        self.check(tmp_path, tree)

    @settings(max_examples=150)
    @given(text=st.text(max_size=20))
    def test_any_setting(self, text):
        try:
            names, _ = setting(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017
        else:
            assert names
