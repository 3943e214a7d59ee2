"""The command ``linnet-fast sweep``: what a file describes, resumed where it was cut short."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from linnet_fast._base import machine
from linnet_fast.cli import outputs, sweep_picture, sweep_summary, sweep_table, sweep_workers
from linnet_fast.cli.arguments import Commands, add_force, count, new_command
from linnet_fast.cli.outputs import BadInput, Failed
from linnet_fast.sweeps.file import reader
from linnet_fast.sweeps.file.reader import SweepFile
from linnet_fast.sweeps.form import is_store
from linnet_fast.sweeps.store import Store
from linnet_fast.sweeps.sweep import SweepError

_DESCRIPTION = """\
Train what a file describes: a grid, a list or a random design of trainings, replicated over seeds.
Prints a table of medians over seeds, and writes a Zarr store and a picture. Chunks of runs are written
as they are done: cut short by whatever, the same command goes on where it was, to the same bits."""

_EPILOG = """\
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
worker died again and again), 2 bad usage, file or data; 130 interrupted by Ctrl-C, 143 by
SIGTERM and 129 by SIGHUP, as of a batch system: what is done is kept"""


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = new_command(
        commands,
        "sweep",
        run,
        "train what a file describes, and go on where it was cut short",
        _DESCRIPTION,
        _EPILOG,
    )
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
    one.add_argument("--workers", type=count, metavar="N", help="so many processes")
    one.add_argument("--dask", metavar="ADDRESS", help="the workers of a dask scheduler")
    one.add_argument("--mpi", action="store_true", help="MPI ranks, by mpi4py.futures")
    who.add_argument(
        "--threads",
        type=count,
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
        help="go on in a store whose dimensions have grown at their ends since, or add more derived to it",
    )
    output.add_argument(
        "--plot",
        metavar="PICTURE",
        help=".png, .pdf or .svg (default: beside the store, with .png; none for none)",
    )
    add_force(output, "pictures")
    output.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _shard(text: str) -> tuple[int, int]:
    first, sign, last = text.partition("/")
    if not sign:
        msg = f"{text!r} is no part such as 3/16"
        raise argparse.ArgumentTypeError(msg)
    of = count(last)
    number = 0 if first == "0" else count(first)
    if not 1 <= number <= of:
        msg = f"must be a part from 1/{of} to {of}/{of}, got {text}; a SLURM array counts like this with "
        msg += (
            f"--array=1-{of}, and from 0 to {of - 1} with --shard $((SLURM_ARRAY_TASK_ID + 1))/{of}"
        )
        raise argparse.ArgumentTypeError(msg)
    return number, of


def run(options: argparse.Namespace) -> None:
    """Train what is not there yet; print a table, draw a picture."""
    tell = outputs.teller(quiet=options.quiet)
    store, picture = _outputs(options)
    try:
        file = reader.read(options.file, options.settings, to_train=not options.dry_run)
    except OSError as error:
        raise outputs.cannot_read(error, options.file) from error
    except ValueError as error:
        raise BadInput(str(error)) from error
    if options.dry_run or not options.extend:  # what is half grown is for the sweep itself
        _refuse_others(store, file, extend=options.extend)
    tell(sweep_summary.summary(file, store, options.threads or machine.n_threads()))
    live = None if options.quiet or options.dry_run else sweep_workers.Live(file.spec.n_runs)
    try:
        sweep_picture.check_plot(file)
        if options.dry_run:
            tell(f"\n{sweep_summary.forecast(file, options.threads)}")
            return
        for function in file.functions:
            function.load()  # what cannot be imported is known before anything is trained
        data = sweep_workers.train(file, store, options, live)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(sweep_workers.interrupted(store)) from error
    except (SweepError, OSError) as error:
        raise Failed(str(error).replace("the same call", "the same command")) from error
    except (TypeError, ValueError) as error:
        if file.functions and hasattr(error, "__notes__"):
            raise  # by a function of the user, who wants to see where
        raise BadInput(str(error)) from error
    finally:
        if live is not None:
            live.close()
    if live is not None:
        tell(f"\n{sweep_summary.ending(data)}; {sweep_workers.throughput(live)}\n")
        tell(f"{sweep_table.table(data, **sweep_picture.of_table(file.plot))}\n")
        if store is not None:
            tell(f"wrote {store} ({sweep_summary.size(data)})")
    if picture is not None:
        title = sweep_summary.title_of(data)
        save = partial(sweep_picture.save, data, file.plot, title, picture)
        outputs.write(picture, save, tell)


def _refuse_others(store: Path | None, file: SweepFile, *, extend: bool) -> None:
    """Refuse a store of another sweep before anything is said of it, as training it would."""
    if store is None or not is_store(store):
        return
    try:
        there = Store.open(store)
        # Functions are not imported yet: what is derived is not known.
        if not extend:
            there.check(file.spec, but=("derived",) if file.functions else ())
        elif not file.functions:
            there.check_growth(file.spec)
    except SweepError as error:
        raise Failed(str(error)) from error


def _outputs(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return where to write store and picture, after what can be checked before any work."""
    name = options.file.stem
    out = options.out or f"{name}.zarr"
    store = outputs.named(out)
    for flag in ("shard", "extend", "fresh"):
        if store is None and getattr(options, flag):
            msg = f"--{flag} must have a store, got --out none"
            raise BadInput(msg)
    if store is not None and not store.exists():
        outputs.check_writable(store)
    elif store is not None and options.fresh:
        msg = f"{store} is there already: move it away, or give another --out"
        raise Failed(msg)
    # Beside the store, so that each store has its own. The picture of all shards is drawn by `show`.
    beside = f"{name}.png" if store is None else str(store.with_suffix(".png"))
    text = options.plot or (outputs.NONE if options.shard else beside)
    picture = None if options.dry_run else outputs.named(text)
    # A sweep that goes on draws the picture that is named after its store anew.
    again = store is not None and is_store(store) and picture == store.with_suffix(".png")
    outputs.check_picture(picture, force=options.force or again)
    return store, picture
