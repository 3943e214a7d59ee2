"""The command line: every option, its help and its form."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from linnet_fast import datasets
from linnet_fast.cli import job
from linnet_fast.figures import PAPERS
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.named import Dense
from linnet_fast.networks.text import parse
from linnet_fast.records.observables import OBSERVABLES
from linnet_fast.records.record import Record
from linnet_fast.sweeps.file import reader, toml

ALWAYS = ("loss", "singular_values")
"""What is always recorded: the table and the picture need it."""

_DESCRIPTION = """\
Train deep linear networks, many at once, by gradient descent on the squared loss."""

_EPILOG = """\
examples:
  linnet-fast train digits        handwritten digits, 260 runs: table, result file and picture
  linnet-fast train --help        all there is to choose
  linnet-fast sweep sweep.toml    what a file describes: any parameters, resumed where it was cut short
  linnet-fast show runs.zarr      what a sweep has found so far: table and picture
  linnet-fast cost "Diagonal(width=4, n_layers=2)" predictors.csv
                                  what predictors cost in the weights of a network
  linnet-fast info                what this installation runs on"""

_TRAIN_DESCRIPTION = """\
Train networks x -> W_L ... W_1 x on data: one run for every scale of the start, step size and seed.
Prints when each rank of the end-to-end matrix W_L ... W_1 is learned, and writes all records to a
file and a picture."""

_TRAIN_EPILOG = """\
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


_COST_DESCRIPTION = """\
Print the representation cost of predictors: the least squared norm of the weights of a network that
give the predictor. Weight decay c on the weights is, in effect, c/2 times that cost on the predictor."""

_COST_EPILOG = """\
architectures, as in Python (see linnet_fast.networks.text.parse):
  "Dense(widths=(64, 32, 10))"            "Diagonal(width=64, n_layers=3)"
  "Convolution(width=64, kernel_size=3, n_layers=2)"    "Residual(width=64, n_blocks=4)"
  "Chain([layers.Masked([[True, True, False], [False, True, True]]), layers.Dense(2, 1)])"

predictors: a .csv or .npy file with a predictor in each row; of networks with several outputs, one
end-to-end matrix (outputs, inputs), or in .npy and .npz several of them. A .npz file holds one array
or one that is named predictor.

exit codes: 0 done, 1 failed while running, 2 bad usage or data, 130 interrupted by Ctrl-C"""

_SWEEP_DESCRIPTION = """\
Train what a file describes: a grid, a list or a random design of trainings, replicated over seeds.
Prints a table of medians over seeds, and writes a Zarr store and a picture. Chunks of runs are written
as they are done: cut short by whatever, the same command goes on where it was, to the same bits."""

_SWEEP_EPILOG = """\
a file:
  n_steps = 4000                  # or until = 50.0, of a flow
  replicates = 8                  # seeds; rng = 0 is the seed of these
  derived = ["final_loss"]        # or a table: [derived] with gap = "mymodule:gap"

  [loss]
  data = "digits"                 # a name, or a .npz file beside this one
  center = true

  [network]
  hidden = 32                     # inputs and outputs are those of the data
  n_layers = 2

  [start]
  kind = "orthogonal"

  [method]
  kind = "GradientDescent"

  [grid]                          # or [paired], or [sampled] with n = 1000
  "start.scale" = {geomspace = [1e-6, 1.0, 13]}
  "method.step_size" = [0.05, 0.1]

examples:
  linnet-fast sweep sweep.toml --dry-run
      runs, shapes, time and bytes; nothing is written
  linnet-fast sweep sweep.toml --set network.n_layers=3 --set "start.scale=[0.1, 0.2]" --out 3.zarr
      the same with other numbers
  linnet-fast sweep sweep.toml --workers 8
      by processes; for a cluster --dask ADDRESS, or
      mpiexec -n 65 python -m mpi4py.futures -m linnet_fast sweep sweep.toml --mpi
  linnet-fast sweep sweep.toml --shard 3/16
      the third of 16 jobs of a batch system on one store

reading a result in Python:
  linnet_fast.open_sweep("sweep.zarr")          an xarray dataset, also while the sweep runs

exit codes: 0 done, 1 failed while running (the store is of another sweep, a file cannot be written, a
worker died again and again), 2 bad usage, file or data, 130 interrupted by Ctrl-C"""

_SHOW_DESCRIPTION = """\
Show what a sweep has found, also while it runs: what was swept, how many runs are done, a table of
medians over seeds, and a picture if asked for."""

_SHOW_EPILOG = """\
examples:
  linnet-fast show runs.zarr
  linnet-fast show runs.zarr --of learned_rank --select n_layers=3 --plot rank.png

exit codes: 0 done, 1 no such store, or a file cannot be written, 2 bad usage"""

