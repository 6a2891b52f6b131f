"""Peak memory of training steps in minidl and in PyTorch: each model in a process of its own, above what the imports took.

Run with `python -m benchmarks.peak_memory [--steps N] [MODEL ...]`.
"""
import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np

MODELS = ["cnn", "mlp", "transformer"]


def peak():
    """The largest memory of this process so far, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status: no VmHWM: Linux expected")


def cnn(nn):
    """The README's network on 128 images."""
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
              nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*layers), (128, 1, 28, 28), (128,)


def mlp(nn):
    """Three linear layers on 256 digits."""
    layers = [nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)]
    return nn.Sequential(*layers), (256, 784), (256,)


def transformer(nn):
    """Four blocks of 256 channels over 16 texts of 128 places."""
    blocks = [nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True) for _ in range(4)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(128 * 256, 10)), (16, 128, 256), (16,)


def worker(library, name, steps):
    """Prints how many MB `steps` training steps take above what the process had before the model."""
    lib = importlib.import_module(library)
    nn, optim = importlib.import_module(f"{library}.nn"), importlib.import_module(f"{library}.optim")
    before = peak()
    model, shape, labels = globals()[name](nn)
    rng = np.random.default_rng(0)
    x = lib.from_dlpack(rng.random(shape, dtype="float32"))
    target = lib.from_dlpack(rng.integers(0, 10, labels))
    optimizer, loss_function = optim.Adam(model.parameters()), nn.CrossEntropyLoss()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_function(model(x), target).backward()
        optimizer.step()
    print(peak() - before)


def main():
    parser = argparse.ArgumentParser("python -m benchmarks.peak_memory", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="training steps (default 10)")
    parser.add_argument("--worker", nargs=2, metavar=("LIBRARY", "MODEL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(*args.worker, args.steps)
        return
    print(f"{'MB':14}{'minidl':>10}{'torch':>10}{'ratio':>10}")
    for name in args.models or MODELS:
        took = []
        for library in ("minidl", "torch"):
            command = [sys.executable, "-m", "benchmarks.peak_memory", "--steps", str(args.steps), "--worker", library, name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            took.append(float(done.stdout) if done.returncode == 0 else float("nan"))
        print(f"{name:14}{took[0]:10.0f}{took[1]:10.0f}{took[0] / took[1]:10.2f}", flush=True)


if __name__ == "__main__":
    main()
