/* float32 products on matrix tiles of bfloat16 (Intel AMX).
 *
 * A float is the sum of three bfloat16, x = x0 + x1 + x2: 24 bits of mantissa are three times eight. Of the nine products of
 * parts the six largest are summed, a0 b2, a1 b1, a2 b0, a0 b1, a1 b0, a0 b0; what is left out is below 2^-26 of a product, less
 * than its rounding in float32 (Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for higher-
 * precision computations", ARITH 2019). Tiles multiply sixteen times as fast as vectors of floats, so this is over twice as fast.
 *
 * A step is 32 of k. In each of its 16 lanes of 32 bits stand the numbers k and k + 16: the left operand's tile has a row of
 * lanes for each of 16 rows, the right operand's a row of 16 columns for each lane.
 *
 * Tiles flush what is below 2^-126 to zero, and infinity minus infinity would appear among the parts. So the range of what is
 * split is watched, and `amx_fits` says whether the result is as good as a sum of floats; where not, the caller takes another
 * way. MINIDL_AMX=0 in the environment takes it everywhere. */
#ifndef MD_AMX_H
#define MD_AMX_H
#include "md.h"
#include "simd.h"

enum { AMX_ROWS = 16, AMX_K = 32, AMX_PARTS = 3, AMX_TILE = 1024 /* bytes */ };

#if defined(__AVX512BW__) && defined(__linux__) && (__GNUC__ >= 11 || __clang_major__ >= 12)
#define MD_AMX 1
#define AMX_CODE __attribute__((target("amx-tile,amx-bf16,prfchw")))

/* A panel is what one call of amx_multiply takes of an operand: up to AMX_SIDE rows or columns, in one or two strips of 16. */
enum { AMX_SIDE = 2 * AMX_ROWS };
INLINE int64_t amx_whole(int64_t n, int64_t of) { return md_ceil_div(n, of) * of; }
INLINE int amx_strips(int64_t n) { return n > AMX_ROWS ? 2 : 1; } /* of a panel with n rows or columns left */
INLINE int64_t amx_bytes(int64_t n, int64_t k) { return amx_whole(n, AMX_ROWS) * amx_whole(k, AMX_K) * 2 * AMX_PARTS; } /* packed */

/* ---- the range of the numbers: of the rows of a or the columns of b ---- */

typedef struct { uint32_t high, low; } amx_range; /* bits of the largest number, and of the smallest largest-of-a-row, less one */
static const amx_range amx_no_numbers = {0, UINT32_MAX};

INLINE amx_range amx_both(amx_range a, amx_range b) {
    return (amx_range){a.high > b.high ? a.high : b.high, a.low < b.low ? a.low : b.low};
}
/* Of 16 rows, whose largest numbers (their bits, without sign) are the lanes of m; rows of zeros do not count. */
INLINE amx_range amx_range_of(vi m) {
    return (amx_range){_mm512_reduce_max_epu32((__m512i)m), _mm512_reduce_min_epu32((__m512i)(m - 1))};
}
/* The same of 16 rows that each have a vector of such numbers. */
INLINE amx_range amx_range_of_rows(vi *most) {
    vtranspose((vf *)most);
    vi m = most[0];
    for (int i = 1; i < AMX_ROWS; i++) m = (vi)_mm512_max_epu32((__m512i)m, (__m512i)most[i]);
    return amx_range_of(m);
}
/* No number of 2^127 or more, and so large a product of the largest in each row and column that parts that count are above 2^-126. */
INLINE int amx_fits(amx_range a, amx_range b) {
    const int64_t ea = (int64_t)(a.low >> 23) - 127, eb = (int64_t)(b.low >> 23) - 127;
    return a.high < 0x7f000000 && b.high < 0x7f000000 && md_min(md_min(ea, eb), ea + eb) >= -101;
}

/* ---- splitting ---- */

INLINE vi amx_rounded(vf x) { return ((vi)x + 0x8000) & (int32_t)0xffff0000; }
/* Lanes of 32 bits, with part p of `low` in the lower and of `high` in the upper half, to to + p * part. */
INLINE void amx_split(char *to, int64_t part, vf low, vf high) {
#pragma GCC unroll 3
    for (int p = 0; p < AMX_PARTS; p++) {
        const vi l = amx_rounded(low), h = amx_rounded(high);
        vstore((float *)(to + p * part), (vf)(h | (vi)((vu)l >> 16)));
        low -= (vf)l;
        high -= (vf)h;
    }
}
INLINE vi amx_larger(vi m, vf x) { return (vi)_mm512_max_epu32((__m512i)m, (__m512i)((vi)x & 0x7fffffff)); }
INLINE vf amx_load(const float *p, int64_t n) { return n >= VL ? vload(p) : n > 0 ? vload_part(p, (int)n, 0) : (vf){0}; }

