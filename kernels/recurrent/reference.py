"""The recurrent layers step by step in NumPy, in float64, rounded once to the arrays' dtype."""
import numpy as np


def wide(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def steps(count, sizes, p, backward=False):
    """(step, slot before it, slot after it, rows that take part), in the order of the walk."""
    order = range(count)
    for t in reversed(order) if bool(p.reverse) != backward else order:
        yield t, t + p.reverse, t + 1 - p.reverse, slice(None if sizes is None else int(sizes[t]))


def start(p, count, like, first):
    """States in float64, the first of them set."""
    states = np.zeros((count + 1, *like.shape[1:]))
    if first is not None:
        states[count if p.reverse else 0] = first
    return states


def projected(x, w_ih, b_ih):
    y = x.astype(np.float64) @ w_ih.astype(np.float64).T
    return y if b_ih is None else y + b_ih


def lstm(hs, cs, gates, x, h0, c0, w_ih, w_hh, b_ih, b_hh, sizes, p):
    z, w_hh = projected(x, w_ih, b_ih), w_hh.astype(np.float64)
    h, c = start(p, len(x), hs, h0), start(p, len(x), hs, c0)
    kept = np.zeros_like(z)
    for t, before, after, rows in steps(len(x), sizes, p):
        h[after], c[after] = h[before], c[before]
        s = z[t, rows] + h[before, rows] @ w_hh.T + (0 if b_hh is None else b_hh)
        i, f, g, o = np.split(s, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c[after, rows] = f * c[before, rows] + i * g
        h[after, rows] = o * np.tanh(c[after, rows])
        kept[t, rows] = np.concatenate([i, f, g, o], axis=-1)
    last = slice(0, 1) if p.reverse else slice(-1, None)
    hs[...], cs[...], gates[...] = h, c if len(cs) == len(c) else c[last], kept[:len(gates)]


def lstm_backward(dgates, dh0, dc0, gates, cs, w_hh, dy, dh_n, dc_n, sizes, p):
    gates, c, w_hh = wide(gates, cs, w_hh)
    d = np.zeros_like(gates)
    dh, dc = (np.zeros(dh0.shape) if g is None else g.astype(np.float64) for g in (dh_n, dc_n))
    for t, before, after, rows in steps(len(gates), sizes, p, backward=True):
        if dy is not None:
            dh = dh + dy[t]
        i, f, g, o = np.split(gates[t, rows], 4, axis=-1)
        tanh_c = np.tanh(c[after, rows])
        dc[rows] += dh[rows] * o * (1 - tanh_c) * (1 + tanh_c)
        d[t, rows] = np.concatenate([dc[rows] * g * i * (1 - i), dc[rows] * c[before, rows] * f * (1 - f),
                                     dc[rows] * i * (1 - g) * (1 + g), dh[rows] * tanh_c * o * (1 - o)], axis=-1)
        dh[rows] = d[t, rows] @ w_hh
        dc[rows] *= f
    dgates[...], dh0[...], dc0[...] = d, dh, dc


def gru(hs, gates, x, h0, w_ih, w_hh, b_ih, b_hh, sizes, p):
    z, w_hh = projected(x, w_ih, b_ih), w_hh.astype(np.float64)
    h, kept = start(p, len(x), hs, h0), np.zeros((len(x), *gates.shape[1:]))
    for t, before, after, rows in steps(len(x), sizes, p):
        h[after] = h[before]
        r_x, z_x, n_x = np.split(z[t, rows], 3, axis=-1)
        r_h, z_h, n_h = np.split(h[before, rows] @ w_hh.T + (0 if b_hh is None else b_hh), 3, axis=-1)
        r_t, z_t = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        n_t = np.tanh(n_x + r_t * n_h)
        h[after, rows] = (1 - z_t) * n_t + z_t * h[before, rows]
        kept[t, rows] = np.concatenate([n_h, r_t, z_t, n_t], axis=-1)
    hs[...], gates[...] = h, kept[:len(gates)]


def gru_backward(dgates, dh0, gates, hs, w_hh, dy, dh_n, sizes, p):
    gates, h, w_hh = wide(gates, hs, w_hh)
    by_r, by_z, by_n = np.split(w_hh, 3)
    d, dh = np.zeros_like(gates), np.zeros(dh0.shape) if dh_n is None else dh_n.astype(np.float64)
    for t, before, _, rows in steps(len(gates), sizes, p, backward=True):
        if dy is not None:
            dh = dh + dy[t]
        n_h, r, z, n = np.split(gates[t, rows], 4, axis=-1)
        dn = dh[rows] * (1 - z) * (1 - n) * (1 + n)
        dz = dh[rows] * (h[before, rows] - n) * z * (1 - z)
        dr = dn * n_h * r * (1 - r)
        d[t, rows] = np.concatenate([dn * r, dr, dz, dn], axis=-1)
        dh[rows] = dh[rows] * z + dr @ by_r + dz @ by_z + dn * r @ by_n
    dgates[...], dh0[...] = d, dh


def rnn(hs, x, h0, w_ih, w_hh, b_ih, b_hh, sizes, p):
    z, w_hh = projected(x, w_ih, b_ih), w_hh.astype(np.float64)
    h = start(p, len(x), hs, h0)
    for t, before, after, rows in steps(len(x), sizes, p):
        h[after] = h[before]
        s = z[t, rows] + h[before, rows] @ w_hh.T + (0 if b_hh is None else b_hh)
        h[after, rows] = np.maximum(s, 0) if p.relu else np.tanh(s)
    hs[...] = h


def rnn_backward(d, dh0, hs, w_hh, dy, dh_n, sizes, p):
    h, w_hh = wide(hs, w_hh)
    kept, dh = np.zeros(d.shape), np.zeros(dh0.shape) if dh_n is None else dh_n.astype(np.float64)
    for t, _, after, rows in steps(len(d), sizes, p, backward=True):
        if dy is not None:
            dh = dh + dy[t]
        now = h[after, rows]
        kept[t, rows] = dh[rows] * ((now > 0) if p.relu else (1 - now) * (1 + now))
        dh[rows] = kept[t, rows] @ w_hh
    d[...], dh0[...] = kept, dh
