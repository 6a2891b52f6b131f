"""Every kernel on random shapes, memory layouts and parameters: native and Numba give what the reference gives, on
any number of threads and with any `out`, touch nothing outside the result, and leave their inputs alone.

MINIDL_FUZZ=N multiplies the examples and draws others.
"""
import numpy as np
from fuzzing import EDGE, Draw, agree, fuzz, heads, place

from minidl import kernels
from minidl.kernels import _check, _dispatch
from minidl.kernels.arithmetic import BINARY as ARITHMETIC
from minidl.kernels.arithmetic import COMPARISONS
from minidl.kernels.conv2d import geometry


@fuzz(40)
def test_matmul(data):
    draw = Draw(data, mixed=True)
    m, k, n = (draw.choice(0, 1, 2, 3, 5, 7, 16, 31, 33, 64, 65, 130) for _ in range(3))
    batch = draw.choice((), (), (), (2,), (3, 2), (0,))
    a, b = (draw.whole(*batch, *shape) for shape in ((m, k), (k, n)))
    if batch and draw.choice(False, True):
        b = draw.whole(k, n)
    bias = draw.choice(None, draw.whole(n))
    agree(draw, kernels.matmul, a, b, bias, draw.choice(None, "relu"), tolerance=0)


@fuzz(20)
def test_matmul_of_other_dtypes(data):
    draw = Draw(data, mixed=True)
    m, k, n = (draw.number(0, 5) for _ in range(3))
    dtypes = ("f2", "f4", "f8", "i4", "i8", "u1")
    a, b, bias = (draw.array(draw.random.integers(0, 4, shape).astype(draw.choice(*dtypes)))
                  for shape in ((m, k), (k, n), (n,)))
    agree(draw, kernels.matmul, a, b, draw.choice(None, bias))


