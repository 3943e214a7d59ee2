"""Losses that users write, as functions of matrices: what is called, and what is refused."""

from __future__ import annotations

import copy
import ctypes
import pickle

import custom_functions as own
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import LowLevelCallable

import linnet_fast as lf
from linnet_fast.training import plain

PRODUCTS = np.random.default_rng(0).standard_normal((4, 5, 2, 3))


def squared():
    return lf.SquaredLoss.from_data(own.INPUTS, own.TARGETS, form="samples")


@pytest.mark.parametrize(
    "function",
    [own.squared, own.by_ctypes(own.squared), "custom_functions:squared"],
    ids=["python", "ctypes", "named"],
)
def test_values_and_gradients_are_those_of_the_function(function):
    loss = lf.CustomLoss(function, (2, 3))
    assert (loss.n_outputs, loss.n_inputs, loss.run_shape) == (2, 3, ())
    assert_allclose(loss.value(PRODUCTS), squared().value(PRODUCTS), rtol=1e-13)
    assert_allclose(loss.gradient(PRODUCTS), squared().gradient(PRODUCTS), atol=1e-13)
    assert loss.value(PRODUCTS[0, 0]).shape == ()
    assert loss.value(np.zeros((0, 2, 3))).shape == (0,)
    assert loss.gradient(PRODUCTS.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    "function",
    [own.to_target, own.to_target_by_ctypes, "custom_functions:to_target_by_ctypes"],
    ids=["python", "ctypes", "named"],
)
def test_parameters_go_with_their_runs(function):
    targets = np.random.default_rng(1).standard_normal((5, 2, 3))
    loss = lf.CustomLoss(function, (2, 3), targets.reshape(5, 6))
    assert loss.run_shape == (5,)
    expected = 0.5 * ((PRODUCTS - targets) ** 2).sum(axis=(-2, -1))
    assert_allclose(loss.value(PRODUCTS), expected, rtol=1e-13)
    assert_allclose(loss.gradient(PRODUCTS), PRODUCTS - targets, atol=1e-14)
    assert_allclose(loss.of_run((3,), (5,)).value(PRODUCTS[0, 3]), expected[0, 3], rtol=1e-13)
    together = type(loss).stacked([loss.of_run((k,), (5,)) for k in (4, 1)], np.array([1, 0, 0]))
    assert_array_equal(together.parameters, targets[[1, 4, 4]].reshape(3, 6))


def test_a_compiled_function_has_data_of_its_own(tmp_path_factory):
    library = own.library(str(tmp_path_factory.mktemp("c")))
    if library is None:
        pytest.skip("there is no compiler")
    factor = ctypes.c_double(3.0)
    data = ctypes.cast(ctypes.pointer(factor), ctypes.c_void_p)
    loss = lf.CustomLoss(LowLevelCallable(library.to_target, data), (2, 3), np.ones(6))
    assert_allclose(
        loss.value(PRODUCTS), 1.5 * ((PRODUCTS - 1) ** 2).sum(axis=(-2, -1)), rtol=1e-13
    )
    assert_allclose(loss.gradient(PRODUCTS), 3 * (PRODUCTS - 1), atol=1e-13)
    first = lf.CustomLoss(LowLevelCallable(library.first_entry), (2, 3)).gradient(PRODUCTS)
    assert_array_equal(first[..., 0, 0], 2 * PRODUCTS[..., 0, 0])
    assert np.count_nonzero(first) == first[..., 0, 0].size


def test_numba_compiles_one():
    numba = pytest.importorskip("numba")
    types = numba.types

    @numba.cfunc(types.double(types.intp, types.intp, types.CPointer(types.double),
                              types.CPointer(types.double), types.voidptr))  # fmt: skip
    def half_square(out, n_in, product, gradient, _data):
        total = 0.0
        for i in range(out * n_in):
            gradient[i] = product[i]
            total += product[i] ** 2
        return total / 2

    loss = lf.CustomLoss(LowLevelCallable(half_square.ctypes), (2, 3))
    assert_allclose(loss.value(PRODUCTS), 0.5 * (PRODUCTS**2).sum(axis=(-2, -1)), rtol=1e-13)
    start = lf.initialization.gaussian(lf.Dense((3, 4, 2)), scale=0.3, rng=0, batch_shape=20)
    options = {"method": lf.GradientDescent(0.05), "n_steps": 50}
    run = lf.train(lf.Dense((3, 4, 2)), loss, start, **options)
    other = lf.SquaredLoss(np.eye(3), np.zeros((2, 3)), 0.0)
    assert_allclose(
        run.loss, lf.train(lf.Dense((3, 4, 2)), other, start, **options).loss, atol=1e-13
    )
    with pytest.raises(TypeError, match=r"function must be wrapped in scipy\.LowLevelCallable"):
        lf.CustomLoss(half_square, (2, 3))


