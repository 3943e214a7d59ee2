"""Record schedules (geomspace by properties), the registry of observables, and Stop."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from linnet_fast.networks.named import Dense
from linnet_fast.records.observables import OBSERVABLES
from linnet_fast.records.record import MAX_STEP, Record
from linnet_fast.records.stop import Stop


@st.composite
def ranges(draw):
    """First and last step: short, long, and near the largest allowed."""
    first = draw(st.one_of(st.just(0), st.integers(0, 50), st.integers(0, MAX_STEP)))
    length = draw(st.one_of(st.integers(0, 50), st.integers(0, MAX_STEP - first)))
    return first, min(first + length, MAX_STEP)


@settings(deadline=None)
@given(st.integers(2, 300), ranges())
def test_geomspace_gives_distinct_steps_from_first_to_last(n, limits):
    first, last = limits
    record = Record.geomspace(n)
    steps = record.steps(first, last)
    assert steps.dtype == np.int64
    assert len(steps) == min(n, last - first + 1) == record.n_records(first, last)
    assert (steps[0], steps[-1]) == (first, last)
    assert (np.diff(steps) > 0).all()
    if first == 0 and len(steps) > 2:
        assert steps[1] == 1


@settings(deadline=None)
@given(st.integers(3, 200), st.integers(0, 1000), st.integers(1, 10**7))
def test_geomspace_is_consecutive_and_then_geometric_to_the_nearest_integer(n, first, length):
    steps = Record.geomspace(n).steps(first, first + length).astype(float)
    steps = steps[1:] if first == 0 else steps
    gaps = np.diff(steps)
    consecutive = int(np.argmax(gaps != 1)) if (gaps != 1).any() else len(gaps)
    # Somewhere within the consecutive steps the geometric progression takes over and fits.
    fits = [
        np.abs(np.geomspace(steps[i], steps[-1], len(steps) - i) - steps[i:]).max() <= 0.5 + 1e-6
        for i in range(consecutive + 1)
    ]
    assert any(fits)


def test_geomspace_examples():
    assert Record.geomspace(5).steps(0, 1000).tolist() == [0, 1, 10, 100, 1000]
    assert Record.geomspace(4).steps(10, 10_000).tolist() == [10, 100, 1000, 10_000]
    assert Record.geomspace(2).steps(0, 1000).tolist() == [0, 1000]
    assert Record.geomspace(9).steps(0, 3).tolist() == [0, 1, 2, 3]
    assert Record.geomspace(9).steps(7, 7).tolist() == [7]
    # 32 ** (1 / 6) = 1.78 would give 1, 1.78: so 2 comes next, and 16 ** (1 / 5) = 1.74 from there.
    assert Record.geomspace(8).steps(0, 32).tolist() == [0, 1, 2, 3, 6, 11, 18, 32]


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(0, 300), st.integers(0, 300))
def test_every_gives_all_multiples(k, first, length):
    record = Record.every(k)
    expected = [step for step in range(first, first + length + 1) if step % k == 0]
    assert record.steps(first, first + length).tolist() == expected
    assert record.n_records(first, first + length) == len(expected)


def test_every_works_at_the_largest_steps():
    assert Record.every(2**61).steps(1, MAX_STEP).tolist() == [2**61, 2**62]


def test_at_gives_the_steps():
    record = Record.at(np.array([3, 5, 10]))
    assert record == Record.at([3, 5, 10])
    assert_array_equal(record.steps(3, 10), [3, 5, 10])
    assert record.n_records(0, 10) == 3


def test_record_is_a_value_that_prints_as_its_call():
    for record in (
        Record.geomspace(200, observables=["loss", "weights"]),
        Record.every(10),
        Record.at([0, 5], ("imbalance",)),
        Record.every(3, ("angle",), direction=[0.0, -2.5]),
        Record.at_times([0.0, 0.5], ("log_tan_half_angle",), np.array([1, 2])),
    ):
        assert eval(repr(record), {"Record": Record}) == record
        assert hash(record) == hash(dataclasses.replace(record))
    assert Record.every(10).observables == ("loss", "singular_values")
    assert Record.every(10) != Record.geomspace(10)


@pytest.mark.parametrize("widths", [(5, 3), (4, 1, 6), (2, 3, 3, 7)])
def test_observables_have_their_shapes(widths):
    network = Dense(widths)
    shapes = {name: row.record_shape(network) for name, row in OBSERVABLES.items()}
    assert shapes == {
        "loss": (),
        "singular_values": (min(widths[0], widths[-1]),),
        "product": (widths[-1], widths[0]),
        "weights": network.shapes,
        "layer_norms": (len(widths) - 1,),
        "imbalance": (len(widths) - 2,),
        "gradient_norm": (),
        "norm": (),
        "angle": (),
        "log_tan_half_angle": (),
        "margin": (),
        "accuracy": (),
        "layer_singular_ratio": (len(widths) - 1,),
        "layer_alignment": (len(widths) - 2,),
        "layer_singular_values": (len(widths) - 1, max(map(min, pairwise(widths)))),
        **dict.fromkeys(("effective_rank", "stable_rank"), ()),
        **{name: () for name, row in OBSERVABLES.items() if row.is_measure},
        "conserved": (len(widths) - 2,),
    }


def test_observables_cannot_be_changed():
    with pytest.raises(TypeError):
        OBSERVABLES["mine"] = len


@pytest.mark.parametrize(
    ("make", "argument", "exception", "message"),
    [
        (Record.geomspace, 1, ValueError, "^n must be >= 2, got 1"),
        (Record.geomspace, -5, ValueError, "^n must be >= 2, got -5"),
        (Record.geomspace, 2.0, TypeError, "^n must be an integer, got float 2.0"),
        (Record.geomspace, True, TypeError, "^n must be an integer, got bool"),
        (Record.geomspace, 2**63, ValueError, f"^n must be <= {2**62}"),
        (Record.every, 0, ValueError, "^k must be >= 1, got 0"),
        (Record.every, "5", TypeError, "^k must be an integer, got str '5'"),
        (Record.every, None, TypeError, "^k must be an integer, got NoneType"),
        (Record.at, 5, TypeError, "^steps must be a sequence of integers, got int 5"),
        (Record.at, [], ValueError, "^steps must name at least one step"),
        (Record.at, [1.0], TypeError, r"^steps\[0\] must be an integer, got float"),
        (Record.at, [0, -1], ValueError, r"^steps\[1\] must be >= 0, got -1"),
        (Record.at, [0, 2**63], ValueError, rf"^steps\[1\] must be <= {2**62}"),
        (Record.at, [0, 5, 5], ValueError, "^steps must be strictly increasing, got 5 before 5"),
        (Record.at, [0, 7, 5], ValueError, "^steps must be strictly increasing, got 7 before 5"),
    ],
)
def test_record_refuses_numbers(make, argument, exception, message):
    with pytest.raises(exception, match=message):
        make(argument)


@pytest.mark.parametrize(
    ("observables", "exception", "message"),
    [
        (
            "loss",
            TypeError,
            r"observables must be a tuple of names such as \('loss',\), got 'loss'",
        ),
        (None, TypeError, "observables must be a tuple of names"),
        ((), ValueError, "observables must name at least one of loss, singular_values"),
        (("los",), ValueError, r"observables\[0\] must be one of .*; did you mean 'loss'\?"),
        (
            ("loss", "singular_value"),
            ValueError,
            r"observables\[1\] .* did you mean 'singular_values'",
        ),
        (("zzzz",), ValueError, "got 'zzzz'$"),
        (("loss", 3), TypeError, r"observables\[1\] must be a string, .* got int"),
        (("loss", "loss"), ValueError, "each observable once, got 'loss' twice"),
    ],
)
@pytest.mark.parametrize("make", [Record.geomspace, Record.every])
def test_record_refuses_observables(make, observables, exception, message):
    with pytest.raises(exception, match=message):
        make(5, observables=observables)


def test_record_refuses_unknown_schedules():
    with pytest.raises(ValueError, match=r"schedule must be one of .* did you mean 'geomspace'"):
        Record("geospace", (5,))
    with pytest.raises(ValueError, match=r"numbers must be a tuple \(k,\) for every, got \(5, 6\)"):
        Record("every", (5, 6))


@pytest.mark.parametrize(
    ("first", "last", "exception", "message"),
    [
        (-1, 5, ValueError, "first must be >= 0, got -1"),
        (5, 4, ValueError, "last must be >= 5, got 4"),
        (0, MAX_STEP + 1, ValueError, "last must be <= 4611686018427387904"),
        (0.0, 5, TypeError, "first must be an integer, got float"),
        (0, True, TypeError, "last must be an integer, got bool"),
    ],
)
@pytest.mark.parametrize("record", [Record.geomspace(5), Record.every(5), Record.at([5])])
def test_steps_refuses_limits(record, first, last, exception, message):
    for function in (record.steps, record.n_records):
        with pytest.raises(exception, match=message):
            function(first, last)


def test_at_names_the_steps_outside():
    with pytest.raises(ValueError, match=r"within this training, 400 \.\.\. 1000, got 0, 5, 2000$"):
        Record.at([0, 5, 500, 2000]).steps(400, 1000)
    with pytest.raises(ValueError, match=r"got 0, 1, 2, 3, 4, \.\.\.$"):
        Record.at(range(100)).steps(400, 1000)


def test_stop_keeps_thresholds_per_run():
    stop = Stop(loss=[[1e-3], [1e-4]], gradient_norm=[0.0, 1e-3, 1], check_every=np.int64(7))
    assert stop.run_shape == (2, 3)
    assert stop.check_every == 7
    assert repr(stop) == "Stop(loss=<array (2, 1)>, gradient_norm=<array (3,)>, check_every=7)"
    assert Stop(gradient_norm=0.5).loss is None
    assert dataclasses.replace(Stop(loss=1.0), check_every=3).check_every == 3


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        (
            {},
            ValueError,
            "loss, gradient_norm, evaluate, below or above must be given, got none of them",
        ),
        ({"loss": -1.0}, ValueError, "loss must be >= 0, got -1.0"),
        ({"loss": np.nan}, ValueError, "loss must be finite, got nan"),
        ({"loss": "a"}, TypeError, "loss must be a real number"),
        (
            {"gradient_norm": [0.1, -0.1]},
            ValueError,
            r"gradient_norm must be >= 0, got -0.1 at index \(1,\)",
        ),
        ({"loss": 1.0, "check_every": 0}, ValueError, "check_every must be >= 1, got 0"),
        ({"loss": 1.0, "check_every": 1.5}, TypeError, "check_every must be an integer, got float"),
        (
            {"loss": np.ones(2), "gradient_norm": np.ones(3)},
            ValueError,
            r"loss \(2,\), gradient_norm \(3,\)",
        ),
    ],
)
def test_stop_refuses(arguments, exception, message):
    with pytest.raises(exception, match=message):
        Stop(**arguments)
