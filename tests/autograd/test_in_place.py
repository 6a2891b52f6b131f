"""Changes in place: recorded where that is right, an error where a gradient would be wrong."""
import numpy as np
import pytest

import minidl as m


def leaf(*values):
    return m.tensor(values if len(values) > 1 else values[0], dtype=m.float64, requires_grad=True)


def test_a_change_in_place_of_what_backward_needs_is_an_error():
    x = leaf(1.0, 2.0)
    a = x * 1
    y = (a * a).sum()
    a += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_change_in_place_of_what_backward_does_not_need_is_right():
    x = leaf(1.0, 2.0)
    a = x * 3
    a += x
    a *= 2
    a.sum().backward()
    assert x.grad.tolist() == [8, 8]


def test_a_change_of_a_saved_output_is_an_error():
    x = leaf(1.0)
    y = m.exp(x)
    z = y * 1
    y += 1
    with pytest.raises(RuntimeError, match="backward of exp"):
        z.backward()


def test_a_change_through_a_view_is_seen():
    x = leaf(1.0, 2.0)
    w = m.tensor([1.0, 2.0], dtype=m.float64)
    y = (x * w).sum()
    w[0] = 5
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    y = (x * w).sum()
    w.reshape(1, 2)[0] += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    y = (x * w).sum()
    w.detach().zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_leaf_may_be_changed_only_outside_the_tape():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf"):
        x += 1
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1
    assert x.tolist() == [1, 2]
    with m.no_grad():
        x += 1
        x[0] = 7
    assert x.tolist() == [7, 3] and x.is_leaf and x.requires_grad


def through_views(lib, x):
    """Changes through views of what the tape knows, in NumPy's terms that PyTorch shares."""
    a = x * 1
    a[0] += x[1] * x[1]       # a row, and assigned again
    b = a[:, 1:]
    b -= x[:, :2]             # part of all rows
    b *= 2
    c = a.reshape(-1)
    c[2:5] *= 3               # a view of a view, also assigned again
    a.T[1] += 5               # another order
    d = lib.sin(x).reshape(3, 2).reshape(2, 3)
    d += x                    # of a result without a name
    return (a * a).sum() + (d * a).sum()


def test_a_change_through_a_view_is_recorded_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    values = np.random.default_rng(0).standard_normal((2, 3))
    found = []
    for lib in (m, torch):
        x = lib.tensor(values, requires_grad=True)
        y = through_views(lib, x)
        y.backward()
        found.append((y.item(), x.grad.tolist()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)


def test_changes_through_views_have_derivatives_of_any_order():
    x = m.tensor(np.random.default_rng(1).standard_normal((2, 3)), requires_grad=True)

    def changed(x):
        a = x * x
        a[0] += x[1] * x[0]
        a[:, 1] *= 2
        return a
    assert m.autograd.gradcheck(changed, x) and m.autograd.gradgradcheck(changed, x)


def test_a_change_through_a_view_is_an_error_where_the_tape_cannot_be_true():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf"):
        x[:1] += 1
    plain = m.zeros(1, 2, dtype=m.float64)
    with pytest.raises(RuntimeError, match="not on the tape"):
        plain[0] += x
    assert x.tolist() == [1, 2] and plain.tolist() == [[0, 0]]
    a = x * 1
    left, right = a[:1], a[1:]
    left *= 2
    with pytest.raises(RuntimeError, match="through another view"):
        right * 2
    assert (a * m.tensor([1.0, 10.0])).sum().item() == 22  # a itself knows


def test_a_view_made_before_a_recorded_change_is_stale():
    x = leaf(1.0, 2.0)
    a = x * 1
    v = a[:1]
    a *= 2
    with pytest.raises(RuntimeError, match="view"):
        v * 2


def test_setitem_on_the_tape():
    x, v = leaf(1.0, 2.0, 3.0), leaf(5.0)
    a = x * 1
    a[1] = v
    (a * m.Tensor(np.array([1.0, 10, 100]))).sum().backward()
    assert a.tolist() == [1, 5, 3] and x.grad.tolist() == [1, 0, 100] and v.grad.item() == 10


def test_setitem_records_a_value_that_needs_a_gradient_on_a_plain_tensor():
    v = leaf([[1.0, 2.0]])
    a = m.zeros(3, 2, dtype=m.float64)
    a[m.tensor([0, 2])] = v
    (a * a).sum().backward()
    assert v.grad.tolist() == [[4, 8]]


def test_in_place_results_must_fit():
    a = m.ones(2)
    with pytest.raises(ValueError, match="shape"):
        a += m.ones(3, 2)
    b = m.arange(3)
    with pytest.raises(TypeError, match="int64"):
        b += 1.5
    assert b.tolist() == [0, 1, 2]


def test_copy_and_fill_carry_gradients():
    x, v = leaf(1.0, 2.0), leaf(3.0)
    a = x * 1
    a.copy_(v)
    (a * a).sum().backward()
    assert x.grad.tolist() == [0, 0] and v.grad.item() == 12
    b = (x * 1).zero_()
    assert b.tolist() == [0, 0]


def test_what_no_gradient_needs_is_not_kept():
    x, w = leaf([[1.0, 2.0]]), m.tensor([[3.0, 4.0]], dtype=m.float64)
    for operation in (lambda a: a * 2, lambda a: a * w, lambda a: a / w, lambda a: a @ w.mT, lambda a: m.ops.linear(a, w)):
        a = x * 1
        y = operation(a)
        a += 1  # backward needs w alone
        y += 1  # and not the result
        y.sum().backward()
    assert x.grad.shape == (1, 2)


CHANGES = {
    "mul_": lambda y, w: y.mul_(w), "div_": lambda y, w: y.div_(w), "clamp_": lambda y, w: y.clamp_(min=0.0),
    "lerp_": lambda y, w: y.lerp_(w, 0.3), "addcmul_": lambda y, w: y.addcmul_(w, w, value=2),
    "sqrt_": lambda y, w: y.sqrt_(), "pow": lambda y, w: y.__ipow__(3), "a row": lambda y, w: y[1].mul_(w[0]),
    "a mask": lambda y, w: y.masked_fill_(w > 0, 1.0)}


@pytest.mark.parametrize("name", CHANGES)
def test_the_derivative_of_a_change_has_the_values_before(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    values, found = np.random.default_rng(0).uniform(0.5, 2, (2, 3)), []
    for lib in (m, torch):
        x, w = lib.tensor(values, requires_grad=True), lib.tensor(values[::-1] - 1, requires_grad=True)
        y = x * 2
        CHANGES[name](y, w)
        (y * y).sum().backward()
        found.append([np.zeros((2, 3)) if v.grad is None else v.grad.numpy() for v in (x, w)])
    np.testing.assert_allclose(*found, rtol=1e-12)
