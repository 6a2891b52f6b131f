"""Functions of one's own, checkpoints, and the checks by finite differences."""
import gc
import weakref

import numpy as np
import pytest

import minidl as m
from minidl.autograd import Function, checkpoint, gradcheck, gradgradcheck
from minidl.autograd.tensor import wrap


def doubles(*shape, seed=0):
    return m.Tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True)


class Cube(Function):
    """x**3, with its derivative written from the output: 3 y / x."""

    @staticmethod
    def forward(ctx, x):
        assert not m.is_grad_enabled()
        y = x * x * x
        ctx.save_for_backward(x, y, None)
        return y

    @staticmethod
    def backward(ctx, g):
        x, y, nothing = ctx.saved_tensors
        assert nothing is None
        return g * 3 * y / x


class Ends(Function):
    """(smallest, position of the largest, largest * scale)"""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale, ctx.shape = scale, x.shape
        ctx.low, ctx.high = int(m.argmin(x)), int(m.argmax(x))
        at = m.argmax(x)
        ctx.mark_non_differentiable(at)
        return m.min(x), at, m.max(x) * scale

    @staticmethod
    def backward(ctx, g_low, g_at, g_high):
        g = m.zeros(ctx.shape, dtype=g_low.dtype)
        g[ctx.low] = g_low
        g[ctx.high] = g_high * ctx.scale
        return g, None


def test_a_function_is_differentiable_any_number_of_times():
    x = doubles(5)
    assert gradcheck(Cube.apply, x) and gradgradcheck(Cube.apply, x)
    y = Cube.apply(x)
    assert (y - x ** 3).array.max() < 1e-12 and not Cube.apply(x.detach()).requires_grad


def test_missing_gradients_are_zeros_unless_asked_for():
    x = doubles(4)
    low, at, high = Ends.apply(x, 2.0)
    assert low.requires_grad and high.requires_grad and not at.requires_grad
    high.backward()
    assert x.grad.array.sum() == 2 and x.grad.array[at.item()] == 2

    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, a, b):
            assert a is None
            return b * 2
    x = doubles(2)
    Two.apply(x)[1].sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_needs_input_grad():
    seen = []

    class Product(Function):
        @staticmethod
        def forward(ctx, x, y):
            seen.append(ctx.needs_input_grad)
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g, None
    Product.apply(doubles(2), m.ones(2))
    Product.apply(m.ones(2), m.ones(2))
    assert seen == [(True, False), (False, False)]


def test_a_changed_saved_tensor_is_an_error():
    x = doubles(2)
    a = x * 1
    y = Cube.apply(a)
    a += 1
    with pytest.raises(RuntimeError, match=r"backward of Cube.*changed in place"):
        y.sum().backward()


def test_a_function_may_return_its_argument():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 3
    x = doubles(2)
    y = Same.apply(x)
    assert y is not x
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_mistakes_in_functions_are_named():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g, g
    with pytest.raises(RuntimeError, match=r"Wrong.backward: 2 gradients"):
        Wrong.apply(doubles(1)).backward()

    class NoTensor(Function):
        @staticmethod
        def forward(ctx, x):
            return 5
    with pytest.raises(TypeError, match=r"NoTensor.forward: returned int"):
        NoTensor.apply(doubles(1))
    with pytest.raises(NotImplementedError):
        Function.apply(doubles(1))
    with pytest.raises(NotImplementedError):
        Function.backward(None)


def test_a_functions_saved_output_makes_no_cycle():
    class Array(np.ndarray):
        """An ndarray that can be referred to weakly."""
    gc.disable()
    try:
        y = Cube.apply(wrap(np.ones(3).view(Array)).requires_grad_())
        died = weakref.ref(y.array)
        del y
        assert died() is None
    finally:
        gc.enable()


# ---- checkpoint ----
def block(x, w):
    return m.tanh(x @ w) @ w


