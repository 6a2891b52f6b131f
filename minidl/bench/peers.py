"""What the kernels are compared with: the obvious call of another library for the same arguments.

`@peer(kernel, label)` registers a function that takes the arguments of the kernel and returns `call`. call() takes no argument
and returns what the kernel returns, in its order: one array, or a tuple with None where the other library has no such result.
Arrays are converted once, outside what is timed. A function that raises ImportError has no library here; one that returns
None does not serve these arguments.
"""
import numpy as np

from minidl.kernels import arithmetic

PEERS = {}  # kernel -> label -> function


def peer(kernel, label):
    """Decorator: registers a function as a peer of the kernel named `kernel`."""
    def register(make):
        PEERS.setdefault(kernel, {})[label] = make
        return make
    return register


@peer("matmul", "NumPy")
def numpy_matmul(a, b, bias=None, activation=None, residual=None):
    def call():
        y = np.matmul(a, b)
        for term in (bias, residual):
            if term is not None:
                np.add(y, term, out=y)
        return np.maximum(y, 0, out=y) if activation else y
    return call if activation in (None, "relu") else None


@peer("relu", "NumPy")
def numpy_relu(x):
    return lambda: np.maximum(x, 0)


@peer("tanh", "NumPy")
def numpy_tanh(x):
    return lambda: np.tanh(x)


@peer("embedding", "NumPy")
def numpy_embedding(weight, index):
    return lambda: np.take(weight, index, axis=0)


@peer("softmax", "NumPy")
def numpy_softmax(x, axis=-1):
    def call():
        y = np.subtract(x, np.max(x, axis=axis, keepdims=True))
        np.exp(y, out=y)
        return np.divide(y, np.sum(y, axis=axis, keepdims=True), out=y)
    return call


@peer("layer_norm", "NumPy")
def numpy_layer_norm(x, weight=None, bias=None, eps=1e-5):
    def call():
        mean, var = np.mean(x, axis=1), np.var(x, axis=1)
        rstd = 1 / np.sqrt(var + x.dtype.type(eps))
        y = (x - mean[:, None]) * rstd[:, None]
        return y * weight + bias, mean, rstd
    return call if weight is not None and bias is not None else None


def torch_peer(kernel, label="PyTorch"):
    """Decorator: as `peer`, with the module torch and tensors for the arrays; nothing is recorded for gradients."""
    def register(make):
        @peer(kernel, label)
        def prepare(*args, **kwargs):
            import torch

            def tensors(value):
                if isinstance(value, list):
                    return [tensors(v) for v in value]
                return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

            call = make(torch, *map(tensors, args), **{name: tensors(v) for name, v in kwargs.items()})
            return call and torch.no_grad()(call)
        return make
    return register


def both_layouts(kernel):
    """Decorator: a function whose first argument chooses how images lie in memory, as two peers."""
    def register(make):
        for label, layout in (("PyTorch", "contiguous_format"), ("PyTorch channels-last", "channels_last")):
            def prepare(torch, *args, layout=layout, **kwargs):
                def lay(x):
                    return x.contiguous(memory_format=getattr(torch, layout))
                return make(torch, lay, *args, **kwargs)
            torch_peer(kernel, label)(prepare)
        return make
    return register


@torch_peer("matmul")
def torch_matmul(torch, a, b, bias=None, activation=None, residual=None):
    gelu = torch.nn.functional.gelu
    act = {None: lambda y: y, "relu": torch.relu_, "gelu": gelu, "gelu_tanh": lambda y: gelu(y, approximate="tanh"),
           "silu": lambda y: torch.nn.functional.silu(y, inplace=True)}[activation]

    def call():
        y = torch.matmul(a, b) if bias is None else torch.addmm(bias, a, b) if a.ndim == 2 else torch.matmul(a, b).add_(bias)
        return act(y if residual is None else y.add_(residual))
    return call


@torch_peer("matmul_int8")
def torch_matmul_int8(torch, a, b):
    return (lambda: torch._int_mm(a, b)) if a.dtype == torch.int8 and a.shape[0] > 16 else None


@torch_peer("matmul_bf16")
def torch_matmul_bf16(torch, a, b, bias=None):
    a, b = a.view(torch.bfloat16), b.view(torch.bfloat16)

    def call():
        torch.matmul(a, b)
        return (None,)  # rounded to bfloat16: not the same result
    return None if bias is not None else call


@torch_peer("to_bf16")
def torch_to_bf16(torch, x):
    return lambda: x.to(torch.bfloat16).view(torch.uint16)


@torch_peer("from_bf16")
def torch_from_bf16(torch, u):
    return lambda: u.view(torch.bfloat16).float()


def pair(value):
    return [value, value] if isinstance(value, int) else list(value)


