"""The numbers of PyTorch's optimisers after 1,000 steps; `golden/pytorch_methods.py` made them."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support import ROOT

import linnet_fast as lf

GOLDEN = ROOT / "tests" / "golden"
MADE = runpy.run_path(str(GOLDEN / "pytorch_methods.py"))
NUMBERS = np.load(GOLDEN / "pytorch_methods.npz")
METHODS = {
    "momentum": lf.GradientDescent(0.01, 0.01, momentum=0.9),
    "nesterov": lf.GradientDescent(0.01, momentum=0.9, nesterov=True),
    "dampening": lf.GradientDescent(0.02, momentum=0.9, dampening=0.5),
    "adam": lf.Adam(0.002, 0.01),
    "adamw": lf.Adam(0.0005, 0.1, beta1=0.8, beta2=0.99, decoupled=True),
    "amsgrad": lf.Adam(0.002, amsgrad=True),
    "rmsprop": lf.RMSProp(0.0002, 0.01, alpha=0.9, eps=0.05),
    "rmsprop_momentum": lf.RMSProp(0.0001, momentum=0.8),
    "rmsprop_centered": lf.RMSProp(0.0002, alpha=0.9, eps=0.05, centered=True),
    "rmsprop_centered_momentum": lf.RMSProp(0.0002, 0.01, eps=0.02, momentum=0.8, centered=True),
    "adagrad": lf.Adagrad(0.02, 0.01, step_decay=0.001, initial=0.1),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MADE["NETWORKS"])
def test_after_a_thousand_steps(name, method):
    network = MADE["NETWORKS"][name]
    x, y, start = MADE["problem"](network)
    loss = lf.SquaredLoss.from_data(x, y)
    run = lf.train(network, loss, start, method=METHODS[method], n_steps=MADE["N_STEPS"])
    for layer, w in enumerate(run.final.weights):
        expected = NUMBERS[f"{name}_{method}_{layer}"]
        assert np.abs(expected - start[layer]).max() > 0.01
        assert_allclose(w, expected, rtol=0, atol=1e-12)
