"""A training step of a character GPT in minidl and in PyTorch, in turns, and how fast the model writes text.

    python -m benchmarks.gpt [--layers 6 --heads 6 --embd 384 --context 256 --batch 12] [--rounds 5] [--json FILE]

Both start from the same weights; nothing is timed before their losses over some steps of AdamW agree. PyTorch is left out
where it is not installed.
"""
import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

from benchmarks.peers.process import KEEP_MEMORY

SETTLE = 0.05  # seconds in which the other library's threads go to sleep
LEARNING_RATE, WEIGHT_DECAY = 3e-4, 0.1


def flops(args, params):
    """Of a training step: 6 for each weight of a product and token, and 6 products of T x T / 2 x C in causal attention."""
    tokens = args.batch * args.context
    products = params - (args.context + (0 if args.tied else args.vocab)) * args.embd
    return 6 * products * tokens + 6 * args.layers * args.context * args.embd * tokens


def minidl_step(args, weights, batches):
    """A function that trains one step of the number i and returns the loss; and the model."""
    import minidl
    from minidl import optim
    from minidl.zoo import GPT
    minidl.set_num_threads(args.threads)
    model = GPT(args.vocab, args.context, args.layers, args.heads, args.embd, tie_weights=args.tied)
    if weights:
        model.load_state_dict({name: minidl.tensor(w) for name, w in weights.items()})
    optimizer = optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    data = [(minidl.tensor(x), minidl.tensor(y)) for x, y in batches]

    def step(i):
        _, loss = model(*data[i % len(data)], need_logits=False)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step, model


def torch_step(args, weights, batches):
    """The same in PyTorch."""
    import torch
    from torch.nn import functional as F

    from minidl.bench.torch_gpt import GPT
    torch.set_num_threads(args.threads)

    model = GPT(args.vocab, args.context, args.layers, args.heads, args.embd, args.tied)
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]

    def step(i):
        x, y = data[i % len(data)]
        loss = F.cross_entropy(model(x).view(-1, args.vocab), y.view(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()
    return step, model


def seconds(step, calls):
    """The median time of a call."""
    time.sleep(SETTLE)
    times = []
    for i in range(calls + 1):
        start = time.perf_counter()
        step(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main(argv=None):
    parser = argparse.ArgumentParser("python -m benchmarks.gpt", description=__doc__.splitlines()[0])
    for name, default in (("layers", 6), ("heads", 6), ("embd", 384), ("context", 256), ("batch", 12), ("vocab", 65),
                          ("threads", 2), ("rounds", 5), ("calls", 1), ("steps", 5)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    parser.add_argument("--tied", action="store_true", help="the table of tokens is the last layer's weight, too")
    parser.add_argument("--no-torch", action="store_true", help="minidl alone")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)

    import numpy as np

    import minidl
    from minidl.bench import machine
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, args.vocab, (4, args.batch, args.context + 1))
    batches = [(np.ascontiguousarray(t[:, :-1]), np.ascontiguousarray(t[:, 1:])) for t in tokens]
    minidl.manual_seed(0)
    _, model = minidl_step(args, None, [])
    weights = {name: p.detach().numpy().copy() for name, p in model.state_dict().items()}
    work, parameters = flops(args, model.count_parameters()), model.count_parameters()
    steps = {"minidl": minidl_step(args, weights, batches)[0]}
    if not args.no_torch:
        try:
            steps["PyTorch"] = torch_step(args, weights, batches)[0]
        except ImportError:
            print("PyTorch is not installed")
    losses = {name: [step(i) for i in range(args.steps)] for name, step in steps.items()}
    for name, found in losses.items():
        if not np.allclose(found, losses["minidl"], rtol=2e-4):
            sys.exit(f"the losses differ: minidl {losses['minidl']}, {name} {found}")
    peak = machine.peak("fma", 16 * args.threads, 0.3)
    print(f"{args.layers} layers x {args.embd}, {args.heads} heads, {args.batch} x {args.context} tokens, "
          f"{parameters / 1e6:.2f} M parameters, {args.threads} threads; a step is {work / 1e9:.1f} GFLOP, "
          f"fma peak {peak / 1e9:.0f} GFLOP/s")
    rounds = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            rounds[name].append(seconds(step, args.calls))
    for name, times in rounds.items():
        t = statistics.median(times)
        print(f"{name:8} {t * 1e3:8.1f} ms a step, {work / t / 1e9:6.1f} GFLOP/s, {work / t / peak:4.0%} of the peak")
    if "PyTorch" in rounds:
        print(f"minidl is {statistics.median(b / a for a, b in zip(*rounds.values())):.2f} times as fast")
    if args.json:
        args.json.write_text(json.dumps({"arguments": {**vars(args), "json": None}, "flops": work, "peak": peak,
                                         "seconds": rounds}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    wanted = KEEP_MEMORY | {"OPENBLAS_THREAD_TIMEOUT": "20"}
    if any(name not in os.environ for name in wanted) or {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & set(os.environ):
        left = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.gpt", *sys.argv[1:]], left | wanted)
    sys.exit(main())
