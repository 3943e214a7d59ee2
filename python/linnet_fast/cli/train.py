"""The command ``linnet-fast train``: a grid of scales, step sizes and seeds on one data set."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from linnet_fast import datasets, plot
from linnet_fast._base import files, machine
from linnet_fast._base.config import config
from linnet_fast.cli import job as jobs
from linnet_fast.cli import outputs
from linnet_fast.cli.arguments import (
    Commands,
    at_least,
    count,
    new_command,
    not_negative,
    number,
    whole,
)
from linnet_fast.cli.job import AXES, Job
from linnet_fast.cli.outputs import BadInput, Failed
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics import reduced_rank_regression
from linnet_fast.records.record import OBSERVABLES, Record, Stop
from linnet_fast.training.trajectory import Trajectory

_ALWAYS = ("loss", "singular_values")
"""What is always recorded: the table and the picture need it."""

_DESCRIPTION = """\
Train networks x -> W_L ... W_1 x on data: one run for every scale of the start, step size and seed.
Prints when each rank of the end-to-end matrix W_L ... W_1 is learned, and writes all records to a
file and a picture."""

_EPILOG = """\
examples:
  linnet-fast train digits
      two-layer networks 64 -> 32 -> 10 on scikit-learn's digits, 13 scales x 20 seeds
  linnet-fast train my_data.npz --hidden 50 --scales 1e-6,1e-3,1 --seeds 5 --out result.nc
      arrays X (samples, inputs) and Y (samples, outputs) of a file; result for xarray
  linnet-fast train --x inputs.csv --y labels.csv --standardize --steps 50000
      text files; a column of labels or integers becomes one output per class
  linnet-fast train wine --widths 13,20,20,3 --scales 0.01:0.3:8 --step-sizes 0.05,0.1,0.2
      three layers; scales from 0.01 to 0.3 in geometric progression; several step sizes
  linnet-fast train iris --init balanced --weight-decay 0.01 --stop-loss 0.14 --plot none

reading a result in Python:
  linnet_fast.Trajectory.load("result.npz")     or     xarray.open_dataset("result.nc")

exit codes: 0 done, 1 failed while running (all runs diverged, a file cannot be written, not enough
memory), 2 bad usage or data, 130 interrupted by Ctrl-C"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = new_command(
        commands, "train", run, "train a grid of networks on data", _DESCRIPTION, _EPILOG
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help=f"a set of scikit-learn ({', '.join(datasets.NAMES)}) or a .npz file with arrays X and Y",
    )
    data.add_argument("--x", metavar="FILE", help=".npy or .csv file of inputs, a sample per row")
    data.add_argument("--y", metavar="FILE", help=".npy or .csv file of targets, a sample per row")
    data.add_argument(
        "--targets",
        choices=datasets.TARGETS,
        default="auto",
        help="what a single column of targets is: labels become one output per class (auto: text "
        "and integers are labels)",
    )
    data.add_argument(
        "--standardize", action="store_true", help="bring each input to mean 0 and variance 1"
    )
    data.add_argument(
        "--no-center",
        dest="center",
        action="store_false",
        help="do not subtract the means of inputs and targets",
    )

    network = parser.add_argument_group("network")
    network.add_argument(
        "--widths",
        type=_widths,
        metavar="IN,...,OUT",
        help="widths of all layers, such as 64,32,10",
    )
    network.add_argument("--depth", type=count, metavar="L", help="layers of weights (default 2)")
    network.add_argument("--hidden", type=count, metavar="H", help="hidden width (default 32)")

    grid = parser.add_argument_group("grid", "values are A,B,C or LOW:HIGH:N (geometric)")
    grid.add_argument(
        "--init",
        choices=jobs.INITS,
        default="orthogonal",
        help="start weights: orthogonal layers (default); gaussian, standard deviation "
        "1/sqrt(inputs of the layer); balanced, of a gaussian end-to-end matrix; aligned with the "
        "singular vectors of the data, all modes equally strong",
    )
    grid.add_argument(
        "--scales",
        type=_numbers,
        metavar="VALUES",
        help="factors on each layer of the start (default 1e-12:1:13; of three layers and more, "
        "which learn later from a small start, 0.01:1:13 and narrower)",
    )
    grid.add_argument(
        "--step-sizes",
        type=_numbers,
        metavar="VALUES",
        help="(default: one, 1 / sharpness from the moments of the data)",
    )
    grid.add_argument(
        "--seeds", type=count, default=20, metavar="N", help="random starts (default 20)"
    )
    grid.add_argument(
        "--rng", type=whole, default=0, metavar="SEED", help="seed of the seeds (default 0)"
    )

    training = parser.add_argument_group("training")
    training.add_argument(
        "--steps", type=count, default=20_000, metavar="N", help="(default 20000)"
    )
    training.add_argument(
        "--weight-decay",
        type=not_negative,
        default=0.0,
        metavar="C",
        help="adds C/2 times the sum of squared weights to the loss (default 0)",
    )
    training.add_argument(
        "--stop-loss", type=not_negative, metavar="LOSS", help="end a run at this loss"
    )
    training.add_argument(
        "--records",
        type=at_least(2),
        default=400,
        metavar="N",
        help="how often to record, in geometric progression (default 400)",
    )
    training.add_argument(
        "--also",
        type=_observables,
        default=(),
        metavar="NAMES",
        help="what to record besides loss and singular values: any of "
        f"{','.join(name for name in OBSERVABLES if name not in _ALWAYS)}",
    )
    training.add_argument(
        "--threads", type=count, metavar="N", help="(default: the processors there are)"
    )
    training.add_argument("--dtype", choices=("float64", "float32"), default="float64")

    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        metavar="FILE",
        help="result, .npz or .nc (default linnet_fast_DATA.npz; none for none)",
    )
    output.add_argument(
        "--plot",
        metavar="FILE",
        help="picture, .png, .pdf or .svg (default linnet_fast_DATA.png; none for none)",
    )
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _numbers(text: str) -> Any:
    """Return positive numbers from ``A,B,C`` or ``LOW:HIGH:N``."""
    if ":" in text:
        parts = text.split(":")
        if len(parts) != 3:
            msg = f"{text!r} is neither A,B,C nor LOW:HIGH:N"
            raise argparse.ArgumentTypeError(msg)
        ends, n = [number(part) for part in parts[:2]], count(parts[2])
    else:
        ends, n = [number(part) for part in text.split(",")], 0
    if not all(math.isfinite(end) and end > 0 for end in ends):
        msg = f"values must be finite and positive, got {text}"
        raise argparse.ArgumentTypeError(msg)
    if n > 10**6:
        msg = f"at most a million values, got {n}"
        raise argparse.ArgumentTypeError(msg)
    return np.geomspace(ends[0], ends[1], n) if n else np.array(ends)


