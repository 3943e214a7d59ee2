"""The command ``linnet-fast train``: a grid of scales, step sizes and seeds on one data set."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linnet_fast import datasets
from linnet_fast._base import files, machine, spacing
from linnet_fast.cli import (
    outputs,
    train_data,
    train_method,
    train_report,
    train_schedule,
    train_sweep,
)
from linnet_fast.cli.arguments import (
    Commands,
    add_force,
    at_least,
    count,
    new_command,
    not_negative,
    number,
    share,
    whole_number,
)
from linnet_fast.cli.outputs import BadInput, Failed
from linnet_fast.losses.registry import of_data
from linnet_fast.networks.named import Dense
from linnet_fast.records.measures import MAKERS
from linnet_fast.records.observables import OBSERVABLES, checked
from linnet_fast.records.record import Record
from linnet_fast.sweeps.batch import Batch, Progress
from linnet_fast.teachers.teacher import KINDS

_ALWAYS = train_data.ALWAYS

_DESCRIPTION = """\
Train networks x -> W_L ... W_1 x on data: one run for every scale of the start, step size and seed.
Prints when each rank of the end-to-end matrix W_L ... W_1 is learned, or with another loss than the
squared one how runs end, and writes all records to a file and a picture."""

_EPILOG = """\
examples:
  linnet-fast train digits
      two-layer networks 64 -> 32 -> 10 on scikit-learn's digits, 13 scales x 20 seeds
  linnet-fast train my_data.npz --hidden 50 --scales 1e-6,1e-3,1 --seeds 5 --out result.nc
      arrays X (samples, inputs) and Y (samples, outputs) of a file; result for xarray
  linnet-fast train houses.csv --target price,rent --standardize
      one file: these columns are targets, all others inputs
  linnet-fast train --x inputs.csv --y labels.csv --standardize --steps 50000
      text files; a column of labels or integers becomes one output per class
  linnet-fast train wine --widths 13,20,20,3 --scales 0.01:0.3:8 --step-sizes 0.05,0.1,0.2
      three layers; scales from 0.01 to 0.3 in geometric progression; several step sizes
  linnet-fast train breast_cancer --test 0.2
      a fifth of the samples is held out; their loss is recorded, printed and drawn, too
  linnet-fast train iris --loss cross-entropy --test 0.2
      softmax of three classes; accuracy is recorded, printed and drawn, too
  linnet-fast train flowers.csv --labels species --loss logistic
      one file of inputs and labels; of two classes one output, of more an output for each
  linnet-fast train ratings.csv --loss completion --depth 3 --test 0.1
      a matrix with gaps (empty fields or nan); a tenth of its entries is held out
  linnet-fast train measured.npz --loss sensing
      arrays measurements (n, outputs, inputs) and targets (n)
  linnet-fast train digits --method adam --step-sizes 1e-3 --method-option beta2=0.99
      another method, and what it is made with
  linnet-fast train digits --schedule cosine --schedule-option warmup_steps=500
      step sizes that grow for 500 steps and then fall to 0
  linnet-fast train digits --schedule piecewise --schedule-option values=1,0.1 --schedule-option boundaries=15000
      a tenth of the step size after 15,000 steps
  linnet-fast train --teacher sparse --teacher-option n_inputs=30 --teacher-option n_nonzero=3 --teacher-option n_samples=20
      samples of a teacher that is drawn, with the exact risk beside the loss
  linnet-fast train digits --init gaussian --init-option layer_scales=1,0
      a start whose second layer is zero
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
        help=f"a set of scikit-learn ({', '.join(datasets.NAMES)}) or a file: .npz with arrays X and Y; "
        ".csv with --target or --labels; for --loss completion a matrix with gaps, .csv, .npy or .npz (matrix, or "
        "rows, cols, values); for --loss sensing .npz with measurements, or left and right, and targets",
    )
    data.add_argument(
        "--teacher",
        choices=KINDS,
        help="in place of DATA: samples of a linear teacher that is drawn; the exact risk is recorded as "
        "loss_risk",
    )
    data.add_argument(
        "--teacher-option",
        type=train_method.option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the teacher: n_inputs=30, n_outputs, n_samples (default: infinitely many), noise, "
        "n_nonzero of sparse ones, rank, exponent, strengths=3,2,1, input_cov=power_law,0.5, "
        "target=signs or classes (the loss is then logistic or cross-entropy); may be repeated",
    )
    data.add_argument(
        "--teacher-seed",
        type=whole_number,
        metavar="SEED",
        help="which teacher and samples are drawn (default 0); --seeds are of starts",
    )
    data.add_argument(
        "--loss",
        choices=list(of_data()),
        default="squared",
        help="what is trained on (default squared)",
    )
    data.add_argument(
        "--labels",
        metavar="LABELS",
        help="classes of the samples, as text or integers: a .npy or .csv file, the name or number of "
        "a column of a .csv DATA, or the name of an array of a .npz DATA",
    )
    data.add_argument(
        "--label-noise",
        type=number,
        metavar="P",
        help="how likely a label is wrong, of --loss logistic and exponential (default 0)",
    )
    data.add_argument(
        "--label-smoothing",
        type=number,
        metavar="S",
        help="the share of each target that is spread over all classes, of --loss cross-entropy "
        "(default 0)",
    )
    data.add_argument(
        "--target",
        metavar="COLUMNS",
        help="which columns of a .csv DATA are targets, names or numbers from 1 on, separated by commas; "
        "the others are inputs",
    )
    data.add_argument("--x", metavar="FILE", help=".npy or .csv file of inputs, a sample per row")
    data.add_argument("--y", metavar="FILE", help=".npy or .csv file of targets, a sample per row")
    data.add_argument(
        "--targets",
        choices=datasets.TARGETS,
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
        default=None,
        help="do not subtract the means of inputs and targets, of --loss squared",
    )
    data.add_argument(
        "--test",
        type=share,
        metavar="FRACTION",
        help="hold out this fraction of the samples, and record the loss on them as loss_test",
    )
    data.add_argument(
        "--test-seed",
        type=whole_number,
        metavar="SEED",
        help="which samples are held out (default 0)",
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
        choices=train_sweep.STARTS,
        default="orthogonal",
        help="start weights: orthogonal layers (default); gaussian, standard deviation "
        "1/sqrt(inputs of the layer); balanced, of a gaussian end-to-end matrix; aligned with the "
        "singular vectors of the data, all modes equally strong; lambda_balanced, which needs imbalance; spectral, "
        "which needs singular_values; constant; identity. Given arrays and functions of yours are of sweep "
        "files",
    )
    grid.add_argument(
        "--init-option",
        type=train_method.option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the start at scale 1, such as layer_scales=1,0 (the second layer begins from "
        "zero), imbalance=0.5 or singular_values=2,1; may be repeated",
    )
    grid.add_argument(
        "--scales",
        type=_numbers,
        metavar="VALUES",
        help="factors on each layer of the start (default 1e-12:1:13; of three layers and more, "
        "which learn later from a small start, 0.01:1:13 and narrower; of other losses than the "
        "squared one 0.01:1:3, and 0.1:1:3 and narrower)",
    )
    grid.add_argument(
        "--step-sizes",
        type=_numbers,
        metavar="VALUES",
        help="(default: one, 1 / sharpness from the moments of the data, or of the loss; a usual one of "
        "methods whose steps do not scale with the gradient)",
    )
    grid.add_argument(
        "--seeds",
        type=count,
        metavar="N",
        help="random starts (default 20; 5 of other losses than the squared one)",
    )
    grid.add_argument(
        "--rng", type=whole_number, default=0, metavar="SEED", help="seed of the seeds (default 0)"
    )

    training = parser.add_argument_group("training")
    training.add_argument(
        "--steps",
        type=count,
        metavar="N",
        help="(default 20000; 5000 of other losses than the squared one)",
    )
    training.add_argument(
        "--method",
        choices=list(train_method.names()),
        default="gradient-descent",
        help="how to train (default gradient-descent)",
    )
    training.add_argument(
        "--method-option",
        type=train_method.option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the method, such as momentum=0.9 or decoupled=true; may be repeated",
    )
    training.add_argument(
        "--schedule",
        choices=list(train_schedule.OPTIONS),
        default="constant",
        help="how step sizes change over the steps; --step-sizes are what they begin with or are "
        "multiplied by (default constant). Phases, with a method or a loss of their own, are of "
        "sweep files: [[phases]], see linnet-fast sweep",
    )
    training.add_argument(
        "--schedule-option",
        type=train_method.option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the schedule: exponent of power, ratio of geometric, values and "
        "boundaries of piecewise (values times the step size), n_steps, floor and begin of cosine (default all steps), n_steps of "
        "inverse-sqrt; of all, warmup_steps; may be repeated",
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
        f"{','.join(name for name in OBSERVABLES if name not in _ALWAYS)}, and with a number such as "
        f"{','.join(f'{name}(2)' for name in MAKERS)}; with --test also sharpness_test and the like",
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
        help="picture, .png, .pdf or .svg (default: beside the result, with .png; none for none)",
    )
    add_force(output)
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
    return np.array(spacing.geomspace(ends[0], ends[1], n) if n else ends)


def _widths(text: str) -> Dense:
    widths = [count(part) for part in text.split(",")]
    try:
        return Dense(widths)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _observables(text: str) -> tuple[str, ...]:
    # Commas within brackets are those of parameters.
    parts = re.split(r",(?![^(]*\))", text)
    names = tuple(name.strip() for name in parts if name not in _ALWAYS)
    try:
        checked((*_ALWAYS, *names), dict.fromkeys([train_data.HELD_OUT]))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def run(options: argparse.Namespace) -> None:
    """Train, print a table, write what was recorded and a picture."""
    tell = outputs.teller(quiet=options.quiet)
    result_file, picture_file = _outputs(options)
    data = train_data.load(options)
    try:
        spec = train_sweep.spec_of(options, data.loss)
    except ValueError as error:
        raise BadInput(str(error)) from error
    threads = options.threads or machine.n_threads()
    tell(train_report.summary(options, spec, data, threads))
    try:
        names = dict.fromkeys((*data.observables, *options.also))
        record = Record.geomspace(options.records, tuple(names), evaluate=data.evaluate)
        with _bar(spec.n_runs * (spec.training.n_steps or 0), quiet=options.quiet) as progress:
            begin = time.perf_counter()
            trajectory = Batch.of_all(spec).train(spec, record, threads, progress)
            seconds = time.perf_counter() - begin
    except ValueError as error:
        raise BadInput(str(error)) from error
    n_runs = spec.n_runs
    if not trajectory.ok.any():
        first = int(trajectory.stopped_at.min())
        msg = f"all {n_runs} runs diverged, the first at step {first}; take smaller --step-sizes"
        raise Failed(msg)

    coords = train_sweep.coords_of(spec)
    table = train_report.table_of(trajectory)
    n_steps = int(trajectory.stopped_at.sum())
    tell(f"\n{table(trajectory, coords)}\n")
    tell(f"{trajectory.message}; {seconds:.1f} s")
    tell(f"{n_runs / seconds:,.1f} runs per second, {n_steps / seconds:,.0f} run-steps per second")
    if result_file is not None:
        note = {"data": data.description, "init": options.init, "rng": spec.rng, "run_axes": coords}
        noted = replace(trajectory, provenance={**trajectory.provenance, "job": note})
        save = partial(noted.save, result_file, dims=spec.dims, coords=coords)
        outputs.write(result_file, save, tell)
    if picture_file is not None:
        name = options.teacher or data.description.partition(":")[0]
        draw = partial(train_report.draw, picture_file, trajectory, coords, name)
        outputs.write(picture_file, draw, tell)


def _outputs(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return where to write result and picture, after what can be checked before any work."""
    name = options.teacher or Path(options.data or options.x or "").stem
    result = outputs.named(options.out or f"linnet_fast_{name}.npz")
    # Beside the result, so that each has its own.
    beside = f"linnet_fast_{name}.png" if result is None else str(result.with_suffix(".png"))
    picture = outputs.named(options.plot or beside)
    outputs.check_file("--out", result, (".npz", ".nc"), force=options.force)
    outputs.check_picture(picture, force=options.force)
    # What is missing is better found now than after the training.
    if result is not None and result.suffix == ".nc":
        files.optional("xarray", "xarray")
        files.optional("netCDF4", "xarray")
    return result, picture


@contextmanager
def _bar(n_steps: int, *, quiet: bool) -> Iterator[Progress | None]:
    """Give the progress function that moves a bar on a terminal."""
    if quiet or sys.stderr is None:
        yield None
        return
    tqdm = files.optional("tqdm", "progress").tqdm
    with tqdm(total=n_steps, desc="training", unit="step", unit_scale=True, disable=None) as bar:
        yield lambda done, _total: bar.update(done - bar.n)
