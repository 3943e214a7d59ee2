"""The command ``linnet-fast``: train on data from the command line, see what is installed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np

from linnet_fast import datasets, plot
from linnet_fast._base import files, machine
from linnet_fast._base.config import config, show_config
from linnet_fast.cli import sweep_picture, sweep_summary, sweep_table, sweep_workers
from linnet_fast.cli.arguments import ALWAYS, parser
from linnet_fast.cli.cost import read_predictors, report
from linnet_fast.cli.cost import save as save_cost
from linnet_fast.cli.job import AXES, Job, default_scales
from linnet_fast.cli.job import run as run_job
from linnet_fast.cli.job import table as job_table
from linnet_fast.costs.representation_cost import representation_cost
from linnet_fast.figures import Settings, reproduce
from linnet_fast.losses.squared import SquaredLoss
from linnet_fast.networks.named import Dense
from linnet_fast.rank_dynamics import reduced_rank_regression
from linnet_fast.records.record import Record
from linnet_fast.records.stop import Stop
from linnet_fast.sweeps.file import reader
from linnet_fast.sweeps.sweep import SweepError, open_sweep
from linnet_fast.training.trajectory import Trajectory

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done, failed while running, bad usage or data, Ctrl-C."""

_NONE = "none"
_PLOT_SUFFIXES = (".png", ".pdf", ".svg")


class _BadInput(Exception):
    """Bad usage or bad data."""


class _Failed(Exception):
    """Failed while running."""


def entry_point() -> int:
    """Run the command with the arguments of this process.

    Returns
    -------
    int
        Exit code.
    """
    return main(sys.argv[1:])


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str
        What follows the command's name.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed while running, 2 bad usage or data, 130 interrupted by Ctrl-C.

    Examples
    --------
    >>> main(["train", "iris", "--steps", "10", "--out", "none", "--plot", "none", "--quiet"])
    0
    """
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        if options.command == "info":
            show_config()
        elif options.command == "reproduce":
            return _reproduce(options)
        elif options.command == "cost":
            _cost(options)
        elif options.command == "sweep":
            _sweep(options)
        elif options.command == "show":
            _show(options)
        else:
            _train(options)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader has gone; without this Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except _BadInput as error:
        return _fail(str(error), BAD_INPUT)
    except (_Failed, ImportError, MemoryError) as error:
        return _fail(str(error) or "not enough memory", FAILED)
    return OK


def _fail(message: str, code: int) -> int:
    print(f"linnet-fast: {' '.join(message.split())}", file=sys.stderr)
    return code


def _reproduce(options: argparse.Namespace) -> int:
    out = options.out or Path(f"linnet_fast_{options.paper}")
    settings = Settings(options.quick, options.threads, options.mnist, options.cifar10)
    # No window is needed, and some machines have none.
    files.optional("matplotlib", "plot").use("agg")
    try:
        claims = reproduce(
            options.paper, out, settings, only=options.only, tell=partial(print, flush=True)
        )
    except ValueError as error:
        raise _BadInput(str(error)) from error
    except OSError as error:
        raise _Failed(str(error)) from error
    failed = sum(not claim.holds for claim in claims)
    print(f"{len(claims) - failed} of {len(claims)} claims hold; wrote {out / 'report.md'}")
    return FAILED if failed else OK


def _cost(options: argparse.Namespace) -> None:
    file: Path | None = options.out
    if file is not None and file.suffix != ".npz":
        msg = f"--out must end in .npz, got {str(file)!r}"
        raise _BadInput(msg)
    _check_writable(file)
    try:
        predictors = read_predictors(options.architecture, options.predictor)
        cost = representation_cost(
            options.architecture,
            predictors,
            rtol=options.rtol,
            n_starts=options.starts,
            rng=options.rng,
            n_threads=options.threads,
        )
    except OSError as error:
        msg = f"cannot read {error.filename or options.predictor}: {error.strerror or error}"
        raise _BadInput(msg) from error
    except (TypeError, ValueError) as error:
        raise _BadInput(str(error)) from error
    print(report(options.architecture, cost), flush=True)
    if file is not None:
        _write(file, partial(save_cost, cost, file), partial(print, flush=True))


def _sweep(options: argparse.Namespace) -> None:
    tell: Callable[[str], object] = _nothing if options.quiet else partial(print, flush=True)
    store, picture = _sweep_outputs(options)
    try:
        file = reader.read(options.file, options.settings)
    except OSError as error:
        msg = f"cannot read {error.filename or options.file}: {error.strerror or error}"
        raise _BadInput(msg) from error
    except ValueError as error:
        raise _BadInput(str(error)) from error
    tell(sweep_summary.summary(file, store, options.threads or machine.n_threads()))
    live = None if options.quiet or options.dry_run else sweep_workers.Live(file.spec.n_runs)
    try:
        sweep_picture.check_plot(file)
        if options.dry_run:
            tell(f"\n{sweep_summary.forecast(file, options.threads)}")
            return
        data = sweep_workers.train(file, store, options, live)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(sweep_workers.interrupted(store)) from error
    except (SweepError, OSError) as error:
        raise _Failed(str(error).replace("the same call", "the same command")) from error
    except (TypeError, ValueError) as error:
        if file.module_folder is not None and hasattr(error, "__notes__"):
            raise  # by a function of the user, who wants to see where
        raise _BadInput(str(error)) from error
    finally:
        if live is not None:
            live.close()
    if live is not None:
        tell(f"\n{sweep_summary.ending(data)}; {sweep_workers.throughput(live)}\n")
        tell(f"{sweep_table.table(data, **sweep_picture.of_table(file.plot))}\n")
        if store is not None:
            tell(f"wrote {store} ({sweep_summary.size(data)})")
    if picture is not None:
        title = sweep_summary.title_of(file)
        _write(picture, partial(sweep_picture.save, data, file.plot, title, picture), tell)


def _sweep_outputs(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return where to write store and picture, after what can be checked before any work."""
    name = options.file.stem
    out = options.out or f"{name}.zarr"
    store = None if out == _NONE else Path(out)
    for flag in ("shard", "extend", "fresh"):
        if store is None and getattr(options, flag):
            msg = f"--{flag} must have a store, got --out none"
            raise _BadInput(msg)
    if store is not None and not store.exists():
        _check_writable(store)
    elif store is not None and options.fresh:
        msg = f"{store} is there already: move it away, or give another --out"
        raise _Failed(msg)
    # Beside the store, so that each store has its own. The picture of all shards is drawn by `show`.
    beside = f"{name}.png" if store is None else str(store.with_suffix(".png"))
    text = options.plot or (_NONE if options.shard else beside)
    picture = None if text == _NONE or options.dry_run else Path(text)
    _check_picture(picture)
    return store, picture


