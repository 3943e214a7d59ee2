"""Makes pytorch_methods.npz: where PyTorch's optimisers are after 1,000 steps, in float64.

Run by hand, with PyTorch 2.13 (on one thread): ``python tests/golden/pytorch_methods.py``. The tests need the numbers
only. Matrices of a layer are linear in its weights, so that PyTorch needs their coefficients alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import linnet_fast as lf

FILE = Path(__file__).with_suffix(".npz")
N_STEPS = 1000
NETWORKS = {
    "dense": lf.Dense((3, 4, 2)),
    "diagonal": lf.Diagonal(4, 3),
    "convolution": lf.Convolution(5, 3, 2),
}
OPTIMISERS = {
    "momentum": ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    "dampening": ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.5}),
    "adam": ("Adam", {"lr": 0.002, "weight_decay": 0.01}),
    "adamw": ("AdamW", {"lr": 0.0005, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    "amsgrad": ("Adam", {"lr": 0.002, "amsgrad": True}),
    "rmsprop": ("RMSprop", {"lr": 0.0002, "alpha": 0.9, "eps": 0.05, "weight_decay": 0.01}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.0001, "momentum": 0.8}),
    "rmsprop_centered": ("RMSprop", {"lr": 0.0002, "alpha": 0.9, "eps": 0.05, "centered": True}),
    "rmsprop_centered_momentum": (
        "RMSprop",
        {"lr": 0.0002, "eps": 0.02, "momentum": 0.8, "centered": True, "weight_decay": 0.01},
    ),
    "adagrad": (
        "Adagrad",
        {"lr": 0.02, "lr_decay": 0.001, "initial_accumulator_value": 0.1, "weight_decay": 0.01},
    ),
}


def problem(network):
    """Return inputs, targets and start weights."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((12, network.n_inputs))
    y = rng.standard_normal((12, network.n_outputs))
    return x, y, [0.6 * rng.standard_normal(shape) for shape in network.shapes]


def coefficients(network):
    """Return for each layer the matrices that its weights multiply, (n_weights, rows, cols)."""
    found = []
    zero = [np.zeros(shape) for shape in network.shapes]
    for layer, w in enumerate(zero):
        units = np.eye(w.size).reshape(w.size, *w.shape)
        found.append(
            np.stack(
                [network.matrices([*zero[:layer], u, *zero[layer + 1 :]])[layer] for u in units]
            )
        )
    return found


def main():
    import torch

    torch.set_default_dtype(torch.float64)
    results = {}
    for name, network in NETWORKS.items():
        x, y, start = problem(network)
        inputs, targets = torch.tensor(x), torch.tensor(y)
        parts = [torch.tensor(c) for c in coefficients(network)]
        for method, (kind, options) in OPTIMISERS.items():
            weights = [torch.tensor(w, requires_grad=True) for w in start]
            optimiser = getattr(torch.optim, kind)(weights, **options)
            for _ in range(N_STEPS):
                optimiser.zero_grad()
                out = inputs.T
                for w, part in zip(weights, parts, strict=True):
                    out = torch.einsum("k,kij->ij", w.reshape(-1), part) @ out
                loss = ((out.T - targets) ** 2).sum() / (2 * len(x))
                loss.backward()
                optimiser.step()
            for layer, w in enumerate(weights):
                results[f"{name}_{method}_{layer}"] = w.detach().numpy()
    np.savez(FILE, **results)


if __name__ == "__main__":
    main()
