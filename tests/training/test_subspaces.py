"""How small the small networks are, that no direction is lost, and which runs are reduced together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reduced_problems import (
    ALL,
    both,
    close,
    make_loss,
    make_start,
    small_ones_too,  # noqa: F401  (a fixture of every test here)
)

import linnet_fast as lf


class TestSubspaces:
    """How small the small ones are, and that no direction is lost."""

    @pytest.mark.parametrize(
        ("kind", "widths", "expected"),
        [
            ("gaussian", (6, 50, 3), (6, 9, 3)),
            ("orthogonal", (6, 40, 40, 40, 3), (6, 9, 9, 9, 3)),
            ("orthogonal", (6, 40, 50, 60, 3), (6, 9, 12, 15, 3)),
            ("balanced", (6, 40, 50, 3), (6, 3, 3, 3)),
            ("gaussian", (6, 50, 50, 3), (6, 50, 50, 3)),
            ("gaussian", (50, 6, 50), (50, 6, 50)),
        ],
    )
    def test_sizes(self, kind, widths, expected):
        network = lf.Dense(widths)
        eye = np.eye(widths[0])
        loss = lf.SquaredLoss(eye, np.eye(widths[-1], widths[0]), widths[0])
        start = getattr(lf.initialization, kind)(network, scale=0.1, rng=0)
        small = lf.reduced(network, loss, start)
        if kind == "balanced":  # its rank is to rounding: one direction more may be left of that
            assert all(0 <= a - b <= 1 for a, b in zip(small.network.widths, expected, strict=True))
        else:
            assert small.network.widths == expected

    @pytest.mark.parametrize(
        ("widths", "rank", "n", "text"),
        [
            ((64, 1000, 10), 61, 300, "widths 64-1000-10 trained as 64-71-10"),
            ((1000, 50, 1), None, 20, "widths 1000-50-1 trained as 41-21-1"),
        ],
    )
    def test_sizes_that_the_readme_names(self, widths, rank, n, text):
        rng = np.random.default_rng(0)
        kind = "samples" if rank is None else "moments"
        loss = make_loss(kind, rng, n, widths[0], widths[-1], rank)
        network = lf.Dense(widths)
        start = lf.initialization.gaussian(network, scale=0.1, rng=0)
        assert lf.reduced(network, loss, start).text == text

    def test_what_never_moves(self):
        network = lf.Dense((4, 60, 2))
        loss = lf.SquaredLoss(np.diag([2.0, 1.0, 0.5, 0.0]), np.eye(2, 4), 4.0)
        start = lf.initialization.gaussian(network, scale=0.2, rng=3)
        small = lf.reduced(network, loss, start)
        assert small.network.widths == (4, 5, 2)
        assert repr(small) == "<Reduced: widths 4-60-2 trained as 4-5-2>"
        one = lf.train(
            network, loss, start, method=lf.GradientDescent(0.1), n_steps=300, reduce=False
        )
        two = lf.train(
            small.network, small.loss, small.start, method=lf.GradientDescent(0.1), n_steps=300
        )
        for mine, other in zip(small.expand(two.final.weights), one.final.weights, strict=True):
            assert_allclose(mine, other, rtol=0, atol=1e-13)
        assert_array_equal(small.expand(two.final.weights)[0][:, 3], start[0][:, 3])
        for mine, other in zip(small.expand(small.start), start, strict=True):
            assert_array_equal(mine, other)

    @pytest.mark.parametrize("least", [1e-8, 1e-12, 1e-20, 1e-100])
    @pytest.mark.parametrize("n_layers", [2, 3])
    def test_a_mode_that_starts_far_below_the_others_is_learned_in_its_time(self, least, n_layers):
        widths = (3, *(20,) * (n_layers - 1), 3)
        network = lf.Dense(widths)
        strengths = np.array([3.0, 2.0, 1.0])
        loss = lf.SquaredLoss(np.eye(3), np.diag(strengths), 14.0)
        shape = np.ones(3)
        shape[0] = least if n_layers == 2 else max(least, 1e-8)
        start = [np.zeros(s) for s in network.shapes]
        for w in start:
            np.fill_diagonal(w, 1e-2 * shape)
        options = {"method": lf.GradientDescent(0.02), "n_steps": 40_000 if n_layers == 3 else 6000}
        record = lf.Record.every(100, ("product", "loss"))
        small, whole = both(network, loss, start, record=record, **options)
        diagonal = np.diagonal(small.product, axis1=-2, axis2=-1)
        late = np.argmax(diagonal > strengths / 2, axis=0)
        if n_layers == 2:
            assert (late > 0).all()
            assert late[0] >= late[2]
        close(small, whole)

    def test_a_mode_that_is_mixed_with_larger_ones(self):
        rng = np.random.default_rng(2)
        u, v = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
        network = lf.Dense((4, 30, 4))
        loss = lf.SquaredLoss(np.eye(4), u @ np.diag([4.0, 3.0, 2.0, 1.0]) @ v.T, 30.0)
        q = np.linalg.qr(rng.standard_normal((30, 4)))[0]
        sizes = 1e-12 * np.array([1e-8, 1.0, 1.0, 1.0])
        start = [q @ np.diag(sizes) @ v.T, u @ np.diag(sizes) @ q.T]
        options = {"method": lf.GradientDescent(0.05), "n_steps": 2000}
        small, whole = both(
            network, loss, start, record=lf.Record.every(20, ("singular_values",)), **options
        )
        learned = np.argmax(small.singular_values > 3.5, axis=0)[0]
        assert 0 < learned == np.argmax(whole.singular_values > 3.5, axis=0)[0]

    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**32 - 1), decades=st.integers(0, 16))
    def test_spectra_of_many_decades(self, seed, decades):
        rng = np.random.default_rng(seed)
        network = lf.Dense((5, 30, 4))
        loss = make_loss("moments", rng, 30, 5, 4, None)
        q = np.linalg.qr(rng.standard_normal((30, 5)))[0]
        start = [
            (q * np.logspace(0, -decades, 5)) @ np.linalg.qr(rng.standard_normal((5, 5)))[0],
            0.3 * rng.standard_normal((4, 30)),
        ]
        options = {"method": lf.GradientDescent(0.02), "n_steps": 300}
        close(*both(network, loss, start, record=lf.Record.at([0, 300], ALL[:-1]), **options))

    def test_small_networks_and_others_train_as_they_stand(self, monkeypatch):
        monkeypatch.undo()
        rng = np.random.default_rng(3)
        loss = make_loss("moments", rng, 30, 6, 6, None)
        options = {"method": lf.GradientDescent(0.02), "n_steps": 3}
        for network in (
            lf.Dense((6, 6, 6)),
            lf.Residual(6, 3, n_outputs=6),
            lf.Chain([lf.layers.Dense(6, 6), lf.layers.Fixed(np.eye(6)), lf.layers.Dense(6, 6)]),
            lf.Chain([lf.layers.Dense(6, 6)] * 2, share=[0, 0]),
        ):
            start = lf.initialization.gaussian(network, scale=0.1, rng=0)
            assert lf.train(network, loss, start, **options).reduction is None

    def test_it_pays(self, monkeypatch):
        monkeypatch.undo()
        network = lf.Dense((64, 300, 10))
        loss = make_loss("moments", np.random.default_rng(4), 200, 64, 10, 61)
        start = lf.initialization.gaussian(network, scale=0.1, rng=0)
        options = {"method": lf.GradientDescent(0.02), "n_steps": 3}
        run = lf.train(network, loss, start, **options)
        assert run.reduction == "widths 64-300-10 trained as 64-71-10"
        with pytest.raises(TypeError, match="reduce must be a bool"):
            lf.train(network, loss, start, **options, reduce=1)

    @pytest.mark.parametrize("rule", ["power", "gradient_normalized"])
    @pytest.mark.parametrize("kind", ["moments", "logistic", "completion"])
    def test_decay_that_rules_and_thresholds_look_at(self, kind, rule):
        rng = np.random.default_rng(5)
        network = lf.Dense((10, 30, 30, 3))
        loss = make_loss(kind, rng, 5, 10, 3, None)
        start = make_start("orthogonal", network, rng)
        arguments = (0.05, -0.3) if rule == "power" else (0.01,)
        step_size = getattr(lf.StepRule, rule)(*arguments)
        method = lf.GradientDescent(step_size, weight_decay=[[0.1], [0.2]], momentum=0.3)
        stop = lf.Stop(gradient_norm=[[0.5], [1e-9]], check_every=1)
        record = lf.Record.at([0, 10, 80], ALL)
        close(
            *both(network, loss, start, method=method, n_steps=80, stop=stop, record=record), 1e-11
        )


class TestKinds:
    """Runs of several kinds in one batch, which have the bits of the runs alone."""

    def problems(self):
        rng = np.random.default_rng(3)
        x = rng.standard_normal((6, 40, 8))
        x[1, :, 3] = x[1, :, 2]  # of less rank
        losses = [lf.SquaredLoss.from_data(one, one @ rng.standard_normal((8, 2))) for one in x]
        losses[2] = lf.SquaredLoss(np.diag(np.arange(1.0, 9.0)), rng.standard_normal((2, 8)), 99.0)
        losses[3] = lf.SquaredLoss(
            np.diag([2.0, 0, 1, 1, 0, 1, 1, 1]), np.eye(2, 8)[::-1, ::-1], 9.0
        )
        loss = lf.SquaredLoss.stacked(losses, np.arange(6))
        network = lf.Dense((8, 30, 30, 2))
        weights = [
            np.concatenate([one, other])
            for one, other in zip(
                lf.initialization.orthogonal(network, scale=0.3, rng=0, batch_shape=4),
                lf.initialization.gaussian(network, scale=0.3, rng=1, batch_shape=2),
                strict=True,
            )
        ]
        method = lf.GradientDescent(
            0.01, weight_decay=[0, 0.2, 0, 0.1, 0.3, 0], momentum=[0.5, 0] * 3
        )
        return network, loss, weights, method

    def test_all_of_them(self):
        network, loss, start, method = self.problems()
        record = lf.Record.at([0, 5, 60], ALL)
        options = {"n_steps": 60, "record": record}
        whole = lf.train(network, loss, start, method=method, **options)
        close(whole, lf.train(network, loss, start, method=method, reduce=False, **options))
        for i in range(6):
            own = loss.of_run((i,), (6,))
            alone = lf.train(
                network,
                own,
                [w[i] for w in start],
                method=method.of_runs(np.array([i]), (6,)),
                **options,
            )
            for name in ALL:
                mine, other = getattr(whole, name), getattr(alone, name)
                if name == "weights":
                    for one, two in zip(mine, other, strict=True):
                        assert_array_equal(one[i], two[0])
                else:
                    assert_array_equal(mine[i], other[0], err_msg=name)

    def test_progress_counts_all_of_them(self):
        network, loss, start, method = self.problems()
        calls = []
        lf.train(
            network, loss, start, method=method, n_steps=60, progress=lambda *now: calls.append(now)
        )
        done, totals = zip(*calls, strict=True)
        assert set(totals) == {360}
        assert done[-1] == 360
        assert list(done) == sorted(done)

    @pytest.mark.parametrize("through", ["state", "npz", "nc"])
    def test_they_go_on(self, through, tmp_path):
        network, loss, start, method = self.problems()
        whole = lf.train(network, loss, start, method=method, n_steps=60)
        part = lf.train(network, loss, start, method=method, n_steps=25)
        if through != "state":
            part.save(tmp_path / f"run.{through}")
            part = lf.Trajectory.load(tmp_path / f"run.{through}")
        rest = lf.train(network, loss, part.final, method=method, n_steps=35)
        for one, other in zip(rest.final.weights, whole.final.weights, strict=True):
            assert_array_equal(one, other)


def test_sweeps_are_reduced_as_their_runs_are():
    rng = np.random.default_rng(6)
    loss = make_loss("moments", rng, 40, 8, 3, None)
    training = lf.Training(
        lf.Dense((8, 20, 3)),
        loss,
        lf.Start("gaussian"),
        method=lf.GradientDescent(0.05),
        n_steps=50,
        record=lf.Record.at([0, 50], ("loss", "singular_values")),
    )
    axes = {"start.scale": [0.1, 0.3], "network.hidden": [20, 30]}
    sweep = lf.sweep(lf.grid(training, axes, replicates=2))
    whole = lf.sweep(lf.grid(dataclasses.replace(training, reduce=False), axes, replicates=2))
    for name in ("loss", "singular_values"):
        assert_allclose(sweep[name], whole[name], rtol=0, atol=1e-12)
        assert (sweep[name].values != whole[name].values).any()