def convolution(draw):
    """(x, w, g's shape, the geometry): a convolution that fits."""
    groups = draw.choice(1, 1, 1, 2, 3)
    n, c, o = (draw.choice(1, 2, 3, 0), groups * draw.choice(1, 2, 5, 16, 0),
               groups * draw.choice(1, 3, 8, 16, 17, 40, 0))
    kh, kw, dh, dw = (draw.number(1, 3) for _ in range(4))
    ph, pw = draw.number(0, 3), draw.number(0, 3)
    h, w = (max(d * (k - 1) + 1 - 2 * p, 0) + draw.number(0, 9) for d, k, p in ((dh, kh, ph), (dw, kw, pw)))
    if not h + 2 * ph or not w + 2 * pw:
        h = w = 1
    stride = draw.number(1, 4), draw.number(1, 4)
    how = {"stride": stride, "padding": (ph, pw), "dilation": (dh, dw), "groups": groups}
    _, shape = geometry((n, c, h, w), (o, c // groups, kh, kw), *how.values())
    return draw.whole(n, c, h, w), draw.whole(o, c // groups, kh, kw), shape, how


@fuzz(60)
def test_conv2d(data):
    draw = Draw(data, mixed=True)
    x, w, _, how = convolution(draw)
    agree(draw, kernels.conv2d, x, w, draw.choice(None, draw.whole(len(w))), **how,
          activation=draw.choice(None, "relu"), tolerance=0)


@fuzz(60)
def test_conv2d_backward(data):
    draw = Draw(data, mixed=True)
    x, w, shape, how = convolution(draw)
    g = draw.whole(*shape)
    agree(draw, kernels.conv2d_backward_data, g, w, x.shape, **how, tolerance=0)
    agree(draw, kernels.conv2d_backward_weight, g, x, w.shape, **how, tolerance=0)


@fuzz(40)
def test_pooling(data):
    draw = Draw(data)
    kh, kw, dh, dw = draw.number(1, 4), draw.number(1, 4), draw.choice(1, 1, 2), draw.choice(1, 1, 3)
    ph, pw = draw.number(0, kh // 2), draw.number(0, kw // 2)
    h, w = (max(1, d * (k - 1) + 1 - 2 * p) + draw.number(0, 8) for d, k, p in ((dh, kh, ph), (dw, kw, pw)))
    window = {"kernel_size": (kh, kw), "stride": draw.choice(None, (draw.number(1, 4), draw.number(1, 4))),
              "padding": (ph, pw), "ceil_mode": draw.choice(False, True)}
    x = draw.whole(draw.choice(1, 2, 0), draw.choice(1, 3, 17, 40, 0), h, w)
    if draw.choice(False, True) and x.size and x.flags.writeable:
        x = draw.array(np.where(draw.random.random(x.shape) < 0.1, np.float32("nan"), x))
    dilated = {**window, "dilation": (dh, dw)}
    y, index = agree(draw, kernels.max_pool2d, x, **dilated, activation=draw.choice(None, "relu"), tolerance=0)
    agree(draw, kernels.max_pool2d_backward, draw.whole(*y.shape), draw.array(index), x.shape, **dilated, tolerance=0)
    if dh == dw == 1:
        counted = draw.choice(False, True)
        agree(draw, kernels.avg_pool2d, x, **window, count_include_pad=counted)
        agree(draw, kernels.avg_pool2d_backward, draw.whole(*y.shape), x.shape, **window, count_include_pad=counted,
              tolerance=3e-6)


@fuzz(60)
def test_elementwise(data):
    draw = Draw(data)
    names = [k.name for k in _dispatch.kernels.values() if k.family.endswith("elementwise")]
    kernel = getattr(kernels, draw.choice(*names))
    shape = draw.choice((), (0,), (1,), (7,), (33, 5), (5, 4, 3), (2, 17, 5, 3), (3, 0, 2, 2), (2, 3, 100, 40),
                        (1,) * 6 + (5,), (2,) * 8, (1, 2) * 5)
    dtype = draw.choice("f4", "f4", "f4", "f8", "f2")
    operands = [draw.normal(*shape, dtype=dtype) for _ in range(1 + kernel.name.endswith("_backward"))]
    agree(draw, kernel, *operands, *{"threshold": (0.1, 2.0), "threshold_backward": (0.1,)}.get(kernel.name, ()))


@fuzz(30)
def test_softmax(data):
    draw = Draw(data)
    shape = draw.choice((1,), (5,), (3, 10), (7, 33), (2, 3, 40), (2, 19, 5, 3), (40, 500), (3, 0), (0, 3))
    axis, dtype = draw.number(-len(shape), len(shape) - 1), draw.choice("f4", "f4", "f8", "f2")
    x = draw.normal(*shape, dtype=dtype)
    for name in ("softmax", "log_softmax"):
        y, = agree(draw, getattr(kernels, name), x, axis)
        backward = getattr(kernels, f"{name}_backward")
        agree(draw, backward, draw.normal(*shape, dtype=dtype), draw.array(y), axis, tolerance=3e-6)


@fuzz(40)
def test_cross_entropy(data):
    draw = Draw(data)
    n, c, dtype = draw.choice(0, 1, 3, 17, 600), draw.choice(1, 2, 10, 33, 70), draw.choice("f4", "f4", "f4", "f8")
    logits = draw.array((draw.random.standard_normal((n, c)) + 5).astype(dtype))  # no logarithm of a sum is near 0
    ignored = draw.choice(-100, 0, 10**6, -1, 2**63 - 1, -2**63, np.int64(-1))
    labels = draw.random.integers(0, c, n)  # and among them those to be ignored, where their type can say so
    kind = draw.choice("i8", "i4", "u1", "i2", "u8")
    if np.iinfo(kind).min <= int(ignored) <= np.iinfo(kind).max:
        labels = np.where(draw.random.random(n) < 0.3, ignored, labels)
    target = draw.array(labels.astype(kind))
    weight = draw.choice(None, draw.array(draw.random.random(c).astype(dtype)))
    how = {"weight": weight, "ignore_index": ignored, "label_smoothing": draw.choice(0.0, 0.0, 0.1, 1.0)}
    how["tolerance"] = 1e-4  # a loss and its slopes may be small differences
    _, lse = agree(draw, kernels.cross_entropy, logits, target, **how)
    if c == 1:
        return  # the derivative is 0, and no rounding error is small beside it
    agree(draw, kernels.cross_entropy_backward, draw.normal(n, dtype=dtype), logits, draw.array(lse), target, **how)


@fuzz(40)
def test_batch_norm(data):
    draw = Draw(data, mixed=True)
    shape = draw.choice((1, 1), (5, 3), (70, 40), (0, 3), (3, 0, 2), (3, 17, 2), (2, 5, 3, 2, 4), (2, 16, 3, 5),
                        (4, 70, 9, 2), (2, 3, 40, 40))
    x, g, c = draw.normal(*shape), draw.normal(*shape), shape[1]
    weight, bias = (draw.choice(None, draw.normal(c)) for _ in range(2))
    var = draw.array(draw.random.random(c).astype("f4") + 0.5)
    agree(draw, kernels.batch_norm, x, weight, bias, draw.normal(c), var, draw.choice(1e-5, 0.1))
    if x.size:
        agree(draw, kernels.batch_norm_train, x, weight, bias, 0.1)
    agree(draw, kernels.batch_norm_backward, g, x, draw.normal(c), var, weight, tolerance=1e-5)


@fuzz(40)
def test_optimizer_updates(data):
    draw = Draw(data)
    shapes = [draw.choice((), (0,), (1,), (7,), (5, 4), (3, 2, 3, 3), (1, 5, 1, 3), (90, 100))
              for _ in range(draw.number(0, 4))]
    dtype = draw.choice("f4", "f4", "f8", "f2")
    adam = draw.choice(False, True)
    grads = [draw.normal(*shape, dtype=dtype) for shape in shapes]
    count = draw.choice(3, 4) if adam else draw.choice(1, 2)
    values = [[np.abs(draw.random.standard_normal(shape)).astype(dtype) + 1 for shape in shapes] for _ in range(count)]
    places = [[draw.layout() for _ in shapes] for _ in range(count)]
    how = {"lr": 0.1, "weight_decay": draw.choice(0.0, 0.1), "maximize": draw.choice(False, True)}
    if adam:
        how |= {"step": draw.number(1, 3), "decoupled": draw.choice(False, True), "amsgrad": count == 4}
    elif count == 2:
        how |= {"momentum": 0.9, "nesterov": draw.choice(False, True), "first_step": draw.choice(False, True)}
    kernel, threads = kernels.adam_update if adam else kernels.sgd_update, kernels.get_num_threads()
    results = {}
    kernels.set_num_threads(draw.number(1, 3))
    try:
        for backend in _check.versions(kernel):
            lists = [[place(v, "C" if layout == "broadcast" else layout, EDGE) for v, layout in zip(*both)]
                     for both in zip(values, places)]
            arrays = [[x for x, _ in each] for each in lists]
            kernel(arrays[0], grads, *arrays[1:], **how, backend=backend)
            results[backend] = [np.array(x) for each in arrays for x in each]
            for x, memory in (pair for each in lists for pair in each):
                x[...] = EDGE
                assert (memory == EDGE).all(), "written outside a parameter"
    finally:
        kernels.set_num_threads(threads)
    for backend, result in results.items():
        assert _check.difference(result, results["reference"]) <= 3e-6, backend
    assert all(memory.tobytes() == was for memory, was in draw.placed), "a gradient was changed"


@fuzz(60)
def test_attention(data):
    draw = Draw(data)
    dtype = draw.choice("f4", "f4", "f4", "f8", "f2")
    q, k, v, how = heads(draw, dtype)
    y, lse = agree(draw, kernels.attention, q, k, v, **how, tolerance=8e-6)
    g = draw.normal(*y.shape, dtype=dtype)
    agree(draw, kernels.attention_backward, g, q, k, v, draw.array(y), draw.array(lse), **how, tolerance=2e-5,
          together=True)


@fuzz(40)
def test_row_norms(data):
    draw = Draw(data)
    dtype = draw.choice("f4", "f4", "f8", "f2")
    shape = draw.choice((0, 3), (2, 9), (3, 7), (5, 33), (65, 16), (130, 64), (2, 1000))
    x, g = draw.normal(*shape, dtype=dtype), draw.normal(*shape, dtype=dtype)
    weight, bias = (draw.choice(None, draw.normal(shape[1], dtype=dtype)) for _ in range(2))
    _, mean, rstd = agree(draw, kernels.layer_norm, x, weight, bias, draw.choice(1e-5, 0.1))
    agree(draw, kernels.layer_norm_backward, g, x, draw.array(mean), draw.array(rstd), weight, tolerance=2e-5,
          together=True)
    _, rstd = agree(draw, kernels.rms_norm, x, weight, draw.choice(None, 1e-3))
    agree(draw, kernels.rms_norm_backward, g, x, draw.array(rstd), weight, tolerance=2e-5,
          together=True)


@fuzz(40)
def test_group_norm(data):
    draw = Draw(data)
    groups, each, dtype = draw.choice(1, 2, 5), draw.choice(1, 3, 16), draw.choice("f4", "f4", "f8", "f2")
    shape = (draw.choice(0, 1, 3), groups * each, *draw.choice((3,), (5, 7), (17, 16), (2, 3, 4)))
    x, g = draw.normal(*shape, dtype=dtype), draw.normal(*shape, dtype=dtype)
    weight, bias = (draw.choice(None, draw.normal(shape[1], dtype=dtype)) for _ in range(2))
    _, mean, rstd = agree(draw, kernels.group_norm, x, groups, weight, bias, draw.choice(1e-5, 0.1))
    agree(draw, kernels.group_norm_backward, g, x, groups, draw.array(mean), draw.array(rstd), weight, tolerance=2e-5,
          together=True)


@fuzz(40)
def test_embedding(data):
    draw = Draw(data)
    rows, n, dtype = draw.choice(1, 3, 70), draw.choice(0, 1, 5, 16, 33, 200), draw.choice("f4", "f4", "f8", "f2")
    shape = draw.choice((), (0,), (5,), (3, 4), (70, 9), (2, 3, 4))
    index = draw.array(draw.random.integers(0, rows, shape).astype(draw.choice("i8", "i8", "i4", "u1")))
    agree(draw, kernels.embedding, draw.normal(rows, n, dtype=dtype), index, tolerance=0)
    agree(draw, kernels.embedding_backward, draw.normal(*shape, n, dtype=dtype), index, rows, tolerance=8e-6)


@fuzz(40)
def test_recurrent_layers(data):
    draw = Draw(data)
    name, dtype = draw.choice("lstm", "gru", "rnn"), draw.choice("f4", "f4", "f4", "f8")
    gates, count = {"lstm": (4, 2), "gru": (3, 1), "rnn": (1, 1)}[name]
    steps, batch, size, hidden = draw.number(1, 5), draw.choice(0, 1, 3, 17), draw.choice(1, 5, 16), draw.choice(1, 7, 16, 33)
    x = draw.normal(steps, batch, size, dtype=dtype)
    first = [draw.choice(None, draw.normal(batch, hidden, dtype=dtype)) for _ in range(count)]
    weights = [draw.normal(gates * hidden, width, dtype=dtype) for width in (size, hidden)]
    biases = [draw.choice(None, draw.normal(gates * hidden, dtype=dtype)) for _ in range(2)]
    how = {"reverse": draw.choice(False, True)}
    if draw.choice(False, True):
        how["batch_sizes"] = np.sort(draw.random.integers(0, batch + 1, steps))[::-1]
    if name == "rnn":
        how["relu"] = draw.choice(False, True)
    kept = agree(draw, getattr(kernels, name), x, *first, *weights, *biases, **how, tolerance=2e-5)
    hs, dy = kept[0], draw.choice(None, draw.normal(steps, batch, hidden, dtype=dtype))
    last = [draw.choice(None, draw.normal(batch, hidden, dtype=dtype)) for _ in range(count)]
    kept = {"lstm": kept[:0:-1], "gru": kept[::-1], "rnn": [hs]}[name]  # (gates, cs), (gates, hs), (hs)
    agree(draw, getattr(kernels, f"{name}_backward"), *map(draw.array, kept), weights[1], dy, *last, **how, tolerance=1e-4,
          together=True)


@fuzz(60)
def test_arithmetic(data):
    draw = Draw(data)
    names = [k.name for k in _dispatch.kernels.values() if k.family.endswith("arithmetic")]
    kernel, dtype = getattr(kernels, draw.choice(*names)), draw.choice("f4", "f4", "f4", "f8", "f2")
    shape = draw.choice((), (0,), (7,), (33, 5), (5, 4, 3), (2, 17, 5, 3), (2, 3, 100, 40), (1, 2) * 5)
    count = {"clip": 3, "where": 3, "prelu_backward": 3}.get(kernel.name, 1 + (kernel.name in (*ARITHMETIC, *COMPARISONS)))
    operands = []
    for _ in range(count):  # each broadcasts to the shape, from any of its axes on
        own = [n if draw.number(0, 3) else 1 for n in shape[draw.number(0, len(shape)) if draw.number(0, 3) == 0 else 0:]]
        operands.append(draw.normal(*own, dtype=dtype))
    if kernel.name == "where":
        operands[0] = draw.array(np.asarray(operands[0] > 0))
    elif count > 1 and draw.number(0, 3) == 0:
        operands[-1] = 0.75
    agree(draw, kernel, *operands)


@fuzz(60)
def test_reductions(data):
    draw = Draw(data)
    names = [k.name for k in _dispatch.kernels.values() if k.family.endswith("reduce")]
    kernel, dtype = getattr(kernels, draw.choice(*names)), draw.choice("f4", "f4", "f4", "f8", "f2")
    shape = draw.choice((1,), (7,), (33, 5), (5, 4, 3), (2, 17, 5, 3), (70, 300), (2, 3, 50, 40), (1, 2) * 3)
    axes = [a for a in range(len(shape)) if draw.choice(False, True)]
    axis = draw.choice(None, draw.number(-len(shape), len(shape) - 1), tuple(axes))
    if kernel.name.startswith("arg") and type(axis) is tuple:
        axis = None
    x = draw.array((draw.random.standard_normal(shape) + 2).astype(dtype))
    agree(draw, kernel, x, axis, keepdims=draw.choice(False, True), tolerance=5e-6)


@fuzz(30)
def test_dropout(data):
    draw = Draw(data)
    shape = draw.choice((), (0,), (7,), (33, 5), (2, 17, 5, 3), (2, 3, 100, 40))
    agree(draw, kernels.dropout, draw.normal(*shape, dtype=draw.choice("f4", "f8", "f2")), draw.choice(0.0, 0.3, 1.0),
          draw.number(0, 2**64 - 1))
