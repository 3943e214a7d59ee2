"""What an experiment gives back, and how a paper's experiments are run and written."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files, patience, validate
from linnet_fast.plot._style import STYLE, headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

PAPERS: Mapping[str, str] = MappingProxyType(
    {
        "gidel2019": "Implicit regularization of discrete gradient dynamics in linear neural networks",
        "dai2021": "Representation costs of linear neural networks: analysis and design",
        "lin2021": "Faster directional convergence of linear neural networks under spherically symmetric data",
        "arora2019": "Implicit regularization in deep matrix factorization",
        "soudry2018": "The implicit bias of gradient descent on separable data",
        "cohen2021": "Gradient descent on neural networks typically occurs at the edge of stability",
        "domine2024": "From lazy to rich: exact learning dynamics in deep linear networks",
        "haochen2021": "Shape matters: understanding the implicit bias of the noise covariance",
        "muon": "Implicit bias of spectral descent and Muon on multiclass separable data",
        "woodworth2020": "Kernel and rich regimes in overparametrized models",
        "double_descent": "High-dimensional dynamics of generalization error; surprises in high-dimensional ridgeless least squares",
        "saxe2014": "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
        "pesme2021": "Implicit bias of SGD for diagonal linear networks: a provable benefit of stochasticity",
    }
)
"""Name of each paper that can be reproduced -> its title."""


@dataclass(frozen=True)
class Settings:
    """How large the experiments are, and what they may use.

    Attributes
    ----------
    quick : bool
        Smaller sizes: everything within a minute on two cores.
    n_threads : int or None
        As for `linnet_fast.train`.
    mnist, cifar10 : Path or None
        Folders with the files of these data sets.
    """

    quick: bool = False
    n_threads: int | None = None
    mnist: Path | None = None
    cifar10: Path | None = None


@dataclass(frozen=True)
class Claim:
    """A statement of theory, what it predicts, what was measured, and whether they agree.

    Attributes
    ----------
    text : str
        The statement.
    expected : str
        What it predicts, with the tolerance.
    measured : float
        A number computed from the data of the figure.
    holds : bool
        The verdict, computed from the numbers.
    """

    text: str
    expected: str
    measured: float
    holds: bool

    def __str__(self) -> str:
        """Return one line."""
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}  {self.text}: expected {self.expected}, measured {self.measured:.4g}"


@dataclass(frozen=True)
class About:
    """What an experiment is about; its picture has that as a title.

    Attributes
    ----------
    data, network, method : str
        Short, without a capital or a full stop: what is learned, by which weights, and how they move.

    Examples
    --------
    >>> print(About("digits", "two layers of width 50", "gradient descent"))
    Digits; two layers of width 50; gradient descent
    """

    data: str
    network: str
    method: str

    def __str__(self) -> str:
        """Return the title."""
        title = f"{self.data}; {self.network}; {self.method}"
        return title[0].upper() + title[1:]


@dataclass(frozen=True)
class Figure:
    """One experiment: picture, data and claims.

    Attributes
    ----------
    name : str
        Names its files.
    about : About
        Data, network and method: `reproduce` writes them above the picture.
    caption : str
        One or two sentences on what is seen.
    picture : matplotlib Figure
    data : mapping of str to ndarray
        Every number in the picture.
    claims : sequence of Claim
    """

    name: str
    about: About
    caption: str
    picture: Picture
    data: Mapping[str, npt.NDArray[Any]]
    claims: Sequence[Claim] = field(default_factory=tuple)


Experiment: TypeAlias = Callable[[Settings], Figure]


def at_most(text: str, measured: float, limit: float) -> Claim:
    """Return a claim that a number is at most a limit; it fails if the number is NaN."""
    return Claim(text, f"<= {limit:g}", float(measured), bool(measured <= limit))


def at_least(text: str, measured: float, limit: float) -> Claim:
    """Return a claim that a number is at least a limit; it fails if the number is NaN."""
    return Claim(text, f">= {limit:g}", float(measured), bool(measured >= limit))


def near(text: str, measured: float, expected: float, tolerance: float) -> Claim:
    """Return a claim that a number is another, to a relative tolerance."""
    holds = bool(abs(measured - expected) <= tolerance * abs(expected))
    return Claim(text, f"{expected:.4g} (to {100 * tolerance:g} %)", float(measured), holds)


def as_printed(text: str, measured: float, printed: str) -> Claim:
    """Return a claim that a number, rounded to as many digits as are printed, is the printed one."""
    mantissa, _, exponent = printed.partition("e")
    last = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    holds = bool(abs(measured - float(printed)) <= last / 2)
    return Claim(text, f"{printed} (as rounded)", float(measured), holds)


def _quiet_axes(picture: Picture) -> None:
    """Label powers of ten only; where fewer than two are seen, 1, 2 and 5 times these."""
    ticker = files.optional("matplotlib.ticker", "plot")
    for ax in picture.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if axis.get_scale() != "log":
                continue
            axis.set_minor_formatter("")
            low, high = sorted(axis.get_view_interval())
            decades = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
            if decades < 2 and isinstance(axis.get_major_locator(), ticker.LogLocator):
                axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(ticker.FormatStrFormatter("%g"))


def _cell(text: str) -> str:
    """Return text for a cell of a table, whose bars would end it."""
    return text.replace("|", "\\|")


def _chosen(paper: str, only: Sequence[str] | None) -> dict[str, Experiment]:
    """Return experiments of a paper, all or these. Raises ValueError."""
    experiments: Mapping[str, Experiment] = importlib.import_module(
        f"linnet_fast.figures.{paper}.experiments"
    ).EXPERIMENTS
    names = list(experiments) if only is None else list(only)
    for name in names:
        validate.choice("only", name, experiments)
    return {name: experiments[name] for name in names}


def files_of(paper: str, folder: Path, only: Sequence[str] | None = None) -> list[Path]:
    """Return the files that `reproduce` writes into a folder. Raises ValueError.

    Parameters
    ----------
    paper : str
        One of `PAPERS`.
    folder : Path
    only : sequence of str, optional
        Names of experiments; all by default.

    Examples
    --------
    >>> [file.name for file in files_of("saxe2014", Path("saxe"), ["curves"])]
    ['curves.png', 'curves.npz', 'report.md']
    """
    names = _chosen(paper, only)
    return [
        *(folder / f"{name}{suffix}" for name in names for suffix in (".png", ".npz")),
        folder / "report.md",
    ]


def reproduce(
    paper: str,
    out: str | os.PathLike[str],
    settings: Settings,
    *,
    only: Sequence[str] | None = None,
    tell: Callable[[str], object] = lambda _text: None,
) -> list[Claim]:
    """Run a paper's experiments; write a picture and data of each, and a report.

    Parameters
    ----------
    paper : str
        One of `PAPERS`.
    out : path
        Folder for ``<name>.png``, ``<name>.npz`` and ``report.md``; made if there is none.
    settings : Settings
        Sizes and data.
    only : sequence of str, optional
        Names of experiments; all by default.
    tell : callable, optional
        Is given lines of progress: what has been found, and from another thread how long the
        experiment at hand has taken, after five seconds, ten, twenty and so on.

    Returns
    -------
    list of Claim
        All claims, in order.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If a file cannot be written.
    ValueError
        If the paper or an experiment is unknown, or a data file is damaged.
    """
    validate.choice("paper", paper, PAPERS)
    folder = validate.path("out", out)
    validate.instance("settings", settings, Settings)
    validate.function("tell", tell)
    chosen = None if only is None else validate.texts("only", only)
    pyplot = files.optional("matplotlib.pyplot", "plot")
    experiments = _chosen(paper, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    claims: list[Claim] = []
    lines = [f"# {paper}: {PAPERS[paper]}", ""]
    if settings.quick:
        lines += ["A quick run, on smaller sizes.", ""]
    for name, experiment in experiments.items():
        begin = time.perf_counter()
        with pyplot.rc_context(STYLE), patience.telling(name, tell):
            figure = experiment(settings)
            _quiet_axes(figure.picture)
            headline(figure.picture, str(figure.about))
        with files.replaced(folder / f"{name}.png") as temporary:
            figure.picture.savefig(temporary, format="png", dpi=150)
        pyplot.close(figure.picture)
        with (
            files.replaced(folder / f"{name}.npz") as temporary,
            temporary.open("xb") as file,
        ):
            np.savez_compressed(file, **dict(figure.data))  # type: ignore[arg-type]
        tell(f"{name} ({time.perf_counter() - begin:.1f} s)")
        for claim in figure.claims:
            tell(f"  {claim}")
        claims += figure.claims
        lines += [f"## {name}", "", f"{figure.about}.", "", figure.caption, ""]
        lines += [f"![{name}]({name}.png)", ""]
        lines += [
            "| claim | expected | measured | verdict |",
            "| --- | --- | --- | --- |",
            *(
                f"| {_cell(c.text)} | {c.expected} | {c.measured:.4g} | {'holds' if c.holds else '**fails**'} |"
                for c in figure.claims
            ),
            "",
        ]
    with files.replaced(folder / "report.md") as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return claims
