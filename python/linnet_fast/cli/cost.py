"""The command ``linnet-fast cost``: predictors of a file, their costs as a table and a file."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np

from linnet_fast import datasets
from linnet_fast._base import files, patience, wording
from linnet_fast._base.validate import FloatArray
from linnet_fast.cli import outputs
from linnet_fast.cli.arguments import (
    Commands,
    add_force,
    count,
    new_command,
    not_negative,
    whole_number,
)
from linnet_fast.cli.outputs import BadInput
from linnet_fast.costs.induced import what_is
from linnet_fast.costs.representation_cost import RepresentationCost, representation_cost
from linnet_fast.networks.chain import Chain
from linnet_fast.networks.text import parse

_DESCRIPTION = """\
Print the representation cost of predictors: the least squared norm of the weights of a network that
give the predictor. Weight decay c on the weights is, in effect, c/2 times that cost on the predictor."""

_EPILOG = """\
architectures, as in Python (see linnet_fast.networks.text.parse):
  "Dense(widths=(64, 32, 10))"            "Diagonal(width=64, n_layers=3)"
  "Convolution(width=64, kernel_size=3, n_layers=2)"    "Residual(width=64, n_blocks=4)"
  "Chain([layers.Masked([[True, True, False], [False, True, True]]), layers.Dense(2, 1)])"

predictors: a .csv or .npy file with a predictor in each row; of networks with several outputs, one
end-to-end matrix (outputs, inputs), or in .npy and .npz several of them. A .npz file holds one array
or one that is named predictor.

exit codes: 0 done, 1 failed while running, 2 bad usage or data, 130 interrupted by Ctrl-C"""

_MOST_ROWS = 40


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = new_command(
        commands,
        "cost",
        run,
        "what predictors cost in the weights of a network",
        _DESCRIPTION,
        _EPILOG,
    )
    parser.add_argument("architecture", type=_architecture, help="the network, as text")
    parser.add_argument("predictor", type=Path, metavar="FILE", help="predictors: .npy, .csv, .npz")
    parser.add_argument(
        "--rtol",
        type=not_negative,
        default=1e-12,
        metavar="R",
        help="singular values and Fourier modes below this part of the largest count as 0 "
        "(default 1e-12)",
    )
    parser.add_argument(
        "--starts",
        type=count,
        default=16,
        metavar="N",
        help="random starts, where a search is needed (default 16)",
    )
    parser.add_argument(
        "--rng", type=whole_number, default=0, metavar="SEED", help="seed of the search (default 0)"
    )
    parser.add_argument("--threads", type=count, metavar="N", help="threads (default: all)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write values, bounds and weights, .npz"
    )
    add_force(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the costs as JSON, and nothing else; inf and nan are texts",
    )


def _architecture(text: str) -> Chain:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(options: argparse.Namespace) -> None:
    """Print the costs, and write them if asked to."""
    file: Path | None = options.out
    outputs.check_file("--out", file, (".npz",), force=options.force)
    tell = outputs.teller(quiet=options.json)
    try:
        predictors = _read_predictors(options.architecture, options.predictor)
        with patience.telling("searching", partial(print, file=sys.stderr, flush=True)):
            cost = representation_cost(
                options.architecture,
                predictors,
                rtol=options.rtol,
                n_starts=options.starts,
                rng=options.rng,
                n_threads=options.threads,
            )
    except OSError as error:
        raise outputs.cannot_read(error, options.predictor) from error
    except (TypeError, ValueError) as error:
        raise BadInput(str(error)) from error
    if options.json:
        print(_as_json(options.architecture, cost))
    else:
        tell(_report(options.architecture, cost))
    if file is not None:
        outputs.write(file, partial(_save, cost, file), tell)


def _read_predictors(network: Chain, file: Path) -> FloatArray:
    """Return the predictors in a file as the network takes them.

    Rows are predictors of a network with one output; of others the file is one end-to-end matrix,
    or an array of them (.npy, .npz). Raises OSError and ValueError.
    """
    array = datasets.read_array(file, "predictor")
    if array.dtype.kind not in "fiu":
        msg = f"{file} must be made of numbers, got dtype {array.dtype}"
        raise ValueError(msg)
    result = np.asarray(array, dtype=np.float64)
    is_column = result.ndim == 2 and result.shape[1] == 1 and file.suffix == ".csv"
    if is_column and network.n_outputs == 1 and network.n_inputs == len(result):
        result = result.T  # one number a line
    return result


def _report(network: Chain, cost: RepresentationCost, *, limit: int = _MOST_ROWS) -> str:
    """Return network, method and a table of the costs."""
    known = what_is(network)
    formula = "no formula known" if known is None else str(known)
    if known is not None and known.regularizer is not None:
        formula = f"{formula} ({known.name})"
    value = cost.value.reshape(-1)
    lines = {
        "network": f"{network!r}: {network.n_inputs} -> {network.n_outputs}, "
        f"{network.n_weights:,} weights",
        "cost": formula,
        "method": cost.method,
        "predictors": f"{len(value):,}, {int(cost.exact.sum()):,} of them exact to 1e-8",
    }
    rows = [["predictor", "value", "lower", "upper", "gap", "exact"]]
    lower, upper = cost.lower.reshape(-1), cost.upper.reshape(-1)
    for i, exact in enumerate(cost.exact.reshape(-1)[:limit]):
        with np.errstate(invalid="ignore"):
            gap = 0.0 if upper[i] == lower[i] else 1 - lower[i] / upper[i]
        numbers = [f"{x[i]:.10g}" for x in (value, lower, upper)]
        rows.append([str(i), *numbers, f"{gap:.1e}", "yes" if exact else "no"])
    text = [f"{name:11} {line}" for name, line in lines.items()]
    text += ["", wording.ruled(rows, width=outputs.width())]
    if len(value) > limit:
        text.append(f"... and {len(value) - limit:,} more; --out FILE has all of them")
    why = cost.why.reshape(-1)
    for reason in dict.fromkeys(why[why != ""].tolist()):
        count = int((why == reason).sum())
        shown = "inf" if reason.startswith("impossible") else "nan"
        text += ["", f"{shown} ({count:,} of {len(why):,}): {reason}"]
    return "\n".join(text)


def _as_json(network: Chain, cost: RepresentationCost) -> str:
    """Return the table as JSON, all of it."""
    names = ("value", "lower", "upper", "exact", "why")
    columns = (np.ravel(getattr(cost, name)).tolist() for name in names)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return files.to_json({"network": network.spec, "method": cost.method, "predictors": rows})


def _save(cost: RepresentationCost, file: Path) -> None:
    """Write values, bounds and weights to a .npz file, whole or not at all."""
    arrays = {f"weights_{k}": w for k, w in enumerate(cost.weights)}
    with files.replaced(file) as temporary, temporary.open("xb") as stream:
        np.savez_compressed(
            stream,
            architecture=np.array(cost.network.spec),
            method=np.array(cost.method),
            predictor=cost.predictor,
            value=cost.value,
            lower=cost.lower,
            upper=cost.upper,
            exact=cost.exact,
            why=cost.why,
            violation=cost.violation,
            allow_pickle=False,
            **arrays,
        )
