"""PyTorch's own databases of functions and modules, which come with its wheel: the same samples through both libraries.

For each of torch.nn's functions and modules that minidl has: values and gradients in float64 of every sample input.
"""
import inspect
import warnings

import numpy as np
import pytest

import minidl as m
from minidl import nn

torch = pytest.importorskip("torch", reason="the databases are PyTorch's")
pytest.importorskip("expecttest", reason="PyTorch's test package imports it")
methods = pytest.importorskip("torch.testing._internal.common_methods_invocations")
modules = pytest.importorskip("torch.testing._internal.common_modules")
tree_map_only = torch.utils._pytree.tree_map_only

RANDOM = ("dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu", "fractional_max_pool2d",
          "fractional_max_pool3d", "multi_head_attention_forward")
# Of these the database's gradients are of one choice of signs, or it has other arguments: tests/op_cases.py checks them.
CHOSEN = ("linalg.eigh", "linalg.qr", "linalg.svd", "linalg.diagonal", "linalg.matrix_rank")
OPTIONS = "chunked", "chunked_none"  # linear_cross_entropy with hints how to share the work out, which take the same values
# What differs on purpose: what each failure of the function's or module's samples then says.
KNOWN = {
    "hardshrink": "at least 0 expected",  # a lambd below 0 shrinks nothing
    "vecdot": "a negative axis expected",  # the array API's rule, which has no positive ones
    "matrix_power": "does not require a gradient",  # the power 0, which depends on nothing
    "batch_norm": "(N, C, ...) expected",  # PyTorch takes an input of no channels and one axis
}
FUNCTIONS = [op for op in methods.op_db if op.name.startswith("nn.functional.") and hasattr(nn.functional, op.name[14:])
             and op.name[14:] not in RANDOM and op.variant_test_name not in OPTIONS and torch.float64 in op.dtypes]
ALGEBRA = [op for op in methods.op_db if op.name.startswith(("linalg.", "fft.")) and op.name not in CHOSEN
           and op.variant_test_name not in ("singular", "hermitian") and torch.float64 in op.dtypes
           and hasattr(getattr(m, op.name.partition(".")[0]), op.name.partition(".")[2])]
MODULES = [info for info in modules.module_db if hasattr(nn, info.module_cls.__name__) and "Dropout" not in info.name
           and info.module_cls.__name__ not in ("RReLU", "LinearCrossEntropyLoss")
           and not info.module_cls.__name__.startswith("Fractional")]


class Other(Exception):
    """A sample that holds what only PyTorch has: its functions, modules, sparse or complex tensors."""


def ours(x, leaves):
    """Tensors as minidl's, in lists and dicts too; what requires a gradient is noted as a pair."""
    if isinstance(x, torch.Tensor):
        if x.is_complex() or x.layout != torch.strided:
            raise Other
        y = m.tensor(x.detach().numpy().copy())
        if x.requires_grad:
            y.requires_grad = True
            leaves.append((x, y))
        return y
    if isinstance(x, torch.dtype):
        return np.dtype(str(x)[6:])
    if isinstance(x, (list, tuple)):
        return tuple(ours(i, leaves) for i in x)
    if isinstance(x, dict):
        return {key: ours(value, leaves) for key, value in x.items() if key not in ("device", "dtype") or value is None}
    if callable(x):
        raise Other
    return x


def leaf(x):
    """A tensor that was computed from no other."""
    return x.detach().requires_grad_(x.requires_grad)


def flat(y):
    return [z for part in y for z in flat(part)] if isinstance(y, (list, tuple)) else [y] if hasattr(y, "shape") else []


def check(theirs, found, leaves):
    """The results, and the gradients of a random sum of them by all leaves."""
    theirs, found = flat(theirs), flat(found)
    assert [tuple(y.shape) for y in theirs] == [y.shape for y in found]
    for a, b in zip(theirs, found):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().resolve_conj().numpy(), rtol=1e-9, atol=1e-9)
    pairs = [(a, b) for a, b in zip(theirs, found) if a.requires_grad]
    if not pairs or not leaves:
        return
    draws = [np.random.default_rng(0).standard_normal(b.shape).astype(b.dtype) for _, b in pairs]
    expected = torch.autograd.grad([a for a, _ in pairs], [x for x, _ in leaves], [torch.tensor(d) for d in draws],
                                   allow_unused=True)
    total = sum((b * m.tensor(d)).sum().real for (_, b), d in zip(pairs, draws))
    gradients = m.grad(total, [y for _, y in leaves], allow_unused=True)
    for (x, _), a, b in zip(leaves, expected, gradients):
        a = torch.zeros_like(x) if a is None else a
        np.testing.assert_allclose(0 if b is None else b.numpy(), a.numpy(), rtol=1e-7, atol=1e-7)


