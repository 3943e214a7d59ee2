"""Bounds on directions against integrated flows, exact descent, and the formulas as printed."""

from __future__ import annotations

from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
from balanced_flow import flow
from numpy.testing import assert_allclose, assert_array_equal
from support import crossed

from linnet_fast.directional_convergence import (
    PhaseSwitch,
    check_bounds,
    cosine,
    deep_flow_angle_bounds,
    descent_angle_bound,
    descent_angle_bound_behind,
    falling_time_bound,
    flow_angle_bound,
    global_bounds,
    norm_bounds,
    one_minus_cosine,
    phase_switch,
)
from linnet_fast.laws import Ball, Gaussian, RadialMixture, Sphere

LAWS = [
    Gaussian(3),
    Gaussian(2, 2.5),
    Sphere(2),
    Sphere(5, 3.0),
    Ball(3),
    RadialMixture(2, [0.5, 2.0], [0.3, 0.7]),
]
FIGURE = {"norm": 1.0, "log_tan_half_angle": np.log(3)}  # the start of the paper's figure 1


def descent(law, s, r, step_sizes):
    """Descent of one layer by vectors of two numbers, along v and across, and nothing else."""
    w = r * np.array([-np.tanh(s), 1 / np.cosh(s)])
    path = [w]
    for eta in step_sizes:
        size = np.hypot(*w)
        w = w + eta * (law.kappa * np.array([1.0, 0.0]) - law.q(size) * w / size)
        path.append(w)
    path = np.array(path)
    size = np.hypot(*path.T)
    with np.errstate(divide="ignore"):
        # tan(theta / 2) = |across| / (norm + along), or its inverse with the sign of along turned
        across = np.log(np.abs(path[:, 1])) - np.log(size + np.abs(path[:, 0]))
    return SimpleNamespace(
        time=np.arange(len(path)) * 1.0,
        log_tan_half_angle=np.where(path[:, 0] > 0, across, -across),
        norm=size,
        law=law,
        n_layers=1,
    )


# The switch of phases


@pytest.mark.parametrize(
    ("n_layers", "time", "norm", "angle"),
    [
        (1, 2.449, 0.45247, 1.3942),
        (2, 3.752, 0.24422, 1.4753),
        (3, 5.703, 0.14037, 1.5157),
        (4, 8.663, 0.08294, 1.5383),
    ],
)
def test_switch_of_the_paper_s_figure(n_layers, time, norm, angle):
    switch = phase_switch(Sphere(2), n_layers, **FIGURE)
    assert_allclose(switch.time, time, atol=6e-4)
    assert_allclose(switch.norm, norm, atol=6e-6)
    theta = 2 * np.arctan(np.exp(switch.log_tan_half_angle))
    assert_allclose(theta, angle, atol=3e-4)
    null = 2 * np.arcsin(np.sqrt(Sphere(2).h(switch.norm) / (2 * Sphere(2).kappa)))
    assert_allclose(theta, null, rtol=1e-9)


@crossed(("law", LAWS), ("n_layers", [1, 2, 3, 5]), n=8)
def test_switch_is_where_an_integrated_norm_is_least(law, n_layers):
    norm, s = np.array([0.6, 2.0]), np.array([[0.3], [1.5]])
    switch = phase_switch(law, n_layers, norm=norm, log_tan_half_angle=s)
    limit = falling_time_bound(law, n_layers, norm=norm, log_tan_half_angle=s)
    assert switch.time.shape == limit.shape == (2, 2)
    assert (switch.time <= limit).all()
    for i, j in np.ndindex(2, 2):
        if switch.time[i, j] == 0:
            assert law.h(norm[j]) >= law.kappa * (1 + np.tanh(s[i, 0]))
            continue
        run = flow(
            law, n_layers, s[i, 0], norm[j], switch.time[i, j] * np.array([0, 0.99, 1, 1.01])
        )
        assert_allclose(run.norm[2], switch.norm[i, j], rtol=1e-8)
        assert_allclose(run.log_tan_half_angle[2], switch.log_tan_half_angle[i, j], atol=1e-8)
        assert run.norm[2] < min(run.norm[1], run.norm[3])
        turning = np.arctanh(law.h(norm[j]) / law.kappa - 1)
        least = norm[j] * np.cos(np.arctan(np.exp(s[i, 0]))) ** (2 * n_layers)
        rate = law.kappa * (1 / norm[j] if n_layers == 1 else least ** (1 - 2 / n_layers))
        assert_allclose(limit[i, j], (s[i, 0] - turning) / rate)


