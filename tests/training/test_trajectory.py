"""Trajectory: what it tells, and that files give back all of it or a clear error."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
import zipfile

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from support import EVERYTHING

import linnet_fast as lf
from linnet_fast import reference
from linnet_fast.initialization import gaussian
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.training.state import State, Status
from linnet_fast.training.trajectory import DivergenceError, Trajectory


def make(
    widths=(3, 2, 4),
    runs=(),
    *,
    step_size=0.1,
    dtype=np.float64,
    record=None,
    stop=None,
    flow=None,
):
    network = Dense(widths)
    cross = np.random.default_rng(0).standard_normal((widths[-1], widths[0]))
    loss = SquaredLoss(np.eye(widths[0]), cross, np.square(cross).sum())
    start = gaussian(network, rng=1, batch_shape=runs, dtype=dtype)
    if flow is not None:
        record = Record.geomspace(4, observables=EVERYTHING)
        return reference.train(network, loss, start, method=flow, until=2.0, record=record)
    record = record or Record.every(2, observables=EVERYTHING)
    method = GradientDescent(step_size)
    return reference.train(network, loss, start, method=method, n_steps=6, record=record, stop=stop)


@pytest.fixture
def mixed():
    """Six runs: the second row diverges, one run of the first row converges."""
    stop = Stop(loss=[[0.0, 1e9, 0.0], [0.0, 0.0, 0.0]], check_every=2)
    return make(runs=(2, 3), step_size=[[0.1], [1e300]], stop=stop)


def assert_same(a, b):
    assert a.network == b.network
    assert a.provenance == b.provenance
    assert a.final.step == b.final.step
    assert list(a.observables) == list(b.observables)
    assert a.final.time == b.final.time
    assert (a.start.step, a.start.time) == (b.start.step, b.start.time)
    assert type(a.method) is type(b.method)
    assert (a.steps is None) == (b.steps is None)
    pairs = [(a.time, b.time), (a.status, b.status), (a.n_steps, b.n_steps)]
    if a.steps is not None:
        pairs.append((a.steps, b.steps))
    for one, two in ((a.method, b.method), (a.loss_function, b.loss_function)):
        for field in dataclasses.fields(one):
            value = getattr(one, field.name)
            pairs.append((np.asarray(value), np.asarray(getattr(two, field.name))))
    pairs += [(a.start.status, b.start.status), (a.start.stopped_at, b.start.stopped_at)]
    pairs += zip(a.start.weights, b.start.weights, strict=True)
    pairs += [(a.stopped_at, b.stopped_at), *zip(a.final.weights, b.final.weights, strict=True)]
    for name, value in a.observables.items():
        parts = value if name == "weights" else (value,)
        twins = b.observables[name] if name == "weights" else (b.observables[name],)
        pairs += zip(parts, twins, strict=True)
    for one, two in pairs:
        assert one.dtype == two.dtype
        assert one.shape == two.shape
        assert_array_equal(one, two)


CASES = {
    "one run": {},
    "one layer": {"widths": (3, 2), "runs": (2,)},
    "float32": {"dtype": np.float32, "runs": (2, 1)},
    "loss only": {"record": Record.geomspace(3, observables=("loss",)), "runs": 3},
    "no records": {"runs": (2,)},
    "time per run": {"runs": (2, 3), "step_size": [[0.1], [0.2]]},
    "time per last run axis": {"runs": (1, 3), "step_size": [0.1, 0.2, 0.3]},
    "time with axes of one": {"runs": (1, 3), "step_size": [[0.1]]},
    "flow": {"flow": GradientFlow(1e-6)},
    "flows": {"flow": GradientFlow([[1e-6], [1e-5]], atol=1e-9), "runs": (2, 3)},
}


@pytest.fixture(params=CASES)
def case(request):
    run = make(**CASES[request.param])
    if request.param != "no records":
        return run
    cut = {
        name: tuple(part[:, :0] for part in value) if name == "weights" else value[:, :0]
        for name, value in run.observables.items()
    }
    return dataclasses.replace(run, steps=run.steps[:0], time=run.time[:0], observables=cut)


def test_mixed_outcomes_are_told(mixed):
    assert mixed.run_shape == (2, 3)
    assert mixed.status.tolist() == [[0, 1, 0], [2, 2, 2]]
    assert mixed.ok.tolist() == [[True] * 3, [False] * 3]
    assert mixed.stopped_at[0].tolist() == [6, 0, 6]
    step = mixed.stopped_at[1, 0]
    assert mixed.message == (
        f"6 runs: 2 completed, 1 converged, 3 diverged (first: run (1, 0) at step {step})"
    )
    with pytest.raises(DivergenceError, match=r"3 diverged \(first: run \(1, 0\)"):
        mixed.raise_for_status()
    assert "6 runs" in repr(mixed)
    assert "4 records of loss, singular_values" in repr(mixed)


def test_one_run_is_told():
    run = make()
    assert run.message == "1 run: 1 completed"
    run.raise_for_status()
    diverged = make(step_size=1e300)
    assert diverged.message == f"1 run: 1 diverged (at step {diverged.stopped_at})"


def test_every_observable_is_an_attribute(mixed):
    assert set(mixed.observables) == set(EVERYTHING)
    for name in EVERYTHING:
        assert getattr(mixed, name) is mixed.observables[name]


def test_missing_observables_name_what_was_recorded():
    run = make(record=Record.every(2, observables=("loss", "imbalance")))
    assert not hasattr(run, "product")
    with pytest.raises(AttributeError, match="product was not recorded, only loss, imbalance"):
        _ = run.product


def test_trajectory_is_frozen_but_copies_and_pickles(mixed):
    with pytest.raises(dataclasses.FrozenInstanceError):
        mixed.steps = None
    with pytest.raises(TypeError):
        mixed.observables["loss"] = None
    assert_same(mixed, copy.deepcopy(mixed))
    assert_same(mixed, pickle.loads(pickle.dumps(mixed)))


def test_provenance_is_json(mixed):
    numbers = {
        "array": np.array([[1, 2], [3, 4]]),
        "numpy": (np.float32(0.5), np.int8(3), np.True_),
        "odd": [np.nan, -np.inf, Status.DIVERGED, {1: None}],
        "large": np.zeros((300, 300)),
        "method": GradientDescent(0.5),
    }
    run = dataclasses.replace(mixed, provenance=numbers)
    assert json.loads(json.dumps(dict(run.provenance), allow_nan=False)) == {
        "array": [[1, 2], [3, 4]],
        "numpy": [0.5, 3, True],
        "odd": ["nan", "-inf", 2, {"1": None}],
        "large": {"shape": [300, 300], "dtype": "float64"},
        "method": "GradientDescent(step_size=0.5, weight_decay=0)",
    }


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_save_and_load_give_back_everything(case, suffix, tmp_path):
    case.save(tmp_path / f"result{suffix}")
    assert_same(case, Trajectory.load(tmp_path / f"result{suffix}"))
    assert [path.name for path in tmp_path.iterdir()] == [f"result{suffix}"]


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_save_and_load_keep_ended_runs(mixed, suffix, tmp_path):
    path = str(tmp_path / f"with space é{suffix}")
    mixed.save(path)
    mixed.save(path)  # replaces
    loaded = Trajectory.load(path)
    assert_same(mixed, loaded)
    assert loaded.message == mixed.message


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_a_loaded_state_continues_the_training(suffix, tmp_path):
    network = Dense((3, 2))
    loss = SquaredLoss(np.eye(3), np.ones((2, 3)), 6.0)
    options = {"method": GradientDescent(0.1), "record": Record.every(1)}
    start = gaussian(network, rng=0)
    whole = reference.train(network, loss, start, n_steps=9, **options)
    reference.train(network, loss, start, n_steps=4, **options).save(tmp_path / f"a{suffix}")
    state = Trajectory.load(tmp_path / f"a{suffix}").final
    rest = reference.train(network, loss, state, n_steps=5, **options)
    assert_array_equal(rest.final.weights[0], whole.final.weights[0])
    assert rest.steps.tolist() == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("interruption", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(mixed, suffix, interruption, tmp_path, monkeypatch):
    path = tmp_path / f"result{suffix}"
    make().save(path)
    before = path.read_bytes()

    def fail(*_args, **_options):
        (tmp_path / "marker").touch()
        raise interruption

    monkeypatch.setattr("os.fsync", fail)  # after the new content is written, before it counts
    with pytest.raises(type(interruption)):
        mixed.save(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["marker", path.name]


def test_files_get_the_permissions_of_new_files(tmp_path):
    make().save(tmp_path / "a.npz")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["result", "result.pkl", "result.npz.txt", "result.NPZ"])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.npz or \.nc, got '.*result"):
        make().save(tmp_path / name)
    with pytest.raises(ValueError, match=r"path must end in \.npz or \.nc"):
        Trajectory.load(tmp_path / name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_files_that_cannot_be_opened_are_os_errors(suffix, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        Trajectory.load(tmp_path / f"missing{suffix}")
    with pytest.raises(OSError, match="nowhere"):
        make().save(tmp_path / "nowhere" / f"result{suffix}")


@pytest.mark.parametrize("module", ["xarray", "netCDF4"])
def test_missing_packages_name_the_extra(module, tmp_path, monkeypatch):
    run = make()
    run.save(tmp_path / "a.nc")
    monkeypatch.setitem(sys.modules, module, None)
    calls = [lambda: run.save(tmp_path / "b.nc")]
    calls += (
        [lambda: Trajectory.load(tmp_path / "a.nc")] if module == "netCDF4" else [run.to_xarray]
    )
    for call in calls:
        with pytest.raises(ImportError, match=rf'{module} \(extra xarray\): pip install "xarray>='):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


class TestDamagedFiles:
    """Whatever is wrong with a file, load raises ValueError with its path."""

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "result.npz"

    @pytest.fixture
    def arrays(self, path, mixed):
        mixed.save(path)
        with np.load(path) as archive:
            return dict(archive)

    def refused(self, path, message):
        with pytest.raises(
            ValueError, match=f"{path.name} is not a readable linnet_fast result"
        ) as e:
            Trajectory.load(path)
        assert message in str(e.value)

    @pytest.mark.parametrize("missing", ["linnet_fast", "step", "time", "loss", "final_weights_1"])
    def test_missing_arrays(self, arrays, path, missing):
        np.savez(path, **{name: a for name, a in arrays.items() if name != missing})
        self.refused(path, missing)

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("loss", lambda a: a[:, :, :-1], "loss must be float64 of shape (2, 3, 4), got"),
            ("loss", lambda a: a.astype(np.float32), "loss must be float64"),
            ("weights_0", lambda a: a.mT, "weights[0] must be float64 of shape (2, 3, 4, 2, 3)"),
            ("weights_1", lambda a: a.astype(np.float32), "weights[1] must be float64"),
            ("final_weights_0", lambda a: a[0], "must be float64 of shape"),
            (
                "final_weights_0",
                lambda a: a.mT,
                "state must have layers of shapes ((2, 3), (4, 2))",
            ),
            (
                "final_weights_0",
                lambda a: a.astype(complex),
                "final_weights_0 must be made of numbers",
            ),
            ("status", lambda a: a + np.int8(5), "status must be made of [0, 1, 2, 3]"),
            ("status", lambda a: a.astype(float), "status must be int8"),
            ("stopped_at", lambda a: a - 100, "stopped_at must be within 0 ... 6"),
            ("step", lambda a: a[::-1], "steps must be finite and strictly increasing"),
            ("step", lambda a: a[:, None], "steps must be int64 of shape (4,)"),
            ("time", lambda a: a[..., :2], "steps must be int64 of shape (2,)"),
            ("start_weights_0", lambda a: a[..., 1:], "start_weights_0 must have run axes that"),
            ("n_steps", lambda a: a.astype(float), "n_steps must be int64"),
            (
                "loss",
                lambda a: a.astype(object),
                "loss holds Python objects, which are never unpickled",
            ),
            ("linnet_fast", lambda a: a[:-5], "its description is no JSON text"),
            ("linnet_fast", lambda _: np.full(9, 255, np.uint8), "its description is no text"),
            ("linnet_fast", lambda _: np.array([b"[]"]), "must be bytes of a text"),
            ("linnet_fast", lambda _: np.frombuffer(b"[]", np.uint8), "not one of a trajectory"),
        ],
    )
    def test_wrong_arrays(self, arrays, path, name, change, message):
        """The header says of the arrays what they are."""
        changed = arrays | {name: change(arrays[name])}
        if name != "linnet_fast":
            header = json.loads(arrays["linnet_fast"].tobytes())
            for key in header["contents"]:
                header["contents"][key] = {
                    "dtype": changed[key].dtype.str,
                    "shape": changed[key].shape,
                }
            changed["linnet_fast"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(path, **changed)
        self.refused(path, message)

    @pytest.mark.parametrize(
        "change", [lambda a: a[:, :, :-1], lambda a: a.astype(np.float32), lambda a: a[..., None]]
    )
    def test_arrays_that_are_not_what_the_header_says(self, arrays, path, change):
        np.savez(path, **arrays | {"loss": change(arrays["loss"])})
        self.refused(path, "loss must be <f8 of shape [2, 3, 4] by its description, got <f")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            (
                "format",
                "other.Thing",
                "expected linnet_fast.Trajectory of schema_version 4 to 6, got other",
            ),
            ("schema_version", 2, "expected linnet_fast.Trajectory of schema_version 4 to 6, got"),
            ("network", "Dense((3, 2))", "singular_values must be float64 of shape"),
            ("network", "Dense((2, 3, 4))", "start_weights_0 must have run axes that"),
            ("network", "Dense((3, -2, 4))", "widths[1] must be >= 1"),
            ("network", "3, 2, 4", "the network must be a single one"),
            ("network", "Dense((3, 2, 4)).__class__", "must be a single one"),
            ("network", "open('/etc/passwd')", "must be one of"),
            ("observables", ["../../etc/passwd"], "etc/passwd"),
            ("observables", ["status"], "observables must be one of"),
            ("observables", 3, "observables must be a list in its description, got an integer"),
            ("final.step", "6", "step must be an integer"),
            ("final.step", -1, "step must be >= 0"),
            ("final.time", 1.0, "step or time must be given"),
            ("method", {"kind": "os.system"}, "os.system"),
            ("method.step_size", -0.1, "step_size must be > 0"),
            (
                "loss_function.input_cov",
                [[-1.0] * 3] * 3,
                "input_cov must have a non-negative diag",
            ),
            ("loss_function.input_cov", {"array": "0"}, "has no '0'"),
            ("provenance", [1], "provenance must be a table in its description, got a list"),
        ],
    )
    def test_wrong_headers(self, arrays, path, key, value, message):
        header = json.loads(arrays["linnet_fast"].tobytes())
        *outer, key = key.split(".")
        place = header[outer[0]] if outer else header
        assert key in place
        place[key] = value
        arrays["linnet_fast"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(path, **arrays)
        self.refused(path, message)

    @pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
    @pytest.mark.parametrize("suffix", [".npz", ".nc"])
    def test_truncated_files(self, mixed, path, suffix, kept):
        path = path.with_suffix(suffix)
        mixed.save(path)
        content = path.read_bytes()
        path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
        self.refused(path, "")

    def test_flipped_bytes_are_noticed_by_the_checksum(self, mixed, path):
        mixed.save(path)
        content = bytearray(path.read_bytes())
        place = content.index(mixed.loss.tobytes())
        content[place] ^= 1
        path.write_bytes(content)
        self.refused(path, "is damaged")

    def test_foreign_files(self, path):
        np.savez(path, loss=np.zeros(3))
        self.refused(path, "linnet_fast")
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
        self.refused(path, "")
        path.write_bytes(pickle.dumps(print))
        self.refused(path, "")
        path.write_text("not a zip")
        self.refused(path, "")
        xr.Dataset({"loss": ("x", [1.0])}).to_netcdf(path.with_suffix(".nc"))
        self.refused(path.with_suffix(".nc"), "linnet_fast")

    def test_a_header_that_claims_too_much(self, arrays, path):
        np.savez(path, **{name: a for name, a in arrays.items() if name != "loss"})
        claim = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % 2**50
        claim += b" " * (64 - (len(claim) + 11) % 64) + b"\n"
        with zipfile.ZipFile(path, "a") as archive:
            text = b"\x93NUMPY\x01\x00" + len(claim).to_bytes(2, "little") + claim
            archive.writestr("loss.npy", text)
        self.refused(path, "")

    def test_a_changed_netcdf(self, mixed, path):
        path = path.with_suffix(".nc")
        mixed.save(path)
        data = xr.load_dataset(path, decode_cf=False)
        data.drop_vars("final_weights_0").to_netcdf(path)
        self.refused(path, "final_weights_0")


def test_to_xarray_labels_every_axis(mixed):
    data = mixed.to_xarray()
    assert dict(data.sizes) == {
        "run_0": 2, "run_1": 3, "step": 4, "mode": 3, "out": 4, "in": 3,
        "hidden_1": 2, "layer": 2, "layer_pair": 1, "mode_of_layer": 2,
    }  # fmt: skip
    assert data["singular_values"].dims == ("run_0", "run_1", "step", "mode")
    assert data["product"].dims == ("run_0", "run_1", "step", "out", "in")
    assert data["weights_0"].dims == ("run_0", "run_1", "step", "hidden_1", "in")
    assert data["weights_1"].dims == ("run_0", "run_1", "step", "out", "hidden_1")
    assert data["imbalance"].dims == ("run_0", "run_1", "step", "layer_pair")
    assert data["status"].dims == data["stopped_at"].dims == ("run_0", "run_1")
    assert data["time"].dims == ("run_0", "step")
    assert_array_equal(data["time"].sel(step=4), [0.4, 4e300])
    assert_array_equal(data["loss"], mixed.loss)
    assert data["status"].attrs["flag_meanings"] == "completed converged diverged exhausted"
    assert json.loads(data.attrs["provenance"]) == mixed.provenance
    assert data.attrs["network"] == "Dense(widths=(3, 2, 4))"


def test_to_xarray_takes_names_and_coordinates(mixed):
    coords = {"scale": [0.1, 1.0], "seed": [7, 8, 9], "label": ("seed", list("abc"))}
    data = mixed.to_xarray(dims=("scale", "seed"), coords=coords)
    assert_array_equal(data["loss"].sel(scale=1.0, seed=8), mixed.loss[1, 1])
    assert data["label"].values.tolist() == ["a", "b", "c"]
    assert data["time"].dims == ("scale", "step")


def test_to_xarray_of_every_case(case):
    data = case.to_xarray()
    records = "time" if case.steps is None else "step"
    assert data.sizes[records] == case.time.shape[-1]
    assert ("step" in data.coords) == (case.steps is not None)
    assert_array_equal(data["loss"], case.loss)
    assert_array_equal(
        data["time"].broadcast_like(data["loss"]).transpose(*data["loss"].dims),
        np.broadcast_to(case.time, case.loss.shape),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": ("a",)}, "dims must be 2 different names, one per run axis, got"),
        ({"dims": "ab"}, "dims must be 2 different names"),
        ({"dims": ("a", "a")}, "dims must be 2 different names"),
        ({"dims": ("a", "step")}, "dims must not be names the result uses itself, got step"),
        ({"dims": ("loss", "mode")}, "dims must not be names .* got loss, mode"),
        ({"coords": {"step": [1, 2, 3]}}, "coords must name run axes, got step"),
        ({"coords": {"run_0": [1, 2, 3]}}, "run_0"),
    ],
)
def test_to_xarray_refuses(mixed, options, message):
    with pytest.raises(ValueError, match=message):
        mixed.to_xarray(**options)


@pytest.mark.parametrize(
    ("changes", "exception", "message"),
    [
        ({"weights": ()}, ValueError, "weights must have one array per layer, got none"),
        (
            {"time": 1.0},
            ValueError,
            "step or time must be given, one of them, got step 5 and time 1.0",
        ),
        ({"step": None}, ValueError, "step or time must be given"),
        ({"step": None, "time": -1.0}, ValueError, "time must be >= 0, got -1"),
        ({"step": None, "time": [1.0]}, TypeError, "time must be a single number"),
        ({"step": None, "time": 1.0}, ValueError, "stopped_at must be float64"),
        (
            {"status": np.zeros(2, np.int8)},
            ValueError,
            r"weights\[0\] must be float64 of shape \(2,",
        ),
        ({"weights": (np.ones((3, 4), int),)}, ValueError, "dtype of weights must be float64 or"),
        ({"step": -1}, ValueError, "step must be >= 0, got -1"),
        ({"step": 1.0}, TypeError, "step must be an integer"),
        (
            {"status": np.array(4, np.int8)},
            ValueError,
            r"status must be made of \[0, 1, 2, 3\], got 4",
        ),
        ({"stopped_at": np.array(6)}, ValueError, r"stopped_at must be within 0 \.\.\. 5, got 6"),
    ],
)
def test_state_refuses(changes, exception, message):
    arguments = {
        "weights": (np.ones((3, 4)),),
        "step": 5,
        "status": np.zeros((), np.int8),
        "stopped_at": np.array(5),
    }
    State(**arguments)
    with pytest.raises(exception, match=message):
        State(**arguments | changes)


def test_trajectory_refuses_what_does_not_fit(mixed):
    with pytest.raises(ValueError, match=r"state must have layers of shapes \(\(2, 3\),\)"):
        dataclasses.replace(mixed, network=Dense((3, 2)))
    with pytest.raises(ValueError, match="weights must have 2 arrays, got 1"):
        dataclasses.replace(mixed, observables={"weights": mixed.weights[:1]})
    with pytest.raises(ValueError, match="time must have run axes that broadcast"):
        dataclasses.replace(mixed, time=np.ones((5, 4)))
    with pytest.raises(ValueError, match="observables must be one of"):
        dataclasses.replace(mixed, observables={"status": mixed.loss})


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("network", "Dense((1, 1))", TypeError, "network must be a Chain, got str"),
        ("loss_function", 1, TypeError, "loss_function must be a Loss, got int"),
        ("method", None, TypeError, "method must be a Method, got NoneType"),
        ("final", {}, TypeError, "final must be a State, got dict"),
        ("time", [0.0, 1.0], TypeError, "time must be an array, got list"),
        ("time", np.array([0.0, np.nan]), ValueError, "time must be finite, got nan"),
        ("time", np.array([0.0, np.inf]), ValueError, "time must be finite and strictly incr"),
        ("time", np.array([0.0, 0.0]), ValueError, "time must be finite and strictly incr"),
        ("time", np.array([1.0, 0.0]), ValueError, "time must be rising, got 0.0"),
        ("time", np.array([-1.0, 0.0]), ValueError, "time must be >= 0, got -1.0"),
        ("time", np.array(0.0), ValueError, "time must have an axis of records"),
        ("time", np.array([0, 1]), ValueError, "time must be float64 of shape"),
        ("observables", "abc", TypeError, "observables must be a mapping from names, got str"),
        ("provenance", None, TypeError, "provenance must be a mapping from names, got None"),
        ("n_steps", 3, TypeError, "n_steps must be an array, got int"),
    ],
)
def test_parts_that_are_something_else_are_refused(name, value, error, message):
    loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    record = lf.Record.at_times([0.0, 1.0])
    options = {"method": lf.GradientFlow(), "until": 1.0, "record": record}
    run = lf.train(lf.Dense((1, 1)), loss, ([[0.5]],), **options)
    with pytest.raises(error, match=f"^{message}"):
        dataclasses.replace(run, **{name: value})


def test_times_of_steps_may_not_fall():
    loss = lf.SquaredLoss([[1.0]], [[2.0]], 4.0)
    method = lf.GradientDescent(0.1)
    run = lf.train(lf.Dense((1, 1)), loss, ([[0.5]],), method=method, n_steps=5)
    with pytest.raises(ValueError, match="time must be rising"):
        dataclasses.replace(run, time=run.time[::-1].copy())
    assert_array_equal(run.linear_time, run.time)