def test_the_function_may_do_with_its_arrays_what_it_likes():
    kept = []

    def greedy(products):
        kept.append(products)
        values = 0.5 * (products**2).sum(axis=(1, 2))
        return values, products

    given = PRODUCTS.copy()
    loss = lf.CustomLoss(greedy, (2, 3))
    loss.gradient(given)[:] = 7
    assert_array_equal(given, PRODUCTS)

    def in_place(products):
        values = 0.5 * (products**2).sum(axis=(1, 2))
        products *= 1
        return values, products

    assert_allclose(lf.CustomLoss(in_place, (2, 3)).gradient(given), PRODUCTS)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    ("returned", "exception", "message"),
    [
        (lambda _p: None, TypeError, r"function must return \(values, gradients\), got None"),
        (lambda p: p, TypeError, r"function must return \(values, gradients\)"),
        (lambda p: (p[:, 0, 0], p, p), TypeError, r"function must return \(values, gradients\)"),
        (
            lambda _p: (0.0, 0.0),
            ValueError,
            r"values that function returns must have shape \(\d,\)",
        ),
        (lambda p: (p, p), ValueError, "values that function returns must have shape"),
        (
            lambda p: (p[:, 0, 0], p[:, 0]),
            ValueError,
            r"gradients that function returns must have shape \(\d, 2, 3\), got \(\d, 3\)",
        ),
        (lambda p: (p[:, 0, 0], p.mT), ValueError, "gradients that function returns must have"),
        (lambda p: (p[:, 0, 0] + 0j, p), TypeError, "values that function returns must be a real"),
        (lambda p: (p[:, 0, 0], p.astype(object)), TypeError, "gradients that function returns"),
        (lambda p: (["a"] * len(p), p), TypeError, "values that function returns must be a real"),
        (lambda p: (p[:, 0, 0], np.ma.masked_array(p)), TypeError, "gradients that function"),
        (lambda p: (p[:, 0, 0], [[1.0], 2.0]), ValueError, "gradients that function returns"),
    ],
)
def test_what_a_function_must_not_return(n, returned, exception, message):
    loss = lf.CustomLoss(returned, (2, 3))
    with pytest.raises(exception, match=message):
        loss.value(PRODUCTS[0, :n])
    start = lf.initialization.gaussian(lf.Dense((3, 2)), scale=0.3, rng=0, batch_shape=n)
    options = {"method": lf.GradientDescent(0.05), "n_steps": 5, "n_threads": 2}
    with pytest.raises(exception, match=message):
        lf.train(lf.Dense((3, 2)), loss, start, **options)
    assert lf.train(lf.Dense((3, 2)), squared(), start, **options).status.max() == 0


def test_integers_and_lists_will_do():
    loss = lf.CustomLoss(lambda p: ([1] * len(p), np.ones(p.shape, np.int32)), (2, 3))
    assert_array_equal(loss.value(PRODUCTS), np.ones((4, 5)))
    assert_array_equal(loss.gradient(PRODUCTS), np.ones(PRODUCTS.shape))


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((3, (2, 3)), TypeError, "function must be callable, a LowLevelCallable or an import path"),
        ((None, (2, 3)), TypeError, "function must be callable"),
        (("squared", (2, 3)), ValueError, "function must be an import path 'module:function'"),
        (("a b:c", (2, 3)), ValueError, "function must be an import path 'module:function'"),
        (("m:f()", (2, 3)), ValueError, "function must be an import path 'module:function'"),
        ((own.squared, 3), TypeError, "shape must be"),
        ((own.squared, (2, 3, 4)), ValueError, r"shape must be two integers, \(out, in\)"),
        ((own.squared, (0, 3)), ValueError, "shape"),
        ((own.squared, (2, 3), 1.0), ValueError, r"parameters must have shape \(\*run, k\)"),
        ((own.squared, (2, 3), [np.nan]), ValueError, "parameters must be finite"),
        ((own.squared, (2, 3), ["a"]), TypeError, "parameters must be"),
        ((own.squared, (2, 3), np.zeros((3, 0))), ValueError, "parameters must not be empty"),
    ],
)
def test_arguments_that_are_refused(arguments, exception, message):
    with pytest.raises(exception, match=message):
        lf.CustomLoss(*arguments)


def callback(result, *kinds):
    return LowLevelCallable(ctypes.CFUNCTYPE(result, *kinds)(lambda *_: 0))


