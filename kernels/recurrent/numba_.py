"""The rows of a batch in parallel: each is a sequence of its own, which one thread walks from its first step to its last."""
import math

import numpy as np
from numba import njit, prange

FAST = {"contract", "reassoc", "nsz"}


def lstm(hs, cs, gates, x, h0, c0, w_ih, w_hh, b_ih, b_hh, sizes, p):
    if x.dtype != np.float32 or len(gates) < len(x):
        return NotImplemented
    gates[...] = projected(x, w_ih, b_ih) + (0 if b_hh is None else b_hh)
    start(hs, h0, p)
    start(cs, c0, p)
    lstm_steps(hs, cs, gates, turned(w_hh), numbers(sizes, x), p.reverse)


def lstm_backward(dgates, dh0, dc0, gates, cs, w_hh, dy, dh_n, dc_n, sizes, p):
    if gates.dtype != np.float32:
        return NotImplemented
    dh0[...], dc0[...] = (0 if d is None else d for d in (dh_n, dc_n))
    lstm_steps_back(dgates, dh0, dc0, gates, cs, w_hh, slopes(dy, gates, dh0), numbers(sizes, gates), p.reverse)


def gru(hs, gates, x, h0, w_ih, w_hh, b_ih, b_hh, sizes, p):
    if x.dtype != np.float32 or len(gates) < len(x):
        return NotImplemented
    start(hs, h0, p)
    bias = np.zeros(len(w_hh), x.dtype) if b_hh is None else b_hh
    gru_steps(hs, gates, projected(x, w_ih, b_ih), turned(w_hh), bias, numbers(sizes, x), p.reverse)


def gru_backward(dgates, dh0, gates, hs, w_hh, dy, dh_n, sizes, p):
    if gates.dtype != np.float32:
        return NotImplemented
    dh0[...] = 0 if dh_n is None else dh_n
    gru_steps_back(dgates, dh0, gates, hs, w_hh, slopes(dy, gates, dh0), numbers(sizes, gates), p.reverse)


def rnn(hs, x, h0, w_ih, w_hh, b_ih, b_hh, sizes, p):
    if x.dtype != np.float32:
        return NotImplemented
    start(hs, h0, p)
    rnn_steps(hs, projected(x, w_ih, b_ih) + (0 if b_hh is None else b_hh), turned(w_hh), numbers(sizes, x), p.reverse, p.relu)


def rnn_backward(d, dh0, hs, w_hh, dy, dh_n, sizes, p):
    if hs.dtype != np.float32:
        return NotImplemented
    dh0[...] = 0 if dh_n is None else dh_n
    rnn_steps_back(d, dh0, hs, w_hh, slopes(dy, d, dh0), numbers(sizes, d), p.reverse, p.relu)


def projected(x, w_ih, b_ih):
    """What x gives to the sums of all steps."""
    y = np.matmul(x, w_ih.T)
    return y if b_ih is None else y + b_ih


def start(states, first, p):
    states[len(states) - 1 if p.reverse else 0] = 0 if first is None else first


def turned(w):
    return np.ascontiguousarray(w.T)


def numbers(sizes, x):
    """How many rows take part in each step."""
    return np.full(len(x), x.shape[1]) if sizes is None else sizes


def slopes(dy, x, like):
    return np.zeros((len(x), *like.shape), like.dtype) if dy is None else dy


@njit(inline="always")
def add_product(y, x, w):
    """y += x @ w."""
    for k in range(len(x)):
        for j in range(len(y)):
            y[j] += x[k] * w[k, j]


@njit(inline="always")
def sigmoid(x):
    return np.float32(1) / (np.float32(1) + math.exp(-x))


@njit(inline="always")
def tanh(x):
    return np.float32(2) * sigmoid(x + x) - np.float32(1)


