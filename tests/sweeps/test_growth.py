"""Stores of sweeps grow at their ends, and identities tell sweeps apart."""

from __future__ import annotations

import contextlib
import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import sweep_problems as problems
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support import cover, few
from sweep_problems import (
    LOSS,
    Listener,
    assert_consistent,
    assert_equal,
    in_memory,
    plain,
    snapshot,
    spec_of,
    sweep,
    training,
)

import linnet_fast as lf
from linnet_fast import layers
from linnet_fast.sweeps import store as store_module
from linnet_fast.sweeps.store import Store
from linnet_fast.training.state import Status

# -- growing ---------------------------------------------------------------------------------------


def _wide(hidden, steps, replicates):
    return lf.grid(
        training(),
        {"network.hidden": hidden, "method.step_size": steps},
        replicates=replicates,
        derived=("final_loss", "final_singular_values"),
    )


def _list(n, **options):
    scales = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7][:n]
    return lf.paired(
        training(), {"start.scale": scales, "n_steps": [10, 20, 30, 10, 20, 30, 10][:n]}, **options
    )


def _drawn(n, method):
    scale = scipy.stats.loguniform(1e-3, 1)
    return lf.sampled(training(), {"start.scale": scale}, n, method=method)


def _texts(*names):
    widths = {"narrow": 1, "wide": 6, "in between, größer": 3}
    return lf.grid(training(), {"network.hidden": {name: widths[name] for name in names}})


def _deriving(*names, replicates=4, steps=(0.05, 0.1)):
    return lf.grid(
        training(), {"method.step_size": list(steps)}, replicates=replicates, derived=names
    )


GROWTH = {
    "step sizes": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3], [0.05, 0.1, 5.0, 0.02], 4)),
    "shapes": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3, 1], [0.05, 0.1], 4)),
    "replicates": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3], [0.05, 0.1], 9)),
    "all": (_wide([2, 3], [0.05, 0.1], 4), _wide([2, 3, 1], [0.05, 0.1, 5.0], 7)),
    "a list": (_list(3), _list(7)),
    "a list with replicates": (_list(3, replicates=4), _list(5, replicates=4)),
    "random points": (_drawn(5, "random"), _drawn(23, "random")),
    "a sequence": (_drawn(5, "sobol"), _drawn(23, "sobol")),
    "texts": (_texts("narrow"), _texts("narrow", "wide", "in between, größer")),
    "derived": (
        _deriving("final_loss"),
        _deriving("learned_rank", "final_loss", "final_singular_values"),
    ),
    "curves derived": (_deriving("final_loss"), _deriving("final_loss", "max(gradient_norm)")),
    "derived and all else": (
        _deriving("final_loss", "learned_rank"),
        _deriving(
            "learned_rank", "final_loss", "final_product", replicates=7, steps=(0.05, 0.1, 5)
        ),
    ),
    "nothing": (_wide([2], [0.1], 2), _wide([2], [0.1], 2)),
}


@pytest.mark.parametrize(("case", "chunk_runs"), cover(GROWTH, [1, 3, 1000]))
def test_a_store_that_grows_is_that_of_the_larger_sweep(case, chunk_runs, tmp_path):
    small, large = GROWTH[case]
    store = tmp_path / "s.zarr"
    sweep(small, store, chunk_runs=chunk_runs)
    old = {name: state for name, state in snapshot(store).items() if "/c." in name}
    listener = Listener()
    grown = sweep(large, store, extend=True, progress=listener)
    assert_equal(grown, in_memory(large))
    assert_equal(lf.open_sweep(store), in_memory(large))
    # Chunks that are as they were are not done again: their files are the same files.
    new = snapshot(store)
    results = set(in_memory(large).data_vars)
    again = 0
    for name, (data, changed) in old.items():
        if name.split("/")[1] in results and new[name][0] == data:
            assert new[name][1] == changed, name
        elif name.split("/")[1] == "status":
            again += 1
    chunk = json.loads((store / "status" / "zarr.json").read_text())
    shape = chunk["chunk_grid"]["configuration"]["chunk_shape"]
    if all(n % c == 0 or n == m for n, c, m in zip(small.shape, shape, large.shape, strict=True)):
        assert again == 0
        known = 0 if set(large.derived) - set(small.derived) else small.n_runs
        assert listener.told[0].n_done >= known or large.n_runs == small.n_runs
    listener.check(large.n_runs, int((in_memory(large).status == Status.DIVERGED).sum()))
    # And in the same place again: no work at all.
    before = snapshot(store)
    assert_equal(sweep(large, store, extend=True), in_memory(large))
    assert_equal(sweep(large, store), in_memory(large))
    assert snapshot(store) == before