@torch_peer("softmax")
def torch_softmax(torch, x, axis=-1):
    return lambda: torch.softmax(x, axis)


@torch_peer("log_softmax")
def torch_log_softmax(torch, x, axis=-1):
    return lambda: torch.log_softmax(x, axis)


@torch_peer("softmax_backward")
def torch_softmax_backward(torch, g, y, axis=-1):
    return lambda: torch._softmax_backward_data(g, y, axis, y.dtype)


@torch_peer("log_softmax_backward")
def torch_log_softmax_backward(torch, g, y, axis=-1):
    return lambda: torch._log_softmax_backward_data(g, y, axis, y.dtype)


@torch_peer("cross_entropy")
def torch_cross_entropy(torch, logits, target, weight=None, ignore_index=-100, label_smoothing=0.0):
    return lambda: (torch.nn.functional.cross_entropy(logits, target, weight, ignore_index=ignore_index, reduction="none",
                                                      label_smoothing=label_smoothing), None)


@torch_peer("cross_entropy_backward")
def torch_cross_entropy_backward(torch, g, logits, lse, target, weight=None, ignore_index=-100, label_smoothing=0.0):
    """From the logarithms of probabilities, which PyTorch keeps from forward."""
    if label_smoothing:
        return None
    aten, logs, total = torch.ops.aten, torch.log_softmax(logits, 1), torch.ones(())

    def call():
        dlogs = aten.nll_loss_backward(g, logs, target, weight, 0, ignore_index, total)
        return torch._log_softmax_backward_data(dlogs, logs, 1, logs.dtype)
    return call


@torch_peer("attention")
def torch_attention(torch, q, k, v, mask=None, causal=False, scale=None, **dropout):
    """PyTorch's flash attention for the CPU; heads of grouped queries are repeated beforehand."""
    if mask is not None or v.shape[-1] != q.shape[-1] or dropout:
        return None
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return lambda: forward(q, k, v, 0.0, causal, scale=scale)


@torch_peer("attention_backward")
def torch_attention_backward(torch, g, q, k, v, y, lse, mask=None, causal=False, scale=None, **dropout):
    if mask is not None or dropout or v.shape != k.shape or k.shape[1] != q.shape[1]:
        return None
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return lambda: backward(g, q, k, v, y, lse, 0.0, causal, scale=scale)


@torch_peer("layer_norm")
def torch_layer_norm(torch, x, weight=None, bias=None, eps=1e-5):
    def call():
        y, mean, rstd = torch.native_layer_norm(x, x.shape[1:], weight, bias, eps)
        return y, mean[:, 0], rstd[:, 0]
    return call


@torch_peer("layer_norm_backward")
def torch_layer_norm_backward(torch, g, x, mean, rstd, weight=None):
    bias, affine = (None, False) if weight is None else (torch.zeros_like(weight), True)
    return lambda: torch.ops.aten.native_layer_norm_backward(g, x, x.shape[1:], mean[:, None], rstd[:, None], weight, bias,
                                                             [True, affine, affine])


@torch_peer("rms_norm")
def torch_rms_norm(torch, x, weight=None, eps=None):
    return lambda: (torch.nn.functional.rms_norm(x, x.shape[1:], weight, eps), None)


@torch_peer("rms_norm_backward")
def torch_rms_norm_backward(torch, g, x, rstd, weight=None):
    leaves = [a.requires_grad_() for a in (x, weight) if a is not None]
    y = torch.nn.functional.rms_norm(x, x.shape[1:], weight, 1e-6)  # what the cases' rstd was computed with
    return lambda: torch.autograd.grad(y, leaves, g, retain_graph=True) + (None,) * (weight is None)


@torch_peer("batch_norm")
def torch_batch_norm(torch, x, weight, bias, mean, var, eps=1e-5):
    return lambda: torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, False)


@torch_peer("batch_norm_train")
def torch_batch_norm_train(torch, x, weight=None, bias=None, eps=1e-5, activation=None, residual=None):
    def call():
        y, mean, rstd = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        if residual is not None:
            y += residual
        return (y.clamp_(0, 6 if activation == "relu6" else None) if activation else y), mean, None, rstd
    return call


@torch_peer("batch_norm_backward")
def torch_batch_norm_backward(torch, g, x, mean, rstd, weight=None, out=None, activation=None):
    def call():
        dy = g if out is None else torch.ops.aten.threshold_backward(g, out, 0) if activation == "relu" else \
            torch.ops.aten.hardtanh_backward(g, out, 0, 6)
        return torch.ops.aten.native_batch_norm_backward(dy, x, weight, None, None, mean, rstd, True, 1e-5, [True] * 3)
    return call