/* One step of 16 rows of a or columns of b: part p goes to to + p * part. along: the vectors at x + i * stride lie along k, else
 * across it. whole: all of the rows and of k are there; what is not becomes zeros. most[]: the largest numbers so far. */
INLINE void amx_pack_step(char *to, int64_t part, const float *x, int64_t stride, int64_t rows, int64_t k, const int along,
                          const int columns, const int whole, vi *most) {
    vf low[AMX_ROWS], high[AMX_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < AMX_ROWS; i++) {
        const float *const one = x + i * stride, *const other = along ? one + VL : one + VL * stride;
        if (along) {
            low[i] = whole ? vload(one) : i < rows ? amx_load(one, k) : (vf){0};
            high[i] = whole ? vload(other) : i < rows ? amx_load(other, k - VL) : (vf){0};
        } else {
            low[i] = whole ? vload(one) : i < k ? amx_load(one, rows) : (vf){0};
            high[i] = whole ? vload(other) : i + VL < k ? amx_load(other, rows) : (vf){0};
            _mm_prefetch(one + AMX_K * stride, _MM_HINT_T1); /* so many streams no processor foresees */
            _mm_prefetch(other + AMX_K * stride, _MM_HINT_T1);
        }
        vi *const m = most + (along ? i : 0);
        *m = amx_larger(amx_larger(*m, low[i]), high[i]);
    }
    if (along == columns) vtranspose(low), vtranspose(high);
#pragma GCC unroll 16
    for (int i = 0; i < AMX_ROWS; i++) amx_split(to + i * 64, part, low[i], high[i]);
}

/* All steps of 16 rows of a or, with columns, of 16 columns of b, from x[row * rs + k * ks], one of the strides being 1: those
 * of step s go to to + s * step. */
INLINE amx_range amx_pack_as(char *to, int64_t step, int64_t part, const float *x, int64_t rs, int64_t ks, int64_t rows, int64_t k,
                             const int along, const int columns) {
    const int64_t stride = along ? rs : ks;
    vi most[AMX_ROWS] = {{0}};
    for (; k >= AMX_K && rows >= AMX_ROWS; k -= AMX_K, x += AMX_K * ks, to += step)
        amx_pack_step(to, part, x, stride, rows, k, along, columns, 1, most);
    for (; k > 0; k -= AMX_K, x += AMX_K * ks, to += step)
        amx_pack_step(to, part, x, stride, rows, k, along, columns, 0, most);
    return along ? amx_range_of_rows(most) : amx_range_of(most[0]);
}
__attribute__((noinline, unused)) static amx_range amx_pack(char *to, int64_t step, int64_t part, const float *x, int64_t rs,
                                                            int64_t ks, int64_t rows, int64_t k, int columns) {
    if (ks == 1) return columns ? amx_pack_as(to, step, part, x, rs, ks, rows, k, 1, 1) : amx_pack_as(to, step, part, x, rs, ks, rows, k, 1, 0);
    return columns ? amx_pack_as(to, step, part, x, rs, ks, rows, k, 0, 1) : amx_pack_as(to, step, part, x, rs, ks, rows, k, 0, 0);
}

/* All panels of x[row * rs + k * ks], one behind the other. */
__attribute__((unused)) static amx_range amx_pack_panels(char *to, const float *x, int64_t rs, int64_t ks, int64_t rows, int64_t k,
                                                         int columns) {
    amx_range range = amx_no_numbers;
    for (int64_t r = 0; r < rows; r += AMX_ROWS) {
        const int64_t panel = r / AMX_SIDE * AMX_SIDE, strips = amx_strips(rows - panel);
        range = amx_both(range, amx_pack(to + amx_bytes(panel, k) + (r - panel) / AMX_ROWS * AMX_TILE, strips * AMX_PARTS * AMX_TILE,
                                         strips * AMX_TILE, x + r * rs, rs, ks, md_min(AMX_ROWS, rows - r), k, columns));
    }
    return range;
}

/* ---- multiplying ---- */

/* Each task configures its thread's tiles first and releases them at its end: their state need not be saved elsewhere. */
AMX_CODE INLINE void amx_begin(void) {
    static const struct { uint8_t palette, start, unused[14]; uint16_t bytes[16]; uint8_t rows[16]; } all = {
        1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&all);
}
AMX_CODE INLINE void amx_end(void) { _tile_release(); }

typedef struct {
    const char *a, *b;
    const int64_t *a_steps, *b_steps; /* from a and b to the tiles of each step, in bytes; NULL: one behind the other */
    int64_t steps;
    int64_t a_row, a_tile, a_part; /* from a row of a tile to the next, from the upper tile to the lower, from a part to the next */
    int64_t b_tile, b_part;        /* with b_steps: from the left tile to the right, from a part to the next */
    float *y; /* the result: 16 or 32 rows and columns */
    int64_t ldy;
    const float *to; /* where the caller will put the result, if not in y */
    int64_t to_row;
    const float *start; /* what the sums start from: y itself, or one row for all rows of y, with start_row = 0 */
    int64_t start_row;
    /* Loads from the second-level cache keep up with the tiles only if they were asked for a step before: the first tiles of the
     * call after this one, and how many lines of `far` each step fetches into the second-level cache. */
    const char *next_a, *next_b, *far;
    int far_lines;
} amx_args;