def test_a_store_that_is_not_done_grows(tmp_path):
    small, large = GROWTH["all"]
    store = tmp_path / "s.zarr"
    sweep(small, store, shard=(2, 3), chunk_runs=3)
    assert_equal(sweep(large, store, extend=True), in_memory(large))


def test_a_store_that_grows_by_shards(tmp_path):
    small, large = GROWTH["all"]
    store = tmp_path / "s.zarr"
    for part in (1, 2, 3):
        sweep(small, store, shard=(part, 3), chunk_runs=3, extend=True)
    for part in (3, 1, 2):
        data = sweep(large, store, shard=(part, 3), extend=True)
    assert_equal(data, in_memory(large))


def test_extend_makes_a_store_where_there_is_none(tmp_path):
    small, _ = GROWTH["all"]
    assert_equal(sweep(small, tmp_path / "s.zarr", extend=True), in_memory(small))


NO_GROWTH = {
    "inserted": _wide([2, 3], [0.05, 0.07, 0.1], 4),
    "at the beginning": _wide([1, 2, 3], [0.05, 0.1], 4),
    "removed": _wide([2, 3], [0.05], 4),
    "removed and added": _wide([2, 3], [0.05], 9),
    "turned": _wide([3, 2], [0.05, 0.1, 0.2], 4),
    "fewer replicates": _wide([2, 3], [0.05, 0.1, 0.2], 3),
    "fewer dimensions": lf.grid(
        training(),
        {"method.step_size": [0.05, 0.1]},
        replicates=4,
        derived=("final_loss", "final_singular_values"),
    ),
    "other dimensions": lf.grid(
        training(),
        {"network.hidden": [2, 3], "start.scale": [0.05, 0.1, 0.2]},
        replicates=4,
        derived=("final_loss", "final_singular_values"),
    ),
    "no replicates": _wide([2, 3], [0.05, 0.1], None),
    "another training": lf.grid(
        training(n_steps=61),
        {"network.hidden": [2, 3], "method.step_size": [0.05, 0.1, 0.2]},
        replicates=4,
        derived=("final_loss", "final_singular_values"),
    ),
}


def test_a_store_only_grows_at_the_ends(tmp_path):
    small, _ = GROWTH["all"]
    store = tmp_path / "s.zarr"
    sweep(small, store, chunk_runs=3)
    before = snapshot(store)
    for case, other in NO_GROWTH.items():
        with pytest.raises(lf.SweepError, match=r"ends of its dimensions"):
            sweep(other, store, extend=True)
        with pytest.raises(lf.SweepError, match=r"another sweep"):
            sweep(other, store)
        assert snapshot(store) == before, case
    assert_equal(sweep(small, store), in_memory(small))


def _counted(t):
    """Return the value of ``_counted.value``, of which an identity knows nothing."""
    return np.full(t.run_shape[0], _counted.value)


_counted.value = 1.0


