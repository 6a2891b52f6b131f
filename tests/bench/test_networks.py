"""Whole networks in `minidl bench`."""
import importlib.util

import numpy as np
import pytest

from minidl import cli, kernels, zoo
from minidl.bench import command, machine, networks, results


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """One small network, and no peer that compiles for a minute."""
    cnn = networks.NETWORKS["cnn"]
    networks_here = {"small": networks.Network(cnn.file, cnn.make, cnn.inputs, (2,), (1,), "SGD")}
    monkeypatch.setattr(networks, "NETWORKS", networks_here)
    monkeypatch.delitem(networks.PEERS, "PyTorch compiled")
    monkeypatch.setattr(command, "environment", lambda threads: dict(command.os.environ))
    monkeypatch.setattr(machine, "MOST_BYTES", 1 << 20)


def test_a_network_is_timed_beside_its_twins(tmp_path, capsys):
    saved = tmp_path / "run.json"
    assert cli.main(["bench", "networks", "--seconds", "0.002", "--rounds", "2", "--json", str(saved)]) == 0
    printed = capsys.readouterr().out
    assert "small, training step: batch 2" in printed and "small, prediction: batch 1" in printed
    rows = results.Run.load(saved).rows
    assert [row.kernel for row in rows] == ["small, training step", "small, prediction"]
    expected = {kernels.get_backend()}
    if importlib.util.find_spec("torch"):
        expected |= {"PyTorch", "PyTorch channels-last"}
    for row in rows:
        assert {t.label for t in row.timings} >= expected
        assert not [t for t in row.timings if t.failure] and all(t.seconds > 0 for t in row.timings)
    # 2 K per output pixel and channel of three convolutions and two linear layers
    forward = 2 * (26 * 26 * 32 * 9 + 11 * 11 * 64 * 288 + 3 * 3 * 64 * 576 + 64 * 576 + 10 * 64)
    assert rows[1].flops == forward and rows[0].flops == 3 * 2 * forward


NAMES_OF_PACKAGES = {"PyTorch": "torch", "JAX": "jax", "Keras": "tensorflow", "ONNX Runtime": "onnxruntime"}
SMALL = {  # of the deepest SGD: AdamW's first steps are signs of gradients, which roundings turn behind many batch norms
    "cnn": (lambda zoo: zoo.SmallCNN(), networks.images(1, 28, 10), "AdamW"),
    "resnet": (lambda zoo: zoo.ResNet(zoo.BasicBlock, (1, 1, 1, 1), 10, True), networks.images(3, 32, 10), "AdamW"),
    "mobilenet": (lambda zoo: zoo.MobileNetV2(10, dropout=0.0), networks.images(3, 128, 10), "SGD"),
    "gpt": (lambda zoo: zoo.GPT(11, 8, 2, 2, 16), networks.tokens(8, 11), "AdamW"),
    "rnn": (lambda zoo: zoo.CharLSTM(11, 8, 12), networks.tokens(7, 11), "AdamW"),
}


@pytest.mark.parametrize("file", SMALL)
def test_other_libraries_have_the_same_losses_and_logits(file, monkeypatch):
    make, inputs, optimizer = SMALL[file]
    if optimizer == "SGD":  # whose second loss follows from the gradients; the third of so deep a network is chaotic
        monkeypatch.setattr(networks, "LOSSES", 2)
    monkeypatch.setitem(networks.NETWORKS, "small", networks.Network(file, make, inputs, (3,), (2,), optimizer))
    installed = {label for label, package in NAMES_OF_PACKAGES.items()
                 if label != "ONNX Runtime" and importlib.util.find_spec(package)}
    for row in networks.run(["small"], True, 0.002, 1):
        assert {t.label for t in row.timings} >= installed
        assert not [t for t in row.timings if t.failure]


def test_a_peer_that_computes_something_else_is_not_timed(monkeypatch):
    def wrong(job):
        return lambda: np.zeros((len(job.x), 10)) if not job.training else np.zeros(())

    monkeypatch.setattr(networks, "PEERS", {"wrong": wrong, "broken": lambda *a: 1 / 0, "absent": lambda *a: None})
    for row in networks.run(["small"], True, 0.002, 1):
        ours, first, second = row.timings
        assert ours.rounds and not first.rounds and "differs" in first.failure
        assert second.failure.startswith("ZeroDivisionError")


def test_the_small_network_has_the_published_number_of_parameters():
    assert sum(p.size for p in zoo.SmallCNN().parameters()) == 93_322


def test_kernels_and_networks_may_be_named_together(capsys):
    assert cli.main(["bench", "relu", "small", "--no-peers", "--seconds", "0.002", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "relu: " in printed and "small, prediction" in printed and "matmul" not in printed
