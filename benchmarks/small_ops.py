"""What an operation costs beyond its arithmetic: chains of operations on 4x4 arrays, in minidl and in PyTorch.

Both run in this process, in turn, so that both see the same machine; the median of each, and of the ratios, counts.
Run with `python -m benchmarks.small_ops [--rounds N] [CHAIN ...]`.
"""
import argparse
import gc
import statistics
import time

import numpy as np

import minidl

LENGTH = 100  # operations in a chain


def matmul(lib, x, w):
    for _ in range(LENGTH):
        x = x @ w
    return x


def add(lib, x, w):
    for _ in range(LENGTH):
        x = x + w
    return x


def multiply(lib, x, w):
    for _ in range(LENGTH):
        x = x * w
    return x


def scale(lib, x, w):
    for _ in range(LENGTH):
        x = x * 0.99
    return x


def relu(lib, x, w):
    for _ in range(LENGTH):
        x = lib.relu(x)
    return x


def tanh(lib, x, w):
    for _ in range(LENGTH):
        x = x.tanh()
    return x


def mean(lib, x, w):
    for _ in range(LENGTH // 2):
        x = x + x.mean()
    return x


def mixed(lib, x, w):
    for _ in range(LENGTH // 5):
        x = lib.relu(x @ w + w) * 0.5 - w
    return x


CHAINS = [matmul, add, multiply, scale, relu, tanh, mean, mixed]


def forward(lib, chain, x, w):
    with lib.no_grad():
        chain(lib, x, w)


def recorded(lib, chain, x, w):
    chain(lib, x, w)


def backward(lib, chain, x, w):
    x.grad = w.grad = None
    y = chain(lib, x, w)
    y.backward(y.detach())


PASSES = [forward, recorded, backward]


def operands(lib):
    rng = np.random.default_rng(0)
    arrays = (rng.random((4, 4)).astype("float32"), rng.random((4, 4)).astype("float32") / 2)
    return [lib.from_dlpack(a).requires_grad_() for a in arrays]


def agree(chain, libraries):
    """Raises AssertionError unless all libraries find the same value and gradients."""
    found = []
    for lib in libraries:
        x, w = operands(lib)
        backward(lib, chain, x, w)
        found.append([chain(lib, x, w).detach().numpy(), x.grad.numpy()] + ([w.grad.numpy()] if w.grad is not None else []))
    for others in found[1:]:
        for a, b in zip(found[0], others):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-30)


def measure(chain, run, libraries, rounds):
    """Seconds an operation takes, for each library a list over the rounds."""
    data = [operands(lib) for lib in libraries]
    seconds = [[] for _ in libraries]
    for _ in range(rounds):
        for lib, (x, w), times in zip(libraries, data, seconds):
            run(lib, chain, x, w)
            start = time.perf_counter()
            for _ in range(5):
                run(lib, chain, x, w)
            times.append((time.perf_counter() - start) / 5 / LENGTH)
    return seconds


def main():
    parser = argparse.ArgumentParser("python -m benchmarks.small_ops", description=__doc__.splitlines()[0])
    parser.add_argument("chains", nargs="*", metavar="CHAIN", help=", ".join(c.__name__ for c in CHAINS))
    parser.add_argument("--rounds", type=int, default=50, metavar="N", help="the median over rounds counts (default 50)")
    args = parser.parse_args()
    libraries = [minidl]
    try:
        import torch
        libraries.append(torch)
    except ImportError:
        print("PyTorch is not installed: minidl alone")
    chains = [c for c in CHAINS if not args.chains or c.__name__ in args.chains]
    for chain in chains:
        agree(chain, libraries)
    gc.disable()
    print(f"{'us per operation':20}" + "".join(f"{lib.__name__:>10}" for lib in libraries) + f"{'ratio':>10}")
    for run in PASSES:
        ratios = []
        for chain in chains:
            seconds = measure(chain, run, libraries, args.rounds)
            ratios.append(statistics.median(a / b for a, b in zip(seconds[0], seconds[-1])))
            print(f"{run.__name__:9} {chain.__name__:10}" + "".join(f"{statistics.median(s) * 1e6:10.2f}" for s in seconds)
                  + f"{ratios[-1]:10.2f}", flush=True)
        print(f"{run.__name__:9} {'all':10}" + " " * 10 * len(libraries) + f"{statistics.geometric_mean(ratios):10.2f}")


if __name__ == "__main__":
    main()
