"""What the array API standard says of types, shapes, indexing and creation, and PyTorch's forms of the same."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as m


# ---- type promotion ----
@pytest.mark.parametrize("a", ["int8", "uint8", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("b", ["int8", "uint8", "int32", "float32", "float64"])
def test_promotion_is_numpys(a, b):
    x, y = m.ones(2, dtype=a), m.ones(2, dtype=b)
    assert (x + y).dtype == m.result_type(x, y) == np.promote_types(a, b)
    assert m.concat([x, y]).dtype == np.promote_types(a, b)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_python_numbers_keep_the_tensors_dtype(dtype):
    x = m.ones(3, dtype=dtype, requires_grad=True)
    results = [x + 1, 2.5 * x, 1 / x, x ** 2, 2.0 ** x, x - True, m.where(x > 0, x, 0.0), m.maximum(x, 0), m.clip(x, 0, 1.5),
               m.masked_fill(x, x > 0, -m.inf), x // 2, x % 2, m.pow(x, 0.5)]
    assert {y.dtype for y in results} == {np.dtype(dtype)}
    for y in results:
        y.sum().backward()
    assert x.grad.dtype == dtype


def test_integers():
    x = m.arange(1, 4)
    assert (x + 1).dtype == m.int64 and (x + 1.5).dtype == m.float64
    assert (x / 2).dtype == (m.ones(2, dtype="uint8") / 255).dtype == m.float32
    assert {f(x).dtype for f in (m.exp, m.sqrt, m.log, m.sin, m.mean, m.var, m.std, m.logsumexp)} == {m.float32}
    assert m.sum(m.ones(2, dtype="int8")).dtype == m.prod(m.ones(2, dtype="bool")).dtype == m.int64
    assert m.sum(m.ones(2, dtype="uint8")).dtype == m.uint64
    assert m.sum(m.ones(2), dtype=m.float64).dtype == m.float64
    assert (m.ones(2, dtype="int32") / m.ones(2)).dtype == m.float64  # NumPy's rule for int32 with float32


def test_zero_dimensional_tensors_stay_tensors():
    x = m.tensor(2.0)
    for y in (x + 1, m.exp(x), x.sum(), x[...], m.where(x > 0, x, 0), x.max(), m.stack([x, x])[0], x.reshape(1)[0]):
        assert isinstance(y, m.Tensor) and y.shape == () and isinstance(y.array, np.ndarray) and y.dtype == m.float32
    assert (float(x), int(x), bool(x), complex(x), [1, 2, 3][m.tensor(1)]) == (2, 2, True, 2, 2)
    with pytest.raises(TypeError):
        len(x)
    with pytest.raises(TypeError):
        iter(x).__next__()


def test_empty_tensors():
    x = m.zeros(0, 3, requires_grad=True)
    assert m.sum(x).item() == 0 and m.prod(x).item() == 1 and m.all(x).item() and not m.any(x).item()
    assert m.concat([x, m.ones(2, 3)]).shape == (2, 3) and m.sort(x).shape == (0, 3) and m.split(x, 2)[0].shape == (0, 3)
    assert m.unstack(x) == () and m.cumulative_sum(x, axis=0).shape == (0, 3)
    (x * 2).sum().backward()
    assert x.grad.shape == (0, 3)
    for f in (m.max, m.argmax):
        with pytest.raises(ValueError):
            f(x)


@pytest.mark.parametrize("f", [m.sum, m.max, m.sort, m.argsort, m.flip, m.unstack, m.expand_dims, m.squeeze, m.cumulative_sum])
def test_an_axis_out_of_range_is_an_error(f):
    with pytest.raises((ValueError, IndexError)):
        f(m.ones(2, 3), axis=5)


# ---- derivatives where the textbook leaves a choice ----
def test_ties_and_kinks():
    def gradient(f, *values):
        x = m.tensor(values, dtype=m.float32, requires_grad=True)
        f(x).sum().backward()
        return x.grad.tolist()
    assert gradient(m.max, 1, 3, 3) == [0, 0.5, 0.5]
    assert gradient(m.min, 1, 1, 3) == [0.5, 0.5, 0]
    assert gradient(m.abs, -2, 0, 3) == [-1, 0, 1]
    assert gradient(lambda x: m.maximum(x, 0), -1, 0, 1) == [0, 0.5, 1]
    assert gradient(lambda x: m.clip(x, 0, 1), -1, 0, 0.5, 1, 2) == [0, 1, 1, 1, 0]
    assert gradient(lambda x: m.hypot(x, 0 * x), 0, 2) == [0, 1]
    assert gradient(lambda x: x ** m.tensor([0.0, 2.0]), 0, 0) == [0, 0]
    assert gradient(lambda x: 0.0 ** x, 1) == [0]
    assert gradient(lambda x: m.sort(x), 2, 2, 1) == [1, 1, 1]


def test_infinities_do_not_make_nan():
    x = m.tensor([-m.inf, -m.inf, 0.0], requires_grad=True)
    y = m.logsumexp(x) + m.logaddexp(x, x - 1)[2]
    y.backward()
    assert np.isfinite(x.grad.array).all()
    assert m.logsumexp(m.tensor([-m.inf, -m.inf])).item() == -m.inf
    assert m.logsumexp(m.tensor([m.inf, 1.0])).item() == m.inf
    x = m.tensor([1.0, 2.0], requires_grad=True)
    m.where(m.tensor([True, False]), x, 0).backward(m.tensor([1.0, m.nan]))
    assert x.grad.tolist() == [1, 0]


@given(st.data())
@settings(deadline=400, max_examples=60)
def test_gradients_of_broadcast_arguments_sum_over_what_was_stretched(data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
    (a, b), out = shapes.input_shapes, shapes.result_shape
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    xa, xb, seed = rng.normal(size=a), rng.normal(size=b), rng.normal(size=out)
    x, y = m.Tensor(xa, requires_grad=True), m.Tensor(xb, requires_grad=True)
    (x * y).backward(m.Tensor(seed))

    def reduced(g, shape):
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))
        return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)
    np.testing.assert_allclose(x.grad.array, reduced(seed * xb, a), atol=1e-12)
    np.testing.assert_allclose(y.grad.array, reduced(seed * xa, b), atol=1e-12)


@given(st.data())
@settings(deadline=400, max_examples=80)
def test_indexing_and_its_gradient_are_numpys(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    key = data.draw(st.one_of(
        hnp.basic_indices(shape, allow_newaxis=True),
        hnp.integer_array_indices(shape),
        hnp.arrays(bool, shape)))
    array = np.arange(float(np.prod(shape))).reshape(shape)
    x = m.Tensor(array, requires_grad=True)
    y = x[key]
    expected = np.asarray(array[key])
    np.testing.assert_array_equal(y.array, expected)
    y.backward(m.Tensor(expected + 1))
    counted = np.zeros(shape)
    np.add.at(counted, key, expected + 1)
    np.testing.assert_array_equal(x.grad.array, counted)


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.integers(-2, 2)), st.booleans())
@settings(deadline=400, max_examples=60)
def test_sort_is_stable_in_both_directions(array, descending):
    order = m.argsort(m.Tensor(array), descending=descending).array
    expected = np.argsort(-array if descending else array, axis=-1, kind="stable")
    np.testing.assert_array_equal(order, expected)
    ordered = m.sort(m.Tensor(array), descending=descending).array
    np.testing.assert_array_equal(ordered, np.take_along_axis(array, expected, -1))


# ---- indexing ----
def test_keys_of_every_kind():
    a = np.arange(24.0).reshape(4, 6)
    x = m.Tensor(a)
    for key, plain in (([0, 2], [0, 2]), ([m.tensor(1), 3], [1, 3]), ((m.tensor([0, 1]), m.tensor([2, 3])), ([0, 1], [2, 3])),
                       (m.tensor(2), 2), (x > 5, a > 5), ([True, False, True, False], [True, False, True, False]),
                       (np.int64(1), 1), ([], []), ([[0, 1], [2, 3]], np.array([[0, 1], [2, 3]]))):
        np.testing.assert_array_equal(x[key].array, a[plain])
    assert x[True].shape == (1, 4, 6) and m.tensor(5.0)[m.tensor(True)].shape == (1,)
    with pytest.raises(IndexError):
        x[7]
    with pytest.raises(IndexError):
        x[0, 0, 0]


def test_setitem_writes_what_numpy_writes():
    a = np.zeros((3, 4))
    x = m.Tensor(a.copy())
    for key, value in ((0, 1.0), ((slice(None), 2), np.array([5, 6, 7])), (np.array([1, 1]), np.ones((2, 4)) * 3),
                       ((2, 3), 9)):
        a[key] = value
        x[key] = m.Tensor(value) if isinstance(value, np.ndarray) else value
    x[x > 8] = -1
    a[a > 8] = -1
    np.testing.assert_array_equal(x.array, a)


def test_setitem_sums_the_gradient_of_a_value_with_more_axes():
    x, v = m.zeros(2, 3), m.tensor([[[5.0]]], requires_grad=True)
    x[0] = v
    assert x[0].tolist() == [5, 5, 5]
    x.sum().backward()
    assert v.grad.tolist() == [[[3]]]


def test_a_basic_key_gives_a_view_and_an_array_a_copy():
    x = m.zeros(3, 2)
    x[1][0] = 5
    x[m.tensor([1])][0, 1] = 7
    assert x.tolist() == [[0, 0], [5, 0], [0, 0]]


def test_einsum_takes_a_list_and_plain_arrays_leave_the_tape_alone():
    x, y = np.ones((2, 3)), m.Tensor(np.ones((3, 2)), requires_grad=True)
    result = m.einsum("ij,jk", [x, y])
    assert result.tolist() == [[3, 3], [3, 3]]
    result.sum().backward()
    assert y.grad.tolist() == [[2, 2]] * 3


def test_unique_in_pytorchs_form():
    values, inverse, counts = m.unique(m.tensor([3, 1, 3]), return_inverse=True, return_counts=True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 3], [1, 0, 1], [1, 2])


# ---- creation ----
def test_creation():
    assert m.zeros(2, 3).shape == m.zeros((2, 3)).shape == m.zeros([2, 3]).shape == (2, 3)
    assert m.zeros(()).shape == m.zeros().shape == () and m.ones(2).dtype == m.float32
    assert m.full((2,), 7).dtype == m.int64 and m.full(2, 7.0).tolist() == [7, 7] and m.full((), True).dtype == m.bool
    assert m.arange(3).tolist() == [0, 1, 2] and m.arange(1, 2, 0.25).dtype == m.float32
    assert m.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert m.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1] and m.linspace(0, 1, 4, endpoint=False)[-1].item() == 0.75
    np.testing.assert_array_equal(m.eye(2, 3, k=1, dtype=m.int8).array, np.eye(2, 3, 1))
    x = m.ones(2, dtype=m.float16)
    for f in (m.zeros_like, m.ones_like, m.empty_like):
        assert (f(x).dtype, f(x).shape, f(x, dtype=m.int8).dtype) == (m.float16, (2,), m.int8)
    assert m.full_like(x, 3).tolist() == [3, 3] and m.zeros_like(np.ones(2)).dtype == m.float64
    assert m.empty(2, 1).shape == (2, 1)
    for made in (m.zeros(2, requires_grad=True), m.tensor([1.0], requires_grad=True), m.rand(2, requires_grad=True),
                 m.arange(2.0, requires_grad=True), m.eye(2, requires_grad=True)):
        assert made.requires_grad and made.is_leaf
    assert len(m.meshgrid(m.arange(2))) == 1


def test_tensor_copies_and_asarray_shares():
    a = np.zeros(2)
    assert m.tensor(a).array is not a and m.asarray(a).array is a and m.from_numpy(a).array is a
    x = m.asarray(a)
    assert m.asarray(x) is x and m.asarray(x, copy=True).array is not a and m.asarray(a, dtype=m.float32).dtype == m.float32
    assert np.may_share_memory(m.from_dlpack(a).array, a) and np.may_share_memory(np.from_dlpack(x), a)
    with pytest.raises(ValueError, match="copy=False"):
        m.asarray([1.0], copy=False)
    with pytest.raises(BufferError):
        np.from_dlpack(m.ones(2, requires_grad=True))

    class Foreign:
        def __dlpack__(self, **kwargs):
            return a.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return a.__dlpack_device__()
    assert np.may_share_memory(m.asarray(Foreign()).array, a)


def test_defaults_of_numbers_and_lists():
    assert [m.tensor(v).dtype for v in (1, 1.0, True, 1j, [1, 2.5], [np.float64(1)], np.float64(1))] == [
        m.int64, m.float32, m.bool, m.complex64, m.float32, m.float64, m.float64]
    assert m.tensor([m.ones(2), m.zeros(2)]).shape == (2, 2)
    with pytest.raises(TypeError, match="numbers expected"):
        m.tensor(["a"])


@pytest.mark.parametrize("call, text", [
    (lambda: m.zeros(2, device="tpu"), "device='tpu'"),
    (lambda: m.tensor([1], device="cuda"), "device='cuda'"),
    (lambda: m.zeros(-1), "0 or more"),
    (lambda: m.arange(0, 1, 0), "step=0"),
    (lambda: m.concat([]), "empty"),
    (lambda: m.meshgrid(m.ones(2), indexing="x"), "indexing='x'"),
    (lambda: m.meshgrid(m.ones(2, 2)), "vectors"),
    (lambda: m.flatten(m.ones(2, 3), 1, 0), "start_dim=1"),
    (lambda: m.moveaxis(m.ones(2, 3), (0, 1), 0), "moveaxis"),
    (lambda: m.split(m.ones(5), [2, 2]), "sum to 4"),
    (lambda: m.split(m.ones(5), 0), "at least 1"),
    (lambda: m.chunk(m.ones(5), 0), "chunks=0"),
    (lambda: m.pad(m.ones(2), -1), "pad_width"),
    (lambda: m.pad(m.ones(2, 3), ((1, 1),)), "one pair"),
    (lambda: m.gather(m.ones(2, 2), 0, m.zeros(1, 3, dtype=m.int64)), "gather"),
    (lambda: m.tril(m.ones(2)), "two axes"),
    (lambda: m.nonzero(m.tensor(1.0)), "0-d"),
    (lambda: m.topk(m.ones(2), 3), "k=3"),
    (lambda: m.matmul(m.ones(2), m.tensor(1.0)), "axis"),
    (lambda: m.matrix_transpose(m.ones(2)), "two axes"),
    (lambda: m.vecdot(m.ones(2), m.ones(2), axis=0), "negative"),
    (lambda: m.vecdot(m.ones(2), m.ones(3)), "equal size"),
    (lambda: m.tensordot(m.ones(2), m.ones(3), 1), "equal sizes"),
    (lambda: m.outer(m.ones(2, 2), m.ones(2)), "vectors"),
    (lambda: m.mm(m.ones(2), m.ones(2)), "2 axes"),
    (lambda: m.ops.linear(m.ones(2, 3), m.ones(4, 5)), "linear"),
    (lambda: m.cumulative_sum(m.ones(2, 2)), "axis expected"),
    (lambda: m.cumulative_prod(m.tensor(1.0)), "0-d"),
    (lambda: m.einsum("ij,jk", m.ones(2, 2)), "names 2"),
    (lambda: m.einsum("ij", m.ones(2)), "shape"),
    (lambda: m.einsum("...ij", m.ones(2)), "shape"),
    (lambda: m.einsum("i->j", m.ones(2)), "'j'"),
    (lambda: m.isdtype(m.int8, "number"), "kind='number'"),
])
def test_bad_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        call()


def test_bad_shapes_and_indices():
    with pytest.raises(TypeError, match="zeros"):
        m.zeros(1.5)
    with pytest.raises(IndexError, match="axis 3"):
        m.take(m.ones(2), m.tensor([0]), axis=3)


# ---- inspection ----
def test_namespace_and_inspection():
    assert m.ones(1).__array_namespace__() is m is m.ones(1).__array_namespace__(api_version="2024.12")
    with pytest.raises(ValueError, match="2099"):
        m.ones(1).__array_namespace__(api_version="2099.01")
    info = m.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] == m.float32 == m.ones(1).dtype
    assert info.default_device() in info.devices() == [m.ones(1).device]
    assert info.capabilities()["boolean indexing"]
    assert set(info.dtypes(kind=("bool", "unsigned integer"))) == {"bool", "uint8", "uint16", "uint32", "uint64"}
    assert len(info.dtypes()) == 13 and "float16" not in info.dtypes(kind="real floating")  # the standard's alone
    assert m.isdtype(m.float32, "real floating") and m.isdtype(m.int8, (m.int8, "bool")) and not m.isdtype(m.bool, "numeric")
    assert m.can_cast(m.ones(1), m.float64) and not m.can_cast(m.float64, m.float32)
    assert m.finfo(m.float32).eps == np.finfo("float32").eps == m.finfo(m.ones(1)).eps and m.iinfo(m.int8).max == 127


STANDARD = """abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert bitwise_or
bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1 floor floor_divide greater
greater_equal hypot imag isfinite isinf isnan less less_equal
log log1p log2 log10 logaddexp logical_and logical_not logical_or
logical_xor maximum minimum multiply negative nextafter not_equal positive pow real reciprocal remainder round sign signbit
sin sinh
square sqrt subtract tan tanh trunc cumulative_prod cumulative_sum max mean min prod std sum var all any diff argmax argmin
count_nonzero nonzero searchsorted where argsort sort unique_all unique_counts unique_inverse unique_values broadcast_arrays
broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape roll squeeze stack tile unstack matmul
matrix_transpose tensordot vecdot take take_along_axis arange asarray empty empty_like eye from_dlpack full full_like linspace
meshgrid ones ones_like tril triu zeros zeros_like astype can_cast finfo iinfo isdtype result_type e inf nan newaxis pi
__array_namespace_info__ __array_api_version__"""


def test_limits_are_pythons_numbers():
    x = m.ones(2, dtype=m.float16)
    assert (x * m.finfo(x).eps).dtype == m.float16 and {type(v) for v in m.finfo(m.complex64)[1:-1]} == {float}
    limits = m.finfo(m.float32)
    assert (limits.bits, limits.dtype, limits.smallest_normal) == (32, m.float32, 2.0 ** -126)
    assert limits.max == -limits.min == float(np.finfo("float32").max) and limits.resolution == 1e-6
    with pytest.raises(ValueError):
        m.finfo(m.int8)


@pytest.mark.parametrize("name", STANDARD.split())
def test_the_standards_names_are_there(name):
    assert name in m.__all__ and hasattr(m, name)


def test_a_number_is_not_rounded_on_its_way_into_float64():
    assert m.full((2,), 0.1, dtype="float64").tolist() == [0.1, 0.1]
    assert m.zeros(1).new_full((2,), 0.1, dtype="float64").tolist() == [0.1, 0.1]


def test_masked_fill_keeps_the_dtype():
    x = m.asarray([True, False])
    assert m.masked_fill(x, x, 10).dtype == m.bool


def test_diff_takes_its_count_first_as_numpy_does():
    x = np.arange(12.0).reshape(3, 4) ** 2
    np.testing.assert_array_equal(m.diff(m.asarray(x), 2, 0).numpy(), np.diff(x, 2, 0))
    with pytest.raises(ValueError, match="n=-1"):
        m.diff(m.asarray(x), n=-1)


def test_pytorchs_names_of_axes():
    x = m.asarray(np.arange(24.0).reshape(2, 3, 4))
    assert m.flip(x, dims=(0, 2)).tolist() == m.flip(x, axis=(0, 2)).tolist()
    assert m.diagonal(x, dim1=1, dim2=2).tolist() == m.diagonal(x, axis1=1, axis2=2).tolist()


def test_the_norm_of_zeros_has_the_gradient_0():
    x = m.zeros(3, requires_grad=True)
    x.norm().backward()
    assert x.grad.tolist() == [0, 0, 0]
    assert m.real(x).requires_grad and m.conj(x).requires_grad


def test_every_nan_is_a_value_of_its_own():
    x = m.tensor([m.nan, 1, m.nan, -0.0, 0.0])
    for values in (m.unique_values(x), m.unique(x), m.unique_all(x).values, m.unique_counts(x).values):
        np.testing.assert_array_equal(values.numpy(), [0, 1, m.nan, m.nan])


def test_nextafter_of_two_zeros_is_the_second():
    zeros = m.tensor([-0.0, 0.0])
    assert m.signbit(m.nextafter(zeros, m.tensor([0.0, -0.0]))).tolist() == [False, True]
    assert m.signbit(m.nextafter(zeros, 0.0)).tolist() == [False, False] and m.nextafter(zeros, 0.0).dtype == m.float32


def test_vecdot_keeps_small_integers_and_conjugates_its_first():
    for a, b in (("int8", "int8"), ("uint8", "int8"), ("uint32", "uint16"), ("int16", "float32"), ("float16", "float16")):
        assert m.vecdot(m.ones(3, dtype=a), m.ones(3, dtype=b)).dtype == np.promote_types(a, b)
    x, y = m.tensor([1 + 2j, 3j]), m.tensor([2 - 1j, 1])
    assert m.vecdot(x, y).item() == np.vecdot(x.numpy(), y.numpy()) == -8j


def test_linspace_of_complex_ends():
    assert m.linspace(0, 2j, 3).dtype == m.linspace(m.tensor(0j), 2j, 3).dtype == m.complex64
    assert m.linspace(0, 2j, 3).tolist() == [0, 1j, 2j] and m.linspace(1j, 0, 2, dtype=m.complex128).dtype == m.complex128


def test_astype_says_what_it_would_lose():
    x = m.tensor([0, 2j])
    for dtype in (m.float32, "int64"):
        with pytest.raises(TypeError, match=r"complex64 as .*real"):
            m.astype(x, dtype)
    assert m.astype(x, m.bool).tolist() == [False, True] and m.astype(x, m.complex128).dtype == m.complex128
    assert m.astype(m.ones(2), m.int8, device="cpu").dtype == m.int8
    with pytest.raises(ValueError, match="device='tpu'"):
        m.astype(m.ones(2), m.int8, device="tpu")


def test_memory_that_python_shows_is_shared_and_keeps_its_dtype():
    memory = memoryview(np.array([0.1, 0.2]))
    shared, copied = m.asarray(memory, copy=False), m.tensor(memory)
    memory[0] = 5.0
    assert shared.dtype == m.float64 and shared.tolist() == [5, 0.2] and copied.tolist() == [0.1, 0.2]
    assert m.asarray(bytearray(b"ab")).dtype == m.uint8


@pytest.mark.parametrize("name, call", [
    ("moveaxis", lambda x: m.moveaxis(x, 0, 3)), ("moveaxis", lambda x: m.moveaxis(x, -3, 0)),
    ("repeat", lambda x: m.repeat(x, 2, axis=2)), ("diff", lambda x: m.diff(x, axis=-3)),
    ("flatten", lambda x: m.flatten(x, 0, 2)), ("permute", lambda x: x.permute(0, 3)),
    ("tensordot", lambda x: m.tensordot(x, x, ((2,), (0,)))), ("matrix_norm", lambda x: m.linalg.matrix_norm(x, axis=(0, 3)))])
def test_no_axis_wraps_around(name, call):
    with pytest.raises(IndexError, match=f"{name}: axis .*expected for 2 axes"):
        call(m.ones(2, 2))