def test_more_derived_is_of_the_same_runs(tmp_path):
    store = tmp_path / "s.zarr"
    sweep(_deriving("final_loss", replicates=6), store, chunk_runs=3)
    larger = _deriving("final_loss", "learned_rank", replicates=6)
    before = in_memory(_deriving("final_loss", replicates=6))
    part = sweep(larger, store, extend=True, shard=(2, 4)).load()
    # What is there is there, what is new only where it was asked for.
    for name, array in before.data_vars.items():
        assert_array_equal(part[name], array)
    new = (part["learned_rank"] != -1).to_numpy()
    assert new.sum() == 3
    assert_array_equal(
        part["learned_rank"].to_numpy()[new], in_memory(larger).learned_rank.to_numpy()[new]
    )
    assert Store.open(store).n_there() == 3
    assert_equal(sweep(larger, store), in_memory(larger))
    assert Store.open(store).n_there() == 12
    # From then on a file that is lost is damage, as any other.
    (store / "learned_rank" / "c.0.0").unlink()
    with pytest.raises(lf.SweepError, match=r"learned_rank/c\.0\.0 is damaged: it is missing"):
        lf.open_sweep(store).load()
    assert_equal(sweep(larger, store), in_memory(larger))
    with pytest.raises(lf.SweepError, match=r"derived can be added, but learned_rank must stay"):
        sweep(_deriving("final_loss", replicates=6), store, extend=True)


def test_runs_that_come_out_otherwise_add_nothing(monkeypatch, tmp_path):
    store = tmp_path / "s.zarr"
    own = {"own": (_counted, ())}
    sweep(plain(derived=own), store)
    before = snapshot(store)
    monkeypatch.setattr(_counted, "value", 2.0)
    with pytest.raises(lf.SweepError, match="has another own of some runs"):
        sweep(plain(derived=own | {"rank": "learned_rank"}), store, extend=True)
    after = snapshot(store)
    kept = [
        name for name in before if name.split("/")[1:2] in (["own"], ["status"]) and "/c." in name
    ]
    assert len(kept) > 1
    assert [after[name] for name in kept] == [before[name] for name in kept]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_in_the_way_of_more_derived_is_left(kind, tmp_path):
    store = tmp_path / "s.zarr"
    sweep(plain(derived=("final_loss",)), store)
    place = store / "learned_rank"
    if kind == "folder":
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path)
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match=r"learned_rank must be free for what is added"):
        sweep(plain(derived=("final_loss", "learned_rank")), store, extend=True)
    assert snapshot(store) == before


def test_a_store_with_random_numbers_by_place_keeps_these(tmp_path):
    """Where every run has its own numbers, more replicates would move those of others."""
    store = tmp_path / "s.zarr"
    sweep(plain(replicates=3, common_seeds=False), store)
    with pytest.raises(lf.SweepError, match="common_seeds"):
        sweep(plain(replicates=4, common_seeds=False), store, extend=True)
    more = plain([0.05, 0.1, 5.0, 0.02], replicates=3, common_seeds=False)
    assert_equal(sweep(more, store, extend=True), sweep(more))


def test_results_of_another_shape_cannot_be_added(tmp_path):
    def spec(hidden):
        record = lf.Record.every(30, ("weights",))
        return lf.grid(training(record=record), {"network.hidden": hidden})

    store = tmp_path / "s.zarr"
    sweep(spec([2]), store)
    before = snapshot(store)
    with pytest.raises(lf.SweepError, match="other shapes"):
        sweep(spec([2, 3]), store, extend=True)
    assert snapshot(store) == before


N_STEPS = 4 + 3 + 1
"""By which the store below grows: resized arrays, coordinates, the note."""


class Cut(BaseException):
    """As a kill: nothing may catch it."""


N_MORE = N_STEPS + 1 - 3
"""Resized arrays (no singular values here), a variable, fewer coordinates, the note."""


