"""Pooling tap by tap: tap (ky, kx) of all windows is one strided slice of the padded image. Sums in float64."""
import numpy as np


def steps(p):
    """(kh, kw, sh, sw, ph, pw, dh, dw); the windows of an average are not dilated."""
    return p[:8] if hasattr(p, "dh") else (*p[:6], 1, 1)


def frame(p, hw, out_hw):
    """The padding (before, after) of each image axis so that every tap of every window has a place."""
    kh, kw, sh, sw, ph, pw, dh, dw = steps(p)
    bottom = max(0, (out_hw[0] - 1) * sh + (kh - 1) * dh + 1 - hw[0] - ph)
    right = max(0, (out_hw[1] - 1) * sw + (kw - 1) * dw + 1 - hw[1] - pw)
    return (0, 0), (0, 0), (ph, bottom), (pw, right)


def taps(p, out_hw):
    """(tap, rows, columns) of the padded image for each tap of the windows, in order."""
    kh, kw, sh, sw, _, _, dh, dw = steps(p)
    for ky in range(kh):
        rows = slice(ky * dh, ky * dh + (out_hw[0] - 1) * sh + 1, sh)
        for kx in range(kw):
            yield ky * kw + kx, rows, slice(kx * dw, kx * dw + (out_hw[1] - 1) * sw + 1, sw)


def max_pool2d(y, index, x, p):
    edge = frame(p, x.shape[2:], y.shape[2:])
    inside = np.pad(np.ones_like(x[:1, :1], dtype=bool), edge)
    padded = np.pad(x, edge)
    y[...] = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    index[...] = 0
    seen = np.zeros_like(y, dtype=bool)
    for tap, rows, columns in taps(p, y.shape[2:]):
        value, valid = padded[:, :, rows, columns], inside[:, :, rows, columns]
        take = valid & (~seen | (value > y) | (value != value))
        seen |= valid
        y[...] = np.where(take, value, y)
        index[...] = np.where(take, tap, index)
    if p.activation:
        index[...] = np.where(y > 0, index, np.iinfo(index.dtype).max)
        y[...] = np.maximum(y, 0)


def scatter(dx, p, out_hw, pieces):
    """Adds pieces(tap) to the places of each tap."""
    (_, _, (top, bottom), (left, right)) = frame(p, dx.shape[2:], out_hw)
    n, c, h, w = dx.shape
    wide = np.zeros((n, c, h + top + bottom, w + left + right), np.float64, like=dx)
    for tap, rows, columns in taps(p, out_hw):
        wide[:, :, rows, columns] += pieces(tap)
    dx[...] = wide[:, :, top:top + h, left:left + w].astype(dx.dtype)


def max_pool2d_backward(dx, g, index, p):
    scatter(dx, p, g.shape[2:], lambda tap: np.where(index == tap, g, 0))


def divisors(like, p, hw, out_hw):
    """(1, 1, OH, OW): how many elements each mean is taken over; or the one divisor that was asked for."""
    if p.divisor:
        return p.divisor
    ones = np.ones((1, 1, *hw), np.float64, like=like)
    if p.include_pad:
        ones = np.pad(ones, ((0, 0), (0, 0), (p.ph, p.ph), (p.pw, p.pw)), constant_values=1)
    else:
        ones = np.pad(ones, ((0, 0), (0, 0), (p.ph, 0), (p.pw, 0)))
    edge = frame(p._replace(ph=0, pw=0), ones.shape[2:], out_hw)
    ones = np.pad(ones, edge)
    return sum(ones[:, :, rows, columns] for _, rows, columns in taps(p, out_hw))


def avg_pool2d(y, x, p):
    padded = np.pad(x.astype(np.float64), frame(p, x.shape[2:], y.shape[2:]))
    total = sum(padded[:, :, rows, columns] for _, rows, columns in taps(p, y.shape[2:]))
    y[...] = (total / divisors(x, p, x.shape[2:], y.shape[2:])).astype(y.dtype)


def avg_pool2d_backward(dx, g, p):
    share = g / divisors(g, p, dx.shape[2:], g.shape[2:])
    scatter(dx, p, g.shape[2:], lambda tap: share)
