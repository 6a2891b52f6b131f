/* Vectors through the compiler's vector extensions: one source for SSE, AVX2, AVX-512, NEON and plain C.
 * vf is a vector of floats, vi of 32-bit integers of the same width; arithmetic and comparisons are the C operators
 * (a comparison gives a mask of all ones or zeros in each lane). a * b + c contracts to a fused multiply-add where the
 * instruction set has one. */
#ifndef MD_SIMD_H
#define MD_SIMD_H
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VBYTES 64
#define VREGS 32
#elif defined(__AVX__)
#define VBYTES 32
#define VREGS 16
#elif defined(__aarch64__)
#define VBYTES 16
#define VREGS 32
#else
#define VBYTES 16
#define VREGS 16
#endif
#define VL (VBYTES / 4) /* float lanes */

typedef float vf __attribute__((vector_size(VBYTES)));
typedef int32_t vi __attribute__((vector_size(VBYTES)));
typedef uint32_t vu __attribute__((vector_size(VBYTES)));
typedef double vd __attribute__((vector_size(VBYTES))); /* VL / 2 lanes */
typedef float vf_mem __attribute__((vector_size(VBYTES), aligned(4), may_alias)); /* at any address */

#define INLINE static inline __attribute__((always_inline))

INLINE vf vload(const float *p) { return *(const vf_mem *)p; }
INLINE void vstore(float *p, vf x) { *(vf_mem *)p = x; }
/* Asks for the line at p early, which may lie beyond the array. Where stores will go too: while they wait for their line, the
 * loads behind them do as well. */
INLINE void vfetch(const float *p) { __builtin_prefetch(p); }
/* Keeps the compiler from folding the load of x into every instruction that uses it. */
#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif

INLINE vf vset(float x) { return x - (vf){0}; }
INLINE vi visel(vi mask, vi a, vi b) { return (mask & a) | (~mask & b); }
INLINE vf vsel(vi mask, vf a, vf b) { return (vf)visel(mask, (vi)a, (vi)b); }
/* The larger and the smaller, b where either is NaN: one instruction, which the compiler does not find by itself. */
#if defined(__AVX512F__)
INLINE vf vmax(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf vmin(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX__)
INLINE vf vmax(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf vmin(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INLINE vf vmax(vf a, vf b) { return vsel(a > b, a, b); }
INLINE vf vmin(vf a, vf b) { return vsel(a < b, a, b); }
#endif
INLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }

/* The first n <= VL lanes; the others read as fill and are not written. */
#if defined(__AVX512F__)
INLINE vf vload_part(const float *p, int n, float fill) {
    return (vf)_mm512_mask_loadu_ps((__m512)vset(fill), (__mmask16)((1u << n) - 1), p);
}
INLINE void vstore_part(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x); }
#elif defined(__AVX2__)
static const int32_t v_first[2 * VL] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
INLINE vf vload_part(const float *p, int n, float fill) {
    const __m256i mask = _mm256_loadu_si256((const __m256i *)(v_first + VL - n));
    const __m256 x = _mm256_maskload_ps(p, mask);
    return fill == 0 ? (vf)x : (vf)_mm256_blendv_ps((__m256)vset(fill), x, _mm256_castsi256_ps(mask));
}
/* Whole pieces that overlap: some processors take twenty cycles for a store under a mask. */
INLINE void vstore_part(float *p, vf x, int n) {
    __m128 low = _mm256_castps256_ps128((__m256)x);
    if (n >= 4) {
        static const int32_t lanes[VL] = {0, 1, 2, 3, 4, 5, 6, 7};
        const __m128i last = _mm_loadu_si128((const __m128i *)(lanes + n - 4));
        _mm_storeu_ps(p, low);
        _mm_storeu_ps(p + n - 4, _mm256_castps256_ps128(_mm256_permutevar8x32_ps((__m256)x, _mm256_castsi128_si256(last))));
        return;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, low);
        low = _mm_movehl_ps(low, low);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, low);
}
#else
INLINE vf vload_part(const float *p, int n, float fill) {
    float t[VL];
    for (int i = 0; i < VL; i++) t[i] = fill;
    memcpy(t, p, (size_t)n * sizeof(float));
    return vload(t);
}
INLINE void vstore_part(float *p, vf x, int n) {
    float t[VL];
    vstore(t, x);
    memcpy(p, t, (size_t)n * sizeof(float));
}
#endif

