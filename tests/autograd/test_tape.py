"""The tape: what is recorded, what backward does with it, and what it refuses."""
import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from strict_array import StrictArray

import minidl as m
from minidl.autograd import detect_anomaly
from minidl.autograd.tensor import wrap


def leaf(*values):
    return m.tensor(values if len(values) > 1 else values[0], dtype=m.float64, requires_grad=True)


# ---- backward ----
def test_a_chain_of_100000_operations_runs_and_is_freed_without_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.backward()
    assert y.item() == 100_001 and x.grad.item() == 1
    del y


def test_a_long_chain_that_never_runs_backward_is_freed_too():
    y = leaf(1.0)
    for _ in range(100_000):
        y = y * 1.0
    del y
    gc.collect()


def test_uses_of_a_tensor_add_up():
    x = leaf(3.0)
    a = x * 2
    (a * a + a + x).backward()  # 4 x^2 + 2 x + x
    assert x.grad.item() == 8 * 3 + 3


def test_a_second_backward_adds_to_grad():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    assert x.grad.tolist() == [7, 7]
    x.grad = None
    (x * 5).sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_the_tape_is_freed_by_backward():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward()


def test_retain_graph_keeps_the_tape():
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8


def test_backward_of_several_elements_needs_a_gradient_of_their_shape():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match="expected"):
        (x * 2).backward(m.ones(3))
    (x * 2).backward([1, 10])
    assert x.grad.tolist() == [2, 20]


def test_backward_without_a_tape_is_an_error():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        m.ones(1).backward()


def test_backward_of_a_leaf_itself():
    x = leaf(2.0)
    x.backward()
    assert x.grad.item() == 1


def test_third_derivative():
    x = leaf(2.0)
    y = x ** 4
    for expected in (32, 48, 48, 24):
        y, = m.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_create_graph_lets_grad_be_differentiated():
    x = leaf(3.0)
    (x ** 3).backward(create_graph=True)
    g, x.grad = x.grad, None
    g.backward()
    assert x.grad.item() == 18


def test_gradients_have_the_dtype_and_shape_of_their_tensor():
    x = m.ones(3, 1, requires_grad=True)
    y = m.ones(2, 3, 4, dtype=m.float64)
    (x * y).sum().backward()
    assert (x.grad.dtype, x.grad.shape) == (m.float32, (3, 1))
    assert x.grad.tolist() == [[8], [8], [8]]


@pytest.mark.parametrize("f", [lambda x: x + 0, lambda x: x.reshape(2, 1), lambda x: m.broadcast_to(x, (3, 2)), lambda x: +x,
                               lambda x: x - 1, lambda x: x[:], lambda x: m.concat([x, x])])
def test_a_leafs_gradient_shares_memory_with_nothing(f):
    x, z = leaf(1.0, 2.0), leaf(1.0, 2.0)
    y = f(x) + f(z)
    g = m.ones_like(y)
    y.backward(g)
    assert not np.may_share_memory(x.grad.array, g.array)
    assert not np.may_share_memory(x.grad.array, z.grad.array)
    x.grad.array[...] = 7  # writable, and nobody else's
    assert (g.array == 1).all() and not (z.grad.array == 7).any()


def test_intermediate_arrays_die_in_backward():
    class Array(np.ndarray):
        """An ndarray that can be referred to weakly."""
    x = wrap(np.ones(4).view(Array)).requires_grad_()
    inner = m.exp(x)
    died = weakref.ref(inner.array)
    y = m.exp(inner).sum()
    del inner
    assert died() is not None
    y.backward()
    assert died() is None


def test_a_tape_has_no_reference_cycles():
    class Array(np.ndarray):
        """An ndarray that can be referred to weakly."""
    gc.disable()
    try:
        x = wrap(np.ones(4).view(Array)).requires_grad_()
        y = m.tanh(m.exp(x) * x)
        died = weakref.ref(y.array)
        del y
        assert died() is None
    finally:
        gc.enable()


