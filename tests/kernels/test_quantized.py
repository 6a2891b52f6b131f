"""8-bit integers and bfloat16: exact sums, and rounding by the definition and as PyTorch's."""
import numpy as np
import pytest

from minidl import kernels


def every_kind_of_float():
    """Random bits as float32: all exponents, infinities, NaNs and denormal numbers; and what lies halfway."""
    bits = np.random.default_rng(0).integers(0, 1 << 32, 100003, dtype=np.uint64).astype(np.uint32)
    bits[::3] = bits[::3] & 0xFFFF0000 | 0x8000
    bits[1::97] |= 0x7F800000
    return bits.view(np.float32)


def test_to_bf16_rounds_to_the_nearest_and_halves_to_even():
    x = every_kind_of_float()
    got = kernels.to_bf16(x)
    low = x.view(np.uint32) >> 16
    down, up = kernels.from_bf16(low.astype(np.uint16)), kernels.from_bf16((low + 1).astype(np.uint16))
    small = np.isfinite(x) & np.isfinite(up)
    low, x, down, up = low[small], *(v[small].astype("f8") for v in (x, down, up))
    below, above = np.abs(x - down), np.abs(up - x)
    wanted = np.where((below < above) | ((below == above) & (low % 2 == 0)), low, low + 1)
    np.testing.assert_array_equal(got[small], wanted)


def test_nan_stays_nan_and_becomes_quiet():
    x = np.array([0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF], np.uint32).view(np.float32)
    got = kernels.to_bf16(x)
    assert np.isnan(kernels.from_bf16(got)).all() and (got & 0x40).all()
    assert kernels.to_bf16(np.array([np.finfo("f4").max, np.inf, -np.inf], "f4")).tolist() == [0x7F80, 0x7F80, 0xFF80]


def test_bf16_there_and_back_is_the_same():
    u = np.arange(1 << 16, dtype=np.uint16)
    x = kernels.from_bf16(u)
    usual = ~np.isnan(x)
    np.testing.assert_array_equal(kernels.to_bf16(x)[usual], u[usual])


def test_bf16_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    x = every_kind_of_float()
    theirs = torch.from_numpy(x).to(torch.bfloat16)
    usual = ~np.isnan(x)
    np.testing.assert_array_equal(kernels.to_bf16(x)[usual], theirs.view(torch.uint16).numpy()[usual])
    np.testing.assert_array_equal(kernels.from_bf16(kernels.to_bf16(x)), theirs.float().numpy())


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (33, 257, 130), (200, 1023, 65)])
def test_int8_is_exact(dtype, shape):
    m, k, n = shape
    rng, info = np.random.default_rng(1), np.iinfo(dtype)
    a = rng.integers(info.min, info.max + 1, (m, k)).astype(dtype)
    b = rng.integers(-128, 128, (k, n)).astype(np.int8)
    a[0], b[:, 0] = info.max, -128
    np.testing.assert_array_equal(kernels.matmul_int8(a, b), a.astype(np.int64) @ b.astype(np.int64))


def test_bf16_product_against_float64():
    rng = np.random.default_rng(2)
    a, b = (kernels.to_bf16(rng.standard_normal(s).astype(np.float32)) for s in ((70, 301), (301, 90)))
    bias = rng.standard_normal(90).astype(np.float32)
    wanted = kernels.from_bf16(a).astype("f8") @ kernels.from_bf16(b).astype("f8") + bias
    np.testing.assert_allclose(kernels.matmul_bf16(a, b, bias), wanted, rtol=0, atol=3e-4)


@pytest.mark.parametrize("call, error", [
    (lambda: kernels.matmul_int8(np.zeros((2, 3), "i4"), np.zeros((3, 2), "i1")), TypeError),
    (lambda: kernels.matmul_int8(np.zeros((2, 3), "i1"), np.zeros((3, 2), "u1")), TypeError),
    (lambda: kernels.matmul_int8(np.zeros((2, 3), "i1"), np.zeros((2, 2), "i1")), ValueError),
    (lambda: kernels.matmul_bf16(np.zeros((2, 3), "f4"), np.zeros((3, 2), "u2")), TypeError),
    (lambda: kernels.matmul_bf16(np.zeros((2, 3), "u2"), np.zeros((3, 2), "u2"), np.zeros(3, "f4")), ValueError),
    (lambda: kernels.to_bf16(np.zeros(3)), TypeError),
    (lambda: kernels.from_bf16(np.zeros(3, "i2")), TypeError),
])
def test_bad_input_is_refused(call, error):
    with pytest.raises(error, match="expected"):
        call()
