/* Maxima of 2x2 windows that tile an image, of ReLUs of vectors in registers: the result and the number of the first largest
 * tap, or NO_TAP where none is above zero. A NaN is larger than any number, and the last of several wins. */
#ifndef CONV_POOL_H
#define CONV_POOL_H
#include "../_native/taps.h"
#include "panel.h"

/* Stores the first `left` lanes. */
INLINE void store_any_maximum(float *y, uint8_t *taps, vf v0, vf v1, vf v2, vf v3, int relu, int left) {
    const vf others[3] = {v1, v2, v3};
    vf best = v0;
    vi where = {0};
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        const vi take = (others[i] > best) | (others[i] != others[i]);
        best = vsel(take, others[i], best);
        where = visel(take, (vi){0} + (i + 1), where);
    }
    if (relu) {
        where = visel(best > 0, where, (vi){0} + NO_TAP);
        best = vmax((vf){0}, best);
    }
    store_cols(y, best, left);
    const vb bytes = __builtin_convertvector(where, vb);
    memcpy(taps, &bytes, (size_t)(left < VL ? left : VL));
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
__attribute__((noinline, cold)) static void store_nan_maximum(float *y, uint8_t *taps, vf v0, vf v1, vf v2, vf v3, int relu,
                                                             int left) {
    store_any_maximum(y, taps, v0, v1, v2, v3, relu, left);
}

/* The same in fewer instructions where there is no NaN: a relu is a further tap, of zero, that comes first. */
INLINE void store_maximum(float *y, uint8_t *taps, vf v0, vf v1, vf v2, vf v3, int relu, int left) {
    const __m512 v[4] = {(__m512)v0, (__m512)v1, (__m512)v2, (__m512)v3};
    if (__builtin_expect(_mm512_cmp_ps_mask(v[0], v[1], _CMP_UNORD_Q) | _mm512_cmp_ps_mask(v[2], v[3], _CMP_UNORD_Q), 0)) {
        store_nan_maximum(y, taps, v0, v1, v2, v3, relu, left);
        return;
    }
    __m512 best = relu ? _mm512_setzero_ps() : v[0];
    __m128i where = relu ? _mm_set1_epi8((char)NO_TAP) : _mm_setzero_si128();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        where = _mm_mask_mov_epi8(where, _mm512_cmp_ps_mask(v[i], best, _CMP_GT_OQ), _mm_set1_epi8((char)i));
        best = _mm512_max_ps(v[i], best);
    }
    if (left >= VL) {
        _mm512_storeu_ps(y, best);
        _mm_storeu_si128((__m128i *)taps, where);
    } else {
        _mm512_mask_storeu_ps(y, lanes(left), best);
        _mm_mask_storeu_epi8(taps, lanes(left), where);
    }
}
#else
#define store_maximum store_any_maximum
#endif

/* A tile whose rows are the pixels of 2x2 windows, four by four; t->y and taps have a row for each window. */
INLINE void panel_pool_run(const int mr, const int nv, const panel_args *t, uint8_t *const *taps) {
    vf acc[PANEL_ROWS][PANEL_NV];
    panel_sums(mr, nv, t, acc);
#pragma GCC unroll 3
    for (int i = 0; i < mr; i += 4)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            store_maximum(t->y[i / 4] + v * VL, taps[i / 4] + v * VL, acc[i][v], acc[i + 1][v], acc[i + 2][v], acc[i + 3][v],
                          t->relu, t->cols - v * VL);
}

#define PANEL_POOL(nv, mr)                                                                                     \
    __attribute__((noinline)) static void panel_pool_##nv##_##mr(const panel_args *t, uint8_t *const *taps) { \
        panel_pool_run(mr, nv, t, taps);                                                                       \
    }
PANEL_POOL(1, 4)
PANEL_POOL(1, 8)
PANEL_POOL(2, 4)
#if VREGS == 32
PANEL_POOL(1, 12)
PANEL_POOL(2, 8)
PANEL_POOL(2, 12)
PANEL_POOL(3, 4)
PANEL_POOL(3, 8)
PANEL_POOL(4, 4)
#endif

static void (*const panel_pool_functions[PANEL_NV][3])(const panel_args *, uint8_t *const *) = {
#if VREGS == 32
    {panel_pool_1_4, panel_pool_1_8, panel_pool_1_12}, {panel_pool_2_4, panel_pool_2_8, panel_pool_2_12},
    {panel_pool_3_4, panel_pool_3_8}, {panel_pool_4_4},
#else
    {panel_pool_1_4, panel_pool_1_8}, {panel_pool_2_4},
#endif
};
#endif