# ---- grad ----
def test_grad_leaves_grad_alone_and_takes_tensors_that_are_not_leaves():
    x = leaf(2.0)
    a = x * 3
    y = a * a + x
    ga, gx = m.grad(y, [a, x])
    assert (ga.item(), gx.item()) == (12, 37) and x.grad is None


def test_grad_of_several_outputs_with_their_gradients():
    x = leaf(1.0, 2.0)
    g, = m.grad([x * 2, (x * x).sum()], [x], [m.Tensor([1.0, 10.0]), None])
    assert g.tolist() == [4, 24]


def test_grad_of_an_unused_input():
    x, z = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match=r"inputs\[1\] was not used"):
        m.grad(x * 2, [x, z])
    assert m.grad(x * 2, [x, z], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match="does not require"):
        m.grad(x * 2, [m.ones(1)])
    with pytest.raises(ValueError, match="grad_outputs"):
        m.grad(x * 2, [x], [None, None])


def test_grad_skips_what_does_not_lead_to_the_inputs():
    x, z = leaf(2.0), leaf(3.0)
    ran = []
    side = z * 2
    side.register_hook(lambda g: ran.append(1))
    side = side * 2
    assert m.grad(x * side, x, retain_graph=True)[0].item() == 12
    assert m.grad(x * 5 + side, [side])[0].item() == 1


# ---- hooks ----
def test_hooks_see_and_replace_gradients():
    x = leaf(1.0, 2.0)
    seen = []
    a = x * 2
    a.register_hook(lambda g: seen.append(g.tolist()))
    handle = a.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    a.sum().backward()
    assert seen == [[1, 1]] and x.grad.tolist() == [21, 21]
    handle.remove()
    handle.remove()
    with pytest.raises(RuntimeError):
        m.ones(1).register_hook(print)


def test_a_hook_sees_the_whole_gradient_once():
    x = leaf(2.0)
    seen = []
    a = x * 1
    a.register_hook(lambda g: seen.append(g.item()))
    (a * 2 + a * 3).backward()
    assert seen == [5]


def test_a_hook_that_is_taken_away_does_not_run():
    x = leaf(2.0)
    a = x * 1
    a.register_hook(lambda g: g * 100).remove()
    a.backward()
    assert x.grad.item() == 1


def test_retain_grad():
    x = leaf(2.0)
    a = x * 3
    a.retain_grad()
    a.retain_grad()
    (a * a).backward()
    assert a.grad.item() == 12


# ---- modes ----
def test_no_grad_and_enable_grad_nest_and_decorate():
    x = leaf(1.0)
    with m.no_grad():
        assert not (x * 2).requires_grad and not m.is_grad_enabled()
        with m.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @m.no_grad()
    def plain(x):
        return x * 2
    assert not plain(x).requires_grad and plain.__name__ == "plain"
    switch = m.no_grad()
    with switch, switch:
        pass
    assert m.is_grad_enabled()


def test_a_mode_ends_with_an_exception():
    with pytest.raises(KeyError), m.no_grad():
        raise KeyError
    assert m.is_grad_enabled()


def test_modes_hold_for_one_thread_and_threads_do_not_disturb_each_other():
    found = {}

    def work(i):
        x = leaf(float(i))
        y = x
        for _ in range(200):
            y = y * 1.01
        y.backward()
        found[i] = (m.is_grad_enabled(), x.grad.item())
    with m.no_grad():
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert all(found[i] == (True, pytest.approx(1.01 ** 200)) for i in range(8))


def test_anomaly_mode_names_the_operation_and_where_it_was_called():
    x = leaf(0.0)
    with np.errstate(all="ignore"), detect_anomaly():
        y = m.sqrt(x * 0) * 0
        with pytest.raises(RuntimeError, match=r"(?s)backward of sqrt.*NaN.*test_tape"):
            y.backward()
    with np.errstate(all="ignore"):
        y = m.sqrt(x * 0) * 0
        with detect_anomaly(), pytest.raises(RuntimeError, match="outside detect_anomaly"):
            y.backward()


