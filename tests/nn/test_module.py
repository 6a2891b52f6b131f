"""The machinery of modules: attributes, walking, state, hooks, containers."""
import copy

import numpy as np
import pytest

import minidl as ml
import minidl.nn.functional as F
from minidl import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 3)
        self.scale = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x):
        return self.out(F.relu(self.norm(self.hidden(x)))) * self.scale


def values(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# ---- attributes and walking ----
def test_parts_are_found_by_name_in_order():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "hidden.weight", "hidden.bias", "norm.weight", "norm.bias",
                                                      "out.weight", "out.bias"]
    assert list(net.state_dict()) == ["scale", "hidden.weight", "hidden.bias", "norm.weight", "norm.bias",
                                      "norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "out.weight",
                                      "out.bias"]
    assert [n for n, _ in net.named_buffers()] == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    assert [n for n, _ in net.named_modules()] == ["", "hidden", "norm", "out"]
    assert [n for n, _ in net.named_children()] == ["hidden", "norm", "out"]
    assert list(net.children()) == list(net.modules())[1:]
    assert len(list(net.parameters(recurse=False))) == 1 and len(list(net.buffers())) == 3
    assert next(net.named_parameters(prefix="net"))[0] == "net.scale"
    assert net.get_submodule("hidden") is net.hidden and net.get_submodule("") is net
    assert net.get_parameter("out.bias") is net.out.bias
    with pytest.raises(AttributeError, match=r"no module 'hiden'.*hidden, norm, out"):
        net.get_submodule("hiden")
    with pytest.raises(AttributeError, match=r"'out\.gain'"):
        net.get_parameter("out.gain")


