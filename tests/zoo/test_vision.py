"""The zoo's networks against the same sources in PyTorch, where it is installed; shapes and counts everywhere."""
import numpy as np
import pytest

import minidl
from minidl import nn, zoo
from minidl.bench.twin import twin
from minidl.nn import functional as F

NETWORKS = [("resnet", "resnet18", {"num_classes": 10, "small_images": True}, 32),
            ("resnet", "resnet18", {"num_classes": 10}, 48),
            ("resnet", "resnet50", {"num_classes": 7}, 33),
            ("mobilenet", "MobileNetV2", {"num_classes": 5, "dropout": 0.0}, 40)]


@pytest.mark.parametrize("name, count", [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032),
                                         ("MobileNetV2", 3_504_872)])
def test_the_number_of_parameters_is_the_published_one(name, count):
    assert sum(p.size for p in getattr(zoo, name)().parameters()) == count


@pytest.mark.parametrize("small, shape", [(False, (2, 3, 64, 96)), (True, (3, 3, 16, 16))])
def test_a_residual_network_gives_logits_for_images_of_any_size(small, shape):
    model = zoo.resnet18(num_classes=4, small_images=small).eval()
    with minidl.no_grad():
        assert model(minidl.ones(shape)).shape == (shape[0], 4)


def test_a_residual_block_starts_from_its_input():
    """With the last batch norm of the branch at zero the block is relu(x): what makes deep networks trainable."""
    block = zoo.resnet.BasicBlock(3, 3).eval()
    nn.init.zeros_(block.bn2.weight)
    x = minidl.randn(1, 3, 5, 5)
    np.testing.assert_allclose(block(x).detach().numpy(), np.maximum(x.numpy(), 0), atol=1e-6)


@pytest.mark.parametrize("module, name, options, size", NETWORKS)
def test_losses_and_gradients_are_those_of_the_same_source_in_pytorch(module, name, options, size):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(zoo, name)(**options), getattr(twin(module), name)(**options)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((3, 3, size, size), dtype=np.float32)
    y = np.arange(3)
    with minidl.no_grad(), torch.no_grad():
        got, wanted = ours.eval()(minidl.tensor(x)).numpy(), theirs.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())

    ours.to("float64").train()  # twenty batch norms over few pixels amplify the roundings of float32
    theirs.double().train()
    loss = F.cross_entropy(ours(minidl.tensor(x.astype("f8"))), minidl.tensor(y))
    loss.backward()
    expected = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x).double()), torch.from_numpy(y))
    expected.backward()
    assert abs(loss.item() - expected.item()) <= 1e-9 * abs(expected.item())
    for (key, p), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), wanted.grad, rtol=1e-7,
                                   atol=1e-8 * np.abs(wanted.grad.numpy()).max() + 1e-12, err_msg=key)