@torch_peer("group_norm")
def torch_group_norm(torch, x, groups, weight=None, bias=None, eps=1e-5):
    n, c, pixels = x.shape[0], x.shape[1], x[0, 0].numel()
    return lambda: torch.native_group_norm(x, weight, bias, n, c, pixels, groups, eps)


@torch_peer("group_norm_backward")
def torch_group_norm_backward(torch, g, x, groups, mean, rstd, weight=None):
    n, c, pixels = x.shape[0], x.shape[1], x[0, 0].numel()
    mask = [True, weight is not None, weight is not None]
    return lambda: torch.ops.aten.native_group_norm_backward(g, x, mean, rstd, weight, n, c, pixels, groups, mask)


@torch_peer("embedding")
def torch_embedding(torch, weight, index):
    return (lambda: torch.embedding(weight, index)) if index.dtype in (torch.int32, torch.int64) else None


@torch_peer("embedding_backward")
def torch_embedding_backward(torch, g, index, num_rows):
    if index.dtype not in (torch.int32, torch.int64):
        return None
    return lambda: torch.ops.aten.embedding_dense_backward(g, index, num_rows, -1, False)


@torch_peer("dropout")
def torch_dropout(torch, x, p, seed):
    def call():
        torch.nn.functional.dropout(x, p)  # drops other elements
        return (None,)
    return call


def states_of(torch, x, w_hh, *states):
    """First states as PyTorch takes them: with an axis for the layers, zeros where there are none."""
    return tuple((x.new_zeros(x.shape[1], w_hh.shape[1]) if h is None else h)[None] for h in states)


@torch_peer("lstm")
def torch_lstm(torch, x, h0, c0, *weights, keep=True, **options):
    if options or len(weights) != 4:
        return None
    states = states_of(torch, x, weights[1], h0, c0)

    def call():
        torch.lstm(x, states, weights, True, 1, 0.0, False, False, False)
        return (None,)
    return call


@torch_peer("gru")
def torch_gru(torch, x, h0, *weights, keep=True, **options):
    if options or len(weights) != 4:
        return None
    h, = states_of(torch, x, weights[1], h0)

    def call():
        torch.gru(x, h, weights, True, 1, 0.0, False, False, False)
        return (None,)
    return call


@torch_peer("rnn")
def torch_rnn(torch, x, h0, *weights, **options):
    if options or len(weights) != 4:
        return None
    h, = states_of(torch, x, weights[1], h0)

    def call():
        torch.rnn_tanh(x, h, weights, True, 1, 0.0, False, False, False)
        return (None,)
    return call


@torch_peer("sgd_update")
def torch_sgd_update(torch, params, grads, momentum_buffers=None, lr=0.01, momentum=0.0):
    buffers = momentum_buffers or []

    def call():
        torch._fused_sgd_(params, grads, buffers, weight_decay=0.0, momentum=momentum, lr=lr, dampening=0.0, nesterov=False,
                          maximize=False, is_first_step=False)
        return (*params, *buffers)
    return call


@torch_peer("adam_update")
def torch_adam_update(torch, params, grads, exp_avgs, exp_avg_sqs, largest=None, step=1, decoupled=False, **options):
    update = torch._fused_adamw_ if decoupled else torch._fused_adam_
    steps, largest = [torch.tensor(float(step)) for _ in params], largest or []
    options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False,
               "maximize": False, **options}

    def call():
        update(params, grads, exp_avgs, exp_avg_sqs, largest, steps, **options)
        return (*params, *exp_avgs, *exp_avg_sqs, *largest)
    return call


@torch_peer("total_norm")
def torch_total_norm(torch, arrays, order=2.0):
    return lambda: torch.nn.utils.get_total_norm(arrays, order)


@torch_peer("scale")
def torch_scale(torch, arrays, factor):
    def call():
        torch._foreach_mul_(arrays, factor)
        return arrays
    return call


@torch_peer("clamp")
def torch_clamp(torch, arrays, low, high):
    def call():
        torch._foreach_clamp_min_(arrays, low)
        torch._foreach_clamp_max_(arrays, high)
        return arrays
    return call


# kernel of elementwise arithmetic -> PyTorch's function, where its name is another
NAMES = {"negative": "neg", "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt",
         "greater_equal": "ge", "subtract": "sub", "multiply": "mul", "divide": "div"}


def register_arithmetic(kernel):
    @peer(kernel, "NumPy")
    def prepare_numpy(*args):
        return lambda: getattr(np, kernel)(*args)

    @torch_peer(kernel)
    def prepare(torch, *args):
        return lambda: getattr(torch, NAMES.get(kernel, kernel))(*args)


for name in sorted(set(arithmetic.__all__) - {"prelu", "prelu_backward"}):
    register_arithmetic(name)

