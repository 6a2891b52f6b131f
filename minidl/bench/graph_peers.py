"""Peers that compile a graph before they run: ONNX Runtime, JAX and TensorFlow. See `minidl.bench.peers`.

ONNX Runtime is given weights as constants, which it packs once; ours come with every call. JAX and TensorFlow have images
and weights in the layouts that are theirs: N, H, W, C and kh, kw, I, O.
"""
import os
from functools import cache

import numpy as np

from minidl.bench.peers import pair, peer
from minidl.kernels import get_num_threads

ONNX_OPERATORS = 18  # the version of the operators, which ONNX Runtime has read since 1.14


def session(build, x, *constants):
    """Runs the graph that `build` makes: build(add) gives the name of the result, where add(operator, *inputs, **attributes)
    adds a node and gives its result's name; the inputs' names are x, c0, c1, ... Returns the call."""
    import onnxruntime
    from onnx import helper, numpy_helper

    nodes = []

    def add(operator, *inputs, **attributes):
        nodes.append(helper.make_node(operator, list(inputs), [f"v{len(nodes)}"], **attributes))
        return f"v{len(nodes) - 1}"

    result = build(add)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(nodes, "kernel", [helper.make_tensor_value_info("x", kind, x.shape)],
                              [helper.make_tensor_value_info(result, kind, None)],
                              [numpy_helper.from_array(np.ascontiguousarray(c), f"c{i}") for i, c in enumerate(constants)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPERATORS)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = get_num_threads(), 1
    options.log_severity_level = 3
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
    feed = {"x": np.ascontiguousarray(x)}
    return lambda: run(None, feed)[0]


def usual(activation=None, residual=None, **options):
    """Whether the options of a kernel are such as all these libraries fuse: no activation or relu, and nothing to add."""
    return activation in (None, "relu") and residual is None


@peer("matmul", "ONNX Runtime")
def onnx_matmul(a, b, bias=None, **options):
    if not usual(**options) or a.dtype.kind != "f":
        return None

    def build(add):
        y = add("MatMul", "x", "c0")
        y = y if bias is None else add("Add", y, "c1")
        return add("Relu", y) if options.get("activation") else y
    return session(build, a, b, *([] if bias is None else [bias]))


@peer("conv2d", "ONNX Runtime")
def onnx_conv2d(x, weight, bias=None, **options):
    if not usual(**options) or not x.size:
        return None

    def build(add):
        names = ["x", "c0"] if bias is None else ["x", "c0", "c1"]
        stride, padding, dilation, groups = window(options)
        y = add("Conv", *names, strides=stride, pads=padding * 2, dilations=dilation, group=groups)
        return add("Relu", y) if options.get("activation") else y
    return session(build, x, weight, *([] if bias is None else [bias]))


@peer("softmax", "ONNX Runtime")
def onnx_softmax(x, axis=-1):
    return session(lambda add: add("Softmax", "x", axis=axis), x) if x.dtype.kind == "f" else None


def window(options):
    """(stride, padding, dilation), each a pair, and groups of a convolution's options."""
    defaults = {"stride": 1, "padding": 0, "dilation": 1}
    return *(pair(options.get(name, value)) for name, value in defaults.items()), options.get("groups", 1)


def jax_call(function, *arrays):
    """The function compiled for the arrays, which are moved to JAX; the call waits for the result."""
    import jax
    from jax import numpy as jnp

    if any(a is not None and a.dtype not in (np.float32, np.int32, np.bool_) for a in arrays):
        return None  # without its 64-bit mode JAX computes in 32
    run, moved = jax.jit(function), [None if a is None else jnp.asarray(a) for a in arrays]
    return lambda: jax.block_until_ready(run(*moved))


@peer("matmul", "JAX")
def jax_matmul(a, b, bias=None, **options):
    if not usual(**options):
        return None

    def product(a, b, bias):
        y = a @ b if bias is None else a @ b + bias
        return y.clip(0) if options.get("activation") else y
    return jax_call(product, a, b, bias)


@peer("conv2d", "JAX")
def jax_conv2d(x, weight, bias=None, **options):
    import jax

    if not usual(**options):
        return None
    stride, padding, dilation, groups = window(options)

    def convolve(x, w, bias):
        y = jax.lax.conv_general_dilated(x, w, stride, [(p, p) for p in padding], rhs_dilation=dilation,
                                         dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups)
        y = y if bias is None else y + bias
        return y.clip(0) if options.get("activation") else y
    call = jax_call(convolve, x.transpose(0, 2, 3, 1), weight.transpose(2, 3, 1, 0), bias)
    return call and (lambda: np.asarray(call()).transpose(0, 3, 1, 2))


@peer("softmax", "JAX")
def jax_softmax(x, axis=-1):
    import jax

    return jax_call(lambda x: jax.nn.softmax(x, axis), x)


@cache
def tensorflow():
    """The library, silent and with our number of threads, which it takes before its first operation only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(get_num_threads())
    tf.config.threading.set_inter_op_parallelism_threads(get_num_threads())
    return tf


@peer("conv2d", "TensorFlow")
def tensorflow_conv2d(x, weight, bias=None, **options):
    tf = tensorflow()
    stride, padding, dilation, groups = window(options)
    if not usual(**options) or groups != 1 or not x.size:
        return None
    if stride[0] != stride[1] or x.dtype != np.float32:
        return None
    image, kernel = tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(weight.transpose(2, 3, 1, 0))
    border = [[0, 0], *([p, p] for p in padding), [0, 0]]

    @tf.function
    def convolve(image, kernel):
        y = tf.nn.conv2d(image, kernel, stride, border, dilations=dilation)
        y = y if bias is None else tf.nn.bias_add(y, bias)
        return tf.nn.relu(y) if options.get("activation") else y
    return lambda: convolve(image, kernel).numpy().transpose(0, 3, 1, 2)


@peer("matmul", "TensorFlow")
def tensorflow_matmul(a, b, bias=None, **options):
    tf = tensorflow()
    if not usual(**options) or a.dtype.kind != "f":
        return None
    left, right = tf.constant(a), tf.constant(b)

    @tf.function
    def product(a, b):
        y = tf.matmul(a, b)
        y = y if bias is None else y + bias
        return tf.nn.relu(y) if options.get("activation") else y
    return lambda: product(left, right).numpy()
