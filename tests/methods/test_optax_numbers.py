"""The numbers of optax where PyTorch has no such optimiser; `golden/optax_methods.py` made them."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support import ROOT

import linnet_fast as lf

GOLDEN = ROOT / "tests" / "golden"
MADE = runpy.run_path(str(GOLDEN / "optax_methods.py"))
NUMBERS = np.load(GOLDEN / "optax_methods.npz")
METHODS = {
    "lion": lf.SignDescent(0.001, 0.1, momentum=0.9, memory_momentum=0.99, decoupled=True),
    "signs": lf.SignDescent(0.001),
    "muon": lf.SpectralDescent(0.002, momentum=0.9, iterations=5),
}


@pytest.mark.parametrize("name", MADE["N_STEPS"])
def test_after_hundreds_of_steps(name):
    x, y, start = MADE["problem"]()
    network, loss = lf.Dense((MADE["WIDTH"],) * 3), lf.SquaredLoss.from_data(x, y)
    run = lf.train(network, loss, start, method=METHODS[name], n_steps=MADE["N_STEPS"][name])
    for layer, w in enumerate(run.final.weights):
        expected = NUMBERS[f"{name}_{layer}"]
        assert np.abs(expected - start[layer]).max() > 0.1
        assert_allclose(w, expected, rtol=0, atol=1e-12)
