"""Recurrent layers: one layer in one direction over a whole sequence as one operation, and its definition step by step.

T steps, a batch of N, I inputs, H hidden units; weights as PyTorch's: w_ih (gates H, I), w_hh (gates H, H), biases (gates H,)
or None; batch_sizes: how many rows take part in each step, not increasing, or None for all. Backward in time is a kernel, and
the gradients of the weights are one product over all steps. Gradients of gradients go through the definition.
"""
import numpy as np

from .. import kernels
from ..autograd import grad, op
from ..autograd.modes import state
from ..autograd.tensor import wrap
from .activation import relu, sigmoid
from .elementwise import tanh
from .index import where
from .linear import linear, linear_backward_weight, matmul
from .shape import chunk, concat, stack


def flat(x):
    """(T, N, n) as (T N, n)."""
    return x.reshape(-1, x.shape[-1])


def outputs(states, reverse):
    """The states after each step, and a copy of the last."""
    y = states[:-1] if reverse else states[1:]
    return y, (states[0] if reverse else states[-1]).copy()


def earlier(states, reverse):
    """The states before each step."""
    return states[1:] if reverse else states[:-1]


def weight_gradients(d_input, d_product, x, states, w_ih, reverse, need):
    """dx, dw_ih, dw_hh, db_ih and db_hh of the gradients of w_ih x + b_ih and of w_hh h + b_hh, each (T, N, gates H)."""
    dx = matmul(flat(d_input), w_ih).reshape(x.shape) if need[0] else None
    dw_ih = dw_hh = db_ih = db_hh = None
    if any(need[1:]):
        dw_ih, db_ih = linear_backward_weight(flat(d_input), flat(x))
        dw_hh, db_hh = matmul(flat(d_product).T, flat(earlier(states, reverse))), db_ih
        if d_product is not d_input:
            db_hh = flat(d_product).sum(axis=0)
    return dx, dw_ih, dw_hh, db_ih, db_hh


# ---- LSTM ----
@op
def lstm_layer(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False, batch_sizes=None):
    """LSTM over a sequence: y, the last h and c, and for the derivative all states and gates.

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of the parts of w_ih x_t + b_ih + w_hh h + b_hh; c = f c + i g; h = o tanh(c).
    d: lstm_backward. Shapes: x (T, N, I), h0 and c0 (N, H) or None -> y (T, N, H), (N, H), (N, H).
    """
    hs, cs, gates = kernels.lstm(x, h0, c0, w_ih, w_hh, b_ih, b_hh, reverse, batch_sizes, state.recording)
    y, h = outputs(hs, reverse)
    return y, h, outputs(cs, reverse)[1], hs, cs, gates


@lstm_layer.vjp
def lstm_layer_vjp(g, y, x, h0, c0, w_ih, w_hh, b_ih, b_hh, reverse, batch_sizes, need):
    if state.recording:
        return by_definition(lstm_definition, g[:3], x, (h0, c0), (w_ih, w_hh, b_ih, b_hh), need, reverse, batch_sizes)
    hs, cs, gates = y[3:]
    d, dh0, dc0 = lstm_backward(gates, cs, w_hh, *g[:3], reverse, batch_sizes)
    dx, *weights = weight_gradients(d, d, x, hs, w_ih, reverse, (need[0], *need[3:7]))
    return dx, dh0 if need[1] else None, dc0 if need[2] else None, *weights


@op
def lstm_backward(gates, cs, w_hh, dy, dh, dc, reverse=False, batch_sizes=None):
    """Back through all steps of lstm_layer. No derivative: gradients of gradients go through the definition.

    Shapes: gates (T, N, 4H), cs (T + 1, N, H); dy (T, N, H), dh and dc (N, H), or None -> as gates, (N, H), (N, H).
    """
    return kernels.lstm_backward(gates, cs, w_hh, dy, dh, dc, reverse, batch_sizes)


# ---- GRU ----
@op
def gru_layer(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False, batch_sizes=None):
    """GRU over a sequence: y, the last h, and for the derivative all states and gates.

    r, z = sigmoid of the first parts of w_ih x_t + b_ih + w_hh h + b_hh, n = tanh(w_in x_t + b_in + r (w_hn h + b_hn));
    h = (1 - z) n + z h. d: gru_backward. Shapes: x (T, N, I), h0 (N, H) or None -> y (T, N, H), (N, H).
    """
    hs, gates = kernels.gru(x, h0, w_ih, w_hh, b_ih, b_hh, reverse, batch_sizes, state.recording)
    return *outputs(hs, reverse), hs, gates


@gru_layer.vjp
def gru_layer_vjp(g, y, x, h0, w_ih, w_hh, b_ih, b_hh, reverse, batch_sizes, need):
    if state.recording:
        return by_definition(gru_definition, g[:2], x, (h0,), (w_ih, w_hh, b_ih, b_hh), need, reverse, batch_sizes)
    hs, gates = y[2:]
    d, dh0 = gru_backward(gates, hs, w_hh, *g[:2], reverse, batch_sizes)
    d, hidden = flat(d), hs.shape[2]  # by w_hn h + b_hn, by r, by z and by n
    dx, dw_ih, dw_hh, db_ih, db_hh = weight_gradients(d[:, hidden:], d[:, :3 * hidden], x, hs, w_ih, reverse,
                                                      (need[0], *need[2:6]))
    if dw_hh is not None:
        dw_hh, db_hh = (concat([v[hidden:], v[:hidden]]) for v in (dw_hh, db_hh))
    return dx, dh0 if need[1] else None, dw_ih, dw_hh, db_ih, db_hh


