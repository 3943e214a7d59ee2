"""Makes hostile calls in one process and says which were not answered as they should be."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import re
import signal
import sys
import time
import warnings
from collections.abc import Mapping

import numpy as np

import linnet_fast as lf
from hostile import callables, values

LIMIT = 5.0  # seconds that a call may take

RELATIONS = (
    r"run axes must broadcast",
    r"(values of \S+|parameter) must ",  # of a sweep, which has names of its own
    r"(exactly )?one of .*\b{name}\b.* must be given",
    r"(largest entry|dtype|status|number|names|values|length|key|parameter|run axes|entries) of .*\b{name}\b",
)
"""Beginnings of messages, besides the name of an argument."""


THEIRS = "linnet_fast.sklearn."
"""Where scikit-learn checks arguments, and its contract for estimators says how."""

CALLED = {"progress", "function", "derived"}
"""Functions of users: what they raise is theirs."""

LONG = re.compile(r"\b(n_steps|until|max_steps|n_starts|n_samples|batch_shape): ")
"""Arguments that ask for work, as what is done is told: to take long is right then."""

SINGLES = {"start", "weights", "product", "by_product", "gradient", "memory"}
"""Arrays whose dtype is that of the arithmetic: float32 means something else there."""


UNSTEADY = {"provenance", "seconds", "seconds_range", "seconds_spent", "chunk_runs"}
"""Fields of results that are not the same at another time."""


class TooSlow(BaseException):
    """A call took longer than it may."""


@contextlib.contextmanager
def limited(seconds):
    """Raise TooSlow where a call takes longer; end the process where even that does not help.

    On a busy machine it is given more, six times as much at most, until it has worked for half as long.
    """
    begin, worked = time.monotonic(), time.process_time()

    def alarm(_number, _frame):
        waits = time.process_time() - worked < seconds / 2
        if not waits or time.monotonic() - begin > 6 * seconds:
            raise TooSlow

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds / 4)
    faulthandler.dump_traceback_later(12 * seconds, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


def names_it(message, names):
    """Return whether a message begins with the name of one of the arguments."""
    for name in names:
        word = re.escape(name)
        if re.match(rf"{word}(\b|\[|\.)", message):
            return True
        if any(re.match(relation.replace("{name}", word), message) for relation in RELATIONS):
            return True
    return False


def judged(one, arguments, done=""):
    """Return (None, what a call gives) or (what is wrong, None)."""
    documented = one.function.__doc__ or ""
    try:
        with warnings.catch_warnings(), limited(LIMIT):
            warnings.simplefilter("error")
            return None, ("value", one.call(arguments))
    except TooSlow:
        if LONG.search(done):
            return None, ("error", TooSlow)
        return f"takes more than {LIMIT} s", None
    except (TypeError, ValueError, IndexError) as error:
        if names_it(str(error), one.parameters) or one.name.startswith(THEIRS):
            return None, ("error", type(error))
        return _told(error), None
    except (OSError, lf.SweepError) as error:
        if one.name in callables.FILES:
            return None, ("error", type(error))
        return _told(error), None
    except MemoryError as error:
        if "MemoryError" in documented and "bytes" in str(error):
            return None, ("error", MemoryError)
        return _told(error), None
    except Exception as error:  # noqa: BLE001  (this is what is looked for)
        return _told(error), None


def _told(error):
    frame, place = error.__traceback__, ""
    while frame is not None:
        code = frame.tb_frame.f_code
        if "linnet_fast" in code.co_filename:
            place = f"{code.co_filename.rpartition('linnet_fast/')[2]}:{frame.tb_lineno}"
        frame = frame.tb_next
    return f"{type(error).__name__}: {str(error)[:160]!r} at {place}"


def equal(one, other):
    """Return whether two results are the same, bit for bit."""
    if isinstance(one, str | bool | int | np.generic | float):
        alike = isinstance(other, str) == isinstance(one, str)
        return alike and bool(np.array_equal(one, other, equal_nan=isinstance(one, float)))
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype == object:
            return all(map(equal, one.ravel(), other.ravel()))
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(equal, one, other))
    if dataclasses.is_dataclass(one):
        own = [field.name for field in dataclasses.fields(one) if field.name not in UNSTEADY]
        return all(equal(getattr(one, name), getattr(other, name)) for name in own)
    return True  # pictures, functions and datasets are compared elsewhere


def case(rng, one):
    """Return what is done, arguments, and None or those of a call that means the same."""
    pools = [values.WRONG, values.NUMBERS, values.ARRAYS]
    names = list(one.parameters)
    name = names[int(rng.integers(len(names)))]
    pair = next((p for p in callables.baselines.PARTNERS if name in p), {name})
    given = [n for n in one.baseline if n not in pair or n == name]
    right, known = one.right(name)
    arguments = one.arguments([n for n in given if n != name])
    if "rng" in names and name != "rng":
        arguments["rng"] = 0
    choice = rng.random()
    if known and choice < 0.25:
        forms = list(values.same(right, singles=name not in SINGLES))
        if forms:
            form, plain, make = forms[int(rng.integers(len(forms)))]
            return f"{name}: {form}", {**arguments, name: make()}, {**arguments, name: plain}
    if known and choice < 0.5 and (bent := values.bent(right)):
        form = list(bent)[int(rng.integers(len(bent)))]
        return f"{name}: {form}", {**arguments, name: bent[form]()}, None
    pool = pools[int(rng.integers(len(pools)))]
    form = list(pool)[int(rng.integers(len(pool)))]
    arguments[name] = pool[form]()
    if name in CALLED and form in ("a class", "a function"):
        form = "an object"
        arguments[name] = pools[0][form]()
    done = f"{name}: {form}"
    if rng.random() < 0.15 and len(names) > 1:
        second = names[int(rng.integers(len(names)))]
        if second != name and second not in pair:
            pool = pools[int(rng.integers(len(pools)))]
            form = list(pool)[int(rng.integers(len(pool)))]
            arguments[second] = pool[form]()
            done += f", {second}: {form}"
    return done, arguments, None


def main(seed, begin, end, pattern=""):
    """Make calls of some numbers; print a line of JSON for each that is answered wrongly.

    What a call is depends on the seed and its number alone.
    """
    import matplotlib as mpl

    mpl.use("agg")
    every = [one for one in callables.public() if re.search(pattern, one.name)]
    order = np.random.default_rng(seed).permutation(len(every))
    lacking = set()
    for number in range(begin, end):
        one = every[order[number % len(order)]]
        if one.name in lacking:
            continue
        try:
            _ = one.baseline
        except RuntimeError as error:
            lacking.add(one.name)
            if number < len(order) and not one.is_lacking:
                tell(
                    sys.stdout,
                    number=number,
                    callable=one.name,
                    done="right arguments",
                    wrong=str(error)[:300],
                )
            continue
        done, arguments, plain = case(np.random.default_rng([seed, number]), one)
        tell(sys.stderr, number=number, callable=one.name, done=done)
        wrong, got = judged(one, arguments, done)
        if wrong is None and plain is not None and got[0] == "value":
            wrong, reference = judged(one, plain, done)
            if wrong is None and not equal(got, reference):
                wrong = "gives another result than an equal argument"
        if wrong is not None:
            tell(sys.stdout, number=number, callable=one.name, done=done, wrong=wrong)
        if number % 50 == 0 and "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")


def tell(stream, **parts):
    """Write a line of JSON."""
    stream.write(json.dumps(parts) + "\n")
    stream.flush()


if __name__ == "__main__":
    try:
        import resource
    except ImportError:
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