/* The numbers of the lanes. */
#if VL == 16
#define VLANES ((vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif VL == 8
#define VLANES ((vi){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define VLANES ((vi){0, 1, 2, 3})
#endif

/* Exchanges rows and columns of VL x VL floats: each step swaps the off-diagonal blocks of half the size. */
INLINE void vtranspose(vf *r) {
#pragma GCC unroll 5
    for (int w = 1; w < VL; w *= 2) {
        const vi odd = (VLANES & w) != 0; /* lane j of the first (second) row of a pair: from which lane of the two */
        const vi low = VLANES + (odd & (VL - w)), high = low + w;
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            if (!(i & w)) {
                const vf a = r[i], b = r[i + w];
                r[i] = __builtin_shuffle(a, b, low);
                r[i + w] = __builtin_shuffle(a, b, high);
            }
    }
}

/* Lane i of the result is the sum of all lanes of r[i], of VL vectors. */
INLINE vf vsums(vf *r) {
#pragma GCC unroll 5
    for (int w = 1; w < VL; w *= 2) {
        const vi odd = (VLANES & w) != 0, own = VLANES + (odd & VL), other = own ^ w;
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            if (!(i & (2 * w - 1)) && i + w < VL) {
                const vf a = r[i], b = r[i + w];
                r[i] = __builtin_shuffle(a, b, own) + __builtin_shuffle(a, b, other);
            }
    }
    return r[0];
}

/* Over lanes it goes pairwise, halves first. */
#if defined(__AVX512DQ__)
#define VHALVES(x, op)                                                                                    \
    const __m256 half = _mm256_##op##_ps(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1)); \
    const __m128 quarter = _mm_##op##_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));    \
    const __m128 pair = _mm_##op##_ps(quarter, _mm_movehl_ps(quarter, quarter));                           \
    return _mm_cvtss_f32(_mm_##op##_ss(pair, _mm_movehdup_ps(pair)))
INLINE float vsum(vf x) { VHALVES(x, add); }
INLINE float vmax_lane(vf x) { VHALVES(x, max); }
#elif defined(__AVX__)
#define VHALVES(x, op)                                                                                    \
    const __m128 half = _mm_##op##_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1)); \
    const __m128 pair = _mm_##op##_ps(half, _mm_movehl_ps(half, half));                                    \
    return _mm_cvtss_f32(_mm_##op##_ss(pair, _mm_movehdup_ps(pair)))
INLINE float vsum(vf x) { VHALVES(x, add); }
INLINE float vmax_lane(vf x) { VHALVES(x, max); }
INLINE double vsum_double(vf x) {
    const __m128 low = _mm256_castps256_ps128((__m256)x), high = _mm256_extractf128_ps((__m256)x, 1);
    const __m256d half = _mm256_cvtps_pd(low) + _mm256_cvtps_pd(high);
    const __m128d quarter = _mm256_castpd256_pd128(half) + _mm256_extractf128_pd(half, 1);
    return quarter[0] + quarter[1];
}
#else
INLINE float vsum(vf x) {
    float t[VL];
    vstore(t, x);
    for (int w = VL / 2; w; w /= 2)
        for (int i = 0; i < w; i++) t[i] += t[i + w];
    return t[0];
}
INLINE float vmax_lane(vf x) {
    float t[VL], m;
    vstore(t, x);
    m = t[0];
    for (int i = 1; i < VL; i++) m = t[i] > m ? t[i] : m;
    return m;
}
#endif
#endif