def _widths(text: str) -> Dense:
    widths = [count(part) for part in text.split(",")]
    try:
        return Dense(widths)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _observables(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name not in _ALWAYS)
    try:
        Record.geomspace(2, (*_ALWAYS, *names))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def run(options: argparse.Namespace) -> None:
    """Train, print a table, write what was recorded and a picture."""
    tell = outputs.teller(quiet=options.quiet)
    result_file, picture_file = _outputs(options)
    data = _load(options)
    try:
        loss = SquaredLoss.from_data(data.X, data.Y, center=options.center)
        network = _network(options, loss)
        scales = options.scales
        job = Job(
            network=network,
            loss=loss,
            init=options.init,
            scales=jobs.default_scales(network) if scales is None else scales,
            step_sizes=options.step_sizes,
            n_seeds=options.seeds,
            rng=options.rng,
            dtype=options.dtype,
            weight_decay=options.weight_decay,
        )
        start = job.start()
        job = job.with_step_sizes(start)
    except ValueError as error:
        raise BadInput(str(error)) from error
    threads = options.threads or machine.n_threads()
    description = f"{data.description}, {'centred' if options.center else 'not centred'}"
    tell(_summary(options, job, description, threads))

    record = Record.geomspace(options.records, (*_ALWAYS, *options.also))
    stop = None if options.stop_loss is None else Stop(loss=options.stop_loss)
    try:
        with _bar(options, job) as progress:
            trajectory, seconds = jobs.run(
                job,
                start,
                n_steps=options.steps,
                record=record,
                stop=stop,
                n_threads=threads,
                progress=progress,
                description=description,
            )
    except ValueError as error:
        raise BadInput(str(error)) from error
    if not trajectory.ok.any():
        first = int(trajectory.stopped_at.min())
        msg = (
            f"all {job.n_runs} runs diverged, the first at step {first}; take smaller --step-sizes"
        )
        raise Failed(msg)

    n_steps = int(trajectory.stopped_at.sum())
    tell(f"\n{jobs.table(job, trajectory)}\n")
    tell(f"{trajectory.message}; {seconds:.1f} s")
    tell(
        f"{job.n_runs / seconds:,.1f} runs per second, {n_steps / seconds:,.0f} run-steps per second"
    )
    if result_file is not None:
        save = partial(trajectory.save, result_file, dims=AXES, coords=job.coords)
        outputs.write(result_file, save, tell)
    if picture_file is not None:
        name = data.description.partition(":")[0]
        outputs.write(picture_file, partial(_draw, picture_file, job, trajectory, name), tell)


