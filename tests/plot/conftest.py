"""What all tests of pictures leave behind: nothing."""

from __future__ import annotations

import matplotlib as mpl
import pytest

mpl.use("agg")
from matplotlib import pyplot as plt
from support import THOROUGH


@pytest.fixture(autouse=True)
def nothing_left_open():
    plt.close("all")  # what the examples of docstrings drew
    before = dict(mpl.rcParams)
    yield
    for number in plt.get_fignums():
        figure = plt.figure(number)  # nothing may warn then either
        figure.canvas.draw() if THOROUGH else figure.draw_without_rendering()
    plt.close("all")
    assert dict(mpl.rcParams) == before
