/* exp, expm1, log, log1p, tanh, the logistic function and the normal distribution on vectors of floats.
 *
 * Errors in units in the last place are at most: exp 1.4, expm1 1.5, log 1, log1p 1.5, tanh 5, sigmoid 2.5, the normal
 * distribution 5 + x**2 (tests/kernels/test_vmath.py). NaN gives NaN, the infinities give the limits, subnormals are kept.
 *
 * Method: the argument is reduced to a short interval and a polynomial runs there. The polynomials of expm1 and log are
 * those of the Cephes library (S. Moshier, Methods and Programs for Mathematical Functions, 1989: expf.c, logf.c), that of
 * exp and the quotients of polynomials, for tanh and the normal distribution, our own minimax fits by Remez' algorithm. */
#ifndef MD_VMATH_H
#define MD_VMATH_H
#include "simd.h"

/* x * 2**n for whole n, subnormal results included. */
#if defined(__AVX512F__)
INLINE vf vscale(vf x, vf n) { return (vf)_mm512_scalef_ps((__m512)x, (__m512)n); }
#else
INLINE vf vscale(vf x, vf n) { /* two factors: 2**n itself is no float at either end of the range */
    const vi whole = __builtin_convertvector(n, vi), half = whole >> 1;
    return x * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}
#endif

/* 2**n for whole n in [-126, 127]. */
#if defined(__AVX512F__)
INLINE vf vpower(vf n) { return vscale(vset(1), n); }
#else
INLINE vf vpower(vf n) { return (vf)((__builtin_convertvector(n, vi) + 127) << 23); }
#endif

/* Of two numbers the smaller (larger); NaN where x is NaN. */
INLINE vf vat_most(vf x, float limit) { return vmin(vset(limit), x); }
INLINE vf vat_least(vf x, float limit) { return vmax(vset(limit), x); }

/* 1 / x for |x| in [2**-126, 2**126], to 1 unit in the last place. */
#if defined(__AVX512F__)
INLINE vf vrecip(vf x) { /* 14 bits, and a step of Newton's: a division takes four times as long */
    const vf r = (vf)_mm512_rcp14_ps((__m512)x);
    return r + r * (1.0f - x * r);
}
INLINE vf vquotient(vf p, vf q) { /* p / q, with the same bounds, to 0.6 units */
    const vf r = (vf)_mm512_rcp14_ps((__m512)q), y = p * r;
    return y + (p - y * q) * r;
}
#else
INLINE vf vrecip(vf x) { return 1.0f / x; }
INLINE vf vquotient(vf p, vf q) { return p / q; }
#endif

/* x = n log(2) + r with |r| <= log(2) / 2. Returns n; log(2) in two parts, so that n times the first is exact. */
INLINE vf vreduce(vf x, vf *r) {
    const vf shift = vset(12582912.0f); /* 1.5 * 2**23: adding it rounds to a whole number */
    const vf n = (x * 1.44269504f + shift) - shift;
    *r = x - n * 0.693359375f;
    *r -= n * -2.12194440e-4f;
    return n;
}

/* exp(r) - 1 for |r| <= log(2) / 2. */
INLINE vf vexpm1_reduced(vf r) {
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * (r * r) + r;
}

/* exp(r) for the same r: relative error 3e-9 and the roundings. */
INLINE vf vexp_reduced(vf r) {
    vf p = r * 1.39411189e-3f + 8.37513477e-3f;
    p = p * r + 4.16663528e-2f;
    p = p * r + 1.66664154e-1f;
    p = p * r + 5.00000005e-1f;
    p = p * r + 1.00000004f;
    return p * r + 1.0f;
}

/* exp(x) for x <= 89. */
INLINE vf vexp_at_most_89(vf x) {
    vf r;
    const vf n = vreduce(vat_least(x, -104.0f), &r);
    return vscale(vexp_reduced(r), n);
}
INLINE vf vexp(vf x) { return vexp_at_most_89(vat_most(x, 89.0f)); }

