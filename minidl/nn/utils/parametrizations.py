"""Parametrizations that are ready: weights that stay orthogonal, have a length of their own, or the spectral norm 1."""
import numpy as np

from ...autograd import no_grad
from ...autograd.tensor import wrap
from ...linalg import qr, solve
from ...ops import concat, diagonal, dot, expand_dims, eye, matmul, permute_dims, reshape, tril, zeros
from ...ops.distance import normalize
from ...random import randn
from ..conv_nd import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..module import Module
from .parametrize import register_parametrization
from .reparametrize import length

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class WeightNorm(Module):
    """A length and a direction -> their product (Salimans and Kingma, 2016)."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, weight_g, weight_v):
        return weight_v * (weight_g / length(weight_v, self.dim))

    def right_inverse(self, weight):
        return length(weight, self.dim), weight


def weight_norm(module, name="weight", dim=0):
    """Makes a weight the product of a length and a direction, `parametrizations.NAME.original0` and `original1`.

    dim: the axis along which lengths differ; None or -1: one length for all. Returns the module. State dicts with the names of
    nn.utils.weight_norm are loaded too.
    """
    register_parametrization(module, name, WeightNorm(None if dim == -1 else dim), unsafe=True)

    def take_over(module, state_dict, prefix, *_):
        for i, old in enumerate((f"{prefix}{name}_g", f"{prefix}{name}_v")):
            if old in state_dict:
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(old)
    module.register_load_state_dict_pre_hook(take_over)
    return module


class SpectralNorm(Module):
    """A weight -> itself divided by its largest singular value, by power iteration with the buffers _u and _v."""

    def __init__(self, weight, n_power_iterations, dim, eps):
        super().__init__()
        self.n_power_iterations, self.dim, self.eps, self.vector = n_power_iterations, dim, eps, weight.ndim == 1
        if not self.vector:
            with no_grad():
                rows = self.matrix(weight)
                self.register_buffer("_u", self.unit(randn(rows.shape[0], dtype=rows.dtype)))
                self.register_buffer("_v", self.unit(randn(rows.shape[1], dtype=rows.dtype)))
                self.iterate(rows, 15)

    def unit(self, x):
        return normalize(x, axis=0, eps=self.eps)

    def matrix(self, weight):
        """The weight with the axis dim as rows and all others as columns."""
        axes = (self.dim, *(a for a in range(weight.ndim) if a != self.dim))
        return reshape(permute_dims(weight, axes), (weight.shape[self.dim], -1))

    @no_grad()
    def iterate(self, rows, times):
        """Steps towards the singular vectors, into new arrays: what backward keeps is not changed."""
        for _ in range(times):
            self._u = self.unit(matmul(rows, self._v))
            self._v = self.unit(matmul(self._u, rows))

    def forward(self, weight):
        if self.vector:
            return self.unit(weight)
        rows = self.matrix(weight)
        if self.training:
            self.iterate(rows, self.n_power_iterations)
        return weight / dot(self._u, matmul(rows, self._v))

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divides a weight by its largest singular value (Miyato et al., 2018). Returns the module.

    Each time the weight is read in training, n_power_iterations steps are made towards it. dim: the axis of the rows; None: 1
    for transposed convolutions, else 0. Raises ValueError for less than one iteration and where there is no such tensor.
    """
    if n_power_iterations < 1:
        raise ValueError(f"spectral_norm: n_power_iterations={n_power_iterations}: at least 1 expected")
    weight = getattr(module, name, None)
    if weight is None:
        raise ValueError(f"spectral_norm: {type(module).__name__} has no parameter or buffer {name!r}")
    if dim is None:
        dim = int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))
    return register_parametrization(module, name, SpectralNorm(weight, n_power_iterations, dim, eps))


def exponential(a):
    """The exponential of matrices, by exp(a) = exp(a / 2**s)**(2**s) and Taylor's series, exact to rounding."""
    largest = float(np.abs(a.detach().numpy()).sum(axis=-1).max(initial=0))  # a norm
    halvings = max(0, int(np.ceil(np.log2(largest)))) if largest > 0 else 0
    a, one = a / 2.0**halvings, eye(a.shape[-1], dtype=a.dtype)
    y = one
    for k in range(18, 0, -1):
        y = one + matmul(a, y) / k
    for _ in range(halvings):
        y = matmul(y, y)
    return y


