"""The references run on arrays that are not NumPy's, as a GPU's are: on nothing but NumPy's two protocols."""
import numpy as np
import pytest
from strict_array import StrictArray

from minidl.kernels import _check

KERNELS = _check.select(["elementwise", "softmax", "cross_entropy"])


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_reference_on_strict_arrays(kernel):
    def strict(value):
        return StrictArray(value) if isinstance(value, np.ndarray) else value

    for case in kernel.cases():
        if case.bench:
            continue
        wanted = _check.run(kernel, case, "reference")
        got = _check.run(kernel, case._replace(args=map(strict, case.args),
                                               kwargs={key: strict(value) for key, value in case.kwargs.items()}),
                         None if kernel.numpy is None else "reference")
        assert all(isinstance(result, StrictArray) for result in got)
        assert _check.difference([result._array for result in got], wanted) == 0, case.label