@pytest.mark.parametrize(
    ("k", "case"),
    [
        *((k, "all") for k in few(range(N_STEPS + 1), 5)),
        *((k, "derived and all else") for k in few(range(N_MORE + 1), 3)),
    ],
)
def test_a_store_cut_short_while_it_grows(k, case, monkeypatch, tmp_path):
    small, large = GROWTH[case]
    store = tmp_path / "s.zarr"
    sweep(small, store, chunk_runs=3)
    count = []

    def cut_after(function):
        def wrapped(*args, **options):
            if len(count) == k:
                raise Cut
            count.append(0)
            return function(*args, **options)

        return wrapped

    with monkeypatch.context() as patch, contextlib.suppress(Cut):
        for owner, name in (
            (zarr.Array, "resize"),
            (store_module, "write_coordinate"),
            (zarr.core.attributes.Attributes, "__setitem__"),
        ):
            patch.setattr(owner, name, cut_after(getattr(owner, name)))
        sweep(large, store, extend=True)
    assert len(count) == min(k, N_STEPS)
    # Whoever reads it now, or goes on with the smaller one, gets what is right or is told.
    for act in (lambda: lf.open_sweep(store).load(), lambda: sweep(small, store)):
        try:
            data = act()
        except lf.SweepError:
            continue
        assert_consistent(data, in_memory(small if data.sizes["seed"] == 4 else large))
    assert_equal(sweep(large, store, extend=True), in_memory(large))
    assert_equal(lf.open_sweep(store), in_memory(large))


# -- identities ------------------------------------------------------------------------------------

IDENTITIES = """
print(plain().id, plain().run_id(5), spec_of("flow").id, spec_of("flow").run_id(7))
"""
PINNED = [
    "fbf377e079a729f9b010975c077093f9d28cfd52b4a6e8ae0d3c6fdca4af3de6",
    "769c8cf99e7b1f23872349cabe1079c25fc41081e5196a97b75ce3a238212f6b",
    "75cc639aa7c11135492b96cac96ab215e19a46d65ce6df18e4a9ca4c0af83e0d",
    "5491422b6266cfdedfade5758c21105bfb1b3bf369f205e85020454712e23424",
]
"""If they change, so must `store.SCHEMA`: old stores would be refused."""


def test_identities_are_those_of_all_versions(monkeypatch):
    """But for the number of the numerics, which counts up with every change of bits."""
    monkeypatch.setattr("linnet_fast.sweeps.spec.NUMERICS", 3)
    flow = replace(spec_of("flow"))  # of its own: identities are kept
    assert [plain().id, plain().run_id(5), flow.id, flow.run_id(7)] == PINNED