def run(name, count, samples):
    """All samples; those of a function of KNOWN may fail as it says, the others not at all."""
    failed = []
    for sample in samples:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                sample()
        except Other:
            continue
        except Exception as error:  # told together at the end
            if name not in KNOWN or KNOWN[name] not in str(error):
                failed.append(f"{type(error).__name__}: {str(error).strip()[:300]}")
    assert not failed, f"{len(failed)} of {count}: {failed[:3]}"


@pytest.mark.parametrize("op", FUNCTIONS, ids=lambda op: op.formatted_name)
def test_function_is_pytorchs(op):
    name, samples = op.name[14:], list(op.sample_inputs("cpu", torch.float64, requires_grad=op.supports_autograd))

    def compared(sample):
        if sample.kwargs.get("dropout_p"):
            raise Other  # other random numbers
        leaves, arguments = [], (sample.input, *sample.args)
        mine, options = ours(arguments, leaves), ours(sample.kwargs, leaves)
        if name in ("embedding", "embedding_bag"):  # the database has the weight first
            mine = mine[1], mine[0], *mine[2:]
        if "dtype" in sample.kwargs:
            options["dtype"] = np.dtype(str(sample.kwargs["dtype"])[6:])
        check(op.op(*arguments, **sample.kwargs), getattr(nn.functional, name)(*mine, **options), leaves)
    run(name, len(samples), [lambda s=s: compared(s) for s in samples])


@pytest.mark.parametrize("op", ALGEBRA, ids=lambda op: op.formatted_name)
def test_algebra_is_pytorchs(op):
    space, _, name = op.name.partition(".")
    samples = list(op.sample_inputs("cpu", torch.float64, requires_grad=True))

    def compared(sample):
        leaves, arguments = [], (sample.input, *sample.args)
        if name == "solve" and 1 < sample.args[0].ndim < sample.input.ndim:
            raise Other  # a batch of vectors: the array API knows a single one
        mine, options = ours(arguments, leaves), ours(sample.kwargs, leaves)
        check(op.op(*arguments, **sample.kwargs), getattr(getattr(m, space), name)(*mine, **options), leaves)
    run(name, len(samples), [lambda s=s: compared(s) for s in samples])


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("info", MODULES, ids=lambda info: info.formatted_name)
def test_module_is_pytorchs(info, training):
    """In training the arguments of forward are given by name."""
    name = info.module_cls.__name__
    names = [] if name in ("Sequential", "ModuleList") else list(inspect.signature(info.module_cls.forward).parameters)[1:]
    samples = info.module_inputs_func(info, "cpu", torch.float64, requires_grad=True, training=training)

    def compared(sample):
        made, given, leaves = sample.constructor_input, sample.forward_input, []
        module = getattr(nn, name)(*ours(made.args, []), **ours(made.kwargs, [])).to("float64").train(training)
        theirs = info.module_cls(*made.args, **made.kwargs).to(torch.float64).train(training)
        args, kwargs = tree_map_only(torch.Tensor, leaf, (given.args, given.kwargs))
        lazy = name.startswith("Lazy")  # its parameters have shapes from the first call on; ours also from a state dict
        if lazy:
            theirs(*args, **kwargs)
        state = theirs.state_dict()
        assert lazy or {k: tuple(v.shape) for k, v in state.items()} == {k: v.shape for k, v in module.state_dict().items()}
        module.load_state_dict({k: v.numpy().copy() for k, v in state.items()})
        arguments, options = ours(args, leaves), ours(kwargs, leaves)
        if training:
            arguments, options = (), options | dict(zip(names, arguments, strict=False))
        leaves += zip(theirs.parameters(), module.parameters(), strict=True)
        check(theirs(*args, **kwargs), module(*arguments, **options), leaves)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(module.state_dict()[key].numpy(), value.numpy(), rtol=1e-9, atol=1e-12)
    samples = [s for s in samples if s.forward_input is not None]
    run(name, len(samples), [lambda s=s: compared(s) for s in samples])
