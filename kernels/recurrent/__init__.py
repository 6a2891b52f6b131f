"""One layer of a recurrent network in one direction, a whole sequence in one call.

T steps, a batch of N, I inputs, H hidden units. `hs` holds the state before the first step, h0 (None for zeros), and after
each: (T + 1, N, H). Step t goes from slot t to slot t + 1, in reverse from t + 1 to t, last step first. batch_sizes: (T,), not
increasing, or None: the first batch_sizes[t] rows take part in step t, the others keep their state. Weights and biases are
PyTorch's: w_ih (gates H, I), w_hh (gates H, H), b_ih and b_hh (gates H,) or None.
"""
from typing import NamedTuple

import numpy as np

from .._cases import case, normal
from .._dispatch import kernel
from ..elementwise import floating


class RecurrentParams(NamedTuple):
    reverse: int
    relu: int = 0


def checked(name, gates, x, states, w_ih, w_hh, biases, batch_sizes):
    """(T, N, H), and batch_sizes as int64. Raises ValueError where shapes do not fit, TypeError where dtypes differ."""
    floating(name, "x", x)
    if x.ndim != 3 or w_hh.ndim != 2 or w_hh.shape[0] != gates * w_hh.shape[1]:
        raise ValueError(f"{name}: x {x.shape}, w_hh {w_hh.shape}: (T, N, I) and ({gates} H, H) expected")
    (steps, batch, inputs), hidden = x.shape, w_hh.shape[1]
    wanted = {"w_ih": (w_ih, (gates * hidden, inputs)),
              **{name: (s, (batch, hidden)) for name, s in zip(("h0", "c0"), states)},
              **{name: (b, (gates * hidden,)) for name, b in zip(("b_ih", "b_hh"), biases)}}
    for key, (array, shape) in wanted.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name}: x {x.shape}, w_hh {w_hh.shape}: {key} is {array.shape}: {shape} expected")
    for array in (w_ih, w_hh, *states, *biases):
        if array is not None and array.dtype != x.dtype:
            raise TypeError(f"{name}: x is {x.dtype}, another argument {array.dtype}: one dtype expected")
    return (steps, batch, hidden), sizes_of(name, steps, batch, batch_sizes)


def sizes_of(name, steps, batch, batch_sizes):
    """batch_sizes as int64. Raises ValueError unless there is one for each step, in [0, batch] and not increasing."""
    if batch_sizes is None:
        return None
    sizes = np.ascontiguousarray(batch_sizes, np.int64)
    if sizes.shape != (steps,) or (steps and (sizes.max() > batch or sizes.min() < 0)) or (np.diff(sizes) > 0).any():
        raise ValueError(f"{name}: batch_sizes {sizes}: {steps} numbers from {batch} down to 0 expected")
    return sizes


def plain(*arrays):
    """NumPy's arrays in C order: gradients come in any layout."""
    return tuple(np.ascontiguousarray(a) if type(a) is np.ndarray else a for a in arrays)


