"""Paths of training: stages of singular values, autoencoders, step sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linnet_fast import initialization
from linnet_fast import rank_dynamics as rd
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most, near
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, key, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train

if TYPE_CHECKING:
    from linnet_fast.training.trajectory import Trajectory


def staircase(settings: Settings) -> Figure:
    """Draw the closed-form staircase of two layers beside one layer, and runs of the core on it."""
    d = 4 if settings.quick else 6
    sigma = np.geomspace(1, 2.0 ** (1 - d), d) if d <= 4 else np.linspace(1, 0.25, d)
    deltas = np.array([2.0, 5.0, 10.0, 50.0, 400.0])
    tau = np.linspace(0, 0.75 / sigma[-1], 1500)
    two = np.stack(
        [
            rd.mode_flow(sigma, sigma, time=d_ * tau[:, None], log_strength=-d_).strength
            for d_ in deltas
        ]
    ).sum(axis=-1)
    one = np.stack(
        [
            rd.mode_flow(
                sigma, sigma, time=d_ * tau[:, None], log_strength=-d_, n_layers=1
            ).strength
            for d_ in deltas
        ]
    ).sum(axis=-1)

    # The same by training: an autoencoder whose inputs have these variances.
    loss = SquaredLoss(np.diag(sigma), np.diag(sigma), float(sigma.sum()))
    run_deltas = deltas[1:3]
    picked = np.linspace(0, tau[-1], 60)
    worst, dots = 0.0, []
    for delta in run_deltas:
        for n_layers in (1, 2):
            network = Dense((d,) * (n_layers + 1))
            start = initialization.aligned(network, loss, np.exp(-delta), rng=0)
            run = train(
                network,
                loss,
                start,
                method=GradientFlow(1e-10),
                until=float(delta * picked[-1]),
                record=Record.at_times(delta * picked, observables=("product",)),
                n_threads=settings.n_threads,
            )
            worst = max(worst, float(rd.closed_form_deviation(run).max()))
            dots.append(np.trace(run.product, axis1=-2, axis2=-1))
    jumps = 1 / (2 * sigma)
    half = np.stack([rd.learning_time(sigma, sigma, log_strength=-d_) / d_ for d_ in deltas])
    middle = np.concatenate([[jumps[0] / 2], (jumps[:-1] + jumps[1:]) / 2, [1.3 * jumps[-1]]])
    steps = rd.mode_flow(sigma, sigma, time=400 * middle[:, None], log_strength=-400.0)
    steps = steps.strength.sum(-1)
    early = rd.mode_flow(
        sigma, sigma, time=400 * 0.25 * jumps[0], log_strength=-400.0, n_layers=1
    ).strength.sum()
    claims = [
        at_most(
            "two layers: the trace norm rests at 0, 1, ..., d between the jumps (delta = 400)",
            float(np.abs(steps - np.arange(d + 1)).max()),
            1e-3,
        ),
        at_most(
            "two layers: mode i jumps at t / delta = 1 / (2 sigma_i) (delta = 400), relative error",
            float(np.abs(half[-1] / jumps - 1).max()),
            0.01,
        ),
        at_least(
            "one layer: all modes are learned before the first jump of two layers (delta = 400)",
            float(early) / d,
            0.99,
        ),
        at_most("runs of the core are on the closed form", worst, 1e-6),
    ]
    figure, (left, right) = panels(2, sharey=True)
    for i, (delta, color) in enumerate(zip(deltas, colors(len(deltas)), strict=True)):
        left.plot(tau, one[i], color=color, label=rf"$\delta$ = {delta:g}")
        right.plot(tau, two[i], color=color)
    for i, _ in enumerate(run_deltas):
        left.plot(picked, dots[2 * i], ".", color="#333333", markersize=3)
        right.plot(picked, dots[2 * i + 1], ".", color="#333333", markersize=3)
    for jump in jumps:
        right.axvline(jump, color="#c0c0c0", linewidth=0.6, zorder=0)
    left.set(title="one layer", xlabel=r"time / $\delta$", ylabel="trace norm")
    right.set(title="two layers", xlabel=r"time / $\delta$")
    entry(left, "trained", marker=".", linestyle="", markersize=3, color="#333333")
    entry(left, r"1 / (2 $\sigma$)", color="#c0c0c0", linewidth=0.6)
    key(figure, left)
    return Figure(
        "staircase",
        About(f"autoencoder, {d} modes", r"layers $e^{-\delta}\,I$ at the start", "gradient flow"),
        "Trace norm of the end-to-end matrix of an autoencoder from W(0) = exp(-delta) I, in rescaled time: "
        "closed forms (lines) and training by the core (dots). Grey: 1 / (2 sigma).",
        figure,
        {"sigma": sigma, "deltas": deltas, "tau": tau, "one_layer": one, "two_layers": two},
        claims,
    )


def autoencoder(settings: Settings) -> Figure:
    """Train linear autoencoders of one, two and three layers on Gaussian data by descent."""
    n, d = (400, 8) if settings.quick else (1000, 20)
    rng = np.random.default_rng(0)
    spectrum = np.geomspace(1, 0.1 if settings.quick else 0.05, d)
    x = rng.standard_normal((n, d)) * np.sqrt(spectrum)
    loss = SquaredLoss.from_data(x, x)
    sigma = rd.joint_decomposition(loss).sigma
    eta = 0.1 / sigma[0]
    scale = {1: 1e-3, 2: 1e-12, 3: 0.03}
    n_steps = {1: 4000, 2: 5000, 3: 8000}
    if not settings.quick:
        n_steps = {1: 12_000, 2: 12_000, 3: 20_000}
    runs: dict[int, Trajectory] = {}
    for n_layers in (1, 2, 3):
        network = Dense((d,) * (n_layers + 1))
        start = initialization.aligned(network, loss, scale[n_layers] ** n_layers, rng=0)
        if n_layers == 2:
            start = initialization.gaussian(network, scale=scale[2], fan="none", rng=0)
        runs[n_layers] = train(
            network,
            loss,
            start,
            method=GradientDescent(eta),
            n_steps=n_steps[n_layers],
            record=Record.geomspace(300, observables=("loss", "singular_values", "product")),
            n_threads=settings.n_threads,
        )
    figure, axes = panels(3, rows=3, sharex="col", sharey="row")
    data: dict[str, Any] = {"sigma": sigma}
    best = rd.reduced_rank_regression(loss).losses
    for column, n_layers in enumerate((1, 2, 3)):
        run = runs[n_layers]
        top, middle, bottom = axes[:, column]
        norm = rd.nuclear_norm(run.singular_values)
        top.plot(run.time, norm, color="#333333")
        for mode, color in enumerate(colors(d)):
            middle.plot(run.time, run.singular_values[:, mode], color=color, linewidth=0.8)
        bottom.plot(run.time, run.loss, color="#333333")
        begin = min(1.0, 0.1 / float(sigma[0]))  # before, nothing is seen to move
        for level in best:
            bottom.axhline(level, color="#d0d0d0", linewidth=0.5, zorder=0)
        top.set(title=f"{n_layers} layer{'s' if n_layers > 1 else ''}", xscale="log")
        bottom.set(xlabel="time", xlim=(begin, run.time[-1]))
        data |= {f"time_{n_layers}": run.time, f"loss_{n_layers}": run.loss}
        data[f"singular_values_{n_layers}"] = run.singular_values
    for ax, name in zip(axes[:, 0], ("trace norm", "singular values", "loss"), strict=True):
        ax.set_ylabel(name)
    last = axes[2][2]
    entry(last, "end-to-end matrix", color="#333333")
    entry(last, "its first mode", color=colors(d)[0], linewidth=0.8)
    entry(last, "its last mode", color=colors(d)[-1], linewidth=0.8)
    entry(last, "least loss of\nrank 0, 1, ...", color="#d0d0d0", linewidth=0.8)
    key(figure, last)
    measured = rd.learning_times(runs[2])
    predicted = rd.predicted_times(loss, runs[2].start.weights, step_size=eta)
    seen = np.isfinite(measured) & np.isfinite(predicted)
    error = np.abs(measured / predicted - 1)[seen]
    # How the time between the first and the last mode compares with the time to the first.
    spread = [
        float(np.nanmax(t) / np.nanmin(t)) for t in map(rd.learning_times, (runs[1], runs[2]))
    ]
    one = rd.learning_times(runs[1])
    claims = [
        at_least("two layers: modes learned within the run", float(seen.sum()), 0.9 * d),
        at_most(
            "two layers, random start: learning times against the prediction, median relative error",
            float(np.median(error)),
            0.02,
        ),
        at_most(
            "one layer: times are ln(2) / sigma, whatever the scale, relative error",
            float(np.nanmax(np.abs(one * sigma / np.log(2) - 1))),
            0.1,
        ),
        at_least(
            "learning times of two layers against those of one, smallest ratio",
            float(np.nanmin(measured / one)),
            2.0,
        ),
    ]
    data |= {
        "measured": measured,
        "predicted": predicted,
        "one_layer": one,
        "spread": np.array(spread),
    }
    return Figure(
        "autoencoder",
        About(
            f"autoencoder, {n} Gaussian samples in {d} dimensions",
            "one to three layers",
            "gradient descent",
        ),
        f"Gradient descent on a linear autoencoder of {n} Gaussian samples in {d} dimensions. Above: trace "
        "norm; in the middle: singular values; below: loss, and the least losses of rank 0, 1, ... in grey.",
        figure,
        data,
        claims,
    )


def step_sizes(settings: Settings) -> Figure:
    """Show learning times in steps against the step size, and the regimes of large steps."""
    sigma = np.array([1.0, 0.6, 0.3])
    rates = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.45])
    deltas = np.array([40.0, 80.0])
    exact = np.empty((len(deltas), len(rates), len(sigma)))
    for i, delta in enumerate(deltas):
        for j, eta in enumerate(rates):
            most = int(1.3 * delta * rd.limit_time(sigma[-1], step_size=eta)) + 50
            path = rd.mode_descent(
                sigma, step_size=eta, steps=np.arange(most), log_strength=-2 * delta
            )
            after = np.argmax(path.remaining <= 0.5, axis=-1)
            here = np.take_along_axis(path.remaining, after[:, None], -1)[:, 0]
            before = np.take_along_axis(path.remaining, after[:, None] - 1, -1)[:, 0]
            logit = [np.log1p(-r) - np.log(r) for r in (before, here)]
            exact[i, j] = after - logit[1] / (logit[1] - logit[0])
    slopes = (exact[1] - exact[0]) / (deltas[1] - deltas[0])
    limit = rd.limit_time(sigma, step_size=rates[:, None])
    predicted = np.stack(
        [rd.learning_steps(sigma, step_size=rates[:, None], log_strength=-2 * d_) for d_ in deltas]
    )
    # What the core does at the same rates, from a start that floating point can hold.
    network, loss = (
        Dense((3, 3, 3)),
        SquaredLoss(np.eye(3), np.diag(sigma), float((sigma**2).sum())),
    )
    start = initialization.aligned(network, loss, 1e-8, rng=0)
    run = train(
        network,
        loss,
        start,
        method=GradientDescent(rates),
        n_steps=4000,
        record=Record.every(1, observables=("product",)),
        n_threads=settings.n_threads,
    )
    deviation = float(rd.closed_form_deviation(run).max())
    in_steps = rd.learning_times(run) / rates[:, None]
    counted = rd.learning_steps(sigma, step_size=rates[:, None], strength=1e-8)

    x = np.linspace(0.3, 2.05, 300 if settings.quick else 900)
    late = rd.mode_descent(1.0, step_size=x, steps=np.arange(3000, 3064), strength=0.1).strength
    regime = rd.step_size_regime(1.0, step_size=x)
    span = late.max(axis=-1) - late.min(axis=-1)
    settles = span < 1e-6
    last_settled = float(x[settles].max())
    bounded = np.isfinite(late).all(axis=-1)
    claims = [
        at_most(
            "steps per unit of delta are 1 / ln(1 + step size * sigma), relative error",
            float(np.abs(slopes / limit - 1).max()),
            1e-3,
        ),
        at_most(
            "step counts against their prediction (rates up to 0.3), in steps",
            float(np.abs(predicted - exact)[:, :5].max()),
            0.6,
        ),
        at_most("the core follows the recursion of the modes", deviation, 1e-9),
        at_most(
            "step counts of the core against their prediction (rates up to 0.3), in steps",
            float(np.abs(in_steps - counted)[:5].max()),
            0.6,
        ),
        near("largest step size * sigma at which the mode settles", last_settled, 1.0, 0.02),
        near(
            "largest step size * sigma at which it stays bounded",
            float(x[bounded].max()),
            2.0,
            0.01,
        ),
        at_most(
            "between 1 and sqrt(5) - 1 it goes between two values",
            float(
                np.abs(
                    late[regime == rd.StepSizeRegime.PERIOD_TWO][2:, 2:]
                    - late[regime == rd.StepSizeRegime.PERIOD_TWO][2:, :-2]
                ).max()
            ),
            1e-3,
        ),
    ]
    figure, (left, right) = panels(2)
    for k, color in enumerate(colors(len(sigma))):
        left.loglog(rates, slopes[:, k], "o", color=color, markersize=4)
        left.loglog(rates, limit[:, k], color=color, label=rf"$\sigma$ = {sigma[k]:g}")
        left.loglog(rates, 1 / (rates * sigma[k]), ":", color=color, linewidth=0.8)
    left.set(
        xlabel="step size", ylabel=r"steps / $\delta$ to learn a mode", title="learning in steps"
    )
    entry(left, "exact recursion", marker="o", linestyle="", markersize=4)
    entry(left, r"1 / ln(1 + step size $\cdot\ \sigma$)")
    entry(left, "of the flow", linestyle=":", linewidth=0.8)
    left.set_ylim(top=4e3)
    left.legend(frameon=False, fontsize=7, loc="upper right")
    right.plot(np.repeat(x, late.shape[-1]), late.ravel(), ",", color="#333333")
    for border in (0.5, 1.0, np.sqrt(5) - 1, 2.0):
        right.axvline(border, color="#c05030", linewidth=0.7)
    entry(right, "border of a regime", color="#c05030", linewidth=0.7)
    right.legend(frameon=False, loc="lower left", fontsize=7)
    right.set(
        xlabel=r"step size $\cdot\ \sigma$",
        ylabel="strength of the mode, late",
        ylim=(-0.1, 2.6),
        title="large steps",
    )
    return Figure(
        "step_sizes",
        About(f"white inputs, {len(sigma)} modes", "two layers", "gradient descent"),
        "Left: steps per unit of delta in which modes are learned; dots exact recursion, lines 1 / ln(1 + eta "
        "sigma), dotted 1 / (eta sigma) of the flow. Right: where a mode is after 3000 steps; borders of the "
        "regimes in red: monotone, damped, period two, chaotic, divergent.",
        figure,
        {"sigma": sigma, "rates": rates, "slopes": slopes, "limit": limit, "x": x, "late": late},
        claims,
    )
