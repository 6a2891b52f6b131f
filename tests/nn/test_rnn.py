"""RNN, LSTM, GRU and their cells: values, gradients, shapes and errors as PyTorch's; derivatives of both orders."""
import itertools

import numpy as np
import pytest

import minidl as ml
from minidl import nn
from minidl.autograd import gradcheck
from minidl.nn.utils import rnn as sequences
from minidl.ops import recurrent

torch = pytest.importorskip("torch", reason="PyTorch is the peer these layers are compared with")

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
random = np.random.default_rng(0)


def pair(name, *args, **kwargs):
    """A layer, and PyTorch's with the same weights."""
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def leaf(*shape):
    """The same values as a leaf of both libraries."""
    values = random.standard_normal(shape).astype("f")
    return ml.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)


def flat(result):
    return [result] if not isinstance(result, (tuple, list)) else [x for part in result for x in flat(part)]


def compare(ours, theirs, inputs, of_largest=0.0):
    """Results of two calls with the same weighted sum as loss: values, and gradients of the inputs and of the weights.
    of_largest: an error that is allowed relative to the largest number of an array."""
    def close(a, b, rtol, atol):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=0 if of_largest else rtol, atol=of_largest * np.abs(b).max() or atol)

    (layer, results), (peer, wanted) = ours, theirs
    results, wanted = flat(results), flat(wanted)
    total = wanted_total = 0
    for a, b in zip(results, wanted, strict=True):
        close(a, b, 1e-4, 2e-6)
        slope = random.standard_normal(a.shape).astype("f")
        total, wanted_total = total + (a * ml.tensor(slope)).sum(), wanted_total + (b * torch.tensor(slope)).sum()
    total.backward()
    wanted_total.backward()
    parameters = dict(peer.named_parameters())
    for a, b in [*inputs, *((p, parameters[name]) for name, p in layer.named_parameters())]:
        close(a.grad, b.grad, 1e-3, 2e-5)


OPTIONS = [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True, "bias": False},
           {"batch_first": True}, {"num_layers": 3, "batch_first": True, "bidirectional": True}]
KINDS = [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {"proj_size": 3})]


@pytest.mark.parametrize("name, more", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_and_gradients_are_pytorchs(name, more, options):
    layer, peer = pair(name, 5, 7, **options, **more)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    for batch, given in itertools.product((4, None), (False, True)):
        layer.zero_grad()
        peer.zero_grad()
        shape = (6,) if batch is None else (batch, 6) if options.get("batch_first") else (6, batch)
        inner = () if batch is None else (batch,)
        inputs = [leaf(*shape, 5)]
        if given:
            inputs += [leaf(count, *inner, more.get("proj_size", 7))] + ([leaf(count, *inner, 7)] if name == "LSTM" else [])
        ours, theirs = zip(*inputs)
        if name == "LSTM" and given:
            ours, theirs = (ours[0], ours[1:]), (theirs[0], theirs[1:])
        compare((layer, layer(*ours)), (peer, peer(*theirs)), inputs)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_large_layers_and_long_sequences(name):
    """Beside PyTorch in float64. A gradient of a weight sums up a thousand numbers that nearly cancel in some elements, whose
    error in float32, ours and PyTorch's alike, is some 1e-6 of the largest element."""
    layer, peer = pair(name, 40, 100, num_layers=2, bidirectional=True)
    peer, (x, y) = peer.double(), leaf(30, 33, 40)
    y = y.detach().double().requires_grad_()
    compare((layer, layer(x)), (peer, peer(y)), [(x, y)], of_largest=5e-6)


@pytest.mark.parametrize("name, more", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}], ids=str)
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [2, 6, 1, 5]])
def test_packed_sequences(name, more, options, lengths):
    layer, peer = pair(name, 5, 7, **options, **more)
    first, in_order = options.get("batch_first", False), lengths == sorted(lengths, reverse=True)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    for given in (False, True):
        layer.zero_grad()
        peer.zero_grad()
        inputs = [leaf(4, 6, 5) if first else leaf(6, 4, 5)]
        packed = sequences.pack_padded_sequence(inputs[0][0], lengths, first, in_order)
        wanted = torch.nn.utils.rnn.pack_padded_sequence(inputs[0][1], torch.tensor(lengths), first, in_order)
        for mine, other in zip(packed, wanted, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None:
                np.testing.assert_array_equal(mine.detach().numpy(), other.detach().numpy())
        states = [leaf(count, 4, more.get("proj_size", 7))] + ([leaf(count, 4, 7)] if name == "LSTM" else []) if given else []
        hx = [tuple(h[i] for h in states) if name == "LSTM" else states[0][i] for i in (0, 1)] if given else [None, None]
        y, last = layer(packed, hx[0])
        wanted_y, wanted_last = peer(wanted, hx[1])
        padded = sequences.pad_packed_sequence(y, first, -1.0, total_length=8)
        wanted_padded = torch.nn.utils.rnn.pad_packed_sequence(wanted_y, first, -1.0, total_length=8)
        np.testing.assert_array_equal(padded[1].numpy(), wanted_padded[1].numpy())
        compare((layer, (padded[0], last)), (peer, (wanted_padded[0], wanted_last)), inputs + states)


@pytest.mark.parametrize("name, more", [("LSTMCell", {}), ("GRUCell", {}), ("RNNCell", {}),
                                        ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {"bias": False})])