@kernel(tolerance=5e-6)  # a rounding goes through all later steps
def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False, batch_sizes=None, keep=True):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers et al. 2000), as torch.nn.LSTM.

        i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of the four parts of w_ih x_t + b_ih + w_hh h + b_hh
        c = f c + i g
        h = o tanh(c)

    x: (T, N, I); h0, c0: (N, H) or None. Returns hs and cs (T + 1, N, H), and the gates (T, N, 4H) for `lstm_backward`.
    Without keep, cs is the last state alone, (1, N, H), and the gates are empty, (0, N, 4H): nothing goes back from there.
    Raises ValueError where shapes do not fit, TypeError where dtypes differ.
    """
    (steps, batch, hidden), sizes = checked("lstm", 4, x, (h0, c0), w_ih, w_hh, (b_ih, b_hh), batch_sizes)
    return [((steps + 1, batch, hidden), x.dtype), ((steps + 1 if keep else 1, batch, hidden), x.dtype),
            ((steps if keep else 0, batch, 4 * hidden), x.dtype)], \
        (x, *plain(h0, c0, w_ih, w_hh, b_ih, b_hh), sizes), RecurrentParams(int(reverse))


@kernel(tolerance=2e-5)
def lstm_backward(gates, cs, w_hh, dy=None, dh_n=None, dc_n=None, reverse=False, batch_sizes=None):
    """The derivative of `lstm`: back through all steps.

    gates, cs: as `lstm` returned them; dy: (T, N, H), the gradient of the states after each step; dh_n, dc_n: (N, H), of the
    last; each may be None. Returns dgates (T, N, 4H), the gradient of w_ih x_t + b_ih + w_hh h + b_hh, and dh0, dc0 (N, H).
    """
    steps, batch, hidden = gates.shape[0], gates.shape[1], w_hh.shape[1]
    state = ((batch, hidden), gates.dtype)
    return [(gates.shape, gates.dtype), state, state], \
        (gates, cs, *plain(w_hh, dy, dh_n, dc_n), sizes_of("lstm_backward", steps, batch, batch_sizes)), \
        RecurrentParams(int(reverse))


@kernel(tolerance=5e-6)
def gru(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False, batch_sizes=None, keep=True):
    """Gated recurrent unit (Cho et al. 2014), as torch.nn.GRU.

        r, z = sigmoid of the first two parts of w_ih x_t + b_ih + w_hh h + b_hh
        n = tanh(w_in x_t + b_in + r (w_hn h + b_hn))
        h = (1 - z) n + z h

    x: (T, N, I); h0: (N, H) or None. Returns hs (T + 1, N, H) and, for `gru_backward`, w_hn h + b_hn, r, z and n, (T, N, 4H),
    or (0, N, 4H) without keep. Raises as `lstm`.
    """
    (steps, batch, hidden), sizes = checked("gru", 3, x, (h0,), w_ih, w_hh, (b_ih, b_hh), batch_sizes)
    return [((steps + 1, batch, hidden), x.dtype), ((steps if keep else 0, batch, 4 * hidden), x.dtype)], \
        (x, *plain(h0, w_ih, w_hh, b_ih, b_hh), sizes), RecurrentParams(int(reverse))


@kernel(tolerance=2e-5)
def gru_backward(gates, hs, w_hh, dy=None, dh_n=None, reverse=False, batch_sizes=None):
    """The derivative of `gru`: back through all steps.

    gates, hs: as `gru` returned them; dy, dh_n: as in `lstm_backward`. Returns the gradients of w_hn h + b_hn and of the sums
    that r, z and n are computed from, (T, N, 4H): the first three are those of the recurrent product, the last three those of
    the input's; and dh0 (N, H).
    """
    sizes = sizes_of("gru_backward", gates.shape[0], gates.shape[1], batch_sizes)
    return [(gates.shape, gates.dtype), (hs.shape[1:], hs.dtype)], (gates, hs, *plain(w_hh, dy, dh_n), sizes), \
        RecurrentParams(int(reverse))


@kernel(tolerance=5e-6)
def rnn(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, reverse=False, batch_sizes=None, relu=False):
    """h = tanh, or relu, of w_ih x_t + b_ih + w_hh h + b_hh (Elman 1990), as torch.nn.RNN.

    x: (T, N, I); h0: (N, H) or None. Returns hs (T + 1, N, H). Raises as `gru`.
    """
    (steps, batch, hidden), sizes = checked("rnn", 1, x, (h0,), w_ih, w_hh, (b_ih, b_hh), batch_sizes)
    return [((steps + 1, batch, hidden), x.dtype)], (x, *plain(h0, w_ih, w_hh, b_ih, b_hh), sizes), \
        RecurrentParams(int(reverse), int(relu))


@kernel(tolerance=2e-5)
def rnn_backward(hs, w_hh, dy=None, dh_n=None, reverse=False, batch_sizes=None, relu=False):
    """The derivative of `rnn`. hs: as `rnn` returned it; dy, dh_n: as in `lstm_backward`. Returns the gradient of the sums
    (T, N, H), and dh0 (N, H).
    """
    steps, batch, hidden = hs.shape[0] - 1, *hs.shape[1:]
    sizes = sizes_of("rnn_backward", steps, batch, batch_sizes)
    return [((steps, batch, hidden), hs.dtype), (hs.shape[1:], hs.dtype)], (hs, *plain(w_hh, dy, dh_n), sizes), \
        RecurrentParams(int(reverse), int(relu))


def costs(forward, backward, gates):
    """Gives both kernels their costs: the products."""

    @forward.cost
    def forward_flops(outs, ins, p):
        x, hs = ins[0], outs[0]
        return 2 * gates * x.shape[0] * x.shape[1] * hs.shape[2] * (x.shape[2] + hs.shape[2])

    @backward.cost
    def backward_flops(outs, ins, p):
        return 2 * gates * outs[0].shape[0] * outs[1].size * outs[1].shape[1]


costs(lstm, lstm_backward, 4)
costs(gru, gru_backward, 3)
costs(rnn, rnn_backward, 1)


SIZES = [(1, 1, 1, 1), (3, 2, 5, 7), (4, 9, 3, 16), (5, 20, 16, 33), (2, 130, 7, 48), (9, 1, 20, 130), (3, 3, 0, 5),
         (2, 0, 3, 4)]
BENCH = [(64, 32, 128, 256), (128, 64, 128, 256), (64, 32, 128, 128), (128, 64, 128, 128), (64, 1, 128, 256),
         (64, 1, 128, 128)]


def arguments(gates, size, dtype="float32", states=1):
    """x, the first states, weights and biases of a layer of one size."""
    steps, batch, inputs, hidden = size
    scale = np.dtype(dtype).type(hidden**-0.5)
    return (normal(steps, batch, inputs, dtype=dtype),
            *(normal(batch, hidden, dtype=dtype, seed=1 + i) for i in range(states)),
            normal(gates * hidden, inputs, dtype=dtype, seed=3) * scale,
            normal(gates * hidden, hidden, dtype=dtype, seed=4) * scale,
            *(normal(gates * hidden, dtype=dtype, seed=5 + i) * scale for i in range(2)))


def variants(gates, states):
    """(label, arguments, options, bench): the cases of all recurrent layers."""
    for size in SIZES:
        yield f"{size}", arguments(gates, size, states=states), {}, False
        yield f"{size} reverse", arguments(gates, size, states=states), {"reverse": True}, False
    x, *rest = arguments(gates, (6, 5, 4, 17), states=states)
    sizes = np.array([5, 5, 4, 2, 1, 1])
    yield "lengths", (x, *rest), {"batch_sizes": sizes}, False
    yield "lengths reverse", (x, *rest), {"batch_sizes": sizes, "reverse": True}, False
    lengths = np.repeat([70, 50, 20, 3], 3)
    yield "many lengths", arguments(gates, (12, 70, 4, 65), states=states), {"batch_sizes": lengths}, False
    for size in [(8, 20, 7, 96), (12, 40, 8, 64), (4, 40, 8, 352)]:  # on matrix tiles, where the processor has them
        x_of, *others = arguments(gates, size, states=states)
        yield f"{size}", (x_of, *others), {}, False
        tiny = [h * np.float32(1e-35) for h in others[:states]]  # does not split into parts
        yield f"{size} tiny states", (x_of, *tiny, *others[states:]), {}, False
    yield "no biases, no states", (x, *[None] * states, *rest[states:-2]), {}, False
    yield "batch first", (normal(5, 6, 4).transpose(1, 0, 2), *rest), {}, False
    yield "float64", arguments(gates, (4, 3, 5, 6), "float64", states), {}, False
    for size in BENCH:
        yield f"{size}", arguments(gates, size, states=states), {}, True


def slopes(hs):
    """Gradients of the states after each step, and of the last."""
    steps, batch, hidden = hs.shape
    return normal(steps - 1, batch, hidden, dtype=hs.dtype, seed=9), normal(batch, hidden, dtype=hs.dtype, seed=10)


def forgetting(gates, states):
    """The cases in which nothing is kept for backward."""
    for label, args, options, bench in variants(gates, states):
        yield case(f"{label} keep=False", *args, **options, keep=False, bench=bench)


@lstm.examples
def lstm_cases():
    for label, args, options, bench in variants(4, 2):
        yield case(label, *args, **options, bench=bench)
    yield from forgetting(4, 2)


@lstm_backward.examples
def lstm_backward_cases():
    for label, args, options, bench in variants(4, 2):
        hs, cs, gates = lstm(*args, **options)
        g, last = slopes(hs)
        yield case(label, gates, cs, args[4], g, last, last[::-1], **options, bench=bench)
    yield case("of the last states alone", gates, cs, args[4], None, slopes(hs)[1], None)


@gru.examples
def gru_cases():
    for label, args, options, bench in variants(3, 1):
        yield case(label, *args, **options, bench=bench)
    yield from forgetting(3, 1)


@gru_backward.examples
def gru_backward_cases():
    for label, args, options, bench in variants(3, 1):
        hs, gates = gru(*args, **options)
        yield case(label, gates, hs, args[3], *slopes(hs), **options, bench=bench)
    yield case("of the last state alone", gates, hs, args[3], None, slopes(hs)[1])
    args = arguments(3, (12, 40, 8, 64))
    hs, gates = gru(*args)
    yield case("tiny slopes", gates, hs, args[3], *(g * np.float32(1e-30) for g in slopes(hs)))  # do not split into parts


@rnn.examples
def rnn_cases():
    for label, args, options, bench in variants(1, 1):
        yield case(label, *args, **options, bench=bench)
        if not bench:
            yield case(f"{label} relu", *args, **options, relu=True)


@rnn_backward.examples
def rnn_backward_cases():
    for label, args, options, bench in variants(1, 1):
        for relu in (False,) if bench else (False, True):
            hs = rnn(*args, **options, relu=relu)
            yield case(f"{label} relu={relu}", hs, args[3], *slopes(hs), **options, relu=relu, bench=bench)
    yield case("of the last state alone", hs, args[3], None, slopes(hs)[1])