def test_shared_parts_count_once_and_are_saved_under_each_name():
    net = nn.Module()
    net.a = nn.Linear(3, 3)
    net.b = net.a
    net.c = nn.Linear(3, 3)
    net.c.weight = net.a.weight
    assert [n for n, _ in net.named_parameters()] == ["a.weight", "a.bias", "c.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 6
    assert list(net.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias"]
    assert [n for n, _ in net.named_children()] == ["a", "c"]


def test_attributes_keep_their_kind():
    net = Net()
    with pytest.raises(TypeError, match=r"Linear.weight: a Tensor given: a Parameter or None"):
        net.out.weight = ml.ones(3, 8)
    with pytest.raises(TypeError, match="a Module or None"):
        net.hidden = 3
    with pytest.raises(TypeError, match="a Tensor or None"):
        net.norm.running_mean = [0.0]
    net.norm.running_mean = ml.ones(8)
    assert net.state_dict()["norm.running_mean"].numpy().all()
    net.out.bias = None
    assert "out.bias" not in net.state_dict() and net.out(ml.ones(1, 8)).shape == (1, 3)
    net.out.bias = nn.Parameter(ml.zeros(3))
    assert "out.bias" in net.state_dict()
    del net.out
    assert not hasattr(net, "out") and len(net.state_dict()) == 8
    net.hidden = nn.Parameter(ml.ones(2))  # another kind of part takes the name over
    assert "hidden" in dict(net.named_parameters()) and "hidden" not in dict(net.named_modules())
    net.steps = 3
    net.steps = nn.Linear(1, 1)
    assert "steps.weight" in net.state_dict()


def test_names_are_checked():
    net = Net()
    for name in ("", "a.b", 3):
        with pytest.raises(ValueError, match="a string without dots"):
            net.register_buffer(name, ml.ones(1))
    with pytest.raises(KeyError, match="'forward' is an attribute"):
        net.register_parameter("forward", None)
    with pytest.raises(TypeError, match="a Parameter or None"):
        net.register_parameter("p", ml.ones(1))
    with pytest.raises(TypeError, match="a Module or None"):
        net.add_module("m", ml.ones(1))
    net.add_module("m", None)
    assert net.m is None and "m" not in dict(net.named_children())


def test_a_subclass_that_forgets_super_init_still_works():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    assert list(Forgetful().state_dict()) == ["layer.weight", "layer.bias"]
    with pytest.raises(NotImplementedError, match=r"Forgetful.forward"):
        Forgetful()(ml.ones(2))


def test_buffers_persist_or_not():
    net = nn.Module()
    net.register_buffer("kept", np.arange(3.0))
    net.register_buffer("mask", ml.ones(2), persistent=False)
    assert list(net.state_dict()) == ["kept"]
    assert [n for n, _ in net.named_buffers()] == ["kept", "mask"]
    net.register_buffer("mask", ml.ones(2))
    assert list(net.state_dict()) == ["kept", "mask"]


def test_modes_freezing_and_gradients():
    net = Net()
    assert net.training and net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    net.hidden.requires_grad_(False)
    net(np.ones((2, 4), np.float32)).sum().backward()
    assert net.hidden.weight.grad is None and net.out.weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert not net.out.weight.grad.numpy().any() and net.hidden.weight.grad is None
    net.zero_grad()
    assert net.out.weight.grad is None
    seen = []
    assert net.apply(seen.append) is net
    assert seen == [net.hidden, net.norm, net.out, net]


def test_to_changes_floats_in_place_and_keeps_layouts():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    weight, strides = net[0].weight, net[0].weight.array.strides
    net(ml.ones(2, 2, 5, 5)).sum().backward()
    assert net.double() is net and net[0].weight is weight
    assert weight.dtype == np.float64 and weight.grad.dtype == np.float64
    assert weight.array.strides == tuple(2 * s for s in strides)
    assert net[1].running_mean.dtype == np.float64 and net[1].num_batches_tracked.dtype == np.int64
    assert net(ml.ones(2, 2, 5, 5, dtype="float64")).dtype == np.float64
    assert net.half()[0].bias.dtype == np.float16
    assert net.float().to("cpu")[0].bias.dtype == np.float32
    with pytest.raises(TypeError, match="int64"):
        net.to("int64")
    with pytest.raises(ValueError, match="cuda"):
        net.to("cuda")


def test_numpy_arrays_become_tensors():
    x = np.ones((2, 4), np.float32)
    assert isinstance(nn.Identity()(x), ml.Tensor)
    assert isinstance(nn.Dropout()(x), ml.Tensor)
    assert isinstance(nn.MSELoss()(x, x), ml.Tensor)
    assert isinstance(nn.MSELoss()(input=x, target=x), ml.Tensor)
    net = Net().eval()
    np.testing.assert_array_equal(net(x).detach().numpy(), net(ml.tensor(x)).detach().numpy())


def test_parameters():
    p = nn.Parameter([1.0, 2.0])
    assert p.requires_grad and p.is_leaf and repr(p).startswith("Parameter containing:\ntensor([1., 2.]")
    assert not nn.Parameter(ml.ones(2), requires_grad=False).requires_grad
    assert type(copy.deepcopy(p)) is nn.Parameter
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter([1, 2])


def test_a_deep_copy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    assert same(values(net), values(twin)) and twin.hidden._parameters["weight"] is twin.hidden.weight
    with ml.no_grad():
        twin.hidden.weight += 1
    assert not same(values(net), values(twin))


# ---- state ----
def test_state_dict_shares_memory_and_comes_back():
    a, b = Net(), Net()
    a(np.ones((5, 4), np.float32))
    state = a.state_dict()
    assert np.shares_memory(state["out.weight"].numpy(), a.out.weight.array) and not state["out.weight"].requires_grad
    assert a.state_dict(keep_vars=True)["out.weight"] is a.out.weight
    assert next(iter(a.state_dict(prefix="net."))) == "net.scale"
    memory = b.out.weight.array
    assert b.load_state_dict(state) == ([], [])
    assert same(values(a), values(b)) and b.out.weight.array is memory
    b.load_state_dict({k: v.numpy() for k, v in state.items()})  # arrays as well


def test_a_state_that_does_not_fit_changes_nothing():
    net = Net()
    before = values(net)
    state = {k: ml.Tensor(v + 1) for k, v in before.items()}
    state["extra"] = ml.ones(1)
    del state["hidden.bias"]
    state["out.weight"] = ml.ones(3, 9)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    assert "do not fit: out.weight: float32(3, 9) given, float32(3, 8) expected" in text
    assert "missing: hidden.bias" in text and "unexpected: extra" in text
    assert same(values(net), before)
    with pytest.raises(RuntimeError, match=r"out\.weight"):  # shapes matter also when names do not
        net.load_state_dict(state, strict=False)
    del state["out.weight"]
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["hidden.bias", "out.weight"] and keys.unexpected_keys == ["extra"]
    assert np.array_equal(net.scale.detach().numpy(), before["scale"] + 1)


def test_convolutions_keep_their_memory_order():
    conv = nn.Conv2d(3, 5, (2, 4))
    assert conv.weight.shape == (5, 3, 2, 4) and conv.weight.array.transpose(2, 3, 1, 0).flags.c_contiguous
    conv.load_state_dict({"weight": np.zeros((5, 3, 2, 4), np.float32), "bias": np.zeros(5, np.float32)})
    assert conv.weight.array.transpose(2, 3, 1, 0).flags.c_contiguous


def test_a_file_of_weights_comes_back(tmp_path):
    net, other = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3)), nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3))
    net(ml.randn(4, 2, 5, 5))
    ml.save(net.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(ml.load(tmp_path / "net.safetensors"))
    assert same(values(net), values(other)) and not same(values(net), values(nn.Sequential(nn.Conv2d(2, 3, 2))))


def test_a_loop_in_pytorchs_idiom_learns_from_arrays_and_from_a_loader():
    ml.manual_seed(0)
    random = np.random.default_rng(0)
    x = random.standard_normal((256, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 2))
    optimizer = ml.optim.Adam(model.parameters(), lr=0.01)
    loader = ml.data.DataLoader(ml.data.TensorDataset(x, y), batch_size=32, shuffle=True)
    for source in (loader, [(x[i:i + 32], y[i:i + 32]) for i in range(0, 256, 32)]):
        for _ in range(20):
            for xb, yb in source:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                optimizer.step()
    model.eval()
    assert (model(x).detach().numpy().argmax(1) == y).mean() > 0.95


# ---- hooks ----
def test_forward_hooks_see_and_replace():
    layer, seen = nn.Linear(2, 2), []
    first = layer.register_forward_pre_hook(lambda m, args: seen.append(("before", m, args)))
    second = layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    third = layer.register_forward_hook(lambda m, args, y: seen.append(("after", args[0].numpy().copy())))
    fourth = layer.register_forward_hook(lambda m, args, y: y + 100)
    x = ml.ones(1, 2)
    plain = layer.forward(x * 2).detach().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), plain + 100)
    assert seen[0][:2] == ("before", layer) and seen[0][2][0] is x
    np.testing.assert_array_equal(seen[1][1], 2 * np.ones((1, 2)))
    for handle in (first, second, third, fourth, first):  # taking one away twice does no harm
        handle.remove()
    assert layer._hooks is None
    with layer.register_forward_hook(lambda m, args, y: 0):
        assert layer(x) == 0
    assert layer(x).shape == (1, 2)
    layer.register_forward_hook(lambda m, args, y: y * 0)
    layer.register_forward_hook(lambda m, args, y: y + 1, prepend=True)
    assert not layer(x).detach().numpy().any()


