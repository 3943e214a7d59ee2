"""What pictures of sweeps share: axes of parameters, quantiles of the runs at a place, scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet_fast._base import files
from linnet_fast._base.validate import FloatArray
from linnet_fast.plot import _parts
from linnet_fast.sweeps.results import RECORDS, ROUNDING, Runs, n_values, readable, together
from linnet_fast.training.state import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 0.75
"""Of the width of axes, before labels and a colour bar take theirs."""

_MAX_TICKS = 8  # so many values get a tick each
_DECADES = 2.0  # positive numbers over more are drawn in a logarithmic scale
_NOISE = 1e-15  # what differences leave of zero, relative to the largest
_HUGE = 1e300  # stands for infinity among quantiles


class Parameter:
    """The different values of a parameter: where they are drawn, which runs have them."""

    def __init__(self, runs: Runs, name: str) -> None:
        self.label = readable(runs.data, name)
        self.dim = str(runs.data[name].dims[0])
        self.record = name in RECORDS
        varying = [
            other for other in together(runs.data, self.dim) if n_values(runs.data, other) > 1
        ]
        self.is_scattered = len(varying) > 1
        labels = runs.data[name].to_numpy()
        self.is_number = labels.dtype.kind in "iuf" and bool(np.isfinite(labels).all())
        if self.is_number:
            values, group = np.unique(labels, return_inverse=True)
            self.names = _short(values)
            self.places = values.astype(np.float64)
            self.log = _log_axis(self.places) or (self.record and bool((values > 0).any()))
        else:
            # Numbers of which some are infinite, such as widths, are in place of words, too.
            texts = _short(labels) if labels.dtype.kind == "f" else [str(label) for label in labels]
            known = {label: i for i, label in enumerate(dict.fromkeys(texts))}
            group = np.array([known[label] for label in texts])
            self.names = list(known)
            self.places = np.arange(len(known), dtype=np.float64)
            self.log = False
        self.at = self.places[group]
        members = [np.flatnonzero(group == i) for i in range(len(self.names))]
        if self.log:  # there is no place for step 0
            seen = np.flatnonzero(self.places > 0)
            members = [members[i] for i in seen]
            self.names = [self.names[i] for i in seen]
            self.places = self.places[seen]
            self.at = np.where(self.at > 0, self.at, np.nan)
        self.members = members

    def pooled(self, array: FloatArray, axis: int) -> FloatArray:
        """Return an array over the places; what has the same place is added to the first axis."""
        most = max(len(member) for member in self.members)
        index = np.array([np.resize(member, most) for member in self.members]).T
        spare = np.arange(most)[:, None] >= [len(member) for member in self.members]
        moved = np.moveaxis(array, axis, -1)[..., index]  # (runs, others, most, places)
        moved = np.where(spare, np.nan, moved)
        moved = np.moveaxis(moved, -2, 1)
        moved = moved.reshape(-1, *moved.shape[2:])
        return np.moveaxis(moved, -1, axis)

    def edges(self) -> FloatArray:
        """Return the edges of cells around the places, halfway between them as they are drawn."""
        at = np.log(self.places) if self.log else self.places
        if at.size == 1:
            half = 0.5 * (abs(at[0]) if self.is_number and not self.log and at[0] else 1.0)
            ends = np.array([at[0] - half, at[0] + half])
        else:
            middle = (at[1:] + at[:-1]) / 2
            ends = np.concatenate([2 * at[:1] - middle[:1], middle, 2 * at[-1:] - middle[-1:]])
        return np.exp(ends) if self.log else ends

    def dress(self, ax: Axes, which: str) -> None:
        """Set scale, ticks and label of the "x" or "y" axis."""
        axis = ax.xaxis if which == "x" else ax.yaxis
        ticker = files.optional("matplotlib.ticker", "plot")
        if self.log:
            ax.set(**{f"{which}scale": "log"})
        if not self.is_number or self._few():
            axis.set_ticks(self.places, self.names)
            axis.set_minor_locator(ticker.NullLocator())
            if which == "x":
                self._fit(ax)
        elif self.log and np.log10(self.places[-1] / self.places[0]) < _DECADES:
            few = ticker.MaxNLocator(3)
            axis.set_major_locator(few if self._narrow() else ticker.LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _parts.power(value)))
            axis.set_minor_formatter(ticker.NullFormatter())
        elif not self.log and all_integers(self.places):
            integer_ticks(axis)
        ax.set(**{f"{which}label": self.label})

    def _few(self) -> bool:
        """Return whether each value can have a tick: few round numbers, none too close."""
        if self.places.size == 1:
            return True
        at = np.log(self.places) if self.log else self.places
        digits = 1 if self.log else 2  # after the first
        rounded = [float(f"{value:.{digits}e}") for value in self.places]
        round_enough = self._narrow() or np.allclose(rounded, self.places, rtol=1e-9, atol=0)
        gaps = np.diff(at)
        even = bool(gaps.min() > 0.4 * gaps.mean())
        return not self.record and at.size <= _MAX_TICKS and round_enough and even

    def _narrow(self) -> bool:
        """Return whether a logarithmic axis may have less than two of 1, 2, 5, 10, ..."""
        return self.log and bool(self.places[-1] < 5 * self.places[0])

    def _fit(self, ax: Axes) -> None:
        """Leave out numbers, or turn words, if they are too wide for the axis."""
        texts = ax.xaxis.get_ticklabels()
        widest = max(text.get_window_extent().width for text in texts)
        room = ROOM * ax.bbox.width / (widest + 0.5 * texts[0].get_window_extent().height)
        if len(texts) <= room:
            return
        if self.is_number:
            every = int(np.ceil(len(texts) / max(room, 1)))
            ax.xaxis.set_ticks(self.places[::every], self.names[::every])
        else:
            for text in texts:
                text.set(rotation=30, ha="right", rotation_mode="anchor")


class Pool:
    """What is drawn at each place: quantiles of the values there, and how the runs ended."""

    def __init__(self, runs: Runs, *parameters: Parameter) -> None:
        dims = [parameter.dim for parameter in parameters]
        arrays = []
        for variable in (runs.values, runs.status):
            array = variable.transpose(..., *dims).to_numpy()
            array = array.reshape(-1, *array.shape[array.ndim - len(dims) :])
            for axis, parameter in enumerate(parameters):
                array = parameter.pooled(array, axis + 1)
            arrays.append(array)
        values, status = arrays  # all runs at a place along the first axis; NaN where it has fewer
        self.n_runs = np.isfinite(status).sum(axis=0)
        self.low, self.median, self.high = _quantiles(values)
        n_diverged = (status == Status.DIVERGED).sum(axis=0)
        self.all_diverged = (n_diverged == self.n_runs) & (n_diverged > 0)
        self.some_diverged = (n_diverged > 0) & ~self.all_diverged
        ended = ((status >= 0) & (status != Status.DIVERGED)).any(axis=0)
        self.no_value = ended & np.isnan(self.median)

    def cut(self, least: float) -> None:
        """Raise quantiles to the least that is drawn."""
        self.low, self.median, self.high = np.maximum([self.low, self.median, self.high], least)


def _short(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as short texts, different ones."""
    texts = [("-" if value < 0 else "") + _parts.power(abs(value)) for value in values]
    n_different = len(set(values.tolist()))
    return texts if len(set(texts)) == n_different else [f"{value:.12g}" for value in values]