def test_no_switch_from_a_rising_start():
    switch = phase_switch(Gaussian(2), 3, norm=0.5, log_tan_half_angle=-3.0)
    assert (switch.time, switch.norm, switch.log_tan_half_angle) == (0, 0.5, -3)
    assert falling_time_bound(Gaussian(2), 3, norm=0.5, log_tan_half_angle=-3.0) == 0


# The formulas, against their form in cosines with 50 digits


def literal_flow_angle_bound(law, t, r, s, switch):
    """The bound below on cos(theta), as the theorem has it, turned into s."""
    c0, r, s, t = (mp.mpf(float(x)) for x in (law.c0, r, s, t))
    time, least, angle = (
        mp.mpf(float(x)) for x in (switch.time, switch.norm, switch.log_tan_half_angle)
    )
    six = mp.mpf("0.6")
    if t <= time:
        x = 2 * c0 / (mp.pi * r) * t - 2 * s
    else:
        a2, c2 = 4 * c0 / (mp.pi * mp.sqrt(six)), least**2 / six
        x = a2 * mp.sqrt(t - time + c2) - 2 * angle - 4 * c0 * least / (six * mp.pi)
    return from_cosine(1 - 2 / (mp.exp(x) + 1))


def from_cosine(c):
    return float(mp.log((1 - c) / (1 + c)) / 2)


def test_theorem_1_is_as_stated():
    law, start = Sphere(2), {"norm": 1.3, "log_tan_half_angle": 0.8}
    switch = phase_switch(law, 1, **start)
    times = [0.0, 0.5 * switch.time, switch.time, 3.0, 10.0, 40.0]
    with mp.workdps(50):
        expected = [literal_flow_angle_bound(law, t, 1.3, 0.8, switch) for t in times]
    assert_allclose(flow_angle_bound(law, time=times, **start), expected, atol=1e-12)
    assert_array_equal(
        flow_angle_bound(law, time=times, **start, switch=switch),
        flow_angle_bound(law, time=times, **start),
    )


@pytest.mark.parametrize("printed", [False, True])
def test_theorem_5_is_as_stated(printed):
    law, n, r, s = Gaussian(2), 4, 1.3, 0.8
    start = {"norm": r, "log_tan_half_angle": s}
    switch = phase_switch(law, n, **start)
    times = [0.0, 0.5 * float(switch.time), float(switch.time), 3.0, 7.0]
    lower, upper = deep_flow_angle_bounds(law, n, time=times, **start, printed=printed)
    with mp.workdps(50):
        c0, root = mp.mpf(law.c0), mp.mpf("0.6")
        least, angle = mp.mpf(float(switch.norm)), mp.mpf(float(switch.log_tan_half_angle))
        cos0 = -mp.tanh(s)
        alpha = 2 * c0 / mp.pi if printed else 2 / (mp.pi * (n - 2))
        a2 = 2 * c0 / mp.pi * least ** (2 - mp.mpf(2) / n if printed else 1 - mp.mpf(2) / n)
        d, f = mp.mpf(r) ** (mp.mpf(2) / n), 4 * c0 / (root * n * mp.pi)
        for i, t in enumerate(times):
            if t <= switch.time:
                c1 = (1 + cos0) / (1 - cos0)
                base = (n - 2) * c0 * t / mp.mpf(r) ** (mp.mpf(2) / n - 1) + 1
                bound = 1 - 2 / (c1 * base**alpha + 1)
            else:
                bound = 1 - 2 / (mp.exp(a2 * (t - float(switch.time)) - 2 * angle) + 1)
            assert_allclose(upper[i], from_cosine(bound), atol=1e-12)
            power = mp.mpf(n) / 2
            x = f * ((root * t + d) ** power - d**power) - 2 * mp.mpf(s)
            assert_allclose(lower[i], from_cosine(1 - 2 / (mp.exp(x) + 1)), atol=1e-12)


