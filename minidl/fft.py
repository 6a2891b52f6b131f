"""Fourier transforms after the Python array API standard (2024.12), by NumPy's.

norm: 'backward', 'ortho' or 'forward', where the factor 1 / n, or its root both ways, goes. n, s: the sizes to which the axes
are cut or filled with zeros first. `dim` is taken for `axis` and `axes`.

A transform is linear, and its derivative, of any order, is the transform the other way, with the factor at the other end. The
gradient by a complex number is as in minidl/autograd/op.py.
"""
from numbers import Integral

import numpy as np

from . import ops
from .autograd import op
from .ops.aliases import aliased
from .ops.index import getitem, normal_axis

__all__ = ["fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
           "rfftfreq", "rfftn"]

OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}  # where the factor of the way back is


@op
def transformed(x, name, n, axis, norm):
    """numpy.fft's fft, ifft, rfft or irfft along an axis. dL/dx: g transformed the other way. Shape: x's, but at the axis."""
    return getattr(np.fft, name)(x, n, axis, norm)


@transformed.vjp(complex=True)
def transformed_vjp(g, x_shape, name, n, axis, norm):
    size, norm = x_shape[axis], OPPOSITE[norm]
    if name == "irfft":
        g = twice_inside(transformed(g, "rfft", None, axis, norm), g.shape[axis], axis)
    else:
        g = transformed(g, "fft" if name == "ifft" else "ifft", size if n is None else n, axis, norm)
    lead = normal_axis(name, axis, g.ndim)
    if g.shape[axis] < size:  # what was cut off has no share
        return ops.pad(g, [(0, size - g.shape[axis] if i == lead else 0) for i in range(g.ndim)])
    return getitem(g, (slice(None),) * lead + (slice(0, size),))


def twice_inside(x, n, axis):
    """A half of n numbers' transform with those doubled that stand for two of the whole: all but the first and, of an even n,
    the last."""
    k = np.arange(x.shape[axis], like=x.array)
    alone = ((k == 0) | (2 * k == n)).reshape((-1,) + (1,) * (x.ndim - 1 - normal_axis("irfft", axis, x.ndim)))
    return ops.where(alone, x, 2 * x)


def checked(name, norm):
    if norm not in OPPOSITE:
        raise ValueError(f"{name}: norm={norm!r}: 'backward', 'ortho' or 'forward' expected")
    return norm


@aliased
def fft(x, *, n=None, axis=-1, norm="backward"):
    """The discrete Fourier transform of complex numbers along an axis. Shape: x's, but for n at the axis."""
    return transformed(x, "fft", n, axis, checked("fft", norm))


@aliased
def ifft(x, *, n=None, axis=-1, norm="backward"):
    """The inverse of fft. Shape: x's, but for n at the axis."""
    return transformed(x, "ifft", n, axis, checked("ifft", norm))


@aliased
def rfft(x, *, n=None, axis=-1, norm="backward"):
    """The half of fft, n // 2 + 1 numbers, that tells all of real numbers'. Shape: x's, but for these at the axis."""
    return transformed(x, "rfft", n, axis, checked("rfft", norm))


@aliased
def irfft(x, *, n=None, axis=-1, norm="backward"):
    """The inverse of rfft: real. Shape: x's, but for n, by default 2 (size - 1), at the axis."""
    return transformed(x, "irfft", n, axis, checked("irfft", norm))


@aliased
def hfft(x, *, n=None, axis=-1, norm="backward"):
    """The real transform of a signal that is its own mirror's conjugate, given by its half. Shape: as for irfft."""
    return transformed(ops.conj(x), "irfft", n, axis, OPPOSITE[checked("hfft", norm)])


@aliased
def ihfft(x, *, n=None, axis=-1, norm="backward"):
    """The inverse of hfft. Shape: as for rfft."""
    return ops.conj(transformed(x, "rfft", n, axis, OPPOSITE[checked("ihfft", norm)]))