def _quantiles(values: FloatArray) -> FloatArray:
    """Return the 10 %, 50 % and 90 % quantiles over the first axis, NaN where they are infinite.

    NaN are left out; infinite values are not.
    """
    ordered = np.sort(np.clip(values, -_HUGE, _HUGE), axis=0)  # NaN last
    last = np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    quantiles = np.empty((len(_parts.SPREAD), *last.shape))
    for part, quantile in zip(_parts.SPREAD, quantiles, strict=True):
        at = part * last
        low, high = (
            np.take_along_axis(ordered, end(at).astype(np.intp)[None], axis=0)[0]
            for end in (np.floor, np.ceil)
        )
        quantile[...] = low + (high - low) * (at - np.floor(at))
    quantiles[np.abs(quantiles) > _HUGE * ROUNDING] = np.nan
    return quantiles


def _log_axis(places: FloatArray) -> bool:
    """Return whether increasing values of a parameter belong on a logarithmic axis."""
    if places.size < 2 or places[0] <= 0:
        return False
    if places.size > 2:
        gaps, ratios = np.diff(places), np.diff(np.log(places))
        uneven, unlike = gaps.max() / gaps.min(), ratios.max() / ratios.min()
        if uneven < 1 + 1e-6:
            return False
        if unlike < min(1.3, uneven):  # 1, 3, 10, 30, ... too
            return True
    return bool(np.log10(places[-1]) - np.log10(places[0]) > _DECADES)


def log_range(values: FloatArray, least: float = np.inf) -> tuple[float, float] | None:
    """Return the least and the largest positive value if these span decades and none is negative.

    Some of them, or the least of what they stand for, may be zero but for rounding; then positive
    ones no larger than that do not count.
    """
    finite = values[np.isfinite(values)]
    high = float(finite.max(initial=0.0))
    least = min(least, float(finite.min(initial=np.inf)))
    if high <= 0 or least < -ROUNDING * high:
        return None
    noise = 0.0 if least > 0 else max(-least, _NOISE * high)
    low = float(finite[finite > noise].min())
    return (low, high) if np.log10(high) - np.log10(low) > _DECADES else None


def all_integers(values: FloatArray) -> bool:
    """Return whether there are values, none of them a fraction."""
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool((finite == np.rint(finite)).all())


def integer_ticks(axis: Any) -> None:
    """Have ticks at whole numbers only."""
    ticker = files.optional("matplotlib.ticker", "plot")
    axis.set_major_locator(ticker.MaxNLocator("auto", integer=True))
