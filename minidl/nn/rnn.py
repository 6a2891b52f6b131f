"""Recurrent layers: RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014), and their steps."""
import numbers
import warnings

from ..ops import concat, empty, stack
from ..ops.recurrent import gru_layer, lstm_definition, lstm_layer, rnn_layer
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, positions


def check_options(name, input_size, hidden_size, num_layers, dropout, proj_size, **flags):
    for option, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name}: {option} should be of type int, got: {type(size).__name__}")
    for option, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if size <= 0:
            raise ValueError(f"{name}: {option}={size}: {option} must be greater than zero")
    for option, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}: {option} should be of type bool, got: {type(value).__name__}")
    if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"{name}: dropout={dropout!r}: dropout should be a number in range [0, 1]")
    if dropout > 0 and num_layers == 1:
        warnings.warn(f"dropout={dropout} is between layers, and there is one layer only", stacklevel=4)
    if proj_size < 0:
        raise ValueError(f"{name}: proj_size={proj_size}: proj_size should be a positive integer or zero to disable "
                         "projections")
    if proj_size >= hidden_size:
        raise ValueError(f"{name}: proj_size={proj_size}: proj_size has to be smaller than hidden_size, {hidden_size}")


def make_weights(module, gates, inputs, outputs, suffix="", projection=0, device=None, dtype=None):
    """Parameters of one layer and direction: weight_ih, weight_hh, bias_ih, bias_hh (or None), weight_hr for a projection."""
    rows, kind = gates * module.hidden_size, {"device": device, "dtype": dtype}
    shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, outputs), "bias_ih": (rows,), "bias_hh": (rows,)}
    if projection:
        shapes["weight_hr"] = (projection, module.hidden_size)
    for name, shape in shapes.items():
        wanted = module.bias or not name.startswith("bias")
        if wanted:
            setattr(module, name + suffix, Parameter(empty(shape, **kind)))
        elif not suffix:
            module.register_parameter(name, None)


def reset(module):
    """Values from U(-b, b), b = 1 / sqrt(hidden_size)."""
    bound = module.hidden_size**-0.5
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