@pytest.mark.parametrize(
    ("function", "has_parameters"),
    [
        (callback(own.NUMBER, own.NUMBER), False),
        (callback(own.NUMBER, *own.SIZES, own.NUMBERS), False),
        (callback(own.NUMBER, *own.SIZES, own.NUMBERS, own.NUMBERS), True),
        (callback(own.NUMBER, *own.SIZES, own.NUMBERS, own.NUMBERS, own.NUMBERS), False),
        (callback(ctypes.c_int, *own.SIZES, own.NUMBERS, own.NUMBERS), False),
        (callback(own.NUMBER, ctypes.c_int, ctypes.c_int, own.NUMBERS, own.NUMBERS), False),
        (callback(own.NUMBER, *own.SIZES, ctypes.POINTER(ctypes.c_float), own.NUMBERS), False),
        (callback(own.NUMBER, *own.SIZES, ctypes.c_void_p, own.NUMBERS), False),
        (callback(own.NUMBER, *[ctypes.c_void_p] * 6), True),
    ],
)
def test_other_signatures_are_refused(function, has_parameters):
    parameters = [1.0] if has_parameters else None
    with pytest.raises(ValueError, match=r"function must have the signature 'double \(intptr_t,"):
        lf.CustomLoss(function, (2, 3), parameters)


@pytest.mark.parametrize(
    "signature",
    [
        "double (intptr_t, intptr_t, double *, double *)",
        "double (Py_ssize_t, npy_intp, double const *, double *, void *)",
        "double(ssize_t,ptrdiff_t,const double*,double*,void*)",
    ],
)
def test_other_words_for_the_same_signature(signature):
    made = own.by_ctypes(own.squared)
    named = LowLevelCallable(made.function, signature=signature)
    loss = lf.CustomLoss(named, (2, 3))
    assert_allclose(loss.value(PRODUCTS), squared().value(PRODUCTS), rtol=1e-13)
    start = lf.initialization.gaussian(lf.Dense((3, 2)), scale=0.3, rng=0)
    seen = lf.observe(lf.Dense((3, 2)), loss, start, ("loss",))
    assert_allclose(seen["loss"], squared().value(start[0]), rtol=1e-13)


def test_functions_that_are_called_directly_are_to_be_wrapped():
    bare = ctypes.CFUNCTYPE(own.NUMBER)(lambda: 0.0)
    with pytest.raises(TypeError, match=r"function must be wrapped in scipy\.LowLevelCallable"):
        lf.CustomLoss(bare, (2, 3))


def test_what_is_named_is_imported_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "named_loss.py").write_text("raise RuntimeError('run')")
    monkeypatch.syspath_prepend(tmp_path)
    loss = lf.CustomLoss("named_loss:f", (1, 2))
    assert repr(loss) == "CustomLoss(named_loss:f, shape=(1, 2), run_shape=())"
    with pytest.raises(RuntimeError, match="run"):
        loss.value(np.zeros((1, 2)))
    for path, message in (
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("custom_functions:nothing", "has no attribute 'nothing'"),
    ):
        missing = lf.CustomLoss(path, (1, 2))
        with pytest.raises(ValueError, match=f"function must be an import path .*{message}"):
            missing.value(np.zeros((1, 2)))
        with pytest.raises(ValueError, match=f"function must be an import path .*{message}"):
            lf.train(lf.Dense((2, 1)), missing, [np.zeros((1, 2))],
                     method=lf.GradientDescent(0.1), n_steps=2)  # fmt: skip
    with pytest.raises(TypeError, match="function must be callable"):
        lf.CustomLoss("custom_functions:LABELS", (1, 2)).value(np.zeros((1, 2)))


def test_copies_and_plain_data():
    loss = lf.CustomLoss(own.to_target, (2, 3), np.arange(12.0).reshape(2, 6))
    loss.value(PRODUCTS[:, :2])
    for again in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert again.function is own.to_target
        assert_array_equal(again.value(PRODUCTS[:, :2]), loss.value(PRODUCTS[:, :2]))
    data = plain.encode(loss)
    assert data["function"] == "custom_functions:to_target"
    again = plain.decode("loss", data)
    assert again.function == "custom_functions:to_target"
    assert plain.encode(again) == data
    assert_array_equal(again.value(PRODUCTS[:, :2]), loss.value(PRODUCTS[:, :2]))
    nowhere = lf.CustomLoss(lambda p: (p[:, 0, 0], p), (2, 3))
    with pytest.raises(TypeError, match="a function must be at the top level of a module"):
        plain.encode(nowhere)
    compiled = lf.CustomLoss(own.by_ctypes(own.squared), (2, 3))
    with pytest.raises(
        TypeError, match=r"function must be named, 'module:name', .* got a LowLevel"
    ):
        pickle.dumps(compiled)
    with pytest.raises(TypeError, match="a parameter must be a number"):
        plain.encode(compiled)