def test_cells(name, more):
    layer, peer = pair(name, 5, 7, **more)
    for inner, given in itertools.product([(3,), ()], [False, True]):
        layer.zero_grad()
        peer.zero_grad()
        inputs = [leaf(*inner, 5)] + [leaf(*inner, 7) for _ in range((1 + (name == "LSTMCell")) * given)]
        ours, theirs = zip(*inputs)
        if name == "LSTMCell" and given:
            ours, theirs = (ours[0], ours[1:]), (theirs[0], theirs[1:])
        compare((layer, layer(*ours)), (peer, peer(*theirs)), inputs)


@pytest.mark.parametrize("layer, definition, gates, states, more", [
    (recurrent.lstm_layer, recurrent.lstm_definition, 4, 2, ()), (recurrent.gru_layer, recurrent.gru_definition, 3, 1, ()),
    (recurrent.rnn_layer, recurrent.rnn_definition, 1, 1, ("tanh",))])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [None, np.array([2, 2, 1])])
def test_derivatives_of_both_orders(layer, definition, gates, states, more, reverse, sizes):
    shapes = [(3, 2, 2), *[(2, 3)] * states, (gates * 3, 2), (gates * 3, 3), (gates * 3,), (gates * 3,)]
    arguments = [ml.tensor(random.standard_normal(s) / 2, requires_grad=True) for s in shapes]

    def value(*arguments):
        y, *last = layer(*arguments, reverse, sizes, *more)[:1 + states]
        return (y * y * 0.7).sum() + sum((h ** 3).sum() for h in last)

    assert gradcheck(value, arguments)
    defined = definition(arguments[0], arguments[1:1 + states], arguments[1 + states:], reverse, sizes, *more)
    for a, b in zip(layer(*arguments, reverse, sizes, *more), defined):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-14)

    def slope(*arguments):
        return sum((g * g).sum() for g in ml.grad(value(*arguments), arguments, create_graph=True))

    assert gradcheck(slope, arguments, atol=1e-4)


def test_initial_values_names_and_repr():
    layer = nn.LSTM(3, 16, 2, bidirectional=True, proj_size=4)
    bound = 16**-0.5
    assert all(np.abs(p.detach().numpy()).max() <= bound for p in layer.parameters())
    assert max(np.abs(p.detach().numpy()).max() for p in layer.parameters()) > 0.95 * bound
    for args, kwargs in [((3, 4), {}), ((3, 4, 2), {"bidirectional": True, "batch_first": True}), ((3, 4), {"bias": False})]:
        for name in ("LSTM", "GRU", "RNN"):
            ours, theirs = pair(name, *args, **kwargs)
            assert repr(ours) == repr(theirs)
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == repr(torch.nn.RNNCell(3, 4, nonlinearity="relu"))


def test_dropout_between_layers_only_in_training():
    layer, x = nn.GRU(4, 8, 2, dropout=0.5), ml.randn(5, 3, 4)
    y = layer(x)[0].detach().numpy()
    assert not np.array_equal(y, layer(x)[0].detach().numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy())
    with pytest.warns(UserWarning, match="one layer only"):
        nn.GRU(4, 8, dropout=0.5)


