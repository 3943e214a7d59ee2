"""Observables with parameters: Hessians, kernels, spectra, overlaps; in the core, along trainings, as text.

What is right is known from the dense forms of the reference, whose products with Hessians are compared
with differences of exact gradients here, and from closed forms.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import linnet_fast as lf
from linnet_fast import laws, layers, reference
from linnet_fast.records import curvature
from linnet_fast.records.observables import known
from linnet_fast.reference.observables import gradients
from linnet_fast.reference.observables import observe as looked_at

RNG = np.random.default_rng(7)
X, Y = RNG.standard_normal((12, 3)), RNG.standard_normal((12, 3))
LABELS = np.sign(RNG.standard_normal((12, 3)))
NETWORKS = {
    "dense": lf.Dense((3, 4, 2, 3)),
    "one layer": lf.Dense((3, 3)),
    "one weight": lf.Dense((1, 1)),
    "wide outputs": lf.Dense((2, 5, 7)),
    "diagonal": lf.Diagonal(3, 2),
    "convolution": lf.Convolution(3, 3),
    "residual": lf.Residual(3, 3),
    "shared": lf.Chain(
        [layers.Dense(3, 3), layers.Dense(3, 3), layers.Dense(3, 3)], share=[0, 1, 0]
    ),
    "fixed first": lf.Chain(
        [layers.Fixed(RNG.standard_normal((4, 3))), layers.Dense(4, 2), layers.Dense(2, 3)]
    ),
    "masked": lf.Chain([layers.Masked(RNG.random((4, 3)) < 0.6), layers.Dense(4, 3)]),
}
_MATRICES = RNG.standard_normal((7, 3, 3))
LOSSES = {
    "squared": lf.SquaredLoss.from_data(X, Y, form="moments"),
    "samples": lf.SquaredLoss.from_data(X, Y, form="samples"),
    "logistic": lf.LogisticLoss(X, LABELS, 0.2, n_outputs=3),
    "exponential": lf.ExponentialLoss(X, LABELS, 0.1, n_outputs=3),
    "cross-entropy": lf.CrossEntropyLoss.from_data(X, RNG.integers(0, 3, 12)),
    "teacher": lf.SquaredLoss.from_law(
        laws.Gaussian(3), RNG.standard_normal((3, 3)), noise_std=0.3
    ),
    "sensing": lf.MatrixSensingLoss(_MATRICES, RNG.standard_normal(7)),
    "rank-one sensing": lf.RankOneSensingLoss(X[:7], Y[:7], RNG.standard_normal(7)),
    "completion": lf.MatrixCompletionLoss(
        [0, 1, 2, 2], [1, 1, 0, 2], [1.0, 2.0, 3.0, -1.0], (3, 3)
    ),
    "spherical": lf.SphericalLogisticLoss([0.6, 0.0, 0.8], laws.Gaussian(3), label_noise=0.1),
}
CURVATURES = ("sharpness", "hessian_trace", "hessian_eigenvalues(1, both)")
KERNELS = ("ntk_eigenvalues(1)", "kernel_distance", "kernel_alignment")
PLAIN = (
    "nuclear_norm", "schatten_norm(3)", "schatten_norm(inf)", "effective_rank", "stable_rank",
    "layer_singular_values", "weight_distance",
)  # fmt: skip


def fitting(network, loss):
    """Return a loss for a network, its own or one of its sizes."""
    if (loss.n_outputs, loss.n_inputs) == (network.n_outputs, network.n_inputs):
        return loss
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((9, n)) for n in (network.n_inputs, network.n_outputs))
    return lf.SquaredLoss.from_data(x, y, form="moments")


def drawn(network, runs, seed=0, scale=0.7):
    rng = np.random.default_rng(seed)
    return [scale * rng.standard_normal((*runs, *shape)) for shape in network.shapes]


def assert_alike(names, network, loss, weights, start, decay=0.1, rtol=1e-9):
    seen = lf.observe(network, loss, weights, names, start=start, weight_decay=decay, n_threads=1)
    for name in names:
        expected = np.asarray(looked_at(name, weights, loss, decay, network, start=start))
        found = seen[known(name).name]
        assert found.shape == expected.shape
        scale = np.nanmax(np.abs(expected), initial=0.0)
        assert_allclose(found, expected, rtol=0, atol=rtol * scale + 1e-14, err_msg=name)


@pytest.mark.parametrize("runs", [(), (11,)], ids=["alone", "in lanes"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_core_agrees_with_the_dense_forms_of_every_network(network, runs):
    loss = fitting(network, LOSSES["logistic"])
    if (loss.n_outputs, loss.n_inputs) != (network.n_outputs, network.n_inputs):
        loss = LOSSES["squared"]
    several = ("hessian_eigenvalues(3, both)", "ntk_eigenvalues(3)", "overlap(1)")
    more = several if network.n_weights >= 3 and loss.target_matrix is not None else ()
    start = drawn(network, (), seed=5)
    assert_alike((*CURVATURES, *KERNELS, *PLAIN, *more), network, loss, drawn(network, runs), start)


@pytest.mark.parametrize("runs", [(), (3,)], ids=["alone", "in lanes"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_core_agrees_with_the_dense_forms_of_every_loss(loss, runs):
    network = lf.Dense((3, 4, loss.n_outputs))
    names = (*CURVATURES, "hessian_eigenvalues(4, both)")
    if loss.kernel_moments() is not None:
        names += (*KERNELS, "ntk_eigenvalues(5)")
    if loss.target_matrix is not None:
        names += ("overlap(1)",)
    assert_alike(names, network, loss, drawn(network, runs), drawn(network, (), seed=5))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_hessian_products_are_differences_of_exact_gradients(network, loss):
    if (loss.n_outputs, loss.n_inputs) != (network.n_outputs, network.n_inputs):
        network = lf.Dense((loss.n_inputs, 2, loss.n_outputs))
    weights, moves = drawn(network, ()), drawn(network, (), seed=1)
    found = lf.rank_dynamics.hessian_vector_product(loss, weights, moves, network=network)
    dense = curvature.hessian_product(network, loss, weights, moves)

    def slopes(t):
        moved = [w + t * v for w, v in zip(weights, moves, strict=True)]
        return gradients(moved, loss, 0.0, network)

    # Two differences extrapolate to the fourth order in h.
    h = 2e-3
    differences = (slopes(t) for t in (h, -h, h / 2, -h / 2))
    for got, form, *ends in zip(found, dense, *differences, strict=True):
        wide, narrow = (ends[0] - ends[1]) / (2 * h), (ends[2] - ends[3]) / h
        expected = (4 * narrow - wide) / 3
        scale = np.abs(expected).max() + 1
        assert_allclose(got, expected, rtol=0, atol=2e-9 * scale)
        assert_allclose(got, form, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("n_layers", [1, 2, 3, 5])
def test_sharpness_of_a_balanced_minimum_is_known(n_layers):
    sigma, width = np.array([3.0, 0.5]), 4
    loss = lf.SquaredLoss(np.eye(4), np.diag([*sigma, 0, 0]), 20.0)
    roots = [np.diag([*(sigma ** (1 / n_layers)), 0, 0])] * n_layers
    seen = lf.observe(lf.Dense((width,) * (n_layers + 1)), loss, roots, ("sharpness",))
    assert_allclose(seen["sharpness"], n_layers * 3.0 ** (2 - 2 / n_layers), rtol=1e-9)


def test_multiple_eigenvalues_are_found_as_often_as_they_are():
    # At zero weights the Hessian of two layers has +-sigma_i, each once per hidden unit.
    loss = lf.SquaredLoss(np.eye(3), np.diag([2.0, 2.0, 1.0]), 20.0)
    zero = [np.zeros((4, 3)), np.zeros((3, 4))]
    top = lf.observables.hessian_eigenvalues(10, "both")
    seen = lf.observe(lf.Dense((3, 4, 3)), loss, zero, (top, "kernel_distance"), start=zero)
    assert_allclose(seen[top.name][0], [2] * 8 + [1] * 2, rtol=1e-9)
    assert_allclose(seen[top.name][1], [-2] * 8 + [-1] * 2, rtol=1e-9)
    assert np.isnan(seen["kernel_distance"])  # of no kernel


def test_crowded_eigenvalues_and_restarts_keep_the_accuracy():
    rng = np.random.default_rng(0)
    size = 300  # more than the vectors that are kept
    crowd = 1 - 1e-3 * np.arange(size) / size
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0]
    cov = (turn * crowd) @ turn.T
    loss = lf.SquaredLoss((cov + cov.T) / 2, np.zeros((1, size)), 1.0)
    weights = [np.zeros((1, size))]
    names = ("sharpness", "hessian_eigenvalues(2, both)")
    seen = lf.observe(lf.Dense((size, 1)), loss, weights, names)
    exact = np.linalg.eigvalsh(loss.input_cov)[::-1]
    assert_allclose(seen["sharpness"], exact[0], rtol=1e-8)
    expected = [exact[:2], exact[::-1][:2]]
    assert_allclose(seen["hessian_eigenvalues_2_both"], expected, rtol=1e-8)


L = layers
CHAINS = {
    "dense": lf.Dense((3, 4, 2, 3)),
    "diagonal": lf.Diagonal(3, 3),
    "channels": lf.Convolution(6, 2, 3, channels=2),
    "residual": lf.Residual(3, 2, 2, scale=0.5),
    "residual mask": lf.Chain(
        [L.Dense(2, 3), L.Residual(L.Masked(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1]]) > 0), 0.7)]
    ),
    "grouped": lf.Grouped([(0, 1), (2, 3)], 2, 2),
    "shared": lf.Chain([L.Dense(3, 3)] * 3 + [L.Dense(3, 2)], share=[0, 0, 0, 1]),
    "fixed between": lf.Chain([L.Dense(3, 3), L.Fixed(_MATRICES[0]), L.Dense(3, 2)]),
}


@pytest.mark.parametrize("network", CHAINS.values(), ids=CHAINS)
def test_the_flow_conserves_what_is_conserved_of_every_kind_of_neighbours(network):
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal((9, n)) for n in (network.n_inputs, network.n_outputs))
    loss = lf.SquaredLoss.from_data(x, y)
    start = drawn(network, (9,), scale=0.5)
    assert_alike(("conserved",), network, loss, start, start, rtol=1e-13)
    record = lf.Record.at_times([0.0, 4.0], ("conserved", "layer_norms"))
    run = lf.train(network, loss, start, method=lf.GradientFlow(1e-12), until=4.0, record=record)
    assert run.conserved.shape == (9, 2, network.n_arrays - 1)
    assert_allclose(run.conserved[:, 1], run.conserved[:, 0], rtol=1e-8, atol=1e-9)
    moves = np.diff(np.square(run.layer_norms), axis=-2)  # of one layer alone it is not
    assert np.abs(moves).max() > 1e-2


def test_conserved_of_layers_is_known():
    dense, rng = lf.Dense((3, 4, 2)), np.random.default_rng(3)
    weights = drawn(dense, (5,))
    seen = lf.observe(dense, fitting(dense, LOSSES["squared"]), weights, ("conserved", "imbalance"))
    assert_allclose(seen["conserved"], seen["imbalance"], rtol=1e-13)
    # Of diagonals u_i^2 - v_i^2, by entries: not the difference of the norms.
    diagonal, parts = lf.Diagonal(3, 2), [rng.standard_normal(3), rng.standard_normal((1, 3))]
    seen = lf.observe(diagonal, fitting(diagonal, LOSSES["squared"]), parts, ("conserved",))
    assert_allclose(seen["conserved"], [np.linalg.norm(parts[1] ** 2 - parts[0] ** 2)], rtol=1e-14)
    # The first array is used three times.
    a, b = drawn(CHAINS["shared"], ())
    seen = lf.observe(CHAINS["shared"], fitting(CHAINS["shared"], LOSSES["squared"]), [a, b],
                      ("conserved",))  # fmt: skip
    assert_allclose(seen["conserved"], [abs(np.sum(b**2) - np.sum(a**2) / 3)], rtol=1e-13)
    one = lf.observe(lf.Dense((3, 3)), LOSSES["squared"], [np.eye(3)], ("conserved",))
    assert one["conserved"].shape == (0,)
    nothing = lf.Chain([L.Residual(L.Dense(3, 3)), L.Fixed(_MATRICES[0]), L.Dense(3, 3)])
    with pytest.raises(ValueError, match="conserved needs neighbouring layers between which some"):
        lf.observe(nothing, LOSSES["squared"], drawn(nothing, ()), ("conserved",))


NAMES = (
    "sharpness", "hessian_eigenvalues(2)", "ntk_eigenvalues(2)", "kernel_distance",
    "kernel_alignment", "weight_distance", "overlap(2)", "layer_singular_values", "effective_rank",
    "conserved",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_records_have_the_same_bits_alone_in_a_batch_and_when_continued(dtype):
    network, loss = lf.Dense((3, 5, 3)), LOSSES["squared"]
    start = tuple(w.astype(dtype) for w in drawn(network, (19,), scale=0.4))
    method = lf.GradientDescent(0.05)

    def train(begin, n_steps, record, **more):
        return lf.train(network, loss, begin, method=method, n_steps=n_steps, record=record, **more)

    record = lf.Record.every(10, NAMES)
    whole = train(start, 40, record, n_threads=2)
    alone = train(tuple(w[4] for w in start), 40, record)
    first = train(start, 20, record, n_threads=1)
    given = (
        lf.observables.weight_distance(first.start),
        lf.observables.kernel_distance(first.start),
    )
    rest = [name for name in NAMES if "distance" not in name]
    second = train(first.final, 20, lf.Record.every(10, (*rest, *given)))
    for name, values in whole.observables.items():
        assert_array_equal(alone.observables[name], values[4], err_msg=name)
        assert_array_equal(second.observables[name], values[:, 2:], err_msg=name)
    assert_array_equal(whole.hessian_eigenvalues, whole.observables["hessian_eigenvalues_2"])
    seen = lf.observe(network, loss, whole.final.weights, NAMES, start=start)
    for name, values in seen.items():
        assert_array_equal(values, whole.observables[name][:, -1], err_msg=name)
    with pytest.raises(ValueError, match=r"^kernel_distance must be given a state .* continued"):
        train(first.final, 20, record)


def test_trainings_agree_with_the_reference_and_stop_by_measures():
    network, loss = lf.Dense((3, 4, 3)), LOSSES["samples"]
    start, method = drawn(network, (5,), scale=0.3), lf.GradientDescent(0.02, weight_decay=0.01)
    record = lf.Record.every(20, (*NAMES, "hessian_trace", "nuclear_norm"))
    limits = np.array([1.55, 3.0, 1.75, 2.0, 1.4])
    stop = lf.Stop(above={"sharpness": limits}, below={"schatten_norm(2)": 1e-3}, check_every=10)
    arguments = {"method": method, "n_steps": 200, "record": record, "stop": stop}
    run = lf.train(network, loss, start, **arguments)
    expected = reference.train(network, loss, start, **arguments)
    assert_array_equal(run.stopped_at, expected.stopped_at)
    assert len(set(run.stopped_at.tolist())) > 2
    for name, values in expected.observables.items():
        assert_allclose(run.observables[name], values, rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_flow_has_them_too_and_a_reduced_training():
    network, loss = lf.Dense((3, 4, 3)), LOSSES["squared"]
    start = drawn(network, (3,), scale=0.3)
    record = lf.Record.at_times([0.0, 1.0], NAMES)
    run = lf.train(network, loss, start, method=lf.GradientFlow(), until=1.0, record=record)
    seen = lf.observe(network, loss, run.final.weights, NAMES, start=start)
    for name, values in seen.items():
        assert_allclose(run.observables[name][:, -1], values, rtol=1e-7, atol=1e-9)
    wide = lf.Dense((3, 60, 2))
    rng = np.random.default_rng(1)
    loss = lf.SquaredLoss.from_data(rng.standard_normal((9, 3)), rng.standard_normal((9, 2)))
    begin = drawn(wide, (2,), scale=0.1)
    record = lf.Record.every(10, ("sharpness", "kernel_distance", "weight_distance", "overlap(2)"))
    arguments = {"method": lf.GradientDescent(0.05), "n_steps": 20, "record": record}
    plain = lf.train(wide, loss, begin, reduce=False, **arguments)
    small = lf.train(wide, loss, begin, **arguments)
    for name, values in plain.observables.items():
        assert_allclose(small.observables[name], values, rtol=1e-8, atol=1e-12)


def test_what_is_diverged_zero_tiny_or_huge():
    network = lf.Dense((2, 2, 2))
    loss = lf.SquaredLoss(np.eye(2), np.diag([2.0, 1.0]), 5.0)
    names = ("sharpness", "effective_rank", "stable_rank", "nuclear_norm", "weight_distance")
    run = lf.train(network, loss, [np.eye(2) * 3] * 2, method=lf.GradientDescent(2.0), n_steps=100,
                   record=lf.Record.every(10, names))  # fmt: skip
    assert not run.ok
    assert np.isnan(run.sharpness[-1])
    assert np.isfinite(run.sharpness[0])
    zero = lf.observe(network, loss, [np.zeros((2, 2))] * 2, names, start=[np.eye(2)] * 2)
    assert [float(zero[name]) for name in names[3:]] == [0.0, 2.0]
    assert np.isnan([zero["effective_rank"], zero["stable_rank"]]).all()
    far = [np.full((2, 2), 1e200), np.full((2, 2), 1e-200)]
    seen = lf.observe(network, loss, far, ("weight_distance", "layer_singular_values", "stable_rank",
                                           "schatten_norm(1)"), start=[np.zeros((2, 2))] * 2)  # fmt: skip
    assert_allclose(seen["weight_distance"], 2e200, rtol=1e-14)
    assert_allclose(seen["layer_singular_values"][:, 0], [2e200, 2e-200], rtol=1e-13)
    assert_allclose([seen["stable_rank"], seen["schatten_norm_1"]], [1, 4], rtol=1e-13)
    huge = lf.observe(network, loss, [np.full((2, 2), 1e160)] * 2, ("sharpness",))
    assert np.isnan(huge["sharpness"])


def test_targets_and_starts_that_are_given_have_run_axes():
    network, loss = lf.Dense((3, 3)), LOSSES["logistic"]
    rng = np.random.default_rng(2)
    targets, weights = rng.standard_normal((4, 3, 3)), [rng.standard_normal((4, 3, 3))]
    mine = lf.observables.overlap(targets, 3, name="teacher")
    far = lf.observables.weight_distance([rng.standard_normal((3, 3))], name="far")
    seen = lf.observe(network, loss, weights, (mine, far))
    u, _, vt = np.linalg.svd(targets)
    expected = np.diagonal(u.mT @ weights[0] @ vt.mT, axis1=-2, axis2=-1)
    assert_allclose(np.abs(seen["teacher"]), np.abs(expected), atol=1e-13)
    assert seen["far"].shape == (4,)


def test_results_have_names_axes_and_files(tmp_path):
    network, loss = lf.Dense((3, 4, 3)), LOSSES["squared"]
    record = lf.Record.every(
        5, ("hessian_eigenvalues(2, both)", "overlap(2)", "schatten_norm(0.5)")
    )
    assert record == lf.Record.every(5, (
        lf.observables.hessian_eigenvalues(2, "both"), lf.observables.overlap(k=2),
        lf.observables.schatten_norm(0.5),
    ))  # fmt: skip
    run = lf.train(network, loss, drawn(network, ()), method=lf.GradientDescent(0.01), n_steps=10,
                   record=record)  # fmt: skip
    data = run.to_xarray()
    assert data["hessian_eigenvalues_2_both"].dims == ("step", "end", "eigenvalue")
    assert data["overlap_2"].dims == ("step", "mode_of_target")
    assert data["schatten_norm_0p5"].dims == ("step",)
    for suffix in (".npz", ".nc"):
        run.save(tmp_path / f"run{suffix}")
        again = lf.Trajectory.load(tmp_path / f"run{suffix}")
        assert_array_equal(again.overlap, run.overlap_2)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hessian_eigenvalues(3)", "hessian_eigenvalues_3"),
        ("hessian_eigenvalues( 3,which='both')", "hessian_eigenvalues_3_both"),
        ("schatten_norm(1e-1)", "schatten_norm_0p1"),
        ("schatten_norm(inf)", "schatten_norm_inf"),
        ("ntk_eigenvalues(12)", "ntk_eigenvalues_12"),
        ("overlap(2)", "overlap_2"),
    ],
)
def test_text_and_names_mean_the_same(text, name):
    row = known(text)
    assert row.name == name
    assert known(row.text).name == known(name).name == name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: lf.Record.every(1, ("overlap(0)",)),
            r"^observables\[0\] must be such as 'overlap",
        ),
        (
            lambda: lf.Record.every(1, ("hessian_eigenvalues(2, some)",)),
            r"^observables\[0\] must be",
        ),
        (
            lambda: lf.Record.every(1, ("overlap(1)", "overlap_1")),
            r"^observables .* 'overlap_1' twice",
        ),
        (lambda: lf.Record.every(1, ("sharpnes",)), r"^observables\[0\] .*sharpness"),
        (lambda: lf.Stop(above={"overlap(2)": 1}), r"^name of above must be"),
        (lambda: lf.Stop(below={"sharpness": [np.nan]}), r"^below\['sharpness'\]"),
        (lambda: lf.observables.schatten_norm(0), r"^p must be"),
        (lambda: lf.observables.overlap([1.0]), r"^target must have shape"),
        (lambda: lf.observables.weight_distance([]), r"^state must"),
    ],
)
def test_what_is_no_measure_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_a_network_or_a_loss_does_not_have_is_refused():
    network = lf.Dense((3, 3))
    sensing = LOSSES["sensing"]
    custom = lf.CustomLoss(lambda products, _: (0 * products[:, 0, 0], products), (3, 3))
    with pytest.raises(
        ValueError, match="sharpness is of losses with a second derivative, and a Cus"
    ):
        lf.observe(network, custom, drawn(network, ()), ("sharpness",))
    with pytest.raises(ValueError, match="kernel_alignment is of losses with inputs, and a Custom"):
        lf.observe(network, custom, drawn(network, ()), ("kernel_alignment",))
    for name, message in (
        ("overlap(1)", "overlap_1 needs a target"),
        ("hessian_eigenvalues(10)", "hessian_eigenvalues_10 must ask for at most 9"),
        ("weight_distance", "start must be given for weight_distance"),
    ):
        with pytest.raises(ValueError, match=message):
            lf.observe(network, sensing, drawn(network, ()), (name,))
