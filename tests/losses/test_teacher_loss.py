"""The squared loss of a linear teacher under a law: moments, fresh samples, the same bits, sweeps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import CHAINS, assert_same, crossed, few, make_start, parts

import linnet_fast as lf
from linnet_fast import laws, reference
from linnet_fast.reference.draws import draw
from linnet_fast.sweeps.spec import decode
from linnet_fast.training import plain

LAWS = {
    "gaussian": laws.Gaussian(3, 1.5),
    "sphere": laws.Sphere(3, 2.0),
    "ball": laws.Ball(3, 2.0),
    "mixture": laws.RadialMixture(3, [0.5, 2.0], [0.25, 0.75]),
}
TEACHER = np.random.default_rng(0).standard_normal((2, 3))
WIDTHS = (3, 4, 2)
RECORD = lf.Record.every(4, ("loss", "gradient_norm", "product"))


def loss_of(law="gaussian", runs=()):
    rng = np.random.default_rng(1)
    return lf.SquaredLoss.from_law(
        LAWS[law], TEACHER + 0.1 * rng.standard_normal((*runs, 2, 3)),
        noise_std=rng.uniform(0, 0.5, runs),
    )  # fmt: skip


def online(batch_size=5, step_size=0.02, **options):
    return lf.GradientDescent(step_size, batches=lf.Batches(batch_size, **options))


@pytest.mark.parametrize("law", LAWS)
def test_the_moments_are_those_of_samples(law):
    """Of 200,000 by NumPy, to five standard errors; and of the closed forms."""
    loss = lf.SquaredLoss.from_law(LAWS[law], TEACHER, noise_std=0.3)
    rng = np.random.default_rng(2)
    x = LAWS[law].sample(200_000, rng=rng)
    y = x @ TEACHER.T + 0.3 * rng.standard_normal((len(x), 2))
    product = rng.standard_normal((2, 3))

    def near(samples, expected):
        error = samples.std(axis=0) / np.sqrt(len(x))
        assert (np.abs(samples.mean(axis=0) - expected) <= 5 * error + 1e-12).all()

    apart = x @ product.T - y
    near(0.5 * (apart**2).sum(axis=1), loss.value(product))
    near(apart[:, :, None] * x[:, None, :], loss.gradient(product))
    near(x[:, :, None] * x[:, None, :], loss.input_cov)
    near(y[:, :, None] * x[:, None, :], loss.cross_cov)
    near((y**2).sum(axis=1), loss.output_power)
    assert_allclose(loss.least_loss, 0.3**2, rtol=1e-15)
    assert_array_equal(loss.minimizer, TEACHER)
    moments = lf.SquaredLoss(loss.input_cov, loss.cross_cov, loss.output_power)
    assert_allclose(moments.least_loss, loss.least_loss, rtol=1e-12)
    assert_allclose(moments.value(product), loss.value(product), rtol=1e-14)
    assert_allclose(moments.gradient(product), loss.gradient(product), rtol=1e-13, atol=1e-14)


@crossed(("runs", [(), (20,)]), ("law", LAWS))
def test_training_on_the_population_is_that_of_its_moments(law, runs):
    loss = loss_of(law, runs)
    moments = lf.SquaredLoss(loss.input_cov, loss.cross_cov, loss.output_power, loss.residual_power)
    start = make_start(WIDTHS, runs, scale=0.4)
    options = {"method": lf.GradientDescent(0.02), "n_steps": 40, "record": RECORD}
    run = lf.train(lf.Dense(WIDTHS), loss, start, n_threads=2, **options)
    for other in (
        lf.train(lf.Dense(WIDTHS), moments, start, **options),
        reference.train(lf.Dense(WIDTHS), loss, start, **options),
    ):
        for name, array in parts(other).items():
            assert_allclose(parts(run)[name], array, rtol=1e-12, atol=1e-12, err_msg=name)
    flow = {"method": lf.GradientFlow(1e-11), "until": 1.0,
            "record": lf.Record.at_times([0.0, 1.0], ("loss", "product"))}  # fmt: skip
    run, other = (lf.train(lf.Dense(WIDTHS), one, start, **flow) for one in (loss, moments))
    assert_allclose(run.product, other.product, atol=1e-9)
    single = {**options, "dtype": np.float32}
    run, other = (lf.train(lf.Dense(WIDTHS), one, start, **single) for one in (loss, moments))
    assert_allclose(run.product, other.product, atol=1e-5)


def test_near_the_teacher_nothing_cancels():
    """The loss falls to rounding squared, as that of no other form with samples of size 1 would."""
    loss = lf.SquaredLoss.from_law(LAWS["gaussian"], TEACHER)
    for method in (lf.GradientDescent(0.1), online(20)):
        run = lf.train(lf.Dense((3, 2)), loss, [np.zeros((2, 3))], method=method, n_steps=5000)
        assert 0 <= run.loss[-1] < 1e-30


@crossed(("runs", [(), (3,), (2, 9)]), ("law", LAWS))
def test_fresh_samples_are_those_of_the_reference(law, runs):
    start = make_start(WIDTHS, runs, scale=0.4)
    options = {"n_steps": 12, "record": RECORD}
    for method in (
        online(7, seed=5),
        online([(0, 1), (4, 130)], seed=2**64 - 1),
        lf.StochasticGradientDescent(0.02, 3, seed=1),
        lf.GradientDescent(lf.StepRule.loss_normalized(0.01), batches=lf.Batches(6)),
    ):
        for loss in (loss_of(law), loss_of(law, runs)):
            run = lf.train(lf.Dense(WIDTHS), loss, start, method=method, n_threads=2, **options)
            slow = reference.train(lf.Dense(WIDTHS), loss, start, method=method, **options)
            for name, array in parts(slow).items():
                assert_allclose(parts(run)[name], array, rtol=1e-11, atol=1e-12, err_msg=name)


# Laws have two dimensions and more.
@pytest.mark.parametrize("chain", few([c for c in CHAINS if c.n_inputs > 1], 8), ids=str)
def test_every_network_sees_fresh_samples(chain):
    rng = np.random.default_rng(0)
    teacher = rng.standard_normal((5, chain.n_outputs, chain.n_inputs))
    loss = lf.SquaredLoss.from_law(laws.Ball(chain.n_inputs), teacher, noise_std=0.2)
    start = lf.initialization.gaussian(chain, scale=0.4, rng=0, batch_shape=5)
    options = {"method": online(6, 0.01), "n_steps": 6, "record": lf.Record.every(3)}
    run = lf.train(chain, loss, start, n_threads=2, **options)
    slow = reference.train(chain, loss, start, **options)
    for name, array in parts(slow).items():
        assert_allclose(parts(run)[name], array, rtol=1e-11, atol=1e-12, err_msg=name)


@crossed(
    ("dtype", [np.float64, np.float32]),
    ("widths", [(3, 2), WIDTHS, (3, 30, 30, 2)]),
    ("law", ["gaussian", "mixture"]),
)
def test_bits_depend_on_the_run_alone(law, widths, dtype):
    number = np.arange(50)
    whole_loss = loss_of(law, (50,))
    start = [np.array(w) for w in make_start(widths, (50,), scale=0.5, dtype=dtype)]
    start[0][number % 16 == 5] *= dtype(1e15 if dtype == np.float32 else 1e150)
    streams = (7 * number) % 11

    def train(which, n_steps=30, weights=None, **options):
        loss = lf.TeacherLoss(
            whole_loss.law, whole_loss.teacher[which], whole_loss.noise_std[which]
        )
        method = online(70, (0.002 + 0.0005 * (number % 5))[which], streams=streams[which])
        return lf.train(
            lf.Dense(widths), loss, [w[which] for w in start] if weights is None else weights,
            method=method, n_steps=n_steps, record=lf.Record.every(6, ("loss", "product")), **options,
        )  # fmt: skip

    whole = train(slice(None), n_threads=1)
    assert_same(train(slice(None), n_threads=3), whole)
    for which in (slice(7, 8), slice(20, 31), slice(None, None, -1), slice(0, 50, 8)):
        assert_same(train(which, n_threads=2), whole, which)
    half = train(slice(None), n_steps=12)
    rest = train(slice(None), n_steps=18, weights=half.final)
    for name, array in parts(rest).items():
        if name.startswith(("final", "status", "stopped")):
            assert_array_equal(array, parts(whole)[name], err_msg=name)


@pytest.mark.parametrize("law", LAWS)
def test_gradients_of_steps_scatter_about_that_of_the_population(law):
    """4,000 runs take one step of size 1 from the same product: each entry of the mean, and its scatter."""
    loss = lf.SquaredLoss.from_law(LAWS[law], TEACHER, noise_std=0.4)
    here = np.array([[0.5, -1.0, 0.0], [1.0, 0.25, -0.5]])
    n, size = 4000, 8
    run = lf.train(
        lf.Dense((3, 2)), loss, [np.broadcast_to(here, (n, 2, 3))],
        method=online(size, 1.0, seed=11), n_steps=1, record=lf.Record.at([0], ("loss", "product")),
    )  # fmt: skip
    assert_allclose(run.loss, loss.value(here), rtol=1e-14)  # what is recorded is the population's
    gradients = here - run.final.weights[0]
    z = (gradients.mean(axis=0) - loss.gradient(here)) / (gradients.std(axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 4
    x = LAWS[law].sample(100_000, rng=np.random.default_rng(3))
    noise = 0.4 * np.random.default_rng(4).standard_normal((len(x), 2))
    each = (x @ (here - TEACHER).T - noise)[:, :, None] * x[:, None, :]
    assert_allclose(gradients.std(axis=0), each.std(axis=0) / np.sqrt(size), rtol=0.06)


def test_noise_alone_is_normal():
    """At the teacher a step of one sample is noise times input: of a circle its square is known."""
    loss = lf.SquaredLoss.from_law(laws.Sphere(2), np.zeros((1, 2)), noise_std=[[0.5], [2.0]])
    run = lf.train(
        lf.Dense((2, 1)), loss, [np.zeros((1, 2))],
        method=online(1, 1.0, streams=np.arange(5000)), n_steps=1,
    )  # fmt: skip
    size = np.linalg.norm(run.final.weights[0], axis=(-2, -1)) / np.array([[0.5], [2.0]])
    assert_allclose(size[0], size[1], rtol=1e-12)  # runs of one stream see the same numbers
    assert abs((size[0] ** 2).mean() - 1) < 4 * np.sqrt(2 / 5000)
    assert abs((size[0] ** 4).mean() - 3) < 4 * np.sqrt(96 / 5000)


def test_samples_of_the_reference():
    loss = loss_of("ball")
    drawn = draw(loss, online(1000, seed=3), 17, 5)
    assert isinstance(drawn, lf.SampledSquaredLoss)
    noise = drawn.outputs - drawn.inputs @ loss.teacher.T
    assert abs(noise.std() / float(loss.noise_std) - 1) < 0.1
    assert np.linalg.norm(drawn.inputs, axis=1).max() <= 2


def test_stop_evaluate_observe_and_files(tmp_path):
    loss = loss_of()
    start = make_start(WIDTHS, (6,), scale=0.4)
    limit = 1.05 * float(loss.least_loss)
    record = lf.Record.every(50, ("loss",), evaluate={"risk": loss})
    run = lf.train(lf.Dense(WIDTHS), loss, start, method=online(20, seed=1), n_steps=4000,
                   stop=lf.Stop(loss=limit), record=record)  # fmt: skip
    assert (run.status == lf.Status.CONVERGED).all()
    assert_array_equal(run.loss, run.loss_risk)
    seen = lf.observe(lf.Dense(WIDTHS), loss, run.final.weights, ("loss",))["loss"]
    assert (seen <= limit).all()
    run.save(tmp_path / "run.npz")
    again = lf.Trajectory.load(tmp_path / "run.npz")
    assert repr(again.loss_function) == repr(loss)
    assert_array_equal(again.loss_function.teacher, loss.teacher)
    assert float(again.loss_function.noise_std) == float(loss.noise_std)


def test_sweeps():
    losses = [loss_of(law) for law in ("gaussian", "gaussian")]
    losses[1] = lf.TeacherLoss(losses[0].law, 2 * TEACHER)
    training = lf.Training(
        lf.Dense(WIDTHS), losses[0], lf.Start("gaussian", 0.4),
        method=lf.StochasticGradientDescent(0.01, 4), n_steps=30,
    )  # fmt: skip
    parameters = {"data": lf.Axis(["a", "b"], {"loss": losses}), "method.step_size": [0.01, 0.02]}
    spec = lf.grid(training, parameters, replicates=3, derived="final_loss")
    assert len(spec.groups) == 1
    data = lf.sweep(spec, progress=False)
    arrays = {}
    assert decode(spec.encode(arrays), spec.derived, arrays).id == spec.id
    noisy = lf.grid(
        training, {"loss.noise_std": [0.0, 0.5], "loss.law.scale": [1.0, 2.0]}, derived="final_loss"
    )
    assert lf.sweep(noisy, progress=False).final_loss.shape == (2, 2)
    assert np.isfinite(data.final_loss).all()


def test_plain_data():
    data = plain.encode(lf.TeacherLoss(laws.Sphere(2), [[1.0, 2.0]]))
    assert data["teacher"] == [[1.0, 2.0]]
    assert "noise_std" not in data
    assert repr(plain.decode("loss", data)).startswith("TeacherLoss(Sphere(dim=2, radius=1.0), ")


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((3, TEACHER), TypeError, r"law must be one of linnet_fast\.laws, got int"),
        ((LAWS["ball"], TEACHER[0]), ValueError, r"teacher must have shape \(\*run, out, 3\)"),
        ((LAWS["ball"], TEACHER.T), ValueError, r"teacher must have shape \(\*run, out, 3\)"),
        ((LAWS["ball"], np.nan * TEACHER), ValueError, "teacher must be finite"),
        ((LAWS["ball"], TEACHER, -1.0), ValueError, "noise_std must be"),
        ((LAWS["ball"], TEACHER, np.inf), ValueError, "noise_std must be finite"),
        ((LAWS["ball"], TEACHER, 1e200), ValueError, "noise_std must have moments within float64"),
        ((LAWS["ball"], 1e200 * TEACHER), ValueError, "teacher must have moments within float64"),
        ((laws.Ball(3, 1e200), TEACHER), ValueError, "law must have moments within float64"),
        ((LAWS["ball"], TEACHER + np.zeros((4, 1, 1)), np.ones(3)), ValueError, "must broadcast"),
    ],
)
def test_arguments_that_are_refused(arguments, exception, message):
    with pytest.raises(exception, match=message):
        lf.TeacherLoss(*arguments)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lf.Batches("all"), "batches must be drawn with replacement for fresh samples of a law"),
        (lf.Batches(3, replace=False), "batches must be drawn with replacement for fresh samples"),
        (lf.Batches(3, label_noise_std=0.1), "label_noise_std must be 0 for a loss without"),
    ],
)
def test_batches_that_are_refused(batches, message):
    with pytest.raises(ValueError, match=message):
        lf.train(lf.Dense((3, 2)), loss_of(), [np.zeros((2, 3))],
                 method=lf.GradientDescent(0.1, batches=batches), n_steps=1)  # fmt: skip
