"""Fourier transforms after the Python array API standard (2024.12), by NumPy's.

Transforms give or take complex numbers, which have no gradients here: an input that requires one is an error. norm:
'backward', 'ortho' or 'forward', where the factor 1 / n, or its root both ways, goes. n, s: the sizes to which the axes are
cut or filled with zeros first. `dim` is taken for `axis` and `axes`.
"""
from numbers import Integral

import numpy as np

from . import ops
from .autograd import op
from .ops.aliases import aliased

__all__ = ["fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
           "rfftfreq", "rfftn"]


@op
def transformed(x, name, sizes, axes, norm):
    """numpy.fft's function of a name; no derivative: complex numbers have none. Shape: as the function says."""
    return getattr(np.fft, name)(x, sizes, axes, norm)


def along_line(name, what):
    """A transform along one axis."""
    @aliased
    def transform(x, *, n=None, axis=-1, norm="backward"):
        return transformed(x, name, n, axis, checked(name, norm))
    return documented(transform, name, f"{what} along an axis. Shape: x's, but for n at the axis.")


def over_axes(name, what):
    """A transform over several axes."""
    def transform(x, *, s=None, axes=None, norm="backward", dim=None):
        s, axes = several(s), several(dim if axes is None else axes)
        if axes is None and s is not None:
            axes = tuple(range(-len(s), 0))  # the last ones
        return transformed(x, name, s, axes, checked(name, norm))
    return documented(transform, name, f"{what} over `axes`, all without them. Shape: x's, but for s at the axes.")


def several(numbers):
    """A tuple of one or more; None as it is."""
    return numbers if numbers is None else (numbers,) if isinstance(numbers, Integral) else tuple(numbers)


def documented(function, name, text):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text} No derivative: complex numbers have none. Raises ValueError for another norm."
    return function


def checked(name, norm):
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(f"{name}: norm={norm!r}: 'backward', 'ortho' or 'forward' expected")
    return norm


fft = along_line("fft", "The discrete Fourier transform of complex numbers")
ifft = along_line("ifft", "The inverse of fft")
rfft = along_line("rfft", "The half of fft, n // 2 + 1 numbers, that tells all of real numbers'")
irfft = along_line("irfft", "The inverse of rfft: real, n or 2 (size - 1) numbers")
hfft = along_line("hfft", "The real transform of a signal that is its own mirror's conjugate, given by its half")
ihfft = along_line("ihfft", "The inverse of hfft")
fftn = over_axes("fftn", "The discrete Fourier transform of complex numbers")
ifftn = over_axes("ifftn", "The inverse of fftn")
rfftn = over_axes("rfftn", "The half along the last axis of fftn that tells all of real numbers'")
irfftn = over_axes("irfftn", "The inverse of rfftn: real numbers")


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
