"""Bounds on directions at the ends of ranges, and of angles in either form."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from linnet_fast.directional_convergence import (
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
from linnet_fast.laws import Gaussian, Sphere


@pytest.mark.parametrize("law", [Gaussian(3), Sphere(2, 3.0)], ids=repr)
def test_switch_from_beyond_what_a_flow_can_be_followed_by(law):
    # Two ways: from where both are known, by time and by angle; and closed forms of norms at which
    # q(r) is nothing, r sin^N(theta) = const.
    for n in (1, 2, 3, 5):
        below, above = (
            phase_switch(law, n, norm=1.0, log_tan_half_angle=300 / max(n - 2, 1) + shift)
            for shift in (-1e-3, 1e-3)
        )
        # sin(theta) falls by e^-0.002: the norm by its n-th power.
        if below.norm > 0:
            assert_allclose(above.norm / below.norm, np.exp(-2e-3 * n), rtol=1e-8)
        growth = {1: 1.0, 2: 1 + 2e-3 / (law.kappa * below.time)}.get(n, np.exp(2e-3 * (n - 2)))
        assert_allclose(above.time / below.time, growth, rtol=1e-8)
    start = {"norm": [1e-40, 1e-30], "log_tan_half_angle": 400.0}
    one = phase_switch(law, 1, **start)
    with mp.workdps(50):
        sine = 1 / mp.cosh(400)
        time = [float(mp.mpf(r) / mp.mpf(float(law.kappa))) for r in start["norm"]]
    assert_allclose(one.norm, [float(r * sine) for r in start["norm"]], rtol=1e-9)
    assert_allclose(one.time, time, rtol=1e-9)
    three = phase_switch(law, 3, norm=1e-30, log_tan_half_angle=400.0)
    with mp.workdps(50):
        integral = mp.mpf(1e-30) ** (-mp.mpf(1) / 3) * mp.cosh(400) * mp.pi / 2
    assert_allclose(three.time, float(integral / mp.mpf(float(law.kappa))), rtol=1e-9)


def test_bounds_from_the_smallest_to_the_largest_numbers():
    law = Gaussian(3)
    s = np.array([-1e308, -700.0, -3.0, 3.0, 700.0, 1e308])[:, None, None]
    norm, time = np.array([1e-300, 1.0, 1e300])[:, None], np.array([0.0, 1e-300, 1.0, 1e300])
    start = {"norm": norm, "log_tan_half_angle": s}
    for n in (1, 2, 3, 1000):
        switch = phase_switch(law, n, **start)
        assert not any(np.isnan(x).any() for x in vars(switch).values())
        assert (switch.time <= falling_time_bound(law, n, **start) * (1 + 1e-9)).all()
        both = [global_bounds(law, n, time=time, **start)]
        if n > 2:
            both += [deep_flow_angle_bounds(law, n, time=time, **start, switch=switch)]
            both += [deep_flow_angle_bounds(law, n, time=time, **start, switch=switch, sharp=True)]
        if n == 1:
            paper = flow_angle_bound(law, time=time, **start, switch=switch)
            assert not np.isnan(paper).any()
            assert_array_equal(paper[..., 0], np.broadcast_to(s, (6, 3, 1))[..., 0])
        for lower, upper in both:
            assert lower.shape == upper.shape == (6, 3, 4)
            # Both are exact of two layers.
            assert ((lower <= upper) | np.isclose(lower, upper, rtol=1e-13, atol=0)).all()
            assert_array_equal(upper[..., 0], np.broadcast_to(s, (6, 3, 1))[..., 0])
        for sharp in (False, True):
            lower, upper = norm_bounds(law, n, time=time, **start, sharp=sharp)
            assert (lower <= upper * (1 + 1e-14)).all()
            assert_array_equal(upper[..., 0], np.broadcast_to(norm.T, (6, 3)))


def test_bounds_far_out_are_those_of_many_digits():
    law, n, r, s, t = Gaussian(2), 4, 1e-60, 250.0, 1e80
    start = {"norm": r, "log_tan_half_angle": s}
    slow = global_bounds(law, 1, time=1e-70, **start)[0]
    lower, upper = norm_bounds(law, n, time=t, **start, sharp=True)
    fast = global_bounds(law, n, time=1e-9, norm=r, log_tan_half_angle=-3.0)[0]
    with mp.workdps(400):
        kappa, top = mp.mpf(float(law.kappa)), mp.mpf(float(law.sup_r2h()))
        half = mp.cos(mp.atan(mp.exp(s)))
        assert_allclose(slow, float(s - kappa * mp.mpf(1e-70) / (r * half**2)), rtol=1e-11)
        fall = (mp.mpf(r) ** (-mp.mpf(1) / 2) + 2 * 2 * kappa * mp.mpf(t)) ** -2
        assert_allclose(lower, float(max(fall, r * half**8)), rtol=1e-11)
        grown = (mp.mpf(r) ** (mp.mpf(3) / 2) + 6 * top * mp.mpf(t)) ** (mp.mpf(2) / 3)
        other = (mp.mpf(r) ** (mp.mpf(1) / 2) + 2 * mp.mpf(float(law.max_rh)) * t) ** 2
        assert_allclose(upper, float(min(grown, other)), rtol=1e-11)
        grown = (mp.mpf(r) ** (mp.mpf(3) / 2) + 6 * top * mp.mpf(1e-9)) ** (mp.mpf(2) / 3)
        gain = kappa / (8 * top) * (grown**2 - mp.mpf(r) ** 2)
        assert_allclose(fast, float(-3 - gain), rtol=1e-12)


def test_bounds_of_descent_far_out_are_those_of_many_digits():
    law = Sphere(3)
    for eta, r, s in (
        ([1e200, 1e-200, 3.0], 1e-300, 250.0),
        ([1e-200, 1e-190], 1e-195, -300.0),
        ([0.3, 4.0, 1e160], 5.0, 650.0),
    ):
        start = {"norm": r, "log_tan_half_angle": s}
        got = descent_angle_bound(law, step_size=eta, **start)
        with mp.workdps(1200):
            c0, cos0 = mp.mpf(float(law.c0)), -mp.tanh(s)
            total, expected = mp.mpf(0), [s]
            for k, step in enumerate(eta):
                inner = sum(
                    mp.mpf(e) ** 2 + mp.mpf("0.6") / c0**2 * mp.mpf(e) for e in eta[: k + 1]
                )
                total += mp.mpf(step) / mp.sqrt((mp.mpf(r) / c0) ** 2 + inner)
                left = (1 - cos0) * mp.exp(-(1 + cos0) / (2 * mp.pi) * total)
                expected.append(float(mp.log(left / (2 - left)) / 2))
        assert_allclose(got, expected, rtol=1e-12)
    assert_array_equal(
        descent_angle_bound_behind(law, step_size=[1.0], norm=1.0, log_tan_half_angle=1e308), 1e308
    )


def test_angles_in_both_forms():
    theta = np.array([0.3, 2.0])
    s = np.log(np.tan(theta / 2))
    pairs = [
        (cosine, (), {}),
        (one_minus_cosine, (), {}),
        (phase_switch, (Sphere(2), 3), {"norm": 1.0}),
        (falling_time_bound, (Sphere(2), 3), {"norm": 1.0}),
        (flow_angle_bound, (Sphere(2),), {"norm": 1.0, "time": 2.0}),
        (global_bounds, (Sphere(2), 3), {"norm": 1.0, "time": 2.0}),
        (norm_bounds, (Sphere(2), 3), {"norm": 1.0, "time": 2.0}),
        (deep_flow_angle_bounds, (Sphere(2), 3), {"norm": 1.0, "time": 2.0}),
        (descent_angle_bound, (Sphere(2),), {"norm": 1.0, "step_size": [1.0]}),
    ]
    for function, nouns, others in pairs:
        one = function(*nouns, **others, angle=theta)
        other = function(*nouns, **others, log_tan_half_angle=s)
        one, other = (
            x if isinstance(x, tuple | np.ndarray) else tuple(vars(x).values())
            for x in (one, other)
        )
        assert_allclose(one, other, rtol=1e-13)
        with pytest.raises(TypeError, match="log_tan_half_angle must be given"):
            function(*nouns, **others)
        with pytest.raises(TypeError, match="log_tan_half_angle must be"):
            function(*nouns, **others, log_tan_half_angle="1")
        hidden = np.ma.array([0.5, 9.0], mask=[False, True])
        with pytest.raises(TypeError, match=r"^angle must be a plain array, got a masked array"):
            function(*nouns, **others, angle=hidden)
        with pytest.raises(ValueError, match=r"^angle must be <= pi"):
            function(*nouns, **others, angle=4.0)
        if nouns:
            with pytest.raises(ValueError, match=r"^angle must be in \(0, pi\)"):
                function(*nouns, **others, angle=np.pi)
