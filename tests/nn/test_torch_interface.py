"""What scripts for PyTorch ask of modules and losses beside the layers themselves: the same script through both."""
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import minidl as ml
from minidl import nn

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
IMAGES = np.random.default_rng(1).standard_normal((2, 3, 8, 7))


def both(script):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    found = []
    for lib in (ml, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append([np.asarray(x.detach()) if hasattr(x, "detach") else x for x in script(lib)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6) if isinstance(a, np.ndarray) else None
        assert isinstance(a, np.ndarray) or a == b


def names(container):
    return [type(module).__name__ for module in container]


def test_containers_are_pytorchs():
    def script(lib):
        nn, found = lib.nn, []
        layers = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh())
        layers.insert(0, nn.Identity())
        found += [names(layers), type(layers.pop(-1)).__name__, names(layers), len(layers * 2), len(2 * layers)]
        layers *= 2
        layers += nn.Sequential(nn.GELU())
        found += [names(layers), list(layers.state_dict())]
        parts = nn.ModuleList([nn.ReLU(), nn.Tanh()])
        parts += [nn.GELU()]
        found += [type(parts.pop(0)).__name__, names(parts)]
        for wrong in (lambda: layers.insert(99, nn.ReLU()), lambda: parts.pop(7)):
            with pytest.raises(IndexError):
                wrong()
        layers.set_submodule("0", nn.SELU())
        return [*found, names(layers)]
    both(script)
    with pytest.raises(ValueError, match="times 0"):
        nn.Sequential(nn.ReLU()) * 0


def test_state_dicts_are_pytorchs():
    def script(lib):
        nn, found = lib.nn, []
        net, other = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        destination = OrderedDict(first=1)
        assert net.state_dict(destination=destination, prefix="a.") is destination
        state = {name: value for name, value in net.state_dict().items() if "tracked" not in name}  # as older ones
        found += [list(destination), isinstance(net.state_dict(), OrderedDict), str(net.load_state_dict(state))]
        other.load_state_dict({name: value.double() for name, value in net.state_dict().items()}, assign=True)
        assert isinstance(other[0].weight, nn.Parameter) and other[0].weight.requires_grad
        with pytest.raises(TypeError):
            net.load_state_dict("weights")
        return [*found, str(other[0].weight.dtype)[-7:], other[1].running_var]
    both(script)


def test_what_else_a_module_keeps_is_saved_with_it():
    def script(lib):
        class Counter(lib.nn.Module):
            count = 0

            def get_extra_state(self):
                return {"count": self.count}

            def set_extra_state(self, state):
                self.count = state["count"]
        net, other = lib.nn.Sequential(Counter()), lib.nn.Sequential(Counter())
        net[0].count = 7
        other.load_state_dict(net.state_dict())
        with pytest.raises(RuntimeError):
            other.load_state_dict({})
        return list(net.state_dict()), other[0].count
    both(script)


def test_buffers_by_assignment():
    def script(lib):
        module = lib.nn.Module()
        module.kept, module.passing = lib.nn.Buffer(lib.ones(2)), lib.nn.Buffer(lib.ones(2), persistent=False)
        return list(module.state_dict()), [name for name, _ in module.named_buffers()]
    both(script)


def test_batch_norms_for_several_processes_do_the_same_in_one():
    def script(lib):
        net = lib.nn.Sequential(lib.nn.Linear(4, 4), lib.nn.Sequential(lib.nn.BatchNorm1d(4, momentum=0.3)), lib.nn.ReLU())
        weight = net[1][0].weight
        net = lib.nn.SyncBatchNorm.convert_sync_batchnorm(net)
        assert net[1][0].weight is weight
        return names(net), names(net[1]), list(net.state_dict()), net[1][0].momentum, net.eval()[1](lib.tensor(X))
    both(script)
    sync, plain = nn.SyncBatchNorm(3).double(), nn.BatchNorm2d(3).double()
    for norm in sync, plain:
        norm(ml.tensor(IMAGES))
    np.testing.assert_array_equal(sync(ml.tensor(IMAGES)).detach().numpy(), plain(ml.tensor(IMAGES)).detach().numpy())
    assert sync.running_var.tolist() == plain.running_var.tolist()


def test_batch_norm_without_its_count():
    def script(lib):
        norm = lib.nn.BatchNorm1d(4)
        norm.num_batches_tracked = None
        return norm(lib.tensor(X)), norm.running_mean
    both(script)


LOSSES = [("mse_loss", "MSELoss"), ("l1_loss", "L1Loss"), ("smooth_l1_loss", "SmoothL1Loss"),
          ("soft_margin_loss", "SoftMarginLoss"), ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
          ("cross_entropy", "CrossEntropyLoss")]


@pytest.mark.parametrize("options", [{"size_average": False}, {"reduce": False}, {"size_average": True, "reduce": True}])
@pytest.mark.parametrize("function, layer", LOSSES)
def test_reductions_by_their_old_names(function, layer, options):
    def script(lib):
        x, target = lib.tensor(X), lib.tensor(X).sigmoid()
        return getattr(lib.nn.functional, function)(x, target, **options), getattr(lib.nn, layer)(**options)(x, target)
    both(script)
    with pytest.warns(DeprecationWarning, match="earlier days"):
        nn.MSELoss(**options)


@pytest.mark.parametrize("options", [{"align_corners": True}, {"align_corners": False}, {}])
@pytest.mark.parametrize("size", [(5, 3), (11, 20), (3, 12), (8, 7), (1, 1)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_smaller_images_without_aliasing(mode, size, options):
    def script(lib):
        x = lib.tensor(IMAGES, requires_grad=True)
        y = lib.nn.functional.interpolate(x, size, mode=mode, antialias=True, **options)
        half = lib.nn.functional.interpolate(x, scale_factor=0.6, mode=mode, antialias=True, **options)
        ((y * y).sum() + (half * half).sum()).backward()
        return y, half, x.grad
    both(script)
    with pytest.raises(ValueError, match="antialias"):
        ml.nn.functional.interpolate(ml.tensor(IMAGES), size, antialias=True)


def test_packed_sequences_in_other_dtypes():
    packed = nn.utils.rnn.pack_sequence([ml.tensor(X)])
    assert [str(kind.data.dtype) for kind in (packed.half(), packed.int(), packed.long(), packed.double(), packed.cpu())] == [
        "float16", "int32", "int64", "float64", "float32"]


def test_dtypes_and_devices_by_name():
    net = nn.Linear(2, 2)
    assert net.type("float64").weight.dtype == np.float64 and net.cpu() is net