/* `count` <= 4 vectors of exp(x) for x <= 16: of what is about the largest of several. ABREAST of them take the least time. */
enum { ABREAST = VREGS == 32 ? 1 : 4 };
#if defined(__AVX512F__)
INLINE void vexps_at_most_16(vf *x, const int count) {
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) x[i] = vexp_at_most_89(x[i]);
}
#else
INLINE void vexps_at_most_16(vf *x, const int count) { /* step by step: a processor looks too few instructions ahead to */
#define EACH _Pragma("GCC unroll 4") for (int i = 0; i < count; i++)
    const vf shift = vset(12582912.0f + 227.0f); /* the bits of n + shift, moved to the exponent's place, are 2**(n + 100) */
    vf p[4], n[4], power[4];
    EACH x[i] = vat_least(x[i], -104.0f);
    EACH power[i] = x[i] * 1.44269504f + shift;
    EACH n[i] = power[i] - shift;
    EACH x[i] -= n[i] * 0.693359375f;
    EACH x[i] -= n[i] * -2.12194440e-4f;
    EACH power[i] = (vf)((vi)power[i] << 23);
    EACH p[i] = x[i] * 1.39411189e-3f + 8.37513477e-3f;
    EACH p[i] = p[i] * x[i] + 4.16663528e-2f;
    EACH p[i] = p[i] * x[i] + 1.66664154e-1f;
    EACH p[i] = p[i] * x[i] + 5.00000005e-1f;
    EACH p[i] = p[i] * x[i] + 1.00000004f;
    EACH p[i] = p[i] * x[i] + 1.0f;
    EACH x[i] = p[i] * power[i] * 0x1p-100f;
#undef EACH
}
#endif
INLINE vf vexp_at_most_16(vf x) {
    vexps_at_most_16(&x, 1);
    return x;
}

/* exp(x) - 1 without loss near 0, for x <= 88. */
INLINE vf vexpm1(vf x) {
    vf r;
    const vf scale = vpower(vreduce(vat_least(x, -30.0f), &r));
    return vexpm1_reduced(r) * scale + (scale - 1.0f);
}

/* log(1 + f) + e log(2) for sqrt(1/2) <= 1 + f <= sqrt(2). */
INLINE vf vlog_reduced(vf f, vf e) {
    const vf f2 = f * f;
    vf p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    return (f + (p * f * f2 - e * 2.12194440e-4f - f2 * 0.5f)) + e * 0.693359375f;
}

