"""Experiments on data sets: how nearly modes are independent, and how classes are learned."""

from __future__ import annotations

import numpy as np

from linnet_fast import datasets, initialization
from linnet_fast import rank_dynamics as rd
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.descent import GradientDescent
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, key, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train


def _losses(settings: Settings) -> dict[str, SquaredLoss]:
    """Return the moments of each data set, centred."""
    found = {}
    for name in ("digits", "iris", "wine", "breast_cancer"):
        x, y, _ = datasets.load(name)
        found[name] = SquaredLoss.from_data(x, y, center=True)
    # One target makes a single mode: of diabetes, predict the serum measurements and the outcome from
    # age, sex, body mass and blood pressure.
    x, y, _ = datasets.load("diabetes")
    found["diabetes"] = SquaredLoss.from_data(x[:, :4], np.hstack([x[:, 4:], y]), center=True)
    if settings.mnist is not None:
        x, y, _ = datasets.load_mnist(settings.mnist)
        found["MNIST"] = SquaredLoss.from_data(x, y, center=True)
    if settings.cifar10 is not None:
        x, y, _ = datasets.load_cifar10(settings.cifar10)
        found["CIFAR-10"] = SquaredLoss.from_data(x, y, center=True)
    return found


def assumption(settings: Settings) -> Figure:
    """Measure how far data are from a joint decomposition, beside a random basis."""
    losses = _losses(settings)
    n_random = 20 if settings.quick else 100
    rng = np.random.default_rng(0)
    rows, baseline = [], []
    for loss in losses.values():
        data = rd.joint_decomposition(loss)
        rows.append([data.defect_spectral, data.defect_frobenius, data.commutator])
        own = []
        for _ in range(n_random):
            q, r = np.linalg.qr(rng.standard_normal((loss.n_inputs, loss.n_inputs)))
            q = q * np.sign(np.diag(r))
            cov = q.T @ loss.input_cov @ q
            # What no data have: targets along inputs that do not occur. A trace of all inputs does not
            # show in the defects.
            cov = (cov + cov.T) / 2 + 1e-9 * np.trace(cov) * np.eye(loss.n_inputs)
            turned = SquaredLoss(cov, loss.cross_cov, loss.output_power)
            other = rd.joint_decomposition(turned)
            own.append([other.defect_spectral, other.defect_frobenius, other.commutator])
            if loss.n_inputs > 500:  # one draw tells: in many dimensions they are all alike
                break
        baseline.append(np.mean(own, axis=0))
    defects, random = np.array(rows), np.array(baseline)
    claims = [
        at_most(
            f"{name}: off-diagonal part of input_cov in the modes' basis (Frobenius, of the whole) against that "
            "in a random one, ratio",
            float(defects[i, 1] / random[i, 1]),
            0.9,
        )
        for i, name in enumerate(losses)
    ]
    figure, axes = panels(3, sharey=True)
    titles = ("off-diagonal, spectral", "off-diagonal, Frobenius", "commutator")
    at = np.arange(len(losses))
    for k, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        ax.barh(at + 0.2, defects[:, k], 0.38, color=colors(2)[0], label="data")
        ax.barh(at - 0.2, random[:, k], 0.38, color="#c8c8c8", label="random basis")
        ax.set(title=title, xlabel="part of the whole", yticks=at, yticklabels=list(losses))
    axes[0].invert_yaxis()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    return Figure(
        "assumption",
        About(
            "inputs and targets, centred",
            "modes of two layers",
            "distance from moments that commute",
        ),
        "How far from commuting data sets are (0: modes are independent), beside the same inputs turned at "
        "random against the targets. Classes are one-hot, inputs and targets centred.",
        figure,
        {"names": np.array(list(losses)), "defects": defects, "random": random},
        claims,
    )