def test_theorems_2_and_3_are_as_stated():
    law, r, s = Sphere(3), 0.7, 0.6
    eta = np.random.default_rng(0).uniform(0.1, 2, 12)
    got = [
        descent_angle_bound_behind(law, step_size=eta, norm=r, log_tan_half_angle=s),
        descent_angle_bound(law, step_size=eta, norm=r, log_tan_half_angle=s, delta=0.5),
    ]
    with mp.workdps(50):
        c0, cos0 = mp.mpf(law.c0), -mp.tanh(s)
        a = mp.mpf(r) ** 2 / c0**2
        for bounds, c, b in (
            (got[0], 0, (1 + cos0) / mp.pi),
            (got[1], mp.mpf("0.6") / c0**2, (1 + cos0) / (3 * mp.pi)),
        ):
            for n in range(len(eta) + 1):
                total = mp.mpf(0)
                for k in range(n):
                    inner = sum(mp.mpf(e) ** 2 + c * mp.mpf(e) for e in eta[: k + 1])
                    total += mp.mpf(eta[k]) / mp.sqrt(a + inner)
                expected = from_cosine(1 - (1 - cos0) * mp.exp(-b * total))
                assert_allclose(bounds[n], expected, atol=1e-12)


def test_global_and_norm_bounds_are_as_stated():
    law, t, r, s = Sphere(2), 7.0, 1.3, 0.8
    start = {"norm": r, "log_tan_half_angle": s}
    half = np.cos(np.arctan(np.exp(s)))
    top = law.sup_r2h()
    assert top > 1.1 * law.a2  # on the circle the density of |x_1| rises
    w = 0.278464542761
    any_law = s - law.kappa / w * (np.sqrt(r**2 + 2 * w * t) - r)
    assert_allclose(global_bounds(law, 1, time=t, **start, any_law=True)[1], any_law, rtol=1e-10)
    by_top = s - law.kappa / (2 * top) * ((r**3 + 3 * top * t) ** (2 / 3) - r**2)
    late = global_bounds(law, 1, time=1e6, **start)[1]
    assert_allclose(late, s - law.kappa / (2 * top) * ((r**3 + 3e6 * top) ** (2 / 3) - r**2))
    assert global_bounds(law, 1, time=t, **start)[1] <= min(by_top, any_law)
    for n in (2, 3, 6):
        slow = s - law.kappa * (r * half ** (2 * n)) ** (1 - 2 / n) * t
        large = (r ** ((n + 2) / n) + (n + 2) * top * t) ** (n / (n + 2))
        fast = s - law.kappa / (2 * n * top) * (large**2 - r**2)
        assert_allclose(global_bounds(law, n, time=t, **start), (fast, slow), rtol=1e-12)
        lower, upper = norm_bounds(law, n, time=t, **start)
        assert_allclose(upper, (r ** (2 / n) + 0.6 * t) ** (n / 2))
        if n > 2:
            expected = (r ** (2 / n - 1) + (n - 2) * law.c0 * t) ** (-n / (n - 2))
            assert_allclose(lower, expected)
        sharp = norm_bounds(law, n, time=t, **start, sharp=True)
        assert sharp[0] >= r * half ** (2 * n) * (1 - 1e-12)
        assert upper >= sharp[1]
        assert large * (1 + 1e-14) >= sharp[1]
    assert_allclose(*global_bounds(law, 2, time=t, **start), rtol=1e-12)


def test_angles():
    s = np.array([-400.0, -20.0, 0.0, 0.3, 20.0])
    theta = 2 * np.arctan(np.exp(s))
    assert_allclose(cosine(log_tan_half_angle=s), np.cos(theta), atol=1e-15)
    assert_allclose(one_minus_cosine(log_tan_half_angle=s), 2 * np.sin(theta / 2) ** 2, rtol=1e-12)
    assert one_minus_cosine(log_tan_half_angle=-300.0) > 0
    ended = np.array([0.5, np.nan, -np.inf])
    assert_allclose(cosine(log_tan_half_angle=ended), [-np.tanh(0.5), np.nan, 1])
    assert_allclose(one_minus_cosine(angle=[np.nan, np.pi]), [np.nan, 2])


