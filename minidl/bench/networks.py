"""Whole networks: a training step and a prediction, beside the same network in other libraries, from the same weights.

PyTorch runs the very same source (see `minidl.bench.twin`; GPT as it is usually written) and gives ONNX Runtime, which only
predicts, what it exports; JAX and Keras have networks of their own (`minidl.bench.jax_networks`, `keras_networks`). A peer's
first losses, or its logits, must agree with ours before anything is timed; then all run in turns. A training step is
forward, backward and optimizer.
"""
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np

import minidl
from minidl import kernels, nn, optim, zoo
from minidl.bench.measure import Row, Timing, copied, flat, turn
from minidl.bench.twin import twin
from minidl.nn import functional as F

TOLERANCE = 2e-3  # of a loss or of the largest logit: the roundings of a whole network
RATE = 1e-3       # of learning
LOSSES = 3        # of so many steps are compared: the third follows from gradients and updates


@dataclass(frozen=True)
class Network:
    """A network of the zoo. `make` takes the zoo's file, ours or its twin; `inputs` gives a batch of a size, and targets."""

    file: str
    make: Callable[[ModuleType], object]
    inputs: Callable[[int], tuple[np.ndarray, np.ndarray]]
    training: tuple[int, ...]    # sizes of batches
    prediction: tuple[int, ...]
    optimizer: str = "SGD"


@dataclass(frozen=True)
class Job:
    """What everybody is given: a network, its weights by their names, a batch and its targets, whether to train on it."""

    network: Network
    state: dict
    x: np.ndarray
    y: np.ndarray
    training: bool


def images(channels: int, size: int, classes: int) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Random images and labels."""
    def make(batch):
        rng = np.random.default_rng(0)
        return rng.standard_normal((batch, channels, size, size), dtype=np.float32), rng.integers(0, classes, batch)
    return make


def tokens(length: int, vocabulary: int) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Random sequences and, as targets, what follows each token."""
    def make(batch):
        text = np.random.default_rng(0).integers(0, vocabulary, (batch, length + 1))
        return np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    return make


NETWORKS = {
    "cnn": Network("cnn", lambda zoo: zoo.SmallCNN(), images(1, 28, 10), (1, 32, 128), (1, 32, 128), "AdamW"),
    "resnet18-32": Network("resnet", lambda zoo: zoo.resnet18(10, True), images(3, 32, 10), (32,), (1, 32)),
    "resnet18-224": Network("resnet", lambda zoo: zoo.resnet18(), images(3, 224, 1000), (4,), (1, 4)),
    "mobilenet-224": Network("mobilenet", lambda zoo: zoo.MobileNetV2(dropout=0.0), images(3, 224, 1000), (4,), (1, 4)),
    "gpt-4x128": Network("gpt", lambda zoo: zoo.GPT(65, 64, 4, 4, 128), tokens(64, 65), (12,), (1, 12), "AdamW"),
    "gpt-6x384": Network("gpt", lambda zoo: zoo.GPT(65, 256, 6, 6, 384), tokens(256, 65), (12,), (1,), "AdamW"),
    "lstm": Network("rnn", lambda zoo: zoo.CharLSTM(65), tokens(128, 65), (32,), (1, 32), "AdamW"),
}


def products(model: nn.Module, x) -> float:
    """Floating-point operations of the products of a forward pass; a multiply-add counts as two."""
    count = 0

    def add(module, inputs, output):
        nonlocal count
        if isinstance(module, nn.LSTM):
            weights = sum(p.size for p in module.parameters() if p.ndim == 2)
            count += 2 * weights * output[0].size // output[0].shape[-1]
        else:
            count += 2 * output.size * module.weight[0].size

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.LSTM))]
    with minidl.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return float(count)


