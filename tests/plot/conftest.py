"""What all tests of pictures leave behind: nothing."""

from __future__ import annotations

import matplotlib as mpl
import pytest

mpl.use("agg")
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def nothing_left_open():
    plt.close("all")  # what the examples of docstrings drew
    before = dict(mpl.rcParams)
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()  # nothing may warn then either
    plt.close("all")
    assert dict(mpl.rcParams) == before
