"""Problems with one output that several test files share: data, losses, and batches of runs."""

from __future__ import annotations

import numpy as np
from support import make_start

import linnet_fast as lf
from linnet_fast import laws
from linnet_fast.records.observables import OBSERVABLES

SAMPLE_LOSSES = ("logistic", "exponential")
LAWS = ("gaussian", "sphere", "ball", "mixture")
LOSSES = (*SAMPLE_LOSSES, *LAWS)
RULES = {
    "power": lambda scale: lf.StepRule.power(scale, 0.5),
    "geometric": lambda scale: lf.StepRule.geometric(scale, 1.05),
    "loss_normalized": lf.StepRule.loss_normalized,
    "norm_proportional": lf.StepRule.norm_proportional,
    "gradient_normalized": lf.StepRule.gradient_normalized,
}
"""Every rule that goes with every loss, by name: a function of its scale."""


def make_law(name, dim):
    return {
        "gaussian": lambda: laws.Gaussian(dim, 1.3),
        "sphere": lambda: laws.Sphere(dim, 2.0),
        "ball": lambda: laws.Ball(dim, 1.7),
        "mixture": lambda: laws.RadialMixture(dim, [0.5, 1.0, 3.0], [0.2, 0.5, 0.3]),
    }[name]()


def make_data(n, dim, runs=(), *, seed=0, separable=False):
    """Return samples (*runs, n, dim) and labels (*runs, n), of which a direction decides or not."""
    rng = np.random.default_rng([seed, n, dim])
    x = rng.standard_normal((*runs, n, dim)) / np.sqrt(dim) + 0.1
    y = rng.choice([-1.0, 1.0], (*runs, n))
    if separable:
        y = np.where(x @ rng.standard_normal(dim) < 0, -1.0, 1.0)
    return x, y


def make_binary(kind, dim, runs=(), *, n=20, seed=0, label_noise=0.0, separable=False):
    """Return a loss of one output with the given run axes."""
    if kind in SAMPLE_LOSSES:
        x, y = make_data(n, dim, runs, seed=seed, separable=separable)
        cls = lf.LogisticLoss if kind == "logistic" else lf.ExponentialLoss
        return cls.from_data(x, y, label_noise=label_noise)
    v = np.random.default_rng([seed, dim]).standard_normal((*runs, dim))
    return lf.SphericalLogisticLoss(v, make_law(kind, dim), label_noise)


def observed(network, loss):
    """Return the names of all observables that a training has."""
    names = [name for name, row in OBSERVABLES.items() if not row.needs]
    names += ["angle", "log_tan_half_angle"]
    if not isinstance(loss, lf.SquaredLoss | lf.SphericalLogisticLoss):
        names += ["margin", "accuracy"]
    return (*names, *(("layer_singular_ratio", "layer_alignment") if network.is_dense else ()))


def direction(dim):
    """Return a vector that angles can be measured to."""
    return np.cos(np.arange(1.0, dim + 1))


class BinaryBatch:
    """Runs that differ in everything: start, scale of the steps, decay, stop rule, data, samples drawn.

    rule: "constant" or one of RULES; drawn: the size of the batches of stochastic descent, or None.
    """

    def __init__(
        self,
        widths,
        kind="logistic",
        rule="constant",
        *,
        drawn=None,
        own=False,
        dtype=np.float64,
        n_runs=40,
        n_steps=24,
    ):
        self.network = lf.Dense(widths)
        self.n_runs, self.n_steps, self.rule, self.drawn = n_runs, n_steps, rule, drawn
        number = np.arange(n_runs)
        noise = np.where(number % 3 == 1, 0.2, 0.0)
        self.loss = make_binary(
            kind, widths[0], (n_runs,) if own else (), n=37, label_noise=noise if own else 0.0
        )
        self.start = [np.array(w) for w in make_start(widths, (n_runs,), scale=0.6, dtype=dtype)]
        # Where steps stay small however wild the weights get, what ends a run is its start.
        self.start[0][number % 16 == 5] *= dtype(1e18 if dtype == np.float32 else 1e160)
        self.scale = 0.04 + 0.01 * (number % 5)
        self.scale[number % 16 == 9] = 1e25
        self.decay = np.where(number % 3 == 0, 0.0, 0.1)
        self.multipliers = 1.0 + (number[:, None] + np.arange(len(widths) - 1)) % 2
        self.streams = (7 * number) % 11
        first = lf.train(
            self.network, self.loss, self.start, method=lf.GradientDescent(1e-3), n_steps=0,
            record=lf.Record.at([0], ("loss",)),
        ).loss[:, 0]  # fmt: skip
        self.limit = np.where((number % 7 == 2) & np.isfinite(first), 0.995 * first, 0.0)
        self.record = lf.Record.every(
            6, observed(self.network, self.loss), direction=direction(widths[0])
        )

    def method(self, which=slice(None)):
        step = self.scale[which]
        if self.rule != "constant":
            step = RULES[self.rule](step)
        decay, multipliers = self.decay[which], self.multipliers[which]
        if self.drawn is None:
            return lf.GradientDescent(step, decay, multipliers)
        return lf.StochasticGradientDescent(
            step, self.drawn, 11, self.streams[which], decay, multipliers
        )

    def part_of_loss(self, which):
        loss = self.loss
        if not loss.run_shape:
            return loss
        if isinstance(loss, lf.SphericalLogisticLoss):
            return lf.SphericalLogisticLoss(
                loss.direction[which], loss.law, loss.label_noise[which]
            )
        return type(loss)(loss.inputs[which], loss.labels[which], loss.label_noise[which])

    def train(self, which=slice(None), **options):
        """Train some of the runs; an integer picks a single run, without run axes."""
        defaults = {
            "n_steps": self.n_steps,
            "record": self.record,
            "stop": lf.Stop(loss=self.limit[which], check_every=4),
            "n_threads": 2,
            "start": [w[which] for w in self.start],
            "method": self.method(which),
        }
        return lf.train(self.network, self.part_of_loss(which), **defaults | options)