_REPRODUCE_DESCRIPTION = """\
Repeat the experiments of a paper. Writes a picture and its data for each, and report.md with every
claim: what is expected, what was measured, and whether it holds.

papers:
  gidel2019    Gidel, Bach, Lacoste-Julien, "Implicit regularization of discrete gradient dynamics in
               linear neural networks", NeurIPS 2019: ranks learned one by one
  dai2021      Dai, Karzand, Srebro, "Representation costs of linear neural networks: analysis and
               design", NeurIPS 2021: what weight decay on the weights is to the predictor
  lin2021      Lin, Sun, Zhang, "Faster directional convergence of linear neural networks under
               spherically symmetric data", NeurIPS 2021: how fast the direction is learned

exit codes: 0 all claims hold, 1 some fail or a file cannot be written, 2 bad usage or data, 130
interrupted by Ctrl-C"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Returns
    -------
    argparse.ArgumentParser
        What it gives has a `command`: "train", "sweep", "show", "cost", "reproduce" or "info".

    Examples
    --------
    >>> options = parser().parse_args(["train", "digits", "--scales", "1e-2:1:3"])
    >>> options.command, options.data, options.scales.round(3).tolist()
    ('train', 'digits', [0.01, 0.1, 1.0])
    """
    main = argparse.ArgumentParser(
        "linnet-fast",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    main.add_argument(
        "--version", action="version", version=f"linnet-fast {version('linnet-fast')}"
    )
    commands = main.add_subparsers(metavar="COMMAND", dest="command", required=True)
    _add_train(
        commands.add_parser(
            "train",
            help="train a grid of networks on data",
            description=_TRAIN_DESCRIPTION,
            epilog=_TRAIN_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    _add_sweep(
        commands.add_parser(
            "sweep",
            help="train what a file describes, and go on where it was cut short",
            description=_SWEEP_DESCRIPTION,
            epilog=_SWEEP_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    _add_show(
        commands.add_parser(
            "show",
            help="show what a sweep has found so far",
            description=_SHOW_DESCRIPTION,
            epilog=_SHOW_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    _add_reproduce(
        commands.add_parser(
            "reproduce",
            help="repeat a paper's experiments: pictures, data, a verdict per claim",
            description=_REPRODUCE_DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    _add_cost(
        commands.add_parser(
            "cost",
            help="what predictors cost in the weights of a network",
            description=_COST_DESCRIPTION,
            epilog=_COST_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    commands.add_parser(
        "info",
        help="show version, instruction set, threads and compiler",
        description="Show what this installation is and what it runs on: put it into bug reports.",
        allow_abbrev=False,
    )
    return main


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what to train, .toml")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="put a value into the file, such as start.scale=0.1; as often as needed",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what it would take, and write nothing"
    )

    who = parser.add_argument_group("who trains", "(default: the threads of this process)")
    one = who.add_mutually_exclusive_group()
    one.add_argument("--workers", type=_count, metavar="N", help="so many processes")
    one.add_argument("--dask", metavar="ADDRESS", help="the workers of a dask scheduler")
    one.add_argument("--mpi", action="store_true", help="MPI ranks, by mpi4py.futures")
    who.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="threads, of each worker if there are (default: the processors there are, each "
        "worker's share of them)",
    )
    who.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="do the I-th of N parts, for N jobs on one store; no picture unless --plot asks for it",
    )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        metavar="STORE",
        help="where results are kept (default: FILE with .zarr, in this directory; none: in memory)",
    )
    kept = output.add_mutually_exclusive_group()
    kept.add_argument(
        "--fresh",
        action="store_true",
        help="refuse to go on in a store that is there; nothing is ever deleted",
    )
    kept.add_argument(
        "--extend",
        action="store_true",
        help="go on in a store whose dimensions have grown at their ends since",
    )
    output.add_argument(
        "--plot",
        metavar="PICTURE",
        help=".png, .pdf or .svg (default: beside the store, with .png; none for none)",
    )
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", type=Path, metavar="STORE", help="what `linnet-fast sweep` wrote")
    parser.add_argument("--of", metavar="NAME", help="which result (default: final_loss)")
    parser.add_argument("--x", metavar="NAME", help="parameter of the rows, and the x axis")
    parser.add_argument("--y", metavar="NAME", help="parameter of the columns, and the y axis")
    parser.add_argument("--by", metavar="NAME", help="parameter with a curve for each value")
    parser.add_argument(
        "--select",
        type=_selection,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only the runs at this value of a parameter; as often as needed",
    )
    parser.add_argument(
        "--kind", choices=reader.PLOTS, help="of the picture (default: both, if it can be)"
    )
    parser.add_argument("--plot", metavar="PICTURE", help="draw it: .png, .pdf or .svg")


def _shard(text: str) -> tuple[int, int]:
    first, sign, last = text.partition("/")
    if not sign:
        msg = f"{text!r} is no part such as 3/16"
        raise argparse.ArgumentTypeError(msg)
    number, of = _count(first), _count(last)
    if number > of:
        msg = f"must be a part from 1/{of} to {of}/{of}, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return number, of


def _selection(text: str) -> tuple[str, Any]:
    try:
        names, value = toml.setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return ".".join(names), value


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paper", choices=tuple(PAPERS), help="which paper")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, within a minute")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: linnet_fast_PAPER)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments only")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="folder with MNIST's IDX files")
    parser.add_argument(
        "--cifar10", type=Path, metavar="DIR", help="folder with CIFAR-10's binary files"
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="threads (default: all)")


def _add_cost(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("architecture", type=_architecture, help="the network, as text")
    parser.add_argument("predictor", type=Path, metavar="FILE", help="predictors: .npy, .csv, .npz")
    parser.add_argument(
        "--rtol",
        type=_not_negative,
        default=1e-12,
        metavar="R",
        help="singular values and Fourier modes below this part of the largest count as 0 "
        "(default 1e-12)",
    )
    parser.add_argument(
        "--starts",
        type=_count,
        default=16,
        metavar="N",
        help="random starts, where a search is needed (default 16)",
    )
    parser.add_argument(
        "--rng", type=_whole, default=0, metavar="SEED", help="seed of the search (default 0)"
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="threads (default: all)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write values, bounds and weights, .npz"
    )


def _architecture(text: str) -> Chain:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_train(parser: argparse.ArgumentParser) -> None:
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
    network.add_argument("--depth", type=_count, metavar="L", help="layers of weights (default 2)")
    network.add_argument("--hidden", type=_count, metavar="H", help="hidden width (default 32)")

    grid = parser.add_argument_group("grid", "values are A,B,C or LOW:HIGH:N (geometric)")
    grid.add_argument(
        "--init",
        choices=job.INITS,
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
        "--seeds", type=_count, default=20, metavar="N", help="random starts (default 20)"
    )
    grid.add_argument(
        "--rng", type=_whole, default=0, metavar="SEED", help="seed of the seeds (default 0)"
    )

    training = parser.add_argument_group("training")
    training.add_argument(
        "--steps", type=_count, default=20_000, metavar="N", help="(default 20000)"
    )
    training.add_argument(
        "--weight-decay",
        type=_not_negative,
        default=0.0,
        metavar="C",
        help="adds C/2 times the sum of squared weights to the loss (default 0)",
    )
    training.add_argument(
        "--stop-loss", type=_not_negative, metavar="LOSS", help="end a run at this loss"
    )
    training.add_argument(
        "--records",
        type=_records,
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
        f"{','.join(name for name in OBSERVABLES if name not in ALWAYS)}",
    )
    training.add_argument(
        "--threads", type=_count, metavar="N", help="(default: the processors there are)"
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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{text!r} is not a number"
        raise argparse.ArgumentTypeError(msg) from None


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        msg = f"{text!r} is not a whole number"
        raise argparse.ArgumentTypeError(msg) from None
    if value < 0:
        msg = f"must not be negative, got {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _at_least(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = _whole(text)
        if not low <= value < 2**62:
            msg = f"must be at least {low} and below 2**62, got {value}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


_count, _records = _at_least(1), _at_least(2)


def _not_negative(text: str) -> float:
    value = _number(text)
    if not (math.isfinite(value) and value >= 0):
        msg = f"must be finite and not negative, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _numbers(text: str) -> Any:
    """Return positive numbers from ``A,B,C`` or ``LOW:HIGH:N``."""
    if ":" in text:
        parts = text.split(":")
        if len(parts) != 3:
            msg = f"{text!r} is neither A,B,C nor LOW:HIGH:N"
            raise argparse.ArgumentTypeError(msg)
        ends, n = [_number(part) for part in parts[:2]], _count(parts[2])
    else:
        ends, n = [_number(part) for part in text.split(",")], 0
    if not all(math.isfinite(end) and end > 0 for end in ends):
        msg = f"values must be finite and positive, got {text}"
        raise argparse.ArgumentTypeError(msg)
    if n > 10**6:
        msg = f"at most a million values, got {n}"
        raise argparse.ArgumentTypeError(msg)
    return np.geomspace(ends[0], ends[1], n) if n else np.array(ends)


def _widths(text: str) -> Dense:
    widths = [_count(part) for part in text.split(",")]
    try:
        return Dense(widths)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _observables(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name not in ALWAYS)
    try:
        Record.geomspace(2, (*ALWAYS, *names))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names