# Figure 1 of the paper


def test_restarted_bounds_of_the_paper_s_figure():
    law = Sphere(2)
    for n, when, state, true, bounds in [
        (1, 5.0, (0.82372, 0.918267), (3.36e-4, 1.11e-4, 4.08e-5), (6.64e-4, 2.56e-4, 1.10e-4)),
        (4, 18.0, (0.66468, 0.845645), (3.83e-2, 3.2e-5, 1.9e-9), (5.75e-2, 4.4e-3, 3.3e-4)),
    ]:
        run = flow(law, n, np.log(3), 1.0, np.array([0, when, 20, 25, 30]))
        assert_allclose(run.norm[1], state[0], atol=6e-6)
        assert_allclose(cosine(log_tan_half_angle=run.log_tan_half_angle[1]), state[1], atol=6e-7)
        start = {"norm": run.norm[1], "log_tan_half_angle": run.log_tan_half_angle[1]}
        at = run.time[2:] - when
        s = (
            flow_angle_bound(law, time=at, **start)
            if n == 1
            else deep_flow_angle_bounds(law, n, time=at, **start)[1]
        )
        assert_allclose(
            one_minus_cosine(log_tan_half_angle=run.log_tan_half_angle[2:]), true, rtol=2e-2
        )
        assert_allclose(one_minus_cosine(log_tan_half_angle=s), bounds, rtol=2e-2)


# No flow violates a bound


@crossed(("law", LAWS), ("n_layers", [1, 2, 3, 4, 8]), n=10)
def test_no_flow_violates_a_bound(law, n_layers):
    rng = np.random.default_rng(n_layers)
    for _ in range(2):
        s, r = rng.uniform(-2, 1.5), np.exp(rng.uniform(-1, 1))
        until = 4 * float(phase_switch(law, n_layers, norm=r, log_tan_half_angle=s).time) + 10
        run = flow(law, n_layers, s, r, np.linspace(0, until, 60))
        for start in (0, 7, 40):
            table = check_bounds(run, start=start)
            assert table.n_violations == 0, str(table)
            assert {row.n_checked for row in table if "global" in row.name} == {59 - start}
        exact = phase_switch(law, n_layers, norm=r, log_tan_half_angle=s)
        assert check_bounds(run, switch=exact).n_violations == 0


@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_each_bound_can_be_violated(n_layers):
    run = flow(Sphere(2), n_layers, np.log(3), 1.0, np.linspace(0, 20, 60))
    table = check_bounds(run)
    assert len(table) == {1: 8, 2: 6}.get(n_layers, 11)
    for row in table:
        if row.quantity == "time" or not np.isfinite(row.tightest_gap):
            continue
        sign = 1 if "below" not in row.name else -1
        moved = SimpleNamespace(**vars(run))
        shift = np.r_[0, np.full(59, sign * (row.tightest_gap + 0.01))]
        # The switch stays where it was, as it is found from the same norms and angles otherwise.
        rising = np.argmax(np.diff(run.norm) > 0)
        switch = PhaseSwitch(
            run.time[[rising]], run.norm[[rising]], run.log_tan_half_angle[[rising]]
        )
        if row.quantity == "log_norm":
            moved.norm = run.norm * np.exp(shift)
        else:
            moved.log_tan_half_angle = run.log_tan_half_angle + shift
        same = {r.name: r for r in check_bounds(moved, switch=switch)}[row.name]
        assert same.n_violations > 0, row
        assert 0 < same.largest_excess < 0.5


def test_how_tight_the_bounds_are():
    run = flow(Gaussian(3), 1, 1.1, 2.0, np.geomspace(1, 1e4, 60) - 1)
    gaps = {row.name: row for row in check_bounds(run)}
    until = run.time[-1]
    start = {"norm": 2.0, "log_tan_half_angle": 1.1}
    # By the law's own constant the bound has the order of the truth, theorem 1 has not.
    own = global_bounds(Gaussian(3), 1, time=until, **start)[1] / run.log_tan_half_angle[-1]
    paper = flow_angle_bound(Gaussian(3), time=until, **start) / run.log_tan_half_angle[-1]
    assert 0.9 < own < 1
    assert paper < 0.7
    assert gaps["global, above"].tightest_gap >= 0
    two = {r.name: r for r in check_bounds(flow(Gaussian(3), 2, 1.1, 2.0, np.linspace(0, 50, 30)))}
    assert abs(two["global, above"].tightest_gap) < 1e-9
    assert abs(two["global, below"].tightest_gap) < 1e-9


