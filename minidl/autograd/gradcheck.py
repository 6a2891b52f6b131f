"""Derivatives checked against finite differences."""
import itertools

import numpy as np

from .engine import grad
from .tensor import Tensor, wrap

ACCEPTED = ("nondet_tol", "check_undefined_grad", "check_grad_dtypes", "check_batched_grad", "check_batched_forward_grad",
            "check_forward_ad", "check_backward_ad", "fast_mode", "masked", "gen_non_contig_grad_outputs",
            "check_fwd_over_rev", "check_rev_over_rev")


def gradcheck(func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, **accepted):
    """Whether the gradients of func(*inputs) agree with central finite differences.

    func: a function of tensors that returns a tensor or a tuple of them; of a complex one both parts are checked. inputs: a
    tensor or a sequence; those that require a gradient are checked and should be float64. An entry passes where
    |analytic - numeric| <= atol + rtol |numeric|.
    accepted: PyTorch's other options, which ask for checks of less or in another way: every entry is checked.
    Raises AssertionError naming the entry, or returns False with raise_exception=False; ValueError where nothing is checked.
    """
    known("gradcheck", accepted)
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires a gradient")
    for i in checked:
        if inputs[i].dtype != np.float64:
            raise ValueError(f"gradcheck: inputs[{i}] is {inputs[i].dtype}: float64 expected, or differences are too coarse")
    outputs = [y for y in _outputs(func(*inputs)) if y.dtype.kind == "f"]
    try:
        for k, y in enumerate(outputs):
            numeric = [_numeric(func, inputs, i, k, eps) for i in checked]
            analytic = _analytic(y, [inputs[i] for i in checked])
            for i, n, a in zip(checked, numeric, analytic):
                _compare(k, i, n, a, atol, rtol)
    except AssertionError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, **accepted):
    """Whether the gradients of func's gradients agree with finite differences: gradcheck of its vector-Jacobian product.

    grad_outputs: what the product is taken with; by default fixed numbers near one. Otherwise as gradcheck.
    """
    known("gradgradcheck", accepted)
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    outputs = [y for y in _outputs(func(*inputs)) if y.requires_grad]
    if grad_outputs is None:
        grad_outputs = [Tensor(1 + 0.5 * np.cos(np.arange(y.size, dtype=np.float64)).reshape(y.shape), requires_grad=True)
                        for y in outputs]

    def first(*values):
        given, cotangents = values[:len(inputs)], values[len(inputs):]
        ys = [y for y in _outputs(func(*given)) if y.requires_grad]
        found = grad(ys, [given[i] for i in wanted], list(cotangents), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(first, (*inputs, *_outputs(grad_outputs)), eps=eps, atol=atol, rtol=rtol,
                     raise_exception=raise_exception)


def known(name, options):
    """Raises TypeError for an option that PyTorch does not have either."""
    for option in options:
        if option not in ACCEPTED:
            raise TypeError(f"{name}: unknown option {option!r}")


def _outputs(result):
    """A function's results, a complex one as its real and imaginary part."""
    results = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(part for y in results for part in ((y.real, y.imag) if y.dtype.kind == "c" else (y,)))


def _analytic(y, inputs):
    """One Jacobian (output elements, input elements) per input, a row for each element of y."""
    rows = [np.zeros((y.size, x.size)) for x in inputs]
    if not y.requires_grad:
        return rows
    for j, at in enumerate(np.ndindex(y.shape)):
        seed = np.zeros(y.shape, y.dtype)
        seed[at] = 1
        for row, g in zip(rows, grad(y, inputs, wrap(seed), retain_graph=True, allow_unused=True)):
            if g is not None:
                row[j] = g.detach().numpy().ravel()
    return rows


def _numeric(f, inputs, i, k, eps):
    """The Jacobian of output k by input i, a column for each element of the input."""
    x = inputs[i]
    columns = []
    for at in np.ndindex(x.shape):
        sides = []
        for step in (eps, -eps):
            moved = x.detach().numpy().copy()
            moved[at] += step
            given = (*inputs[:i], Tensor(moved, requires_grad=True), *inputs[i + 1:])
            y = [y for y in _outputs(f(*given)) if y.dtype.kind == "f"][k]
            sides.append(y.detach().numpy().astype(np.float64).ravel())
        columns.append((sides[0] - sides[1]) / (2 * eps))
    return np.stack(columns, 1) if columns else np.zeros((0, 0))


def _compare(k, i, numeric, analytic, atol, rtol):
    if numeric.size == 0:
        return
    close = np.abs(analytic - numeric) <= atol + rtol * np.abs(numeric)
    for row, column in itertools.islice(zip(*np.nonzero(~close)), 1):
        raise AssertionError(f"gradcheck: output {k}, element {row}, by input {i}, element {column}: "
                             f"numeric {numeric[row, column]:.8g}, analytic {analytic[row, column]:.8g} "
                             f"({np.count_nonzero(~close)} of {close.size} entries differ)")