def _check_picture(picture: Path | None) -> None:
    if picture is None:
        return
    if picture.suffix not in _PLOT_SUFFIXES:
        msg = f"--plot must end in {' or '.join(_PLOT_SUFFIXES)}, got {str(picture)!r}"
        raise _BadInput(msg)
    _check_writable(picture)
    # No window is needed, and some machines have none.
    files.optional("matplotlib", "plot").use("agg")


def _show(options: argparse.Namespace) -> None:
    picture = None if options.plot in (None, _NONE) else Path(options.plot)
    _check_picture(picture)
    names = ("of", "x", "y", "by", "kind")
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    chosen["select"] = dict(options.select)
    try:
        data = open_sweep(options.store).load()
        print(sweep_summary.about(data, options.store))
        table = sweep_table.table(data, **sweep_picture.of_table(chosen))
        print(f"\n{table}\n", flush=True)
        if picture is not None:
            save = partial(sweep_picture.save, data, chosen, options.store.stem, picture)
            _write(picture, save, partial(print, flush=True))
    except SweepError as error:
        raise _Failed(str(error)) from error
    except ValueError as error:
        raise _BadInput(str(error)) from error


def _train(options: argparse.Namespace) -> None:
    tell: Callable[[str], object] = _nothing if options.quiet else partial(print, flush=True)
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
            scales=default_scales(network) if scales is None else scales,
            step_sizes=options.step_sizes,
            n_seeds=options.seeds,
            rng=options.rng,
            dtype=options.dtype,
            weight_decay=options.weight_decay,
        )
        start = job.start()
        job = job.with_step_sizes(start)
    except ValueError as error:
        raise _BadInput(str(error)) from error
    threads = options.threads or machine.n_threads()
    description = f"{data.description}, {'centred' if options.center else 'not centred'}"
    tell(_summary(options, job, description, threads))

    record = Record.geomspace(options.records, (*ALWAYS, *options.also))
    stop = None if options.stop_loss is None else Stop(loss=options.stop_loss)
    try:
        with _bar(options, job) as progress:
            trajectory, seconds = run_job(
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
        raise _BadInput(str(error)) from error
    if not trajectory.ok.any():
        first = int(trajectory.stopped_at.min())
        msg = (
            f"all {job.n_runs} runs diverged, the first at step {first}; take smaller --step-sizes"
        )
        raise _Failed(msg)

    n_steps = int(trajectory.stopped_at.sum())
    tell(f"\n{job_table(job, trajectory)}\n")
    tell(f"{trajectory.message}; {seconds:.1f} s")
    tell(
        f"{job.n_runs / seconds:,.1f} runs per second, {n_steps / seconds:,.0f} run-steps per second"
    )
    if result_file is not None:
        save = partial(trajectory.save, result_file, dims=AXES, coords=job.coords)
        _write(result_file, save, tell)
    if picture_file is not None:
        name = data.description.partition(":")[0]
        _write(picture_file, partial(_draw, picture_file, job, trajectory, name), tell)


def _nothing(_text: str) -> None:
    """Tell nothing."""


def _outputs(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return where to write result and picture, after what can be checked before any work."""
    name = Path(options.data or options.x or "").stem
    result = options.out or f"linnet_fast_{name}.npz"
    picture = options.plot or f"linnet_fast_{name}.png"
    paths = [None if text == _NONE else Path(text) for text in (result, picture)]
    for flag, file, suffixes in zip(
        ("--out", "--plot"), paths, ((".npz", ".nc"), _PLOT_SUFFIXES), strict=True
    ):
        if file is None:
            continue
        if file.suffix not in suffixes:
            msg = f"{flag} must end in {' or '.join(suffixes)}, got {str(file)!r}"
            raise _BadInput(msg)
        _check_writable(file)
    # What is missing is better found now than after the training.
    if paths[0] is not None and paths[0].suffix == ".nc":
        files.optional("xarray", "xarray")
        files.optional("netCDF4", "xarray")
    if paths[1] is not None:
        files.optional("matplotlib", "plot").use("agg")
    return paths[0], paths[1]


def _check_writable(file: Path | None) -> None:
    """Refuse what cannot be written to, before any work."""
    if file is None:
        return
    if not file.parent.is_dir():
        msg = f"cannot write {file}: there is no directory {file.parent}"
        raise _Failed(msg)
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        msg = f"cannot write {file}: {'it is a directory' if file.is_dir() else 'no permission'}"
        raise _Failed(msg)


def _load(options: argparse.Namespace) -> datasets.Dataset:
    if options.data is None and (options.x is None or options.y is None):
        msg = "give DATA (a name or a .npz file), or both --x FILE and --y FILE"
        raise _BadInput(msg)
    if options.data is not None and (options.x is not None or options.y is not None):
        msg = "give either DATA or --x and --y, not both"
        raise _BadInput(msg)
    try:
        return datasets.load(
            options.x if options.data is None else options.data,
            options.y,
            targets=options.targets,
            standardize=options.standardize,
        )
    except OSError as error:
        msg = f"cannot read {error.filename or 'the data'}: {error.strerror or error}"
        raise _BadInput(msg) from error
    except ValueError as error:
        raise _BadInput(str(error)) from error


def _network(options: argparse.Namespace, loss: SquaredLoss) -> Dense:
    ends = (loss.n_inputs, loss.n_outputs)
    if options.widths is None:
        hidden = [options.hidden or 32] * ((options.depth or 2) - 1)
        return Dense((ends[0], *hidden, ends[1]))
    if options.depth is not None or options.hidden is not None:
        msg = "give either --widths or --depth and --hidden, not both"
        raise _BadInput(msg)
    network = cast("Dense", options.widths)
    if (network.n_inputs, network.n_outputs) != ends:
        widths = ",".join(map(str, network.widths))
        msg = f"--widths must begin with {ends[0]} and end with {ends[1]} for these data, got {widths}"
        raise _BadInput(msg)
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


def _write(file: Path, write: Callable[[], object], tell: Callable[[str], object]) -> None:
    try:
        write()
    except OSError as error:
        msg = f"cannot write {file}: {error.strerror or error}"
        raise _Failed(msg) from error
    tell(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


def _draw(file: Path, job: Job, trajectory: Trajectory, name: str) -> None:
    steps = np.asarray(job.step_sizes)
    # One step size, the first with the fewest diverged runs: medians over several tell nothing.
    index = int(np.argmax(np.count_nonzero(trajectory.ok, axis=(0, 2))))
    title = f"{name}, {' → '.join(map(str, job.network.widths))}, step size {steps[index]:g}"
    figure = plot.stages(trajectory, job.scales, run=index, title=title)
    with files.replaced(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:], dpi=150)
    files.optional("matplotlib.pyplot", "plot").close(figure)