def ours(job: Job) -> Callable:
    """What runs here: `nn` and `optim`, or what `minidl.compile` made."""
    model = job.network.make(getattr(zoo, job.network.file))
    model.load_state_dict(job.state)
    x, y = minidl.tensor(job.x), minidl.tensor(job.y)
    if not job.training:
        model.eval()
        return partial(minidl.compile(model, x), x)
    optimizer = getattr(optim, job.network.optimizer)(model.parameters(), lr=RATE)

    def step():
        logits = model(x)
        logits = logits[0] if isinstance(logits, tuple) else logits  # a GPT's loss beside them
        loss = F.cross_entropy(logits.reshape((-1, logits.shape[-1])), y.reshape((-1,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return step


def in_torch(file: str) -> ModuleType:
    """The zoo's file in PyTorch: its twin, and for GPT the usual way to write it."""
    if file != "gpt":
        return twin(file)
    from minidl.bench import torch_gpt

    return torch_gpt


def torch_model(job: Job):
    """The network in PyTorch, with its weights."""
    import torch

    model = job.network.make(in_torch(job.network.file))
    model.load_state_dict({name: torch.from_numpy(value.numpy().copy()) for name, value in job.state.items()})
    return model


def pytorch(job: Job, channels_last=False, compiled=False) -> Callable | None:
    """The twin in PyTorch; None where another layout is asked for and there are no images."""
    import torch

    if channels_last and job.x.ndim != 4:
        return None
    model, x, y = torch_model(job), torch.from_numpy(job.x), torch.from_numpy(job.y)
    if channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    run = torch.compile(model) if compiled else model
    if not job.training:
        model.eval()
        return torch.inference_mode()(lambda: run(x))
    optimizer = getattr(torch.optim, job.network.optimizer)(model.parameters(), lr=RATE, fused=True)

    def step():
        logits = run(x)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()
    return step


def onnxruntime(job: Job) -> Callable | None:
    """ONNX Runtime on what PyTorch exports; None for training."""
    if job.training:
        return None
    import onnxruntime
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs one more package
        torch.onnx.export(torch_model(job).eval(), (torch.from_numpy(job.x),), file, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = minidl.get_num_threads(), 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: job.x})[0]


def jax(job: Job) -> Callable | None:
    """JAX, one jitted step."""
    from minidl.bench import jax_networks

    return jax_networks.call(job, RATE)


def keras(job: Job, xla=False) -> Callable | None:
    """Keras on TensorFlow's kernels, or compiled by XLA."""
    from minidl.bench import graph_peers

    graph_peers.tensorflow()
    from minidl.bench import keras_networks

    return keras_networks.call(job, RATE, xla)


PEERS = {
    "PyTorch": pytorch,
    "PyTorch channels-last": partial(pytorch, channels_last=True),
    "PyTorch compiled": partial(pytorch, compiled=True),
    "ONNX Runtime": onnxruntime,
    "JAX": jax,
    "Keras": keras,
    "Keras XLA": partial(keras, xla=True),
}


def measured(name: str, network: Network, batch: int, training: bool, seconds: float, rounds: int, peers: bool) -> Row:
    """Checks and times a network on batches of one size, everybody in turns."""
    x, y = network.inputs(batch)
    model = network.make(getattr(zoo, network.file))
    state = {key: minidl.tensor(value.numpy().copy()) for key, value in model.state_dict().items()}
    flops = products(model.eval(), minidl.tensor(x)) * (3 if training else 1)
    weights = sum(value.numpy().nbytes for value in state.values())
    row = Row(f"{name}, {'training step' if training else 'prediction'}", f"batch {batch}", flops, weights + x.nbytes, [],
              "networks")
    calls, wanted = [], None
    for label, prepare in {kernels.get_backend(): ours, **(PEERS if peers else {})}.items():
        timing = Timing(label, label in PEERS)
        try:
            call = prepare(Job(network, state, copied(x), copied(y), training))
            got = call and np.stack([np.asarray(flat(call())[0], dtype=np.float64) for _ in range(LOSSES if training else 1)])
        except ImportError:
            continue
        except Exception as error:  # whatever goes wrong in another library is its result
            if not timing.peer:
                raise
            timing.failure = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:100]}"
        else:
            if call is None:
                continue
            wanted = got if wanted is None else wanted
            timing.error = float(np.abs(got - wanted).max() / np.abs(wanted).max())
            if timing.error <= TOLERANCE:
                calls.append((timing, call))
            else:
                timing.failure = f"differs by {timing.error:.1e}, {TOLERANCE:.0e} is allowed"
        row.timings.append(timing)
    for turned in range(rounds):
        first = turned % len(calls)
        for timing, call in calls[first:] + calls[:first]:
            timing.rounds.append(turn(call, seconds / rounds))
    return row


def run(names: list[str], peers: bool, seconds: float, rounds: int) -> Iterator[Row]:
    """A row for each network, mode and size of batch."""
    for name in names:
        network = NETWORKS[name]
        for training, sizes in ((True, network.training), (False, network.prediction)):
            for batch in sizes:
                yield measured(name, network, batch, training, seconds, rounds, peers)