class RNNBase(Module):
    """What RNN, LSTM and GRU share: num_layers layers, each over the sequence of the one below, in one or both directions.

    bias: with bias_ih and bias_hh. batch_first: (N, T, ·) instead of (T, N, ·). dropout: between the layers, in training.
    bidirectional: a second set of weights, suffix _reverse, runs from the end; outputs stand side by side.
    Parameters are PyTorch's: weight_ih_l0 (gates H, I), weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0 with proj_size.
    Initial values: U(-b, b), b = 1 / sqrt(hidden_size).
    Input: (T, N, I), (T, I) without a batch, or a PackedSequence. Returns the output of the last layer for all steps, and the
    last states (layers directions, N, H). Raises ValueError, TypeError or, where shapes do not fit, RuntimeError, as PyTorch.
    """

    def __init__(self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, proj_size=0, device=None, dtype=None):
        super().__init__()
        gates = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
        if mode not in gates:
            raise ValueError(f"RNNBase: mode={mode!r}: one of {', '.join(gates)} expected")
        check_options(type(self).__name__, input_size, hidden_size, num_layers, dropout, proj_size, bias=bias,
                      batch_first=batch_first, bidirectional=bidirectional)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        width = proj_size or hidden_size
        self.suffixes = [f"_l{layer}{end}" for layer in range(num_layers) for end in self.directions]
        for i, suffix in enumerate(self.suffixes):
            inputs = input_size if i < len(self.directions) else width * len(self.directions)
            make_weights(self, gates[mode], inputs, width, suffix, proj_size, device, dtype)
        self.reset_parameters()

    @property
    def directions(self):
        """The parameters' suffixes of the directions."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def reset_parameters(self):
        """Draws new initial values."""
        reset(self)

    def flatten_parameters(self):
        """Does nothing: for PyTorch code."""

    @property
    def all_weights(self):
        """The parameters of each layer and direction."""
        names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if self.bias else ()),
                 *(("weight_hr",) if self.proj_size else ()))
        return [[getattr(self, name + suffix) for name in names] for suffix in self.suffixes]

    # ---- what is given ----
    def check_input(self, input, batch_sizes):
        """Raises unless the input is (T, N, I), or (rows, I) of a packed sequence, in the dtype of the weights."""
        axes, weight = (3 if batch_sizes is None else 2), self.weight_ih_l0
        if input.dtype != weight.dtype:
            raise ValueError(f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                             f"input.to('{weight.dtype}'), or convert model: model.to('{input.dtype}')")
        if input.ndim != axes:
            raise RuntimeError(f"input must have {axes} dimensions, got {input.ndim}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError("input.size(-1) must be equal to input_size. "
                               f"Expected {self.input_size}, got {input.shape[-1]}")
        if batch_sizes is None and input.shape[self.batch_first] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

    def check_states(self, states, batch):
        """Raises unless each state is (layers directions, N, its width)."""
        widths = (self.proj_size or self.hidden_size, self.hidden_size)
        for i, (h, width) in enumerate(zip(states, widths)):
            wanted = (len(self.suffixes), batch, width)
            if h is not None and h.shape != wanted:
                name = ("hidden[0]", "hidden[1]")[i] if self.mode == "LSTM" else "hidden"
                raise RuntimeError(f"Expected {name} size {wanted}, got {list(h.shape)}")

    def forward(self, input, hx=None):
        count = 2 if self.mode == "LSTM" else 1
        states = (None,) * count if hx is None else tuple(hx) if count == 2 else (hx,)
        if isinstance(input, PackedSequence):
            return self.forward_packed(input, states)
        name = self.mode.partition("_")[0]
        if input.ndim not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        batched = input.ndim == 3
        if any(h is not None and h.ndim != input.ndim for h in states):
            dims = ", ".join(f"{h.ndim}-D" for h in states if h is not None)
            names, dims = ("hx and cx", f"({dims})") if count == 2 else ("hx", dims)
            kind, n = ("batched 3", 3) if batched else ("unbatched 2", 2)
            raise RuntimeError(f"For {kind}-D input, {names} should also be {n}-D but got {dims} tensors")
        axis = (0 if self.batch_first else 1)
        if not batched:
            input = input[None] if self.batch_first else input[:, None]
            states = tuple(None if h is None else h[:, None] for h in states)
        self.check_input(input, None)
        self.check_states(states, input.shape[axis])
        y, last = self.run(input.permute(1, 0, 2) if self.batch_first else input, states, None)
        y = y.permute(1, 0, 2) if self.batch_first else y
        if not batched:
            y, last = y[0] if self.batch_first else y[:, 0], tuple(h[:, 0] for h in last)
        return y, last if count == 2 else last[0]

    def forward_packed(self, input, states):
        data, batch_sizes, order, back = input
        self.check_input(data, batch_sizes)
        sizes = batch_sizes.numpy()
        self.check_states(states, int(sizes[0]))
        states = tuple(h if h is None or order is None else h[:, order] for h in states)
        rows, place = positions(sizes)
        y, last = self.run(data[rows].reshape(len(sizes), int(sizes[0]), -1), states, sizes)
        y = y.reshape(-1, y.shape[-1])[place]
        last = tuple(h if back is None else h[:, back] for h in last)
        return PackedSequence(y, batch_sizes, order, back), last if self.mode == "LSTM" else last[0]

    def run(self, x, states, batch_sizes):
        """All layers on (T, N, I): the output, and the last states, each (layers directions, N, ·)."""
        directions, last = len(self.directions), []
        for i in range(0, len(self.suffixes), directions):
            if i and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            ends = [self.layer(x, tuple(None if h is None else h[i + j] for h in states), self.suffixes[i + j], j == 1,
                               batch_sizes) for j in range(directions)]
            x = ends[0][0] if directions == 1 else concat([y for y, *_ in ends], axis=-1)
            last += [h for _, *h in ends]
        return x, tuple(stack(h) for h in zip(*last))

    def layer(self, x, states, suffix, reverse, batch_sizes):
        """One layer in one direction: its output and last states."""
        w_ih, w_hh = getattr(self, "weight_ih" + suffix), getattr(self, "weight_hh" + suffix)
        biases = (getattr(self, "bias_ih" + suffix), getattr(self, "bias_hh" + suffix)) if self.bias else (None, None)
        if self.proj_size:
            return lstm_definition(x, states, (w_ih, w_hh, *biases), reverse, batch_sizes, getattr(self, "weight_hr" + suffix))
        if self.mode == "LSTM":
            return lstm_layer(x, *states, w_ih, w_hh, *biases, reverse, batch_sizes)[:3]
        if self.mode == "GRU":
            return gru_layer(x, *states, w_ih, w_hh, *biases, reverse, batch_sizes)[:2]
        return rnn_layer(x, *states, w_ih, w_hh, *biases, reverse, batch_sizes, self.mode[4:].lower())[:2]

    def extra_repr(self):
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        options = [f"proj_size={self.proj_size}"] if self.proj_size else []
        options += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *options])


class RNN(RNNBase):
    """h = tanh, or relu with nonlinearity='relu', of W_ih x_t + b_ih + W_hh h + b_hh. Arguments and shapes: RNNBase."""

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, device=None, dtype=None):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of the four parts of W_ih x_t + b_ih + W_hh h + b_hh;
    c = f c + i g; h = o tanh(c), or W_hr o tanh(c) with proj_size. The states are a pair (h, c). Else: RNNBase.
    """

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """r, z = sigmoid of the first two parts of W_ih x_t + b_ih + W_hh h + b_hh; n = tanh(W_in x_t + b_in + r (W_hn h + b_hn));
    h = (1 - z) n + z h. Arguments and shapes: RNNBase.
    """

    def __init__(self, *args, **kwargs):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """One step, with weight_ih (gates H, I), weight_hh, bias_ih and bias_hh.

    Input (N, I) or (I,); states (N, H) or (H,), None for zeros. Raises ValueError, or RuntimeError where sizes do not fit.
    """

    def __init__(self, input_size, hidden_size, bias=True, num_chunks=1, device=None, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        make_weights(self, num_chunks, input_size, hidden_size, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws new initial values: U(-b, b), b = 1 / sqrt(hidden_size)."""
        reset(self)

    def step(self, layer, input, states, *options):
        """The states after one step of an operation over sequences."""
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        for i, h in enumerate(states):
            if h is not None and h.ndim not in (1, 2):
                what = f"hx[{i}]" if len(states) == 2 else "hidden"
                raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {h.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]}, expected {self.input_size}")
        batched = input.ndim == 2
        x = input[None] if batched else input[None, None]
        states = [h if h is None or h.ndim == 2 else h[None] for h in states]
        for i, h in enumerate(states):
            if h is not None and h.shape[0] != x.shape[1]:
                raise RuntimeError(f"Input batch size {x.shape[1]} doesn't match hidden{i} batch size {h.shape[0]}")
            if h is not None and h.shape[1] != self.hidden_size:
                raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {h.shape[1]}, expected {self.hidden_size}")
        _, *last = layer(x, *states, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, *options)
        return [h if batched else h[0] for h in last[:len(states)]]

    def extra_repr(self):
        given = {"bias": (self.bias, True), "nonlinearity": (getattr(self, "nonlinearity", "tanh"), "tanh")}
        options = [f"{k}={value}" for k, (value, default) in given.items() if value != default]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *options])


class RNNCell(RNNCellBase):
    """h' = tanh, or relu, of W_ih x + b_ih + W_hh h + b_hh. Shapes, and what is raised: RNNCellBase."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self.step(rnn_layer, input, (hx,), False, None, self.nonlinearity)[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM: (h, c) of an input and (h, c). Shapes, and what is raised: RNNCellBase."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        return tuple(self.step(lstm_layer, input, (None, None) if hx is None else hx))


class GRUCell(RNNCellBase):
    """One step of GRU. Shapes, and what is raised: RNNCellBase."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        return self.step(gru_layer, input, (hx,))[0]