def test_a_checkpoint_has_the_same_value_and_gradients():
    x, w = doubles(3, 4), doubles(4, 4, seed=1)
    y, z = block(x, w), checkpoint(block, x, w)
    assert (y.array == z.array).all()
    for a, b in zip(m.grad(y.sum(), [x, w]), m.grad(z.sum(), [x, w])):
        assert (a.array == b.array).all()
    assert gradgradcheck(lambda x, w: checkpoint(block, x, w), [doubles(2, 2), doubles(2, 2, seed=1)])


def test_a_checkpoint_reaches_what_its_function_holds():
    x, w = doubles(3, 4), doubles(4, 4, seed=1)
    scaled = w * 2  # recorded before
    y, z = block(x, scaled), checkpoint(lambda x: block(x, scaled), x)
    for a, b in zip(m.grad(y.sum(), [x, w], retain_graph=True), m.grad(z.sum(), [x, w])):
        np.testing.assert_allclose(a.array, b.array, rtol=1e-12)


def test_a_checkpoint_keeps_no_intermediate_result_and_repeats_random_numbers():
    calls = []

    def noisy(x):
        calls.append(m.is_grad_enabled())
        return x * m.rand(3, dtype=m.float64)
    m.manual_seed(7)
    x = doubles(3)
    y = checkpoint(noisy, x)
    before = m.rand(1).item()
    y.sum().backward()
    assert calls == [True, True]
    np.testing.assert_allclose(x.grad.array * x.detach().array, y.detach().array)
    m.manual_seed(7)
    m.rand(3, dtype=m.float64)
    assert m.rand(1).item() == before


def test_a_checkpoint_of_several_results_and_of_none_on_the_tape():
    x = doubles(3)
    _a, n, b = checkpoint(lambda x: (x * 2, m.argmax(x), x * x), x)
    assert not n.requires_grad
    b.sum().backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array)
    assert not checkpoint(lambda x: x * 2, m.ones(2)).requires_grad
    with m.no_grad():
        assert not checkpoint(lambda x: x * 2, x).requires_grad
    with pytest.raises(TypeError, match="checkpoint"):
        checkpoint(lambda x: 3, x)


def test_a_changed_argument_of_a_checkpoint_is_an_error():
    x = doubles(3)
    a = x * 1
    y = checkpoint(lambda a: a * a, a)
    a += 1
    with pytest.raises(RuntimeError, match=r"checkpoint.*changed in place"):
        y.sum().backward()


# ---- the checks themselves ----
class Mistaken(Function):
    """Twice x, with the gradient of three times x for its second element."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * m.Tensor(np.array([2.0, 3.0]))


def test_gradcheck_finds_a_wrong_entry_and_names_it():
    x = m.Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(AssertionError, match=r"output 0, element 1, by input 0, element 1: numeric 2.*analytic 3"):
        gradcheck(Mistaken.apply, x)
    assert gradcheck(Mistaken.apply, x, raise_exception=False) is False
    assert gradcheck(lambda x: x * 2, x) is True


def test_gradgradcheck_finds_a_wrong_second_derivative():
    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0].detach()
    x = doubles(2)
    assert gradcheck(Square.apply, x)
    assert gradgradcheck(Square.apply, x, raise_exception=False) is False
    assert gradgradcheck(lambda x: x * x, [x], [doubles(2, seed=3)])


def test_gradcheck_refuses_what_it_cannot_check():
    with pytest.raises(ValueError, match="float64"):
        gradcheck(m.exp, m.ones(2, requires_grad=True))
    with pytest.raises(ValueError, match="no input requires"):
        gradcheck(m.exp, m.ones(2))


def test_gradcheck_of_a_result_that_does_not_depend_on_the_input():
    assert gradcheck(lambda x: (x * 2, m.ones(2, dtype=m.float64)), doubles(2))
    assert gradcheck(lambda x: x * 2, doubles(0))
