"""What ``linnet-fast train`` trains on: the loss that the options name, of the data that they name."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from linnet_fast import datasets
from linnet_fast.cli.outputs import BadInput, cannot_read
from linnet_fast.datasets.kinds import Data
from linnet_fast.losses.base import Loss
from linnet_fast.losses.registry import of_data

HELD_OUT = "test"
"""What results call what is held out."""
ALWAYS = ("loss", "singular_values")
"""What is always recorded: the table and the picture need it."""

_OF_LOSSES = {
    "center": "--no-center",
    "label_noise": "--label-noise",
    "label_smoothing": "--label-smoothing",
}
_OF_SAMPLES = {"x": "--x", "y": "--y", "labels": "--labels", "targets": "--targets"}


class TrainData(NamedTuple):
    """What is trained on, what is evaluated besides, and what is recorded of both."""

    loss: Loss
    evaluate: dict[str, Loss]
    observables: tuple[str, ...]
    description: str


def load(options: argparse.Namespace) -> TrainData:
    """Return what the options name, after all that can be wrong about them."""
    kind = of_data()[options.loss]
    chosen = _chosen(options, kind)
    if options.test is None and options.test_seed is not None:
        msg = "give --test FRACTION, of which --test-seed chooses the samples"
        raise BadInput(msg)
    data, held_out = _data(options, kind), None
    evaluate: dict[str, Loss] = {}
    try:
        if options.test is not None:
            data, held_out = datasets.split(data, options.test, rng=options.test_seed or 0)
        loss, description = kind.from_dataset(data, **chosen)
        if held_out is not None:
            evaluate[HELD_OUT] = kind.held_out(data, held_out, **chosen)
    except ValueError as error:
        raise BadInput(str(error).removeprefix("loss.")) from error
    names: tuple[str, ...] = ALWAYS
    if "margin" in loss.supports:
        names += ("accuracy", *(f"accuracy_{name}" for name in evaluate))
    return TrainData(loss, evaluate, names, description)


def _chosen(options: argparse.Namespace, kind: type[Loss]) -> dict[str, Any]:
    """Return what the loss is made with besides data; refuse what others take."""
    given = {name: getattr(options, name) for name in _OF_LOSSES}
    for name, value in given.items():
        if value is not None and name not in kind.dataset_options:
            able = [word for word, other in of_data().items() if name in other.dataset_options]
            msg = f"{_OF_LOSSES[name]} is for --loss {' and '.join(able)}, got {options.loss}"
            raise BadInput(msg)
    chosen = {name: value for name, value in given.items() if value is not None}
    if "center" in kind.dataset_options:
        chosen.setdefault("center", True)
    return chosen


def _data(options: argparse.Namespace, kind: type[Loss]) -> Data:
    if kind.data_kind != "samples":
        extra = [flag for name, flag in _OF_SAMPLES.items() if getattr(options, name) is not None]
        extra += ["--standardize"] if options.standardize else []
        if extra:
            msg = (
                f"{extra[0]} is for samples, and --loss {options.loss} is made of {kind.data_kind}"
            )
            raise BadInput(msg)
        if options.data is None:
            msg = f"give DATA, a file of {kind.data_kind} for --loss {options.loss}"
            raise BadInput(msg)
    elif options.data is None and (options.x is None or (options.y or options.labels) is None):
        msg = "give DATA (a name or a .npz file), or both --x FILE and --y FILE (or --labels FILE)"
        raise BadInput(msg)
    elif options.data is not None and (options.x is not None or options.y is not None):
        msg = "give either DATA or --x and --y, not both"
        raise BadInput(msg)
    elif options.y is not None and options.labels is not None:
        msg = "give either --y or --labels, not both"
        raise BadInput(msg)
    elif options.labels is not None and options.targets == "values":
        msg = "--labels are classes, got --targets values"
        raise BadInput(msg)
    more: dict[str, Any] = {}
    if kind.data_kind == "samples":
        more = {"targets_file": options.y, "labels_from": options.labels}
        more |= {"targets": options.targets or "auto", "standardize": options.standardize}
    try:
        source = options.x if options.data is None else options.data
        return datasets.LOADERS[kind.data_kind or ""](source, **more)
    except OSError as error:
        raise cannot_read(error, "the data") from error
    except ValueError as error:
        # Options have words of their own.
        raise BadInput(str(error).replace("labels_from", "--labels")) from error
