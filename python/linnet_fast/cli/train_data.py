"""What ``linnet-fast train`` trains on: the loss that the options name, of the data that they name."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any, NamedTuple

from linnet_fast import datasets
from linnet_fast._base.value import arguments
from linnet_fast.cli.arguments import single
from linnet_fast.cli.outputs import BadInput, cannot_read
from linnet_fast.datasets.kinds import Data
from linnet_fast.losses.base import Loss
from linnet_fast.losses.registry import of_data
from linnet_fast.teachers.teacher import Teacher

HELD_OUT = "test"
"""What results call what is held out."""
ALWAYS = ("loss", "singular_values")
"""What is always recorded: the table and the picture need it."""

_OF_LOSSES = {
    "center": "--no-center",
    "label_noise": "--label-noise",
    "label_smoothing": "--label-smoothing",
}
_LOSSES = {"values": "squared", "signs": "logistic", "classes": "cross-entropy"}
_OF_SAMPLES = {
    "x": "--x",
    "y": "--y",
    "labels": "--labels",
    "target": "--target",
    "targets": "--targets",
}
_OF_DATA = {
    "data": "DATA",
    **_OF_SAMPLES,
    **_OF_LOSSES,
    "test": "--test",
    "test_seed": "--test-seed",
}


class TrainData(NamedTuple):
    """What is trained on, what is evaluated besides, and what is recorded of both."""

    loss: Loss
    evaluate: dict[str, Loss]
    observables: tuple[str, ...]
    description: str
    loss_name: str


def load(options: argparse.Namespace) -> TrainData:
    """Return what the options name, after all that can be wrong about them."""
    if options.teacher is not None:
        return _of_teacher(options)
    for name, flag in (("teacher_option", "--teacher-option"), ("teacher_seed", "--teacher-seed")):
        if getattr(options, name) not in (None, []):
            msg = f"{flag} is for --teacher KIND"
            raise BadInput(msg)
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
    return TrainData(loss, evaluate, _names(loss, evaluate), description, options.loss)


def _names(loss: Loss, evaluate: dict[str, Loss]) -> tuple[str, ...]:
    """Return what is recorded of a loss and of those that are evaluated."""
    if "margin" not in loss.supports:
        return ALWAYS
    margins = (name for name, other in evaluate.items() if "margin" in other.supports)
    return (*ALWAYS, "accuracy", *(f"accuracy_{name}" for name in margins))


def _of_teacher(options: argparse.Namespace) -> TrainData:
    """Return samples of a teacher, and beside them the risk where there is a form of it."""
    given = {flag: getattr(options, name) for name, flag in _OF_DATA.items()}
    extra = [flag for flag, value in given.items() if value is not None]
    extra += ["--standardize"] if options.standardize else []
    extra += ["--loss"] if options.loss != "squared" else []
    if extra:
        msg = f"{extra[0]} is for data, and --teacher draws its own, with a loss by their target"
        raise BadInput(msg)
    own: dict[str, Any] = {}
    for name, value in options.teacher_option:
        if name in own or name not in arguments(Teacher) or name == "kind":
            known = ", ".join(n for n in arguments(Teacher) if n != "kind")
            msg = (
                f"--teacher-option {name}: {'given twice' if name in own else f'there are {known}'}"
            )
            raise BadInput(msg)
        own[name] = value
    try:
        teacher = Teacher(options.teacher, **own)
        single(teacher.run_shape)
        seed = options.teacher_seed or 0
        loss = teacher.loss(seed)
    except (TypeError, ValueError) as error:
        msg = f"--teacher-option: {error}"
        raise BadInput(msg) from error
    evaluate = {}
    if teacher.n_samples is not None:
        with suppress(ValueError):  # of classes, and some signs, there is none
            evaluate["risk"] = teacher.population.loss(seed)
    description = f"{teacher!r}, seed {seed}"
    return TrainData(loss, evaluate, _names(loss, evaluate), description, _LOSSES[teacher.target])


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
    elif options.target is not None and (options.y or options.labels or options.x) is not None:
        msg = "--target names columns of DATA, give it without --x, --y and --labels"
        raise BadInput(msg)
    elif options.labels is not None and options.targets == "values":
        msg = "--labels are classes, got --targets values"
        raise BadInput(msg)
    more: dict[str, Any] = {}
    if kind.data_kind == "samples":
        more = {"targets_file": options.y, "labels_from": options.labels}
        more["targets_from"] = options.target
        more |= {"targets": options.targets or "auto", "standardize": options.standardize}
    try:
        source = options.x if options.data is None else options.data
        return datasets.LOADERS[kind.data_kind or ""](source, **more)
    except OSError as error:
        raise cannot_read(error, "the data") from error
    except ValueError as error:
        # Options have words of their own.
        raise BadInput(
            str(error).replace("labels_from", "--labels").replace("targets_from", "--target")
        ) from error
