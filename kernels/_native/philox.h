/* The random words of dropout: Philox4x32-10 (Salmon et al. 2011) for 64 elements at a time.
 *
 * A 32-bit word is kept in a lane of 64 bits, where its product with a constant fits: the upper half of a product is a shift,
 * and what stands in a lane's upper half is ignored. Even and odd counters have vectors of their own, so that at the end
 * two vectors of words interleave to one. */
#ifndef MD_PHILOX_H
#define MD_PHILOX_H
#include "md.h"
#include "simd.h"

enum { WORDS = 64, COUNTERS = 16 }; /* that are drawn at a time, and from how many counters */

typedef uint64_t vw __attribute__((vector_size(VBYTES)));
#define WL (VL / 2) /* lanes of a vw */

INLINE vw multiply_words(vw a, vw b) {
#if defined(__AVX512F__)
    return (vw)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#else
    return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

INLINE void philox(vw c[4], uint32_t k0, uint32_t k1) {
    const vw m0 = (vw){0} + 0xD2511F53, m1 = (vw){0} + 0xCD9E8D57;
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        const vw first = multiply_words(c[0], m0), second = multiply_words(c[2], m1);
        c[0] = second >> 32 ^ c[1] ^ k0;
        c[1] = second;
        c[2] = first >> 32 ^ c[3] ^ k1;
        c[3] = first;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
}

/* The words of elements [64 group, 64 group + 64). */
INLINE void draw(uint32_t *words, int64_t group, uint32_t k0, uint32_t k1) {
    for (int j = 0; j < COUNTERS; j += VL) {
        vw even[4] = {{0}}, odd[4] = {{0}};
        vw block;
        for (int l = 0; l < WL; l++) block[l] = (uint64_t)(j + 2 * l);
        block += (uint64_t)(group * COUNTERS);
        even[0] = block & 0xffffffff;
        odd[0] = even[0] + 1; /* an even block's successor has the same upper word */
        even[1] = odd[1] = block >> 32;
        philox(even, k0, k1);
        philox(odd, k0, k1);
#pragma GCC unroll 4
        for (int w = 0; w < 4; w++) vstore((float *)(words + w * COUNTERS + j), (vf)((even[w] & 0xffffffff) | odd[w] << 32));
    }
}
#endif
