"""Sweeps: scale of the start, depth, perturbation of the data, order of the modes."""

from __future__ import annotations

import numpy as np

from linnet_fast import initialization
from linnet_fast import rank_dynamics as rd
from linnet_fast._base.validate import FloatArray
from linnet_fast.figures.report import About, Figure, Settings, at_least, at_most, near
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.methods.flow import GradientFlow
from linnet_fast.networks.named import Dense
from linnet_fast.plot._style import colors, entry, key, panels
from linnet_fast.records.record import Record
from linnet_fast.training.train import train


def _general(seed: int, n_in: int = 4, n_out: int = 3) -> SquaredLoss:
    """Return data that do not commute."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((50, n_in)) * np.linspace(1.2, 0.8, n_in)
    y = x @ rng.standard_normal((n_in, n_out)) @ np.diag(np.linspace(1.5, 0.5, n_out))
    loss = SquaredLoss.from_data(x, y)
    top = np.linalg.norm(loss.cross_cov, 2)
    return SquaredLoss(loss.input_cov, 2 * loss.cross_cov / top, 4 * loss.output_power / top**2)


def init_scale(settings: Settings) -> Figure:
    """Measure how learning times grow with the logarithm of the scale of a random start."""
    sigma = np.array([1.0, 0.7, 0.5, 0.35])
    white = SquaredLoss(np.eye(4), np.diag(sigma), float((sigma**2).sum()))
    n_seeds = 8 if settings.quick else 32
    scales = np.geomspace(1e-2, 1e-8, 7)
    network = Dense((4, 10, 4))
    # The same draws at every scale, so that slopes are those of single starts.
    drawn = initialization.gaussian(network, fan="none", rng=0, batch_shape=n_seeds)
    start = tuple(scales[:, None, None, None] * w for w in drawn)
    until = 1.4 * (np.log(1 / scales[-1]) + 3) / sigma[-1]
    record = Record.at_times(np.linspace(0, until, 400), observables=("product",))
    run = train(
        network,
        white,
        start,
        method=GradientFlow(1e-9),
        until=until,
        record=record,
        n_threads=settings.n_threads,
    )
    measured = rd.learning_times(run)
    predicted = rd.predicted_times(white, start)
    plain = rd.learning_time(sigma, strength=rd.effective_strengths(white, start, deflate=False))
    error = np.abs(measured / predicted - 1)
    delta = np.log(1 / scales)
    slope = np.median(measured[-1] - measured[-3], axis=0) / (delta[-1] - delta[-3])

    # Data that do not commute, where the slopes are those of the greedy path.
    general = _general(3)
    greedy = rd.greedy_path(general)
    general_network = Dense((4, 8, 3))
    depths = np.array([12.0, 24.0])
    drawn = initialization.gaussian(general_network, fan="none", rng=1, batch_shape=n_seeds)
    small = tuple(np.exp(-depths)[:, None, None, None] * w for w in drawn)
    until = float(1.3 * depths[-1] * greedy.time[-1] + 40)
    general_run = train(
        general_network,
        general,
        small,
        method=GradientFlow(1e-10),
        until=until,
        record=Record.at_times(np.linspace(0, until, 3000), observables=("singular_values",)),
        n_threads=settings.n_threads,
    )
    crossing = _half_times(general_run.time, general_run.singular_values)
    general_slope = np.median(crossing[1] - crossing[0], axis=0) / (depths[1] - depths[0])
    naive = 1 / np.linalg.svd(general.cross_cov, compute_uv=False)
    at_small = scales <= 1.1e-4
    claims = [
        at_most(
            "whitened, scale 1e-4 and below: learning times against the deflated prediction, worst relative error",
            float(error[at_small].max()),
            0.01,
        ),
        at_least(
            "without deflation the prediction is worse, ratio of median errors at 1e-4",
            float(
                np.median(np.abs(measured / plain - 1)[scales <= 1.1e-4, :, 1:])
                / np.median(error[at_small][..., 1:])
            ),
            3,
        ),
        at_most(
            "whitened: slope of learning times against ln(1 / scale) is 1 / sigma, worst relative error",
            float(np.abs(slope * sigma - 1).max()),
            0.01,
        ),
        at_most(
            "not commuting: slopes against those of the greedy path, worst relative error",
            float(np.abs(general_slope / greedy.time - 1).max()),
            0.02,
        ),
    ]
    figure, (left, right) = panels(2)
    for k, color in enumerate(colors(len(sigma))):
        left.plot(
            delta,
            np.median(predicted[..., k], axis=1),
            color=color,
            label=rf"$\sigma$ = {sigma[k]:g}",
        )
        left.plot(
            np.repeat(delta, n_seeds), measured[..., k].ravel(), ".", color=color, markersize=2.5
        )
    left.set(xlabel="ln(1 / scale)", ylabel="learning time", title="2 layers, whitened inputs")
    entry(left, "prediction, median")
    entry(left, f"{n_seeds} random starts", marker=".", linestyle="", markersize=2.5)
    left.set_ylim(top=1.7 * left.get_ylim()[1])  # room for the legend
    left.legend(frameon=False, fontsize=7, loc="upper left")
    stage = np.arange(1, len(naive) + 1)
    right.plot(stage, general_slope, "o", color="#333333", label="measured", zorder=3)
    right.plot(stage, greedy.time, "_", color="#c05030", markersize=22, label="greedy path")
    right.plot(stage, naive, "_", color="#a0a0a0", markersize=22, label=r"$1/\sigma$")
    right.set(
        xlabel="stage",
        ylabel="learning time / ln(1 / scale)",
        xticks=stage,
        title="2 layers, data that do not commute",
        yscale="log",
        xlim=(0.6, len(naive) + 0.4),
    )
    right.set_yticks([0.5, 1, 2, 5], ["0.5", "1", "2", "5"])
    right.legend(frameon=False)
    return Figure(
        "init_scale",
        About(
            "white inputs; data that do not commute",
            "two layers",
            "gradient flow from random starts",
        ),
        f"Left: learning times of {n_seeds} random starts each (dots) and the median of their predictions (lines), "
        "two layers, whitened inputs. Right: how they grow with the logarithm of the scale, on data that do not "
        "commute.",
        figure,
        {
            "sigma": sigma,
            "scales": scales,
            "measured": measured,
            "predicted": predicted,
            "slope": slope,
            "greedy": greedy.time,
            "greedy_measured": general_slope,
            "naive": naive,
        },
        claims,
    )


def _half_times(time: FloatArray, values: FloatArray) -> FloatArray:
    """Return when each singular value reaches half of where it ends, between records by its logarithm."""
    half = np.log(values[..., -1:, :] / 2)
    logs = np.log(np.maximum(values, 1e-300))
    after = np.argmax(logs >= half, axis=-2)
    before = np.maximum(after - 1, 0)

    def at(record: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> FloatArray:
        found: FloatArray = np.take_along_axis(logs, record[..., None, :], axis=-2)[..., 0, :]
        return found

    part = (half[..., 0, :] - at(before)) / (at(after) - at(before))
    moment: FloatArray = time[before] + part * (time[after] - time[before])
    return moment


def depth(settings: Settings) -> Figure:
    """Measure how learning times grow with the scale of the layers, for two to four layers."""
    sigma = np.array([1.0, 0.5])
    loss = SquaredLoss(np.eye(2), np.diag(sigma), 1.25)
    scales = np.geomspace(0.2, 0.004 if settings.quick else 0.001, 7)
    figure, axes = panels(3)
    data: dict[str, FloatArray] = {"sigma": sigma, "scales": scales}
    claims = []
    for ax, n_layers in zip(axes, (2, 3, 4), strict=True):
        network = Dense((2, *(4,) * (n_layers - 1), 2))
        used = scales if n_layers < 4 else scales[scales >= 0.01]
        start = initialization.aligned(
            network,
            loss,
            used[:, None] * np.ones(2),
            scale_of="factor",
            rng=0,
            batch_shape=len(used),
        )
        exact = rd.learning_time(
            sigma, log_strength=n_layers * np.log(used)[:, None], n_layers=n_layers
        )
        measured = np.empty_like(exact)
        for i, times in enumerate(exact):
            # Records near both transitions, which are sharp.
            near_times = np.unique(np.concatenate([t + np.linspace(-8, 8, 81) for t in times]))
            run = train(
                network,
                loss,
                tuple(w[i] for w in start),
                method=GradientFlow(1e-9, max_steps=2_000_000),
                until=float(near_times[-1]),
                record=Record.at_times(near_times[near_times > 0], observables=("product",)),
                n_threads=settings.n_threads,
            )
            measured[i] = rd.learning_times(run)
        law = (
            rd.escape_time(sigma, layer_scale=used[:, None], n_layers=n_layers)
            if n_layers > 2
            else np.log(1 / used)[:, None] / sigma
        )
        claims.append(
            at_most(
                f"{n_layers} layers: learning times against the closed form, worst relative error",
                float(np.abs(measured / exact - 1).max()),
                1e-4,
            )
        )
        if n_layers > 2:
            power = np.log(measured[-1] / measured[-2]) / np.log(used[-1] / used[-2])
            claims.append(
                near(
                    f"{n_layers} layers: learning times grow like a power of the scale, with exponent",
                    float(power[0]),
                    2.0 - n_layers,
                    0.02,
                )
            )
        for k, color in enumerate(colors(2)):
            ax.loglog(used, measured[:, k], "o", color=color, markersize=4)
            ax.loglog(used, exact[:, k], color=color, label=rf"$\sigma$ = {sigma[k]:g}")
            ax.loglog(used, law[:, k], ":", color=color, linewidth=0.8)
        ax.set(xlabel="scale of each layer", title=f"{n_layers} layers")
        data |= {
            f"measured_{n_layers}": measured,
            f"exact_{n_layers}": exact,
            f"law_{n_layers}": law,
        }
    axes[0].set_ylabel("learning time")
    entry(axes[0], "trained", marker="o", linestyle="", markersize=4)
    entry(axes[0], "closed form")
    entry(axes[0], "law for small scales", linestyle=":", linewidth=0.8)
    key(figure, axes[0])
    return Figure(
        "depth",
        About("white inputs, two modes", "balanced layers", "gradient flow"),
        "Learning times of two modes from balanced layers: runs of the core (dots), closed forms (lines), laws for "
        "vanishing scale (dotted): ln(1 / scale) / sigma for two layers, scale^(2 - L) / ((L - 2) sigma) for more.",
        figure,
        data,
        claims,
    )


def perturbation(settings: Settings) -> Figure:
    """Measure how far data that nearly commute lead from the closed form."""
    sigma, lam = np.array([1.0, 0.6, 0.3]), np.array([1.0, 0.8, 0.5])
    n_draws = 10 if settings.quick else 40
    rng = np.random.default_rng(0)
    sizes = np.geomspace(1e-6, 0.1, 6)
    off = rng.standard_normal((n_draws, 3, 3))
    off = off + off.mT
    off[:, np.arange(3), np.arange(3)] = 0
    off /= np.linalg.norm(off, 2, axis=(-2, -1))[:, None, None]
    cov = np.diag(lam) + sizes[:, None, None, None] * off
    loss = SquaredLoss(cov, np.diag(sigma), float((sigma**2 / lam).sum()))
    plain = SquaredLoss(np.diag(lam), np.diag(sigma), float((sigma**2 / lam).sum()))
    network = Dense((3, 3, 3))
    start = initialization.aligned(network, plain, 1e-2, rng=0)
    times = np.array([1.0, 2.0, 3.0, 6.0, 1000.0])
    run = train(
        network,
        loss,
        start,
        method=GradientFlow(1e-11),
        until=times[-1],
        record=Record.at_times(times, observables=("product", "weights")),
        n_threads=settings.n_threads,
    )
    still = train(
        network,
        plain,
        start,
        method=GradientFlow(1e-11),
        until=times[-1],
        record=Record.at_times(times, observables=("weights",)),
        n_threads=settings.n_threads,
    )
    moved = sum(
        np.sum((a - b) ** 2, axis=(-2, -1)) for a, b in zip(run.weights, still.weights, strict=True)
    )
    distance = np.sqrt(np.asarray(moved))[..., :4]
    bound = rd.perturbation_bound(loss, strength=np.full(3, 1e-2), time=times[:4])
    end = rd.perturbed_limit(loss)
    limit_error = np.linalg.norm(run.product[..., -1, :, :] - end, axis=(-2, -1))
    worst = distance.max(axis=1)
    slope = np.log(worst[2, 2] / worst[1, 2]) / np.log(sizes[2] / sizes[1])
    valid = np.isfinite(bound)
    claims = [
        near(
            "at time 3 the deviation is proportional to the perturbation: exponent",
            float(slope),
            1.0,
            0.01,
        ),
        at_most(
            "times up to 3: deviation over the perturbation, largest",
            float((worst[:, :3] / sizes[:, None]).max()),
            1.5,
        ),
        at_most(
            "deviation over its bound, largest", float((distance[valid] / bound[valid]).max()), 1.0
        ),
        near(
            "the end is known to first order: exponent of the error of the limit",
            float(
                np.log(np.median(limit_error[4]) / np.median(limit_error[3]))
                / np.log(sizes[4] / sizes[3])
            ),
            2.0,
            0.05,
        ),
    ]
    figure, (left, right) = panels(2)
    for k, color in enumerate(colors(4)):
        left.loglog(
            sizes,
            np.median(distance[..., k], axis=1),
            "o-",
            color=color,
            markersize=3,
            label=f"time {times[k]:g}",
        )
    left.loglog(sizes, sizes, ":", color="#808080", linewidth=0.8, label="the size itself")
    left.set(
        xlabel="size of the perturbation", ylabel="distance of the weights", title="on the way"
    )
    left.set_ylim(bottom=1e-11)
    left.legend(frameon=False, loc="lower right", fontsize=7, ncols=2)
    right.loglog(
        sizes,
        np.median(limit_error, axis=1),
        "o-",
        color="#333333",
        markersize=3,
        label=f"median of {n_draws} draws",
    )
    right.loglog(sizes, sizes**2, ":", color="#808080", linewidth=0.8, label="the size squared")
    right.legend(frameon=False)
    right.set(
        xlabel="size of the perturbation",
        ylabel="error of the first-order limit",
        title="at the end",
    )
    return Figure(
        "perturbation",
        About("data that nearly commute, three modes", "two layers of width 3", "gradient flow"),
        "Data that do not quite commute: median distance between the weights and the closed form (left; dotted: the "
        "size of the perturbation itself), and between the end and its first-order formula (right; dotted: squared).",
        figure,
        {
            "sizes": sizes,
            "times": times,
            "distance": distance,
            "bound": np.asarray(bound),
            "limit_error": limit_error,
        },
        claims,
    )


def order_mismatch(settings: Settings) -> Figure:
    """Show which plateau is visited where the orders of sigma and sigma^2 / lam differ."""
    sigma, lam = np.array([2.0, 1.5]), np.array([4.0, 1.0])
    couplings = np.array([0.0, 0.2])
    deltas = np.array([60.0, 120.0])
    figure, axes = panels(2, sharey=True)
    data: dict[str, FloatArray] = {"sigma": sigma, "lam": lam, "couplings": couplings}
    nearest = np.empty((2, 2))
    slopes = []
    for column, (ax, coupling) in enumerate(zip(axes, couplings, strict=True)):
        cov = np.array([[lam[0], coupling], [coupling, lam[1]]])
        loss = SquaredLoss(cov, np.diag(sigma), float((sigma**2 / lam).sum()))
        network = Dense((2, 6, 2))
        until = 1.4 * deltas[-1] / sigma[-1] + 8
        times = np.linspace(0, until, 1500)
        if coupling == 0:
            start = tuple(
                np.stack([np.exp(-d) * w for d in deltas])
                for w in initialization.aligned(network, loss, 1.0, rng=0)
            )
        else:
            drawn = initialization.gaussian(network, fan="none", rng=0)
            start = tuple(np.exp(-deltas)[:, None, None] * w for w in drawn)
        run = train(
            network,
            loss,
            start,
            method=GradientFlow(1e-11),
            until=until,
            record=Record.at_times(times, observables=("product", "singular_values")),
            n_threads=settings.n_threads,
        )
        distances = rd.path_distances(run)
        rank_one = (distances.reduced_rank[-1, :, 1], distances.sigma_ordered[-1, :, 1])
        nearest[column] = [d.min() for d in rank_one]
        crossing = _half_times(run.time, run.singular_values)
        slopes.append((crossing[1] - crossing[0]) / (deltas[1] - deltas[0]))
        ax.semilogy(run.time, rank_one[0], color=colors(2)[0], label="best of rank 1")
        ax.semilogy(run.time, rank_one[1], color=colors(2)[1], label="first by sigma")
        title = (
            "2 layers, commuting data"
            if coupling == 0
            else f"2 layers, data coupled by {coupling:g}"
        )
        ax.set(xlabel="time", title=title)
        data |= {
            f"time_{column}": run.time,
            f"to_best_{column}": rank_one[0],
            f"to_first_{column}": rank_one[1],
        }
    axes[0].set(ylabel="relative distance", ylim=(1e-4, 3))
    axes[0].legend(frameon=False, loc="lower left")
    greedy = rd.greedy_path(SquaredLoss(np.array([[4.0, 0.2], [0.2, 1.0]]), np.diag(sigma), 10.0))
    claims = [
        at_most(
            "commuting: the plateau of rank 1 is the mode with the largest sigma, distance",
            float(nearest[0, 1]),
            0.02,
        ),
        at_least(
            "commuting: it is not the best matrix of rank 1, distance", float(nearest[0, 0]), 0.3
        ),
        at_most(
            "coupled, small start: the plateau moves to the best matrix of rank 1, distance",
            float(nearest[1, 0]),
            0.01,
        ),
        near(
            "coupled: slope of the second learning time against delta is that of the greedy path",
            float(slopes[1][1]),
            float(greedy.time[1]),
            0.02,
        ),
        near(
            "commuting: second learning time / delta is 1 / sigma_2",
            float(slopes[0][1]),
            1 / sigma[1],
            0.01,
        ),
    ]
    data |= {"slopes": np.array(slopes), "greedy": greedy.time, "nearest": nearest}
    return Figure(
        "order_mismatch",
        About(
            r"modes of $\sigma$ = 2, 1.5 and $\lambda$ = 4, 1",
            "two layers of hidden width 6",
            "gradient flow",
        ),
        "sigma = 2, 1.5 and lam = 4, 1: by sigma the first mode comes first, but the second makes the better matrix "
        "of rank 1. Distance to both over time from the smallest start.",
        figure,
        data,
        claims,
    )