@njit(inline="always")
def step(i, steps, reverse, back):
    """The i-th step of the walk, or of the walk back, and the slots of the states before and after it."""
    t = steps - 1 - i if reverse != back else i
    return t, t + reverse, t + 1 - reverse


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def lstm_steps(hs, cs, gates, w, sizes, reverse):
    steps, batch, _ = gates.shape
    H = hs.shape[2]
    for row in prange(batch):
        for i in range(steps):
            t, before, after = step(i, steps, reverse, False)
            hs[after, row], cs[after, row] = hs[before, row], cs[before, row]
            s = gates[t, row]
            if row >= sizes[t]:
                s[:] = 0
                continue
            add_product(s, hs[before, row], w)
            for j in range(H):
                i_t, f, g, o = sigmoid(s[j]), sigmoid(s[H + j]), tanh(s[2 * H + j]), sigmoid(s[3 * H + j])
                cs[after, row, j] = f * cs[before, row, j] + i_t * g
                hs[after, row, j] = o * tanh(cs[after, row, j])
                s[j], s[H + j], s[2 * H + j], s[3 * H + j] = i_t, f, g, o


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def lstm_steps_back(dgates, dh, dc, gates, cs, w, dy, sizes, reverse):
    steps, batch, _ = gates.shape
    H = cs.shape[2]
    one = np.float32(1)
    for row in prange(batch):
        for i in range(steps):
            t, before, after = step(i, steps, reverse, True)
            dh[row] += dy[t, row]
            d, s = dgates[t, row], gates[t, row]
            d[:] = 0
            if row >= sizes[t]:
                continue
            for j in range(H):
                i_t, f, g, o, tanh_c = s[j], s[H + j], s[2 * H + j], s[3 * H + j], tanh(cs[after, row, j])
                dc[row, j] += dh[row, j] * o * (one - tanh_c) * (one + tanh_c)
                d[j] = dc[row, j] * g * i_t * (one - i_t)
                d[H + j] = dc[row, j] * cs[before, row, j] * f * (one - f)
                d[2 * H + j] = dc[row, j] * i_t * (one - g) * (one + g)
                d[3 * H + j] = dh[row, j] * tanh_c * o * (one - o)
                dc[row, j] *= f
            dh[row] = 0
            add_product(dh[row], d, w)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def gru_steps(hs, gates, z, w, bias, sizes, reverse):
    steps, batch, _ = gates.shape
    H = hs.shape[2]
    for row in prange(batch):
        s = np.empty(3 * H, np.float32)
        for i in range(steps):
            t, before, after = step(i, steps, reverse, False)
            hs[after, row] = hs[before, row]
            kept = gates[t, row]
            if row >= sizes[t]:
                kept[:] = 0
                continue
            s[:] = bias
            add_product(s, hs[before, row], w)
            for j in range(H):
                r, z_t, n_h = sigmoid(z[t, row, j] + s[j]), sigmoid(z[t, row, H + j] + s[H + j]), s[2 * H + j]
                n = tanh(z[t, row, 2 * H + j] + r * n_h)
                hs[after, row, j] = (np.float32(1) - z_t) * n + z_t * hs[before, row, j]
                kept[j], kept[H + j], kept[2 * H + j], kept[3 * H + j] = n_h, r, z_t, n


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def gru_steps_back(dgates, dh, gates, hs, w, dy, sizes, reverse):
    steps, batch, _ = gates.shape
    H = hs.shape[2]
    one = np.float32(1)
    for row in prange(batch):
        d = np.empty(3 * H, np.float32)  # by r, z and the recurrent part of n
        for i in range(steps):
            t, before, _ = step(i, steps, reverse, True)
            dh[row] += dy[t, row]
            dgates[t, row] = 0
            if row >= sizes[t]:
                continue
            s = gates[t, row]
            for j in range(H):
                n_h, r, z, n = s[j], s[H + j], s[2 * H + j], s[3 * H + j]
                dn = dh[row, j] * (one - z) * (one - n) * (one + n)
                d[j] = dn * n_h * r * (one - r)
                d[H + j] = dh[row, j] * (hs[before, row, j] - n) * z * (one - z)
                d[2 * H + j] = dn * r
                dgates[t, row, j], dgates[t, row, H + j] = dn * r, d[j]
                dgates[t, row, 2 * H + j], dgates[t, row, 3 * H + j] = d[H + j], dn
                dh[row, j] *= z
            add_product(dh[row], d, w)


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def rnn_steps(hs, z, w, sizes, reverse, relu):
    steps, batch, H = z.shape
    for row in prange(batch):
        for i in range(steps):
            t, before, after = step(i, steps, reverse, False)
            if row >= sizes[t]:
                hs[after, row] = hs[before, row]
                continue
            s = z[t, row]
            add_product(s, hs[before, row], w)
            for j in range(H):
                hs[after, row, j] = max(s[j], np.float32(0)) if relu else tanh(s[j])


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def rnn_steps_back(d, dh, hs, w, dy, sizes, reverse, relu):
    steps, batch, H = d.shape
    one = np.float32(1)
    for row in prange(batch):
        for i in range(steps):
            t, _, after = step(i, steps, reverse, True)
            dh[row] += dy[t, row]
            d[t, row] = 0
            if row >= sizes[t]:
                continue
            for j in range(H):
                h = hs[after, row, j]
                slope = (one if h > 0 else one * 0) if relu else (one - h) * (one + h)
                d[t, row, j] = dh[row, j] * slope
            dh[row] = 0
            add_product(dh[row], d[t, row], w)