def classification(settings: Settings) -> Figure:
    """Train two and three layers on digits; compare learning times with the modes' closed form."""
    x, y, _ = datasets.load("digits")
    loss = SquaredLoss.from_data(x, y, center=True)
    n_seeds = 4 if settings.quick else 16
    scale = 1e-6
    data = rd.joint_decomposition(loss)
    seen = data.sigma > 0
    sigma, lam = data.sigma[seen], data.lam[: len(data.sigma)][seen]
    shallow = Dense((loss.n_inputs, 32, loss.n_outputs))
    eta = 0.9 / float(rd.minimum_sharpness(loss, 2, rcond=1e-6, rtol=1e-3))
    n_steps = 4000 if settings.quick else 12_000
    start = initialization.gaussian(shallow, scale=scale, fan="none", rng=0, batch_shape=n_seeds)
    record = Record.geomspace(300, observables=("loss", "singular_values"))
    run = train(
        shallow,
        loss,
        start,
        method=GradientDescent(eta),
        n_steps=n_steps,
        record=record,
        n_threads=settings.n_threads,
    )
    deep = Dense((loss.n_inputs, 32, 32, loss.n_outputs))
    first = initialization.orthogonal(deep, scale=0.1, rng=0)
    eta_deep = 0.5 / float(rd.minimum_sharpness(loss, 3, rcond=1e-6, rtol=1e-3))
    run_deep = train(
        deep,
        loss,
        first,
        method=GradientDescent(eta_deep),
        n_steps=2 * n_steps,
        record=record,
        n_threads=settings.n_threads,
    )
    measured = np.median(rd.learning_times(run), axis=0)[seen]
    predicted = np.median(rd.predicted_times(loss, start, step_size=eta), axis=0)[seen]
    greedy = rd.greedy_path(loss, n_stages=int(seen.sum()))
    best = rd.reduced_rank_regression(loss).losses
    # Distance of the loss to the least loss of the rank that is learned, on the plateaus.
    counts = np.sum(rd.learning_times(run)[..., None] <= run.time[:, None].T[:, None, :], axis=1)
    levels = best[np.minimum(counts, len(best) - 1)]
    gap = np.min(np.abs(run.loss - levels) / best[0], axis=-1)
    in_order = float(np.mean(np.diff(measured) > 0))
    claims = [
        at_least("two layers: share of modes learned in the order of sigma", in_order, 0.99),
        at_most(
            "two layers: first learning time against the prediction, relative error",
            float(abs(measured[0] / predicted[0] - 1)),
            0.02,
        ),
        at_most(
            "two layers: all learning times against the closed form of independent modes, worst relative error",
            float(np.abs(measured / predicted - 1).max()),
            0.3,
        ),
        at_most(
            "two layers: the loss comes near the least loss of the rank that is learned, of the loss at 0",
            float(gap.max()),
            0.02,
        ),
    ]
    figure, axes = panels(2, rows=2, sharex="col")
    for column, (one, title) in enumerate(((run, "two layers"), (run_deep, "three layers"))):
        values = one.singular_values[0] if one.singular_values.ndim == 3 else one.singular_values
        value = one.loss[0] if one.loss.ndim == 2 else one.loss
        top, bottom = axes[0][column], axes[1][column]
        for mode, color in enumerate(colors(len(sigma))):
            top.plot(one.time, values[:, mode], color=color)
        if column == 0:
            curve = rd.mode_flow(
                sigma,
                lam,
                time=one.time[:, None],
                log_strength=_matching(predicted, sigma, lam),
            ).strength
            top.plot(one.time, np.sort(curve, axis=-1), "--", color="#808080", linewidth=0.7)
        bottom.plot(one.time, value, color="#333333")
        for level in best:
            bottom.axhline(level, color="#d0d0d0", linewidth=0.5, zorder=0)
        begin = 0.2 * (predicted[0] if column == 0 else one.time[np.argmax(values[:, 0] > 0.01)])
        top.set(title=title, xscale="log", xlim=(begin, one.time[-1]))
        bottom.set(xlabel="time")
    axes[0][0].set_ylabel("singular values")
    axes[1][0].set_ylabel("loss")
    last = axes[0][0]
    entry(last, "first mode", color=colors(len(sigma))[0])
    entry(last, "last mode", color=colors(len(sigma))[-1])
    entry(last, "closed form, modes\nas if independent", color="#808080", ls="--", linewidth=0.7)
    entry(last, "loss", color="#333333")
    entry(last, "least loss of\nrank 0, 1, ...", color="#d0d0d0", linewidth=0.8)
    key(figure, last)
    return Figure(
        "classification",
        About(
            "digits, one-hot classes", "layers of width 32, small at the start", "gradient descent"
        ),
        "Handwritten digits, one-hot classes, centred, by gradient descent from a small random start. Singular "
        "values (dashed: closed form as if modes were independent), and loss with the least losses of rank 0, "
        "1, ... in grey.",
        figure,
        {
            "sigma": sigma,
            "lam": lam,
            "measured": measured,
            "predicted": predicted,
            "greedy_times": greedy.time,
            "time": run.time,
            "singular_values": run.singular_values,
            "loss": run.loss,
            "time_three": run_deep.time,
            "singular_values_three": run_deep.singular_values,
            "loss_three": run_deep.loss,
        },
        claims,
    )


def _matching(times: FloatArray, sigma: FloatArray, lam: FloatArray) -> FloatArray:
    """Return the log strengths from which modes are learned at given times."""
    result: FloatArray = np.log(sigma / lam) - np.logaddexp(0.0, 2 * sigma * times)
    return result