def test_backward_hooks_see_and_replace():
    layer, seen = nn.Linear(2, 3), []
    handle = layer.register_full_backward_hook(lambda m, gi, go: seen.append((m, gi, go)))
    x = ml.ones(4, 2, requires_grad=True)
    y = layer(x)
    y.backward(ml.full((4, 3), 2.0))
    module, (grad_input,), (grad_output,) = seen[0]
    assert module is layer
    np.testing.assert_array_equal(grad_output.numpy(), np.full((4, 3), 2.0))
    np.testing.assert_allclose(grad_input.numpy(), 2 * np.ones((4, 3)) @ layer.weight.detach().numpy(), rtol=1e-6)
    np.testing.assert_array_equal(x.grad.numpy(), grad_input.numpy())
    handle.remove()
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 0,))
    x.grad = None
    layer(x).sum().backward()
    assert not x.grad.numpy().any()
    layer.register_full_backward_hook(lambda m, gi, go: gi[0])  # a tensor stands for a tuple of one
    layer(x).sum().backward()
    layer.register_full_backward_hook(lambda m, gi, go: gi + gi)
    with pytest.raises(ValueError, match="2 gradients returned for 1 inputs"):
        layer(x).sum().backward()


def test_backward_hooks_without_gradients_of_inputs_or_of_some_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x, n):
            return self.layer(x), n, self.layer(x) * 2

    net, seen = Two(), []
    net.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    first, n, _ = net(ml.ones(1, 2), 5)
    assert n == 5
    first.sum().backward()
    (gi, go), = seen
    assert gi == (None, None) and go[1] is None and go[2] is None and go[0].shape == (1, 2)
    with ml.no_grad():
        assert net(ml.ones(1, 2), 5)[0].shape == (1, 2)
    assert len(seen) == 1


