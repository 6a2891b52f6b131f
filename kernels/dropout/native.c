/* Dropout: the words of Philox4x32-10 (Salmon et al. 2011) for 64 elements at a time, then one pass over them.
 *
 * A 32-bit word is kept in a lane of 64 bits, where its product with a constant fits: the upper half of a product is a shift,
 * and what stands in a lane's upper half is ignored. Even and odd counters have vectors of their own, so that at the end
 * two vectors of words interleave to one. */
#include "md.h"
#include "simd.h"

enum { GROUP = 64, BLOCKS = 16, TASK = 128 * GROUP };

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
    for (int j = 0; j < BLOCKS; j += VL) {
        vw even[4] = {{0}}, odd[4] = {{0}};
        vw block;
        for (int l = 0; l < WL; l++) block[l] = (uint64_t)(j + 2 * l);
        block += (uint64_t)(group * BLOCKS);
        even[0] = block & 0xffffffff;
        odd[0] = even[0] + 1; /* an even block's successor has the same upper word */
        even[1] = odd[1] = block >> 32;
        philox(even, k0, k1);
        philox(odd, k0, k1);
#pragma GCC unroll 4
        for (int w = 0; w < 4; w++) vstore((float *)(words + w * BLOCKS + j), (vf)((even[w] & 0xffffffff) | odd[w] << 32));
    }
}

typedef struct {
    char *y;
    const char *x;
    int64_t n;
    double scale;
    uint32_t threshold, k0, k1;
} drop;

#define DROP(T)                                                                                       \
    static void drop_##T(int64_t task, void *ctx) {                                                   \
        const drop *d = ctx;                                                                          \
        const T scale = (T)d->scale;                                                                  \
        const uint32_t threshold = d->threshold;                                                      \
        for (int64_t i = task * TASK; i < md_min(d->n, (task + 1) * TASK); i += GROUP) {              \
            uint32_t words[GROUP];                                                                    \
            draw(words, i / GROUP, d->k0, d->k1);                                                     \
            const T *restrict x = (const T *)d->x + i;                                                \
            T *restrict y = (T *)d->y + i;                                                            \
            if (i + GROUP <= d->n)                                                                    \
                for (int k = 0; k < GROUP; k++) y[k] = x[k] * (words[k] >= threshold ? scale : 0);    \
            else                                                                                      \
                for (int k = 0; k < d->n - i; k++) y[k] = x[k] * (words[k] >= threshold ? scale : 0); \
        }                                                                                             \
    }
DROP(float)
DROP(double)

MD_KERNEL(dropout, 1, 1) {
    const md_array *y = &a[0], *x = &a[1];
    if ((x->dtype != MD_F32 && x->dtype != MD_F64) || !md_contiguous(x) || !md_contiguous(y)) return MD_NOT_MINE;
    drop d = {.y = y->data, .x = x->data, .n = md_size(x), .scale = p[1], .threshold = (uint32_t)p[0], .k0 = (uint32_t)p[2],
              .k1 = (uint32_t)p[3]};
    const int64_t tasks = md_ceil_div(d.n, TASK);
    void (*const body)(int64_t, void *) = x->dtype == MD_F32 ? drop_float : drop_double;
    if (d.n * 4 < MD_SMALL_BYTES) for (int64_t t = 0; t < tasks; t++) body(t, &d);
    else md_parallel(tasks, body, &d);
    return MD_DONE;
}
