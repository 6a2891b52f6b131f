/* The inner loop of convolutions: a tile of the result, rows x whole vectors, stays in registers while k runs.
 *
 *     y[i][j] (+)= bias[j] + sum over k of a[i][off[k]] * b[k * ldb + j]        i < rows, j < cols
 *
 * The left operand is addressed through two tables: a[i] points to the corner of pixel i's window and off[k] is the way to
 * tap k; for the gradient by weights the tables change places; for a plain product off[k] = k * stride. The right operand
 * holds nv whole vectors from b + k * ldb on, so a ragged last panel of columns is packed with zeros first. */
#ifndef CONV_PANEL_H
#define CONV_PANEL_H
#include "../_native/md.h"
#include "../_native/simd.h"

enum { PANEL_ROWS = VREGS == 32 ? 12 : 8 }; /* of the tallest tile */

typedef struct {
    int64_t k;
    const float *const *a;
    const int64_t *off;
    const float *b;
    int64_t ldb;
    float *const *y;   /* rows of the result; where `add` is set they may overlap, and are added to in order */
    const float *bias; /* cols of them, or NULL */
    ptrdiff_t residual; /* how many floats from y lies what is added as well, where it is not 0 */
    int cols, add, relu; /* relu: 0, or as activated() takes it */
} panel_args;

/* Vectors across (nv) and rows (mr) of a tile, so that mr * nv sums, nv factors and one broadcast fit the registers. */
#if VREGS == 32
#define PANEL_NV 4
static const int panel_mr[PANEL_NV + 1] = {0, 12, 12, 8, 6};
#else
#define PANEL_NV 2
static const int panel_mr[PANEL_NV + 1] = {0, 8, 6};
#endif
#define PANEL (PANEL_NV * VL) /* columns of a whole panel */
/* Is a row of a panel no more than a line of the cache? Then rows that lie far apart meet in few sets of the first cache, and
 * nothing fetches them ahead: it pays to copy them side by side. */
enum { NARROW = PANEL <= 16 };

/* The first `left` lanes, all where there are more, none where left <= 0. */
#if defined(__AVX512F__)
INLINE __mmask16 lanes(int left) { return left >= VL ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0; }
INLINE vf load_cols(const float *p, int left) { return (vf)_mm512_maskz_loadu_ps(lanes(left), p); }
INLINE void store_cols(float *p, vf x, int left) { _mm512_mask_storeu_ps(p, lanes(left), (__m512)x); }
#else
INLINE vf load_cols(const float *p, int left) {
    return left >= VL ? vload(p) : vload_part(p, left > 0 ? left : 0, 0);
}
INLINE void store_cols(float *p, vf x, int left) {
    if (left >= VL) vstore(p, x);
    else if (left > 0) vstore_part(p, x, left);
}
#endif

/* 0: x, 1: its ReLU, 6: no more than 6 of that. */
INLINE vf activated(vf x, int activation) {
    if (activation) x = vmax((vf){0}, x);
    return activation == 6 ? vmin(vset(6), x) : x;
}

/* bias + the sums over k. */
INLINE void panel_sums(const int mr, const int nv, const panel_args *t, vf acc[PANEL_ROWS][PANEL_NV]) {
    const float *a[PANEL_ROWS], *b = t->b;
    const int64_t *off = t->off, ldb = t->ldb, K = t->k;
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++) a[i] = t->a[i];
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) {
        const vf first = t->bias ? load_cols(t->bias + v * VL, t->cols - v * VL) : (vf){0};
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) acc[i][v] = first;
    }
    for (int64_t k = 0; k < K; k++, b += ldb) {
        const int64_t o = off[k];
        vf bv[PANEL_NV];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) bv[v] = vload(b + v * VL);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            const vf x = vset(a[i][o]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) acc[i][v] += x * bv[v];
        }
    }
}