# ---- Tensor ----
def test_requires_grad_is_for_floats_and_stays_on_the_tape():
    with pytest.raises(TypeError, match="int64"):
        m.arange(3).requires_grad_()
    x = leaf(1.0)
    y = x * 2
    with pytest.raises(RuntimeError, match="detach"):
        y.requires_grad = False
    with pytest.raises(RuntimeError, match="detach"):
        y.numpy()
    assert not y.detach().requires_grad and x.is_leaf and not y.is_leaf


def test_deepcopy_copies_leaves_only():
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    y = copy.deepcopy(x)
    assert y.tolist() == [1, 2] and y.requires_grad and y.grad.tolist() == [2, 2] and y.array is not x.array
    with pytest.raises(RuntimeError, match="leaf"):
        copy.deepcopy(x * 2)


def test_an_operation_without_a_derivative_fails_when_called():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"unique_values.*derivative"):
        m.unique_values(x)
    assert m.argmax(x).item() == 1  # integers carry no gradient, so this is fine
    assert not (x > 1).requires_grad


def test_data_may_be_replaced():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    x.data = np.array([5.0, 6.0])
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    assert x.data.tolist() == [5, 6] and x.requires_grad


def test_arguments_are_checked_by_name():
    x = m.ones(2, 3)
    assert m.sum(x, dim=1, keepdim=True).shape == (2, 1)
    assert m.sum(input=x).item() == 6
    with pytest.raises(TypeError, match="unknown argument 'foo'"):
        m.sum(x, axis=0, foo=1)
    with pytest.raises(TypeError, match="missing argument 'x2'"):
        m.add(x1=x)
    with pytest.raises(TypeError, match="given twice"):
        m.add(x, x, x1=x)


def test_mistakes_in_an_operations_rule_are_named():
    with pytest.raises(TypeError, match="'z' is none of"):
        @m.autograd.op
        def twice(x):
            """2 x."""
            return x * 2

        @twice.vjp
        def twice_vjp(g, z):
            return g

    @m.autograd.op
    def thrice(x):
        """3 x."""
        return x * 3

    @thrice.vjp
    def thrice_vjp(g):
        return g, g
    y = thrice(leaf(1.0))
    assert "op=thrice" in repr(y) and "thrice" in repr(y._node)
    with pytest.raises(RuntimeError, match="2 gradients for 1"):
        y.backward()


# ---- leaving the tape ----
def test_a_tensor_as_an_array():
    a = np.ones(2)
    x = m.asarray(a)
    assert x.numpy() is a and np.asarray(x) is a and np.array(x, copy=True) is not a
    with pytest.raises(ValueError, match="copy=False"):
        np.array(x, dtype=np.float32, copy=False)
    with pytest.raises(RuntimeError, match="numpy: this tensor requires a gradient"):
        np.asarray(m.ones(2, requires_grad=True))
    with pytest.raises(ValueError, match="exactly one element"):
        x.item()


def test_an_array_of_another_library_goes_to_the_host_by_its_own_method():
    class Remote(StrictArray):
        device = "gpu:0"

        def get(self):
            return self._array
    x = wrap(Remote(np.ones(2)))
    assert x.device == "gpu:0" and x.numpy().tolist() == [1, 1]
    with pytest.raises(TypeError, match="StrictArray"):
        wrap(StrictArray(np.ones(2))).numpy()


def test_debug_mode_prints_the_tape():
    code = "import minidl as m; x = m.ones(1, requires_grad=True); m.exp(x * 2)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINIDL_DEBUG": "2"}, capture_output=True,
                          text=True, check=True)
    assert "multiply <- ['leaf', None]" in done.stderr and "exp <- ['multiply']" in done.stderr


def test_tensors_and_their_views_can_be_pickled():
    x = m.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    row = x.detach()[0]
    y, z = pickle.loads(pickle.dumps((x, row)))
    assert y.requires_grad and y.tolist() == x.tolist() and z.tolist() == [0, 1, 2]
    (y[0] * z).sum().backward()
    assert y.grad.tolist() == [[0, 1, 2], [0, 0, 0]]
