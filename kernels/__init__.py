"""Kernels on plain arrays: arrays in, arrays out. A folder is a family: one specification and up to four versions.

    import numpy as np
    from minidl import kernels

    x, w = np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    y = kernels.conv2d(x, w, padding=1, activation="relu")
    with kernels.backend("reference"):      # or, for good: kernels.set_backend("numba")
        same = kernels.conv2d(x, w, padding=1, activation="relu")
    kernels.table()                         # what runs where
"""
import numpy

from . import _dispatch
from ._dispatch import backend, backends, core, get, get_backend, isa, set_backend, table
from .arithmetic import *
from .attention import attention, attention_backward
from .conv2d import conv2d, conv2d_backward_data, conv2d_backward_weight, conv2d_max_pool2d
from .cross_entropy import cross_entropy, cross_entropy_backward
from .dropout import dropout
from .elementwise import *
from .embedding import embedding, embedding_backward
from .group_norm import group_norm, group_norm_backward
from .matmul import matmul  # one line per family: this is where a new one is added
from .norm import batch_norm, batch_norm_backward, batch_norm_train
from .optim import adam_update, clamp, scale, sgd_update, total_norm
from .pool import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward
from .quantized import from_bf16, matmul_bf16, matmul_int8, to_bf16
from .recurrent import gru, gru_backward, lstm, lstm_backward, rnn, rnn_backward
from .reduce import *
from .row_norm import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from .softmax import log_softmax, log_softmax_backward, softmax, softmax_backward


def _as_float(x):
    """An array of integers or truth values as the default floating-point dtype; anything else as it is."""
    return x.astype(numpy.float32) if hasattr(x, "dtype") and x.dtype.kind in "biu" else x


large = core.large if core else lambda *arrays: False
plain = core.plain if core else lambda x: False
as_float = core.as_float if core else _as_float
broadcast_to = core.broadcast_to if core else numpy.broadcast_to
get_num_threads = core.get_num_threads if core else lambda: 1


def set_num_threads(n):
    """Sets how many threads a kernel may use, the calling one included.

    At the start: OMP_NUM_THREADS, or all cores; in a forked process and in a worker of `multiprocessing`, 1.
    """
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: n={n!r}: an integer of at least 1 expected")
    if core:
        core.set_num_threads(n)


def _initial_threads():
    import os
    import sys
    if "--multiprocessing-fork" in sys.orig_argv:
        return 1  # one of a pool of workers: together they have the cores
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


set_num_threads(_initial_threads())
__all__ = [
    "as_float", "backend", "backends", "broadcast_to", "get", "get_backend", "get_num_threads", "isa", "large", "plain",
    "set_backend", "set_num_threads", "table",
]
