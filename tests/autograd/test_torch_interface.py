"""What PyTorch's autograd offers around the tape: the same script through both libraries, or against the definition."""
import numpy as np
import pytest

import minidl as m
from minidl import autograd

X = np.random.default_rng(0).standard_normal((3, 4))


def both(script):
    """What a script of a library and a leaf returns, the same in both."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    found = [[np.asarray(v.detach()) if hasattr(v, "detach") else v for v in script(lib, lib.tensor(X, requires_grad=True))]
             for lib in (m, torch)]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_backward_of_several_and_into_chosen_inputs():
    def script(lib, x):
        y = x * 2
        y.retain_grad()
        lib.autograd.backward([y, (x * x).sum()], [lib.tensor(X), None], retain_graph=True)
        z = lib.tensor(X, requires_grad=True)
        (x * z * y).sum().backward(inputs=[z, y])
        assert z.grad is not None
        return x.grad, y.grad, z.grad
    both(script)
    with pytest.raises(ValueError, match="inputs is empty"):
        m.tensor(1.0, requires_grad=True).backward(inputs=[])
    with pytest.raises(ValueError, match="2 grad_tensors for 1 outputs"):
        autograd.backward(m.tensor(1.0, requires_grad=True), [None, None])


def test_gradients_in_a_batch_and_zeros_for_what_was_not_used():
    def script(lib, x):
        y, unused = x ** 3, lib.tensor(X, requires_grad=True)
        seeds = lib.tensor(np.stack([X, 2 * X]))
        g, zero = lib.autograd.grad(y, [x, unused], seeds, is_grads_batched=True, create_graph=True, materialize_grads=True)
        second, = lib.autograd.grad((g * g).sum(), x)
        return g, zero, second, *lib.autograd.grad(x.sum(), [x, unused], materialize_grads=True)
    both(script)


def test_hooks_and_what_is_kept():
    def script(lib, x):
        seen = []
        x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.sum().item()))
        y = x * 2
        assert y.grad_fn is not None and x.grad_fn is None and not y.retains_grad
        y.retain_grad()
        y.register_hook(lambda g: g * 5)  # before what is kept
        assert y.retains_grad
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        return y.grad, x.grad, *seen
    both(script)
    x = m.tensor(X, requires_grad=True)
    with pytest.raises(RuntimeError, match="retain_grad"):
        m.tensor(X).retain_grad()
    with pytest.raises(RuntimeError, match="leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)
    y = x * 2
    assert y.detach_() is y and y.is_leaf and not y.requires_grad
    with pytest.raises(RuntimeError, match="detach_"):
        (x * 2)[0].detach_()


def test_switches():
    x = m.tensor(X, requires_grad=True)
    with m.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    m.set_grad_enabled(False)
    assert not m.is_grad_enabled()
    m.set_grad_enabled(True)
    assert (x * 2).requires_grad

    @m.no_grad
    def bare(x):
        return x * 2

    @m.set_grad_enabled(False)
    def called(x):
        return x * 2

    @m.no_grad()
    def generated():
        sent = yield m.is_grad_enabled()
        yield sent, m.is_grad_enabled()
    assert m.is_grad_enabled() and not bare(x).requires_grad and not called(x).requires_grad
    values = generated()
    assert next(values) is False and m.is_grad_enabled() and values.send(3) == (3, False) and m.is_grad_enabled()
    with m.inference_mode():
        assert not (x * 2).requires_grad
    with m.inference_mode(False):
        assert (x * 2).requires_grad


def test_anomalies_are_looked_for_where_it_is_asked():
    x = m.tensor([0.0, -1.0], requires_grad=True)
    with autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match="NaN"):
        m.sqrt(x).sum().backward()
    with autograd.detect_anomaly(check_nan=False):
        m.sqrt(x).sum().backward()
    autograd.set_detect_anomaly(False)
    m.sqrt(x).sum().backward()


def test_functions_in_pytorchs_forms():
    def script(lib, x):
        class Product(lib.autograd.Function):
            @staticmethod
            def forward(a, b):
                return a * b

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.save_for_backward(*inputs)

            @staticmethod
            def backward(ctx, g):
                a, b = ctx.saved_tensors
                return g * b, g * a, None, None

        class Doubled(lib.autograd.Function):
            @staticmethod
            def forward(ctx, a):
                a.mul_(2)
                ctx.mark_dirty(a)
                return a

            @staticmethod
            def backward(ctx, g):
                return g * 2
        y = x * 1
        assert Doubled.apply(y) is y
        Product.apply(y, x).sum().backward()
        with pytest.raises(RuntimeError):
            Doubled.apply(x)
        return y, x.grad
    both(script)


def test_a_backward_without_a_derivative_says_so():
    class Square(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @autograd.once_differentiable
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]
    x = m.tensor(X, requires_grad=True)
    g, = m.grad((Square.apply(x) * x).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), 3 * X * X)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        m.grad(g.sum(), x)


def test_gradcheck_takes_pytorchs_options():
    x = m.tensor(X, requires_grad=True)
    assert autograd.gradcheck(func=lambda a: a ** 2, inputs=(x,), fast_mode=True, nondet_tol=0.0)
    assert autograd.gradgradcheck(lambda a: a ** 3, x, gen_non_contig_grad_outputs=True)
    with pytest.raises(TypeError, match="unknown option 'speed'"):
        autograd.gradcheck(lambda a: a, x, speed=1)


def test_checkpoints_of_a_sequence_of_functions():
    layers = [m.tanh, m.sin, lambda x: x * x, m.cos, m.exp]
    whole, parts = (m.tensor(X, requires_grad=True) for _ in range(2))
    y = whole
    for layer in layers:
        y = layer(y)
    z = autograd.checkpoint_sequential(layers, 2, parts, use_reentrant=False)
    np.testing.assert_array_equal(y.detach().numpy(), z.detach().numpy())
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_array_equal(whole.grad.numpy(), parts.grad.numpy())
    with pytest.raises(ValueError, match="segments=6"):
        autograd.checkpoint_sequential(layers, 6, parts)
    dropped = autograd.checkpoint(lambda a: a * 2, parts, use_reentrant=False, preserve_rng_state=False)
    assert m.grad(dropped.sum(), parts)[0].tolist() == np.full((3, 4), 2.0).tolist()