@pytest.mark.parametrize("seed", few(["1234", "random"], 1))
def test_identities_are_those_of_other_processes(seed, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    own = [plain().id, plain().run_id(5), spec_of("flow").id, spec_of("flow").run_id(7)]
    assert problems.run(IDENTITIES).split() == own


def test_identities_do_not_depend_on_how_numbers_are_shown():
    def spec():
        fixed = np.linspace(0, 1, 4).reshape(2, 2) / 3
        network = lf.Chain([layers.Dense(2, 3), layers.Dense(3, 2), layers.Fixed(fixed)])
        loss = lf.SquaredLoss.from_data(
            np.random.default_rng(0).standard_normal((9, 2)), np.eye(9, 2)
        )
        return plain(network=network, loss=loss)

    before = spec()
    with np.printoptions(precision=2, threshold=1, floatmode="fixed", suppress=True):
        after = spec()
        assert after.id == before.id
        assert after.run_id(1) == before.run_id(1)


@pytest.mark.parametrize("where", ["network", "loss", "start", "step size"])
def test_the_last_bit_of_a_number_changes_the_identity(where):
    def spec(value):
        parts = {
            "network": {
                "network": lf.Chain([layers.Dense(2, 2), layers.Fixed([[value, 0], [0, 1]])])
            },
            "loss": {"loss": lf.SquaredLoss(np.eye(2), np.array([[value, 0], [0, 1]]), 5.0)},
            "start": {"start": lf.Start("gaussian", scale=value)},
            "step size": {"method": lf.GradientDescent(value)},
        }[where]
        return lf.grid(training(**parts), {}, replicates=2)

    value = 0.1
    near = float(np.nextafter(value, 1))
    assert spec(value).id == spec(value).id != spec(near).id
    assert spec(value).run_id(0) == spec(value).run_id(0) != spec(near).run_id(0)


FIELDS = st.fixed_dictionaries(
    {
        "hidden": st.integers(1, 3),
        "scale": st.sampled_from([0.1, 0.2, 1.0]),
        "kind": st.sampled_from(["gaussian", "orthogonal", "balanced"]),
        "power": st.sampled_from([5.0, 6.0]),
        "decay": st.sampled_from([0.0, 0.1]),
        "n_steps": st.integers(2, 4),
        "dtype": st.sampled_from(["float64", "float32"]),
        "stop": st.sampled_from([None, 0.0, 0.1]),
        "rng": st.integers(0, 2),
        "record": st.booleans(),
    }
)
SWEEPS = st.fixed_dictionaries(
    {
        "steps": st.sampled_from([(0.1,), (0.1, 0.2), (0.2, 0.1), (0.1, 0.3)]),
        "replicates": st.sampled_from([None, 1, 2]),
        "common_seeds": st.booleans(),
        "derived": st.sampled_from([(), ("final_loss",), ("final_loss", "learned_rank")]),
        "design": st.sampled_from(["grid", "paired"]),
    }
)


def _made(fields, sweep_fields):
    own = training(
        network=lf.Dense((2, fields["hidden"], 2)),
        loss=lf.SquaredLoss(np.eye(2), LOSS.cross_cov, fields["power"]),
        start=lf.Start(fields["kind"], scale=fields["scale"]),
        method=lf.GradientDescent(0.1, weight_decay=fields["decay"]),
        n_steps=fields["n_steps"],
        dtype=fields["dtype"],
        stop=None if fields["stop"] is None else lf.Stop(loss=fields["stop"]),
        record=lf.Record.at([0, 2], ("loss",)) if fields["record"] else None,
    )
    design = getattr(lf, sweep_fields["design"])
    return design(
        own,
        {"method.step_size": list(sweep_fields["steps"])},
        rng=fields["rng"],
        **{key: sweep_fields[key] for key in ("replicates", "common_seeds", "derived")},
    )


@settings(max_examples=60)
@given(fields=FIELDS, sweeps=SWEEPS, data=st.data())
def test_identities_are_equal_if_and_only_if_sweeps_are(fields, sweeps, data):
    spec = _made(fields, sweeps)
    assert _made(dict(fields), dict(sweeps)).id == spec.id
    key = data.draw(st.sampled_from(sorted({*fields, *sweeps})))
    other, others = dict(fields), dict(sweeps)
    if key in fields:
        other[key] = data.draw(FIELDS)[key]
    else:
        others[key] = data.draw(SWEEPS)[key]
    same = (other, others) == (fields, sweeps)
    # To keep the loss at the end is what is done if nothing is asked for.
    if key == "derived" and not fields["record"]:
        same = {sweeps[key], others[key]} in (
            {()},
            {("final_loss",)},
            {(), ("final_loss",)},
        ) or same
    changed = _made(other, others)
    assert (changed.id == spec.id) == same
    if key in fields:
        assert (changed.run_id(0) == spec.run_id(0)) == same


def _value(t, factor=1.0):
    return factor * np.asarray(t.loss)[:, -1]


def _closure(factor):
    return lambda t: factor * np.asarray(t.loss)[:, -1]


PAIRS = {
    "partials": lambda x: functools.partial(_value, factor=x),
    "defaults": lambda x: lambda t, x=x: x * np.asarray(t.loss)[:, -1],
    "closures": _closure,
}


@pytest.mark.parametrize("kind", PAIRS)
def test_functions_that_differ_are_told_apart_or_refused(kind, tmp_path):
    try:
        one, two = (plain(derived={"f": PAIRS[kind](x)}) for x in (1.0, 2.0))
    except (TypeError, ValueError) as error:
        assert "derived['f']" in str(error)  # noqa: PT017
        return
    assert plain(derived={"f": PAIRS[kind](1.0)}).id == one.id
    assert one.id != two.id
    sweep(one, tmp_path / "s.zarr")
    with pytest.raises(lf.SweepError, match="derived"):
        sweep(two, tmp_path / "s.zarr")