def fftn(x, *, s=None, axes=None, norm="backward", dim=None):
    """fft over `axes`, all without them. Shape: x's, but for s at the axes."""
    return over_axes("fft", x, *sizes_and_axes("fftn", x, s, axes, dim), checked("fftn", norm))


def ifftn(x, *, s=None, axes=None, norm="backward", dim=None):
    """The inverse of fftn. Shape: x's, but for s at the axes."""
    return over_axes("ifft", x, *sizes_and_axes("ifftn", x, s, axes, dim), checked("ifftn", norm))


def rfftn(x, *, s=None, axes=None, norm="backward", dim=None):
    """rfft over the last of `axes`, then fft over the others: all that tells of real numbers' fftn. Shape: as for these."""
    sizes, axes = sizes_and_axes("rfftn", x, s, axes, dim)
    half = transformed(x, "rfft", sizes[-1], axes[-1], checked("rfftn", norm))
    return over_axes("fft", half, sizes[:-1], axes[:-1], norm)


def irfftn(x, *, s=None, axes=None, norm="backward", dim=None):
    """The inverse of rfftn: real. Shape: x's, but for s at the axes."""
    sizes, axes = sizes_and_axes("irfftn", x, s, axes, dim)
    half = over_axes("ifft", x, sizes[:-1], axes[:-1], checked("irfftn", norm))
    return transformed(half, "irfft", sizes[-1], axes[-1], norm)


def over_axes(name, x, sizes, axes, norm):
    """One transform after the other, the last axis first, as NumPy does."""
    for n, axis in reversed(list(zip(sizes, axes))):
        x = transformed(x, name, n, axis, norm)
    return x


def sizes_and_axes(name, x, s, axes, dim):
    """As many sizes, None for an axis' own, as axes; without axes the last ones, or all."""
    sizes, axes = several(s), several(dim if axes is None else axes)
    if axes is None:
        axes = tuple(range(-(x.ndim if sizes is None else len(sizes)), 0))
    if sizes is not None and len(sizes) != len(axes):
        raise ValueError(f"{name}: s={s}, axes={axes}: as many sizes as axes expected")
    if not axes and name in ("rfftn", "irfftn"):
        raise ValueError(f"{name}: shape {x.shape}, axes={axes}: one axis or more expected")
    return (None,) * len(axes) if sizes is None else sizes, axes


def several(numbers):
    """A tuple of one or more; None as it is."""
    return numbers if numbers is None else (numbers,) if isinstance(numbers, Integral) else tuple(numbers)


def fftfreq(n, *, d=1.0, dtype=None, device=None):
    """The frequencies of fft's entries: 0, 1, ..., then the negative ones, over n d. Shape: (n,). float32 by default."""
    half = (n + 1) // 2
    places = ops.concat([ops.arange(half, device=device), ops.arange(half - n, 0, device=device)])
    return places.astype(dtype or "float32") / (n * d)


def rfftfreq(n, *, d=1.0, dtype=None, device=None):
    """The frequencies of rfft's entries: 0, 1, ..., n // 2, over n d. Shape: (n // 2 + 1,). float32 by default."""
    return ops.arange(n // 2 + 1, device=device).astype(dtype or "float32") / (n * d)


def fftshift(x, *, axes=None, dim=None):
    """The frequency 0 moved to the middle of `axes`, all without them. d/dx: back. Shape: kept."""
    return shifted(x, dim if axes is None else axes, lambda n: n // 2)


def ifftshift(x, *, axes=None, dim=None):
    """What undoes fftshift. d/dx: back. Shape: kept."""
    return shifted(x, dim if axes is None else axes, lambda n: -(n // 2))


def shifted(x, axes, by):
    axes = tuple(range(x.ndim)) if axes is None else several(axes)
    return ops.roll(x, tuple(by(x.shape[a]) for a in axes), axes)
