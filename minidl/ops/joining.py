"""Which operations join one that waits (autograd/waiting.py): rules of (chain, the operation's other arguments).

A rule returns the result's shape and the options with which the first operation's kernel computes it, or None.
"""
from ..autograd.waiting import FLOAT32, reached


def relu(chain):
    return None if "activation" in chain.options else (chain.shape, {**chain.options, "activation": "relu"})


def hardtanh(chain, low=-1.0, high=1.0):
    """The ReLU6. The kernels that pool know only the ReLU."""
    if low != 0 or high != 6 or "activation" in chain.options or "pool" in chain.options:
        return None
    return chain.shape, {**chain.options, "activation": "relu6"}


def add(chain, other):
    """A residual. It goes into the kernel where a ReLU follows. (`held`: a look at an array would settle the chain.)"""
    if chain.options or reached(other) or other.held.shape != chain.shape or other.held.dtype != FLOAT32:
        return None
    return chain.shape, {"residual": other}


def max_pool2d(chain, kernel_size, stride, padding, dilation, ceil_mode):
    """The largest of 2x2 windows that lie side by side."""
    if ("pool" in chain.options or chain.options.get("activation", "relu") != "relu" or kernel_size not in (2, (2, 2))
            or stride not in (None, 2, (2, 2)) or padding not in (0, (0, 0)) or dilation not in (1, (1, 1)) or ceil_mode):
        return None
    n, c, h, w = chain.shape
    return ((n, c, h // 2, w // 2), {**chain.options, "pool": True}) if h > 1 and w > 1 else None  # else no window fits
