"""Native kernels from several threads at once, while another changes how many threads a kernel may use; for sanitize.sh."""
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from minidl import kernels

A, B = np.ones((150, 120), "f4"), np.ones((120, 130), "f4")
X, W = np.ones((4, 8, 20, 20), "f4"), np.ones((16, 8, 3, 3), "f4")
Q = np.ones((2, 3, 70, 16), "f4")
SEQUENCES = np.ones((3, 20, 8), "f4"), None, None, np.zeros((64, 8), "f4"), np.ones((64, 16), "f4")


def work():
    for _ in range(60):
        assert (kernels.matmul(A, B) == 120).all()
        y = kernels.conv2d(X, W)
        assert np.allclose(y, 72, rtol=1e-5)
        assert np.isclose(kernels.conv2d_backward_data(y, W, X.shape).max(), 72 * 144, rtol=1e-5)
        kernels.conv2d_backward_weight(y, X, W.shape)
        y, lse = kernels.attention(Q, Q, Q)
        assert np.allclose(y, 1, rtol=1e-5)
        kernels.attention_backward(y, Q, Q, Q, y, lse)
        assert not kernels.lstm(*SEQUENCES)[0].any()
        kernels.layer_norm_backward(A, A, A[:, 0], A[:, 0])
        assert kernels.sum(np.tile(A, (20, 1))) == 20 * A.size
        assert (kernels.relu(np.tile(A, (4, 1))) == 1).all()
        kernels.batch_norm_train(X)
        kernels.max_pool2d(X, 2)
        kernels.sgd_update([np.ones((200, 200), "f4")], [np.ones((200, 200), "f4")])
        kernels._dispatch.core.pooled()


def main():
    kernels.set_backend("native")
    with ThreadPoolExecutor(3) as pool:
        running, count = [pool.submit(work) for _ in range(3)], 0
        while wait(running, 0.002).not_done:
            kernels.set_num_threads(1 + count % 4)
            count += 1
        for each in running:
            each.result()


if __name__ == "__main__":
    main()
