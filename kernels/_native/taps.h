/* Taps of maxima: which place of a pooling window was the largest, a byte for each; NO_TAP where a relu cut it. */
#ifndef MD_TAPS_H
#define MD_TAPS_H
#include "simd.h"
#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

enum { NO_TAP = 255 };
typedef uint8_t vb __attribute__((vector_size(VL)));

/* VL of them, and g where they are `tap`, else 0. The compiler would take the bytes one by one. */
#if defined(__AVX512BW__) && defined(__AVX512VL__)
typedef __m128i vtaps;
INLINE vtaps load_taps(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
INLINE vf at_tap(vf g, vtaps taps, int tap) {
    return (vf)_mm512_maskz_mov_ps(_mm_cmpeq_epi8_mask(taps, _mm_set1_epi8((char)tap)), (__m512)g);
}
INLINE vf at_any_tap(vf g, vtaps taps) {
    return (vf)_mm512_maskz_mov_ps(_mm_cmpneq_epi8_mask(taps, _mm_set1_epi8((char)NO_TAP)), (__m512)g);
}
#else
typedef vi vtaps;
INLINE vtaps load_taps(const uint8_t *p) {
#if defined(__AVX2__)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#elif defined(__SSE4_1__)
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (vi)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four));
#else
    vb b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(b, vi);
#endif
}
INLINE vf at_tap(vf g, vtaps taps, int tap) { return (vf)((vi)g & (taps == tap)); }
INLINE vf at_any_tap(vf g, vtaps taps) { return (vf)((vi)g & (taps != NO_TAP)); }
#endif
#endif