@op
def gru_backward(gates, hs, w_hh, dy, dh, reverse=False, batch_sizes=None):
    """Back through all steps of gru_layer. No derivative: gradients of gradients go through the definition.

    Shapes: gates (T, N, 4H), hs (T + 1, N, H); dy (T, N, H) and dh (N, H), or None -> as gates, (N, H).
    """
    return kernels.gru_backward(gates, hs, w_hh, dy, dh, reverse, batch_sizes)


# ---- plain ----
@op
def rnn_layer(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False, batch_sizes=None, nonlinearity="tanh"):
    """h = tanh, or relu, of w_ih x_t + b_ih + w_hh h + b_hh over a sequence: y, the last h, and all states.

    d: rnn_backward. Shapes: x (T, N, I), h0 (N, H) or None -> y (T, N, H), (N, H).
    """
    hs = kernels.rnn(x, h0, w_ih, w_hh, b_ih, b_hh, reverse, batch_sizes, nonlinearity == "relu")
    return *outputs(hs, reverse), hs


@rnn_layer.vjp
def rnn_layer_vjp(g, y, x, h0, w_ih, w_hh, b_ih, b_hh, reverse, batch_sizes, nonlinearity, need):
    if state.recording:
        return by_definition(rnn_definition, g[:2], x, (h0,), (w_ih, w_hh, b_ih, b_hh), need, reverse, batch_sizes,
                             nonlinearity)
    d, dh0 = rnn_backward(y[2], w_hh, *g[:2], reverse, batch_sizes, nonlinearity)
    dx, *weights = weight_gradients(d, d, x, y[2], w_ih, reverse, (need[0], *need[2:6]))
    return dx, dh0 if need[1] else None, *weights


@op
def rnn_backward(hs, w_hh, dy, dh, reverse=False, batch_sizes=None, nonlinearity="tanh"):
    """Back through all steps of rnn_layer. No derivative: gradients of gradients go through the definition.

    Shapes: hs (T + 1, N, H); dy (T, N, H) and dh (N, H), or None -> (T, N, H), (N, H).
    """
    return kernels.rnn_backward(hs, w_hh, dy, dh, reverse, batch_sizes, nonlinearity == "relu")


# ---- the definitions ----
def unrolled(cell, x, states, widths, reverse, batch_sizes):
    """y and the last states, of cell(x_t, states) -> states, the first of which is the output; None for zeros (N, width)."""
    steps, batch = x.shape[:2]
    states = [wrap(np.zeros((batch, n), x.dtype)) if h is None else h for h, n in zip(states, widths)]
    ys = [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        new = cell(x[t], states)
        if batch_sizes is not None and batch_sizes[t] < batch:
            active = wrap(np.arange(batch)[:, None] < batch_sizes[t])
            new = [where(active, n, old) for n, old in zip(new, states)]
        states = new
        ys[t] = states[0]
    return stack(ys), *states


def lstm_definition(x, states, weights, reverse=False, batch_sizes=None, w_hr=None):
    """lstm_layer in operations; w_hr (P, H): the state is w_hr h (Sak et al. 2014). y, and the last h and c."""
    w_ih, w_hh, b_ih, b_hh = weights

    def cell(x_t, states):
        h, c = states
        i, f, g, o = chunk(linear(x_t, w_ih, b_ih) + linear(h, w_hh, b_hh), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h if w_hr is None else linear(h, w_hr), c
    return unrolled(cell, x, states, (w_hh.shape[1], w_hh.shape[0] // 4), reverse, batch_sizes)


def gru_definition(x, states, weights, reverse=False, batch_sizes=None):
    """gru_layer in operations. y, and the last h."""
    w_ih, w_hh, b_ih, b_hh = weights

    def cell(x_t, states):
        h, = states
        r_x, z_x, n_x = chunk(linear(x_t, w_ih, b_ih), 3, axis=-1)
        r_h, z_h, n_h = chunk(linear(h, w_hh, b_hh), 3, axis=-1)
        n = tanh(n_x + sigmoid(r_x + r_h) * n_h)
        return n + sigmoid(z_x + z_h) * (h - n),
    return unrolled(cell, x, states, (w_hh.shape[1],), reverse, batch_sizes)


def rnn_definition(x, states, weights, reverse=False, batch_sizes=None, nonlinearity="tanh"):
    """rnn_layer in operations. y, and the last h."""
    w_ih, w_hh, b_ih, b_hh = weights
    function = relu if nonlinearity == "relu" else tanh

    def cell(x_t, states):
        return function(linear(x_t, w_ih, b_ih) + linear(states[0], w_hh, b_hh)),
    return unrolled(cell, x, states, (w_hh.shape[1],), reverse, batch_sizes)


def by_definition(definition, g, x, states, weights, need, *options):
    """The gradients of those arguments that need one, recorded, so that they have gradients too."""
    arguments = (x, *states, *weights)
    results = [(y, gradient) for y, gradient in zip(definition(x, states, weights, *options), g) if gradient is not None]
    wanted = [x for x, wants in zip(arguments, need) if wants]
    found = iter(grad([y for y, _ in results], wanted, [gradient for _, gradient in results], create_graph=True,
                      allow_unused=True))
    return tuple(next(found) if wants else None for wants in need[:len(arguments)])