#if defined(__AVX512F__)
INLINE vf vlog(vf x) {
    /* The mantissa in [3/4, 3/2), NaN below 0; the exponent is infinite where x is 0 or infinite. */
    const vf m = (vf)_mm512_getmant_ps((__m512)x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
    const vf e = (vf)_mm512_getexp_ps((__m512)x) + vsel(m < 1.0f, vset(1), vset(0));
    const vf f = m - 1.0f, f2 = f * f;
    vf p = f * 3.767291570e-2f - 9.116190416e-2f; /* our own minimax fit: relative error 9e-10 */
    p = p * f + 1.170066141e-1f;
    p = p * f - 1.272777874e-1f;
    p = p * f + 1.427623868e-1f;
    p = p * f - 1.665529660e-1f;
    p = p * f + 1.999960487e-1f;
    p = p * f - 2.500016527e-1f;
    p = p * f + 3.333333986e-1f;
    return (f + (p * f * f2 + e * 1.42860677e-6f - f2 * 0.5f)) + e * 0.693145752f; /* log(2), both parts positive */
}
#else
INLINE vf vlog(vf x) {
    const vi subnormal = x < 1.17549435e-38f;
    const vu bits = (vu)vsel(subnormal, x * 8388608.0f, x); /* unsigned: the bits of a negative x would overflow */
    const vi exponent = (vi)(bits - 0x3f3504f3) >> 23;      /* of x relative to sqrt(1/2) */
    const vf m = (vf)(bits - ((vu)exponent << 23));
    const vf e = __builtin_convertvector(exponent, vf) - vsel(subnormal, vset(23.0f), vset(0));
    vf y = vlog_reduced(m - 1.0f, e);
    y = vsel(x < __builtin_inff(), y, x);              /* infinity and NaN stay */
    y = vsel(x == 0.0f, vset(-__builtin_inff()), y);
    return vsel(x < 0.0f, vset(__builtin_nanf("")), y);
}
#endif

/* log(1 + x) without loss near 0, for 0 <= x <= 1. */
INLINE vf vlog1p(vf x) {
    const vi large = x > 0.41421356f; /* then 1 + x = 2 (1 + (x - 1) / 2) */
    return vlog_reduced(vsel(large, x * 0.5f - 0.5f, x), vsel(large, vset(1), vset(0)));
}

/* 1 / (1 + exp(-x)). With exp(-x) = 2**n exp(r) it is 2**-n / (2**-n + exp(r)), which neither overflows nor loses digits. Where the
 * result would be subnormal it is 0: processors take a hundred times as long for such numbers. */
INLINE vf vsigmoid(vf x) {
    vf r;
    const vf n = vreduce(-vat_least(vat_most(x, 40.0f), -87.3365f), &r), s = vpower(-n);
    return vsel(x < -87.3365f, vset(0), s * vrecip(s + vexp_reduced(r)));
}

/* x p(x**2) / q(x**2) up to 9.02, where it is 1: relative error 3e-9 and the roundings. */
INLINE vf vtanh(vf x) {
    const vf size = vat_most(vabs(x), 9.02f), t = size * size;
    vf p = t * -1.25048163e-11f + 3.10600490e-8f;
    p = p * t + 2.82284737e-5f;
    p = p * t + 3.87996065e-3f;
    p = p * t + 1.36893689e-1f;
    p = p * t + 1.0f;
    vf q = t * 1.30205844e-6f + 3.95866023e-4f;
    q = q * t + 2.72889711e-2f;
    q = q * t + 4.70227022e-1f;
    q = q * t + 1.0f;
    return (vf)((vi)vat_most(vquotient(size * p, q), 1) | ((vi)x & (int32_t)0x80000000));
}

/* The normal distribution function at -size for 0 <= size <= NORMAL_END, and *gauss = exp(-size**2 / 2), its factor beside
 * p(size) / q(size) of relative error 2.5e-8. The error of the whole grows as the rounding of size**2 / 2 does. */
#define NORMAL_END 12.95f /* from here on both are taken as 0: the tail would be subnormal, which processors are slow with */
INLINE vf vnormal_tail(vf size, vf *gauss) {
    vf p = size * 3.81506624e-3f + 3.86465275e-2f;
    p = p * size + 1.77414056e-1f;
    p = p * size + 4.30559411e-1f;
    p = p * size + 0.5f;
    vf q = size * 9.56278546e-3f + 9.68810434e-2f;
    q = q * size + 4.54085669e-1f;
    q = q * size + 1.17851949f;
    q = q * size + 1.65900350f;
    q = q * size + 1.0f;
    vf r;
    const vf n = vreduce(size * size * -0.5f, &r);
    *gauss = vsel(size < NORMAL_END, vscale(vexp_reduced(r), n), vset(0));
    return *gauss * vquotient(p, q);
}

/* The normal distribution function, erfc(-x / sqrt(2)) / 2, and *gauss as above. */
INLINE vf vnormal_cdf(vf x, vf *gauss) {
    const vf tail = vnormal_tail(vat_most(vabs(x), NORMAL_END), gauss);
    return vsel(x < 0.0f, tail, 1.0f - tail);
}

/* Activations. Below the bounds they are zero to the last bit; without these infinity times zero would be NaN. */
INLINE vf vsilu(vf x) { return vat_least(x, -200) * vsigmoid(x); }
INLINE vf vgelu(vf x) { /* x times the distribution function, which is 1 less the tail where x is positive */
    vf gauss;
    const vf size = vat_most(vabs(x), NORMAL_END);
    return vat_least(x, 0) - size * vnormal_tail(size, &gauss);
}
/* (1 + tanh(u)) / 2 = sigmoid(2 u): this is 2 u. */
INLINE vf vgelu_tanh_inner(vf x) { return 2 * 0.797884561f * x * (1.0f + 0.044715f * x * x); } /* sqrt(2 / pi) */
INLINE vf vgelu_tanh(vf x) { return vat_least(x, -20) * vsigmoid(vgelu_tanh_inner(x)); }
#endif
