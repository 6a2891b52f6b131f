"""y[m, n] = activation(sum over k of a[m, k] b[k, n] + bias[n] + residual[m, n]), in float64."""
import numpy as np

from ..elementwise import reference as activations
from . import ACTIVATIONS

NAMES = {code: name for name, code in ACTIVATIONS.items()}


def matmul(y, a, b, bias, residual, p):
    wide = np.float64 if y.dtype.kind == "f" else y.dtype
    c = np.matmul(a.astype(wide), b.astype(wide))
    for term in (bias, residual):
        if term is not None:
            c = c + term
    if p.activation:
        getattr(activations, NAMES[p.activation])(c, c, ())
    y[...] = c.astype(y.dtype)