# ---- containers ----
def test_sequential_is_a_list():
    a, b, c, d = nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.Sigmoid()
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and list(net) == [a, b, c] and net[-1] is c
    assert isinstance(net[1:], nn.Sequential) and list(net[1:]) == [b, c]
    assert list(net[1:].state_dict()) == ["2.weight", "2.bias"]
    assert net.append(d) is net and net[3] is d
    assert list(nn.Sequential(a, b, c)[1:].append(d)) == [b, c, d]
    net[1] = d
    assert net[1] is d
    del net[1]
    assert list(net) == [a, c, d] and list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net.insert(1, b).extend([b, d])
    assert list(net) == [a, b, c, d, b, d]
    del net[3:]
    assert list(net) == [a, b, c] and list(nn.Sequential(a) + nn.Sequential(b)) == [a, b]
    x = ml.ones(1, 2)
    np.testing.assert_array_equal(net(x).detach().numpy(), c(b(a(x))).detach().numpy())
    assert getattr(net, "0") is a and nn.Sequential()(x) is x
    with pytest.raises(IndexError, match="index 7 with 3"):
        net[7]
    with pytest.raises(TypeError, match="a list given: a Module expected"):
        nn.Sequential([a, b])


def test_sequential_by_name():
    net = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU(), "second": nn.Linear(3, 1)})
    assert list(net.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert net.first is net[0] and net(ml.ones(1, 2)).shape == (1, 1)
    del net.act
    assert list(net.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"] and len(net) == 2
    net.first = nn.Linear(2, 3, bias=False)
    assert net[0].bias is None and "0." not in "".join(net.state_dict())
    del net[1]
    assert len(net) == 1
    with pytest.raises(AttributeError, match="no attribute 'third'"):
        _ = net.third
    net.note = 3
    del net.note
    assert not hasattr(net, "note")
    net.note = 3
    net.note = nn.Linear(3, 3)
    assert net.note is net[1]
    twin = copy.deepcopy(net)
    assert same(values(twin), values(net)) and twin.note is twin[1] and twin.note is not net.note
    with pytest.raises(TypeError, match="a str given: a Module expected"):
        nn.Sequential({"act": "relu"})


def test_module_list():
    net = nn.Module()
    net.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    net.layers.append(nn.Linear(2, 1)).extend([nn.Tanh()])
    assert list(net.state_dict())[-1] == "layers.2.bias" and len(net.layers) == 4
    assert isinstance(net.layers[1:], nn.ModuleList) and len(net.layers[1:] + [nn.ReLU()]) == 4
    del net.layers[0]
    assert list(net.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    with pytest.raises(TypeError, match="a Parameter given: a Module expected"):
        net.layers.append(nn.Parameter([1.0]))
    with pytest.raises(NotImplementedError):
        net.layers(ml.ones(2))


def test_module_dict():
    layers = nn.ModuleDict({"keys": nn.Linear(1, 1), "b": nn.Tanh()})
    assert list(layers.keys()) == ["keys", "b"] == list(layers) and "b" in layers and len(layers) == 2
    assert layers["keys"].in_features == 1
    assert list(layers.state_dict()) == ["keys.weight", "keys.bias"]
    assert layers.pop("b").forward is not None and "b" not in layers
    layers.update([("c", nn.ReLU())])
    assert [n for n, _ in layers.items()] == ["keys", "c"] and len(list(layers.values())) == 2
    del layers["c"]
    with pytest.raises(TypeError, match="'d' is a int"):
        layers["d"] = 3
    with pytest.raises(ValueError, match="without dots"):
        layers["d.e"] = nn.ReLU()
    layers.clear()
    assert len(layers) == 0


def test_parameter_list():
    net = nn.Module()
    net.weights = nn.ParameterList([ml.ones(2), nn.Parameter([1.0])])
    net.weights.append(np.zeros(3, np.float32))
    assert list(net.state_dict()) == ["weights.0", "weights.1", "weights.2"] and len(net.weights[:2]) == 2
    assert all(p.requires_grad for p in net.weights) and "(2): Parameter of float32(3,)" in repr(net.weights)


def test_parameter_dict():
    net = nn.Module()
    net.parts = nn.ParameterDict({"b": ml.ones(2), "a": nn.Parameter([1.0]), "note": "any value"})
    parts = net.parts
    assert list(parts) == ["a", "b", "note"] and list(net.state_dict()) == ["parts.a", "parts.b"]  # as PyTorch's: in order
    assert parts["b"].requires_grad and parts.b is parts["b"] and parts["note"] == "any value" and len(parts) == 3
    given = nn.Parameter([2.0])
    parts["keys"] = given  # hides no method
    assert list(reversed(parts.keys())) == ["keys", "note", "b", "a"] and parts["keys"] is given and "keys" in parts
    assert "(b): Parameter of float32(2,)" in repr(parts) and "(note): str" in repr(parts)
    assert parts.popitem() == ("keys", given) and parts.pop("note") == "any value" and len(list(net.parameters())) == 2
    assert parts.setdefault("a", given) is parts["a"] and isinstance(parts.setdefault("c", np.zeros(1)), nn.Parameter)
    assert parts.get("d") is None and parts.get("d", 1) == 1
    assert [*parts.fromkeys(["x", "y"], 0).items()] == [("x", 0), ("y", 0)]
    copied, deep = parts.copy(), copy.deepcopy(parts)
    assert copied is not parts and copied == copied and copied != parts and copied["a"] is parts["a"]
    assert deep["a"] is not parts["a"] and deep.a is deep["a"] and len({parts, copied}) == 2
    joined = parts | nn.ParameterDict([("z", given), ("a", given)])
    assert list(joined) == ["a", "b", "c", "z"] and joined["a"] is given and parts["a"] is not given
    joined |= {"q": given}
    del joined["z"]
    assert list(joined) == list(joined._parameters) == ["a", "b", "c", "q"]
    joined.clear()
    assert not joined and not list(joined.parameters())
    for wrong, error in ((lambda: parts.update(1), TypeError), (lambda: parts.update([1]), TypeError), (parts, RuntimeError),
                         (lambda: parts.update([("a", 1, 2)]), ValueError), (lambda: parts.__setitem__(1, given), TypeError),
                         (joined.popitem, KeyError), (lambda: parts["nothing"], KeyError)):
        with pytest.raises(error):
            wrong()