def raised(function):
    with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
        function()
    return type(error.value)


@pytest.mark.parametrize("make", [
    lambda nn, t: nn.LSTM(3.0, 4), lambda nn, t: nn.LSTM(3, 0), lambda nn, t: nn.LSTM(0, 3), lambda nn, t: nn.GRU(3, 4, 0),
    lambda nn, t: nn.GRU(3, 4, proj_size=2), lambda nn, t: nn.LSTM(3, 4, proj_size=4),
    lambda nn, t: nn.LSTM(3, 4, dropout=1.5), lambda nn, t: nn.RNN(3, 4, nonlinearity="sine"),
    lambda nn, t: nn.LSTM(3, 4, bias=1), lambda nn, t: nn.LSTM(3, 4)(t(2, 2, 2, 3)),
    lambda nn, t: nn.LSTM(3, 4)(t(2, 2, 5)), lambda nn, t: nn.LSTM(3, 4)(t(0, 2, 3)),
    lambda nn, t: nn.LSTM(3, 4)(t(2, 2, 3), (t(1, 3, 4), t(1, 2, 4))), lambda nn, t: nn.GRU(3, 4)(t(2, 2, 3), t(2, 4)),
    lambda nn, t: nn.GRU(3, 4)(t(2, 3), t(1, 2, 4)), lambda nn, t: nn.LSTM(3, 4)(t(2, 2, 3).double()),
    lambda nn, t: nn.LSTMCell(3, 4)(t(2, 2, 3)), lambda nn, t: nn.GRUCell(3, 4)(t(2, 5)),
    lambda nn, t: nn.GRUCell(3, 4)(t(2, 3), t(3, 4)), lambda nn, t: nn.RNNCell(3, 4)(t(2, 3), t(2, 5)),
    lambda nn, t: nn.RNNCell(3, 4, nonlinearity="sine")(t(2, 3)),
    lambda nn, t: nn.utils.rnn.pack_padded_sequence(t(4, 2, 3), [2, 4]),
    lambda nn, t: nn.utils.rnn.pack_padded_sequence(t(4, 2, 3), [4, 0]),
    lambda nn, t: nn.utils.rnn.pack_padded_sequence(t(4, 2, 3), [4]),
])
def test_errors_are_of_pytorchs_kinds(make):
    assert raised(lambda: make(nn, ml.zeros)) is raised(lambda: make(torch.nn, torch.zeros))


def test_padding_and_packing_lists_of_sequences():
    lists = [leaf(n, 2) for n in (3, 5, 1)]
    ours, theirs = [a for a, _ in lists], [b for _, b in lists]
    for options in ({}, {"batch_first": True}, {"padding_value": 2.0, "padding_side": "left"}):
        np.testing.assert_array_equal(sequences.pad_sequence(ours, **options).detach().numpy(),
                                      torch.nn.utils.rnn.pad_sequence(theirs, **options).detach().numpy())
    packed = sequences.pack_sequence(ours, enforce_sorted=False)
    for mine, other in zip(sequences.unpack_sequence(packed), theirs, strict=True):
        np.testing.assert_array_equal(mine.detach().numpy(), other.detach().numpy())
    assert packed.double().data.dtype == ml.float64 and packed.float().data.dtype == ml.float32
    with pytest.raises(RuntimeError, match="enforce_sorted"):
        sequences.pack_sequence(ours)
    with pytest.raises(ValueError, match="total_length"):
        sequences.pad_packed_sequence(packed, total_length=2)
    with pytest.raises(ValueError, match="padding_side"):
        sequences.pad_sequence(ours, padding_side="top")


def test_a_change_in_place_of_the_output_is_an_error_at_backward():
    layer = nn.LSTM(3, 4)
    y, _ = layer(ml.randn(2, 2, 3))
    with ml.no_grad():
        y += 1
    with pytest.raises(RuntimeError, match="in place"):
        y.sum().backward()


def test_another_dtype():
    layer, peer = pair("LSTM", 3, 5, 2, bidirectional=True)
    layer, peer, x = layer.double(), peer.double(), random.standard_normal((4, 2, 3))
    np.testing.assert_allclose(layer(ml.tensor(x))[0].detach().numpy(), peer(torch.tensor(x))[0].detach().numpy(), rtol=1e-12)