def test_printed_constants_of_theorem_5_are_violated():
    # While the norm falls: alpha is too large with many layers.
    law = Sphere(2)
    for n, least in ((10, 0.5), (12, 1.0)):
        s = np.log(2 / 1e-2)
        switch = phase_switch(law, n, norm=1.0, log_tan_half_angle=s)
        run = flow(law, n, s, 1.0, np.geomspace(1, 1 + 0.9 * switch.time, 60) - 1)
        rows = {r.name: r for r in check_bounds(run, switch=switch, printed=True)}
        assert rows["angle by phases, above"].n_violations > 10
        assert rows["angle by phases, above"].largest_excess > least
        assert rows["angle by phases, sharp, above"].n_violations == 0
        assert check_bounds(run, switch=switch).n_violations == 0
    # Afterwards: A2 is too large if the norm was above 1 at the switch.
    run = flow(Gaussian(3), 3, -1.0, 3.0, np.linspace(0, 3, 40))
    rows = {r.name: r for r in check_bounds(run, printed=True)}
    assert rows["angle by phases, above"].n_violations > 10
    assert rows["angle by phases, above"].largest_excess > 0.5
    assert check_bounds(run).n_violations == 0


# Descent


SCHEDULES = {
    "constant": np.full(200, 1.5),
    "falling": 2 / np.sqrt(np.arange(1, 201)),
    "rising": 0.02 * np.sqrt(np.arange(1, 201)),
    "harmonic": 3 / np.arange(1, 201),
    "random": np.random.default_rng(3).uniform(0.01, 3.9, 200),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("law", [Gaussian(2), Sphere(2), Ball(4, 2.0)], ids=repr)
def test_no_descent_violates_theorems_2_and_3(law, schedule):
    eta = SCHEDULES[schedule] / law.m2
    for s, r in ((2.5, 0.3), (1.0, 4.0), (-1.0, 0.05), (4.0, 20.0)):
        run = descent(law, s, r, eta)
        for start in (0, 3):
            table = check_bounds(run, start=start, step_size=eta[start:])
            names = {row.name for row in table}
            behind = run.log_tan_half_angle[start] > 0
            assert names == {"norm of descent", "angle of descent"} | (
                {"angle of descent, behind"} if behind else set()
            )
            assert table.n_violations == 0, str(table)
        worse = SimpleNamespace(**vars(run))
        worse.log_tan_half_angle = np.maximum(run.log_tan_half_angle, s - 1e-3)
        assert check_bounds(worse, step_size=eta).n_violations > 0


def test_descent_that_may_overshoot_has_no_theorem_3():
    eta = np.full(20, 40.0)
    run = descent(Gaussian(2), 1.0, 0.3, eta)
    assert {row.name for row in check_bounds(run, step_size=eta)} == {
        "norm of descent",
        "angle of descent, behind",
    }
    # From a large norm no step overshoots, and that can be seen as every step is recorded.
    far = descent(Gaussian(2), 1.0, 500.0, eta)
    assert "angle of descent" in {row.name for row in check_bounds(far, step_size=eta)}
    sparse = SimpleNamespace(**vars(far), steps=np.arange(21)[::4])
    for name in ("time", "log_tan_half_angle", "norm"):
        setattr(sparse, name, getattr(far, name)[::4])
    table = check_bounds(sparse, step_size=[40.0])
    assert {row.name for row in table} == {"norm of descent", "angle of descent, behind"}
    assert table.n_violations == 0


# Runs, records, messages


def test_runs_broadcast_and_missing_records_are_left_out():
    times = np.linspace(0, 12, 40)
    runs = [flow(Sphere(2), 3, s, 1.0, times) for s in (1.0, 0.2)]
    both = SimpleNamespace(
        time=times,
        log_tan_half_angle=np.stack([run.log_tan_half_angle for run in runs]),
        norm=np.stack([run.norm for run in runs]),
    )
    table = check_bounds(both, Sphere(2), 3)
    single = [check_bounds(run) for run in runs]
    for row, *parts in zip(table, *single, strict=True):
        assert row.n_checked == sum(part.n_checked for part in parts)
        assert row.tightest_gap == pytest.approx(min(part.tightest_gap for part in parts))
    both.norm[1, 30:] = np.nan
    both.log_tan_half_angle[1, 30:] = np.nan
    cut = check_bounds(both, Sphere(2), 3)
    assert cut.n_violations == 0
    assert [row.n_checked for row in cut][:2] == [39 + 29] * 2
    text = str(cut).splitlines()
    assert len(text) == len(cut) + 1
    assert text[0].split() == ["bound", "on", "records", "violations", "excess", "gap"]


def test_bounds_broadcast():
    norm, s, t = np.ones((2, 1)), np.array([[[0.5]], [[1.0]], [[-1.0]]]), np.arange(5.0)
    assert flow_angle_bound(Sphere(2), time=t, norm=norm, log_tan_half_angle=s).shape == (3, 2, 5)
    for bounds in (deep_flow_angle_bounds, global_bounds, norm_bounds):
        lower, upper = bounds(Sphere(2), 3, time=t, norm=norm, log_tan_half_angle=s)
        assert lower.shape == upper.shape == (3, 2, 5)
        assert (lower <= upper).all()
    eta = np.ones((2, 7))
    assert descent_angle_bound(
        Sphere(2), step_size=eta, norm=1.0, log_tan_half_angle=[[0.5], [0.1]]
    ).shape == (2, 2, 8)


def test_messages():
    run = flow(Sphere(2), 3, 1.0, 1.0, np.linspace(0, 2, 5))
    bare = SimpleNamespace(time=run.time, log_tan_half_angle=run.log_tan_half_angle, norm=run.norm)
    with pytest.raises(TypeError, match="law must be a SphericalLaw, got NoneType"):
        check_bounds(bare)
    with pytest.raises(TypeError, match="n_layers must be an integer, got NoneType"):
        check_bounds(bare, Sphere(2))
    with pytest.raises(ValueError, match="start must be <= 4, got 5"):
        check_bounds(run, start=5)
    with pytest.raises(ValueError, match="step_size must be given of 1 layer only"):
        check_bounds(run, step_size=[1.0])
    with pytest.raises(ValueError, match="step_size must have 4 steps, or 1 for all, got 3"):
        check_bounds(bare, Sphere(2), 1, step_size=[1.0, 1.0, 1.0])
    noisy = SimpleNamespace(**vars(run), label_noise=np.array([0.0, 0.1]))
    trained = SimpleNamespace(
        **vars(bare), loss_function=SimpleNamespace(law=Sphere(2), label_noise=0.1)
    )
    for other in (noisy, trained):
        with pytest.raises(ValueError, match="trajectory must have no label_noise"):
            check_bounds(other, n_layers=3)
    trained.loss_function.label_noise = 0.0
    assert check_bounds(trained, n_layers=3).n_violations == 0
    start = {"norm": 1.0, "log_tan_half_angle": 1.0}
    with pytest.raises(ValueError, match="n_layers must be >= 3, got 2"):
        deep_flow_angle_bounds(Sphere(2), 2, time=1.0, **start)
    with pytest.raises(ValueError, match="printed and sharp must not both be set"):
        deep_flow_angle_bounds(Sphere(2), 3, time=1.0, **start, printed=True, sharp=True)
    with pytest.raises(ValueError, match="log_tan_half_angle must be > 0, got -1"):
        descent_angle_bound_behind(Sphere(2), step_size=[1.0], norm=1.0, log_tan_half_angle=-1.0)
    with pytest.raises(ValueError, match="time must be >= 0"):
        flow_angle_bound(Sphere(2), time=-1.0, **start)
    with pytest.raises(ValueError, match="norm must be > 0"):
        flow_angle_bound(Sphere(2), time=1.0, norm=0.0, log_tan_half_angle=1.0)