INLINE void panel_run(const int mr, const int nv, const panel_args *t) {
    vf acc[PANEL_ROWS][PANEL_NV];
    const int add = t->add, activation = t->relu;
    const ptrdiff_t residual = t->residual;
    float *const *const rows = t->y;
    panel_sums(mr, nv, t, acc);
    if (t->cols == nv * VL) {
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) {
                float *y = rows[i] + v * VL;
                vf x = acc[i][v];
                if (add) x += vload(y);
                if (residual) x += vload(y + residual);
                vstore(y, activated(x, activation));
            }
        return;
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int left = t->cols - v * VL;
            float *y = rows[i] + v * VL;
            vf x = acc[i][v];
            if (add) x += load_cols(y, left);
            if (residual) x += load_cols(y + residual, left);
            store_cols(y, activated(x, activation), left);
        }
}

/* A function for each number of vectors and rows. */
#define PANEL_FUNCTION(nv, mr) \
    __attribute__((noinline)) static void panel_##nv##_##mr(const panel_args *t) { panel_run(mr, nv, t); }
#define PANEL_FUNCTIONS_6(nv) \
    PANEL_FUNCTION(nv, 1) PANEL_FUNCTION(nv, 2) PANEL_FUNCTION(nv, 3) PANEL_FUNCTION(nv, 4) PANEL_FUNCTION(nv, 5) \
    PANEL_FUNCTION(nv, 6)
#define PANEL_FUNCTIONS_8(nv) PANEL_FUNCTIONS_6(nv) PANEL_FUNCTION(nv, 7) PANEL_FUNCTION(nv, 8)
#define PANEL_FUNCTIONS_12(nv) \
    PANEL_FUNCTIONS_8(nv) PANEL_FUNCTION(nv, 9) PANEL_FUNCTION(nv, 10) PANEL_FUNCTION(nv, 11) PANEL_FUNCTION(nv, 12)
#define PANEL_NAMES_6(nv) panel_##nv##_1, panel_##nv##_2, panel_##nv##_3, panel_##nv##_4, panel_##nv##_5, panel_##nv##_6
#define PANEL_NAMES_8(nv) PANEL_NAMES_6(nv), panel_##nv##_7, panel_##nv##_8
#define PANEL_NAMES_12(nv) PANEL_NAMES_8(nv), panel_##nv##_9, panel_##nv##_10, panel_##nv##_11, panel_##nv##_12
#if VREGS == 32
PANEL_FUNCTIONS_12(1)
PANEL_FUNCTIONS_12(2)
PANEL_FUNCTIONS_8(3)
PANEL_FUNCTIONS_6(4)
#else
PANEL_FUNCTIONS_8(1)
PANEL_FUNCTIONS_6(2)
#endif

static void (*const panel_functions[PANEL_NV][PANEL_ROWS])(const panel_args *) = {
#if VREGS == 32
    {PANEL_NAMES_12(1)}, {PANEL_NAMES_12(2)}, {PANEL_NAMES_8(3)}, {PANEL_NAMES_6(4)},
#else
    {PANEL_NAMES_8(1)}, {PANEL_NAMES_6(2)},
#endif
};

/* Runs a tile of `rows` <= panel_mr[nv] rows and t->cols <= nv * VL columns. */
INLINE void panel_tile(int nv, int rows, const panel_args *t) { panel_functions[nv - 1][rows - 1](t); }

/* Pointers to rows, `step` floats apart: to all of the tallest tile, which takes less time than to count them. */
INLINE void list_factors(const float **a, const float *first, int64_t step) {
#pragma GCC unroll 12
    for (int i = 0; i < PANEL_ROWS; i++, first += step) a[i] = first;
}
INLINE void list_results(float **y, float *first, int64_t step) {
#pragma GCC unroll 12
    for (int i = 0; i < PANEL_ROWS; i++, first += step) y[i] = first;
}

/* The widest panel for the columns that are left. */
INLINE int panel_vectors(int64_t cols) { return (int)md_min(PANEL_NV, md_ceil_div(cols, VL)); }

/* The height of the next tile where `left` rows are to come: whole ones, and the last two alike. */
INLINE int panel_rows(int nv, int64_t left) {
    const int mr = panel_mr[nv];
    return (int)(left >= 2 * mr ? mr : left > mr ? (left + 1) / 2 : left);
}
#endif