def _outputs(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return where to write result and picture, after what can be checked before any work."""
    name = Path(options.data or options.x or "").stem
    result = outputs.named(options.out or f"linnet_fast_{name}.npz")
    picture = outputs.named(options.plot or f"linnet_fast_{name}.png")
    outputs.check_file("--out", result, (".npz", ".nc"))
    outputs.check_picture(picture)
    # What is missing is better found now than after the training.
    if result is not None and result.suffix == ".nc":
        files.optional("xarray", "xarray")
        files.optional("netCDF4", "xarray")
    return result, picture


def _load(options: argparse.Namespace) -> datasets.Dataset:
    if options.data is None and (options.x is None or options.y is None):
        msg = "give DATA (a name or a .npz file), or both --x FILE and --y FILE"
        raise BadInput(msg)
    if options.data is not None and (options.x is not None or options.y is not None):
        msg = "give either DATA or --x and --y, not both"
        raise BadInput(msg)
    try:
        return datasets.load(
            options.x if options.data is None else options.data,
            options.y,
            targets=options.targets,
            standardize=options.standardize,
        )
    except OSError as error:
        raise outputs.cannot_read(error, "the data") from error
    except ValueError as error:
        raise BadInput(str(error)) from error


def _network(options: argparse.Namespace, loss: SquaredLoss) -> Dense:
    ends = (loss.n_inputs, loss.n_outputs)
    if options.widths is None:
        hidden = [options.hidden or 32] * ((options.depth or 2) - 1)
        return Dense((ends[0], *hidden, ends[1]))
    if options.depth is not None or options.hidden is not None:
        msg = "give either --widths or --depth and --hidden, not both"
        raise BadInput(msg)
    network = cast("Dense", options.widths)
    if (network.n_inputs, network.n_outputs) != ends:
        widths = ",".join(map(str, network.widths))
        msg = f"--widths must begin with {ends[0]} and end with {ends[1]} for these data, got {widths}"
        raise BadInput(msg)
    return network


def _summary(options: argparse.Namespace, job: Job, description: str, n_threads: int) -> str:
    counts = (
        f"{n} {name}{'' if n == 1 else 's'}"
        for n, name in zip(job.run_shape, ("scale", "step size", "seed"), strict=True)
    )
    steps = ", ".join(f"{step:g}" for step in np.asarray(job.step_sizes))
    if options.step_sizes is None:
        steps += " (1 / sharpness, from the moments of the data)"
    widths = " -> ".join(map(str, job.network.widths))
    best = reduced_rank_regression(job.loss).losses[min(job.network.max_rank, job.loss.n_outputs)]
    isa = config()["instruction_set"]
    lines = {
        "data": description,
        "network": f"{widths}, {job.init} start; least loss {best:.6g}",
        "runs": f"{job.n_runs:,} = {' x '.join(counts)}, {options.steps:,} steps each",
        "step size": steps,
        "machine": f"{n_threads} thread{'' if n_threads == 1 else 's'}, instruction set {isa}, "
        f"{options.dtype}",
    }
    return "\n".join(f"{name:10} {text}" for name, text in lines.items())


@contextmanager
def _bar(
    options: argparse.Namespace, job: Job
) -> Iterator[Callable[[int, int], object] | Literal[False]]:
    """Give the progress function that moves a bar on a terminal."""
    if options.quiet:
        yield False
        return
    tqdm = files.optional("tqdm", "progress").tqdm
    total = job.n_runs * options.steps
    with tqdm(total=total, desc="training", unit="step", unit_scale=True, disable=None) as bar:
        yield lambda done, _total: bar.update(done - bar.n)


def _draw(file: Path, job: Job, trajectory: Trajectory, name: str) -> None:
    steps = np.asarray(job.step_sizes)
    # One step size, the first with the fewest diverged runs: medians over several tell nothing.
    index = int(np.argmax(np.count_nonzero(trajectory.ok, axis=(0, 2))))
    title = f"{name}, {' → '.join(map(str, job.network.widths))}, step size {steps[index]:g}"
    figure = plot.stages(trajectory, job.scales, run=index, title=title)
    with files.replaced(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=150)
    files.optional("matplotlib.pyplot", "plot").close(figure)