def reflections(a):
    """The first columns of the product of the reflections I - tau v v^T, tau = 2 / (v . v), v: columns of a with 1 on top."""
    n, k = a.shape[-2:]
    below, one = tril(a, -1), eye(n, k, dtype=a.dtype)
    tau = 2 / (1 + (below * below).sum(axis=-2))
    y = one
    for i in reversed(range(k)):
        v = expand_dims(below[..., i] + one[:, i], -1)
        y = y - expand_dims(expand_dims(tau[..., i], -1), -1) * matmul(v, matmul(v.mT, y))
    return y


class Orthogonal(Module):
    """A matrix, or several -> orthonormal columns, or rows where there are more of those: by the exponential or Cayley's map
    of a skew-symmetric matrix, or by reflections; then multiplied from the left by the buffer `base`, if that is used.
    """

    def __init__(self, shape, orthogonal_map, use_trivialization):
        super().__init__()
        self.wide, self.orthogonal_map, self.use_trivialization = shape[-2] < shape[-1], orthogonal_map, use_trivialization
        if use_trivialization:
            n = max(shape[-2:])
            self.register_buffer("base", zeros((*shape[:-2], n, n)))

    def forward(self, x):
        x = x.mT if self.wide else x
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            q = reflections(x) * expand_dims(diagonal(x.detach(), axis1=-2, axis2=-1).astype("int32"), -2).astype(x.dtype)
        else:
            low = tril(x)
            if n > k:
                low = concat([low, zeros((*x.shape[:-2], n, n - k), dtype=x.dtype)], axis=-1)
            skew, one = low - low.mT, eye(n, dtype=x.dtype)
            q = exponential(skew) if self.orthogonal_map == "matrix_exp" else solve(one - skew / 2, one + skew / 2)
            q = q[..., :k]
        if self.use_trivialization:
            q = matmul(self.base, q)
        return q.mT if self.wide else q

    @no_grad()
    def right_inverse(self, q):
        given, q = q, (q.mT if self.wide else q).detach()
        n, k = q.shape[-2:]
        if self.use_trivialization:
            if n > k:
                q = concat([q, randn((*q.shape[:-2], n, n - k), dtype=q.dtype)], axis=-1)
            q, r = qr(q)
            self.base = q * expand_dims(diagonal(r, axis1=-2, axis2=-1).sign(), -2)
            return wrap(np.broadcast_to(-np.eye(*given.shape[-2:], dtype=given.dtype), given.shape).copy())
        if self.orthogonal_map != "householder":
            raise NotImplementedError(f"orthogonal: a weight cannot be assigned with {self.orthogonal_map} and "
                                      "use_trivialization=False")
        h, tau = np.linalg.qr(q.numpy(), mode="raw")
        a, along = np.swapaxes(h, -1, -2).copy(), np.arange(k)
        a[..., along, along] = np.sign(a[..., along, along]) * np.where(tau == 0, -1, 1)
        return wrap(np.swapaxes(a, -1, -2) if self.wide else a)


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keeps a weight orthogonal: its columns orthonormal, or its rows where there are more columns. Returns the module.

    orthogonal_map: 'matrix_exp', 'cayley' or 'householder'; None: the first for square matrices, else the last.
    use_trivialization: what is learned starts from the weight as it is, made orthogonal (Lezcano-Casado, 2019), and can be
    assigned to. Raises ValueError where the module has no such tensor, for less than two axes and another map.
    """
    weight = getattr(module, name, None)
    if weight is None:
        raise ValueError(f"orthogonal: {type(module).__name__} has no parameter or buffer {name!r}")
    if weight.ndim < 2:
        raise ValueError(f"orthogonal: {name!r} of shape {tuple(weight.shape)}: two axes or more expected")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(f"orthogonal: orthogonal_map={orthogonal_map!r}: 'matrix_exp', 'cayley' or 'householder' expected")
    part = Orthogonal(tuple(weight.shape), orthogonal_map, use_trivialization).to(weight.dtype)
    return register_parametrization(module, name, part, unsafe=True)