# reduction -> PyTorch's, of x, its axes and the keywords
REDUCTIONS = {
    "sum": lambda torch, x, axes: x.sum(axes), "mean": lambda torch, x, axes: x.mean(axes),
    "max": lambda torch, x, axes: x.amax(axes), "min": lambda torch, x, axes: x.amin(axes),
    "var": lambda torch, x, axes: x.var(axes, correction=0), "logsumexp": lambda torch, x, axes: x.logsumexp(axes),
    "sum_squares": lambda torch, x, axes: torch.linalg.vector_norm(x, dim=axes).square()}
PLACES = {"argmax": lambda x, axis: x.argmax(axis), "argmin": lambda x, axis: x.argmin(axis)}


def register_reduction(kernel, function):
    @torch_peer(kernel)
    def prepare(torch, x, axis=None, keepdims=False):
        axes = tuple(range(x.ndim)) if axis is None else axis
        return None if keepdims else lambda: function(torch, x, axes)


for name, function in REDUCTIONS.items():
    register_reduction(name, function)
for name, function in PLACES.items():
    @torch_peer(name)
    def prepare_place(torch, x, axis=None, keepdims=False, function=function):
        return None if keepdims else lambda: function(x, axis)

# activation -> how PyTorch computes it, from torch and x, and its derivative, from torch.ops.aten, g and what the kernel keeps
ELEMENTWISE = {
    "relu": (lambda torch, x: torch.relu(x), lambda aten, g, y: aten.threshold_backward(g, y, 0)),
    "leaky_relu": (lambda torch, x, slope: torch.nn.functional.leaky_relu(x, slope),
                   lambda aten, g, y, slope: aten.leaky_relu_backward(g, y, slope, True)),
    "elu": (lambda torch, x, alpha, scale, input_scale: torch.ops.aten.elu(x, alpha, scale, input_scale),
            lambda aten, g, y, alpha, scale, input_scale: aten.elu_backward(g, alpha, scale, input_scale, True, y)),
    "sigmoid": (lambda torch, x: torch.sigmoid(x), lambda aten, g, y: aten.sigmoid_backward(g, y)),
    "tanh": (lambda torch, x: torch.tanh(x), lambda aten, g, y: aten.tanh_backward(g, y)),
    "silu": (lambda torch, x: torch.nn.functional.silu(x), lambda aten, g, x: aten.silu_backward(g, x)),
    "gelu": (lambda torch, x: torch.nn.functional.gelu(x), lambda aten, g, x: aten.gelu_backward(g, x)),
    "gelu_tanh": (lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
                  lambda aten, g, x: aten.gelu_backward(g, x, approximate="tanh")),
    "softplus": (lambda torch, x: torch.nn.functional.softplus(x),
                 lambda aten, g, x: aten.softplus_backward(g, x, 1, 20)),
    "log_sigmoid": (lambda torch, x: torch.nn.functional.logsigmoid(x),
                    lambda aten, g, x: aten.log_sigmoid_backward(g, x, aten.log_sigmoid_forward(x)[1])),
    "mish": (lambda torch, x: torch.nn.functional.mish(x), lambda aten, g, x: aten.mish_backward(g, x)),
    "softsign": (lambda torch, x: torch.nn.functional.softsign(x), None),
    "tanhshrink": (lambda torch, x: torch.nn.functional.tanhshrink(x), None),
    "hardtanh": (lambda torch, x, min_val, max_val: torch.nn.functional.hardtanh(x, min_val, max_val), None),
    "hardsigmoid": (lambda torch, x: torch.nn.functional.hardsigmoid(x), lambda aten, g, x: aten.hardsigmoid_backward(g, x)),
    "hardswish": (lambda torch, x: torch.nn.functional.hardswish(x), lambda aten, g, x: aten.hardswish_backward(g, x)),
    "hardshrink": (lambda torch, x, lambd: torch.nn.functional.hardshrink(x, lambd), None),
    "softshrink": (lambda torch, x, lambd: torch.nn.functional.softshrink(x, lambd), None),
    "threshold": (lambda torch, x, threshold, value: torch.nn.functional.threshold(x, threshold, value),
                  lambda aten, g, x, threshold: aten.threshold_backward(g, x, threshold)),
}


def register_elementwise(kernel, forward, backward):
    @torch_peer(kernel)
    def prepare(torch, x, **options):
        return lambda: forward(torch, x, **options)

    if backward is None:
        return

    @torch_peer(f"{kernel}_backward")
    def prepare_backward(torch, g, kept, **options):
        return lambda: backward(torch.ops.aten, g, kept, **options)


for name, (forward, backward) in ELEMENTWISE.items():
    register_elementwise(name, forward, backward)