/* down x across tiles of y. */
AMX_CODE INLINE void amx_run(const int down, const int across, const amx_args *t) {
    const int64_t a_row = t->a_row, a_part = t->a_part, a_tile = t->a_tile, ldy = t->ldy * 4, start_row = t->start_row * 4;
    const int64_t b_part = t->b_steps ? t->b_part : across * AMX_TILE, b_tile = t->b_steps ? t->b_tile : AMX_TILE;
    const char *far = t->far, *const start = (const char *)t->start;
    char *const y = (char *)t->y;
    const char *to = t->to ? (const char *)t->to : y; /* each step asks for some of its rows, which stores at the end would wait for */
    const int64_t to_row = t->to ? t->to_row * 4 : ldy, to_rows = md_ceil_div(down * AMX_ROWS, md_max(1, t->steps));
    __asm__ volatile("" ::: "memory"); /* tiles read memory, which the compiler is not told of */
#define SUMS(DO, at, row)                                                        \
    DO(0, at, row);                                                              \
    if (across == 2) DO(1, (at) + 64, row);                                      \
    if (down == 2) DO(2, (at) + AMX_ROWS * (row), row);                          \
    if (down == 2 && across == 2) DO(3, (at) + AMX_ROWS * (row) + 64, row)
#define LEFT(p)                                       \
    _tile_loadd(4, a + (p) * a_part, a_row);          \
    if (down == 2) _tile_loadd(5, a + a_tile + (p) * a_part, a_row)
#define RIGHT(p)                                      \
    _tile_loadd(6, b + (p) * b_part, 64);             \
    if (across == 2) _tile_loadd(7, b + b_tile + (p) * b_part, 64)
#define MULTIPLY                                      \
    _tile_dpbf16ps(0, 4, 6);                          \
    if (across == 2) _tile_dpbf16ps(1, 4, 7);         \
    if (down == 2) _tile_dpbf16ps(2, 5, 6);           \
    if (down == 2 && across == 2) _tile_dpbf16ps(3, 5, 7)
#define AHEAD(i)                                                                                               \
    _Pragma("GCC unroll 16") for (int row = 0; row < AMX_ROWS; row++) {                                        \
        if ((i) < down * AMX_PARTS)                                                                            \
            _mm_prefetch(next_a + (i) / down * a_part + (i) % down * a_tile + row * a_row, _MM_HINT_T0);        \
        if ((i) < across * AMX_PARTS)                                                                          \
            _mm_prefetch(next_b + (i) / across * b_part + (i) % across * b_tile + row * 64, _MM_HINT_T0);       \
    }
    SUMS(_tile_loadd, start, start_row);
    for (int64_t s = 0; s < t->steps; s++) {
        const int more = s + 1 < t->steps;
        const char *a = t->a + (t->a_steps ? t->a_steps[s] : s * AMX_PARTS * a_part);
        const char *next_a = !more ? t->next_a : t->a_steps ? t->a + t->a_steps[s + 1] : a + AMX_PARTS * a_part;
        const char *b = t->b + (t->b_steps ? t->b_steps[s] : s * AMX_PARTS * b_part);
        const char *next_b = !more ? t->next_b : t->b_steps ? t->b + t->b_steps[s + 1] : b + AMX_PARTS * b_part;
        for (int i = 0; i < t->far_lines; i++, far += 64) _mm_prefetch(far, _MM_HINT_T1);
        for (int64_t row = s * to_rows; row < md_min((s + 1) * to_rows, down * AMX_ROWS); row++, to += to_row) {
            __builtin_prefetch(to, 1);
            if (across == 2) __builtin_prefetch(to + 64, 1);
        }
        LEFT(0); RIGHT(2); AHEAD(0) MULTIPLY;
        RIGHT(1); AHEAD(4) MULTIPLY;
        LEFT(1); AHEAD(5) MULTIPLY;
        RIGHT(0); AHEAD(2) MULTIPLY;
        LEFT(2); AHEAD(3) MULTIPLY;
        LEFT(0); AHEAD(1) MULTIPLY;
    }
    SUMS(_tile_stored, y, ldy);
#undef SUMS
#undef AHEAD
#undef LEFT
#undef RIGHT
#undef MULTIPLY
}
AMX_CODE __attribute__((noinline, unused)) static void amx_multiply(int down, int across, const amx_args *t) {
    if (down == 2) across == 2 ? amx_run(2, 2, t) : amx_run(2, 1, t);
    else across == 2 ? amx_run(1, 2, t) : amx_run(1, 1, t);
}
#else
#define MD_AMX 0
#endif
#endif
