/* The activations and their derivatives, each one line of the two tables. */
#include "elements.h"
#include "vmath.h"

#define ZERO ((vf){0})
#define SQRT_2_OVER_PI 0.797884561f
#define ONE_OVER_SQRT_2PI 0.398942280f

/* name, number of parameters (k1, k2, k3), y from x1 = x */
#define FORWARD_TABLE(FORWARD)                                                           \
    FORWARD(relu, 0, vsel(x1 < 0.0f, ZERO, x1))                                          \
    FORWARD(leaky_relu, 1, vsel(x1 < 0.0f, x1 * k1, x1))                                 \
    FORWARD(elu, 3, k2 * vsel(x1 < 0.0f, k1 * vexpm1(vat_most(x1, 0) * k3), x1))         \
    FORWARD(sigmoid, 0, vsigmoid(x1))                                                    \
    FORWARD(tanh, 0, vtanh(x1))                                                          \
    FORWARD(silu, 0, vsilu(x1))                                                          \
    FORWARD(gelu, 0, vgelu(x1))                                                          \
    FORWARD(gelu_tanh, 0, vgelu_tanh(x1))                                                \
    FORWARD(softplus, 0, vat_least(x1, 0) + vlog1p(vexp(-vabs(x1))))                     \
    FORWARD(log_sigmoid, 0, vat_most(x1, 0) - vlog1p(vexp(-vabs(x1))))                   \
    FORWARD(mish, 0, mish(x1))                                                           \
    FORWARD(softsign, 0, softsign(x1))                                                   \
    FORWARD(tanhshrink, 0, x1 - vtanh(x1))                                               \
    FORWARD(hardtanh, 2, vat_most(vat_least(x1, k1), k2))                                \
    FORWARD(hardsigmoid, 0, clamp(x1 * (1.0f / 6), 0.5f) + 0.5f)                         \
    FORWARD(hardswish, 0, x1 * vat_most(vat_least(x1 + 3.0f, 0), 6) * (1.0f / 6))        \
    FORWARD(hardshrink, 1, vsel(vabs(x1) <= k1, ZERO, x1))                               \
    FORWARD(softshrink, 1, x1 - clamp(x1, k1))                                           \
    FORWARD(threshold, 2, vsel(x1 <= k1, vset(k2), x1))

/* name, number of parameters, dL/dx from x1 = g = dL/dy and x2, which is y or x as the specification says */
#define BACKWARD_TABLE(BACKWARD)                                                         \
    BACKWARD(relu_backward, 0, vsel(x2 <= 0.0f, ZERO, x1))                               \
    BACKWARD(leaky_relu_backward, 1, vsel(x2 <= 0.0f, x1 * k1, x1))                      \
    BACKWARD(elu_backward, 3, x1 * vsel(x2 <= 0.0f, k3 * (x2 + k1 * k2), vset(k2)))      \
    BACKWARD(sigmoid_backward, 0, x1 * x2 * (1.0f - x2))                                 \
    BACKWARD(tanh_backward, 0, x1 * (1.0f - x2) * (1.0f + x2))                           \
    BACKWARD(silu_backward, 0, x1 * silu_slope(x2))                                      \
    BACKWARD(gelu_backward, 0, x1 * gelu_slope(x2))                                      \
    BACKWARD(gelu_tanh_backward, 0, x1 * gelu_tanh_slope(x2))                            \
    BACKWARD(softplus_backward, 0, x1 * vsigmoid(x2))                                    \
    BACKWARD(log_sigmoid_backward, 0, x1 * vsigmoid(-x2))                                \
    BACKWARD(mish_backward, 0, x1 * mish_slope(x2))                                      \
    BACKWARD(softsign_backward, 0, x1 * softsign_slope(x2))                              \
    BACKWARD(tanhshrink_backward, 0, x1 * (vtanh(x2) * vtanh(x2)))                       \
    BACKWARD(hardtanh_backward, 2, vsel((x2 <= k1) | (x2 >= k2), ZERO, x1))              \
    BACKWARD(hardsigmoid_backward, 0, vsel((x2 <= -3.0f) | (x2 >= 3.0f), ZERO, x1 * (1.0f / 6))) \
    BACKWARD(hardswish_backward, 0, x1 * hardswish_slope(x2))                            \
    BACKWARD(hardshrink_backward, 0, vsel(x2 == 0.0f, ZERO, x1))                         \
    BACKWARD(softshrink_backward, 0, vsel(x2 == 0.0f, ZERO, x1))                         \
    BACKWARD(threshold_backward, 1, vsel(x2 <= k1, ZERO, x1))

/* Beyond these clamps the slopes are 0 or 1 to the last bit; without them infinity times zero would be NaN. */
INLINE vf clamp(vf x, float limit) { return vat_least(vat_most(x, limit), -limit); }

INLINE vf silu_slope(vf x) {
    const vf s = vsigmoid(x);
    return s * (1.0f + clamp(x, 200) * (1.0f - s));
}

INLINE vf gelu_slope(vf x) {
    vf gauss;
    const vf cdf = vnormal_cdf(x, &gauss);
    return cdf + clamp(x, 15) * gauss * ONE_OVER_SQRT_2PI;
}

INLINE vf gelu_tanh_slope(vf x) {
    x = clamp(x, 20);
    const vf s = vsigmoid(vgelu_tanh_inner(x));
    return s + x * s * (1.0f - s) * (2 * SQRT_2_OVER_PI * (1.0f + 3 * 0.044715f * x * x));
}

/* With e = exp(x) and n = e (e + 2): tanh(softplus(x)) = n / (n + 2), and its slope is 4 e (e + 1) / (n + 2)**2. */
INLINE vf mish(vf x) {
    const vf e = vexp(vat_most(x, 20)), n = e * (e + 2.0f);
    return vat_least(x, -200) * (n * vrecip(n + 2.0f));
}
INLINE vf mish_slope(vf x) {
    const vf e = vexp(vat_most(x, 20)), n = e * (e + 2.0f), r = vrecip(n + 2.0f);
    return n * r + clamp(x, 200) * (4.0f * e * (e + 1.0f) * r * r);
}

INLINE vf softsign(vf x) { /* 1 at infinity */
    const vf size = vabs(x);
    return vsel(size > 1e30f, (vf)(((vi)x & (int32_t)0x80000000) | (vi)vset(1)), x / (1.0f + size));
}
INLINE vf softsign_slope(vf x) {
    const vf r = 1.0f / (1.0f + vabs(x));
    return r * r;
}

INLINE vf hardswish_slope(vf x) {
    const vf inside = (x + x + 3.0f) * (1.0f / 6);
    return vsel(x <= -3.0f, ZERO, vsel(x >= 3.0f, vset(1), inside));
}

#define FORWARD(name, params, formula) \
    EL_VECTOR_LOOP(name, 1, params, formula) \
    MD_KERNEL(name, 1, 1) { return a[1].dtype == MD_F32 ? el_map(a, 1, p, p, name##_loop, NULL) : MD_NOT_MINE; }
#define BACKWARD(name, params, formula) \
    EL_VECTOR_LOOP(name, 2, params, formula) \
    MD_KERNEL(name, 1, 2) { \
        return a[1].dtype == MD_F32 && a[2].dtype == MD_F32 ? el_map(a, 2, p, p, name##_loop, NULL) : MD_NOT_MINE; \
    }
FORWARD_TABLE(FORWARD)
BACKWARD_TABLE(BACKWARD)
