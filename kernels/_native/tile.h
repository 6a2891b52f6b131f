/* The one inner loop of matrix products and convolutions: a tile of the result stays in registers while k runs.
 *
 *     y[i][j] (+)= act(bias[j] + sum over k of a[i][off[k]] * b[k * ldb + j])        i < rows, j < cols
 *
 * The left operand is addressed through two tables: a[i] points to row i, off[k] says where its k-th factor lies. For a
 * product off[k] = k * stride; for a convolution a[i] is the corner of pixel i's window and off[k] the way to tap k; for
 * its gradient by weights the tables change places. The right operand holds whole vectors: nv of them from b + k * ldb
 * must be readable, so a ragged last column panel is packed with zeros first.
 */
#ifndef MD_TILE_H
#define MD_TILE_H
#include "pack.h"

typedef struct {
    int64_t k;
    const float *const *a;
    const int64_t *off;
    const float *b;
    int64_t ldb;
    float *const *y; /* rows of the result; where `add` is set they may overlap, and are added to in order */
    const float *bias; /* or NULL */
    int rows, cols, add, relu;
} tile_args;

/* Vectors across (nv) and rows (mr) of a tile, so that mr * nv sums, nv factors and one broadcast fit the registers. */
#if VREGS == 32
#define TILE_NV 4
static const int tile_mr[TILE_NV + 1] = {0, 12, 12, 8, 6};
#else
#define TILE_NV 2
static const int tile_mr[TILE_NV + 1] = {0, 8, 6};
#endif

INLINE void tile_run(const int mr, const int nv, const tile_args *t) {
    const float *a[12], *b = t->b;
    const int64_t *off = t->off, ldb = t->ldb, K = t->k;
    vf acc[12][TILE_NV];
    for (int i = 0; i < mr; i++) a[i] = t->a[i < t->rows ? i : 0];
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) acc[i][v] = (vf){0};
    for (int64_t k = 0; k < K; k++, b += ldb) {
        const int64_t o = off[k];
        vf bv[TILE_NV];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) bv[v] = vload(b + v * VL);
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++) {
            const vf x = vset(a[i][o]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) acc[i][v] += x * bv[v];
        }
    }
    if (t->bias) {
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            const int left = t->cols - v * VL;
            const vf bias = left >= VL ? vload(t->bias + v * VL) : vload_part(t->bias + v * VL, left > 0 ? left : 0, 0);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) acc[i][v] += bias;
        }
    }
    if (t->rows == mr && t->cols == nv * VL) {
#pragma GCC unroll 12
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) {
                float *y = t->y[i] + v * VL;
                vf x = acc[i][v];
                if (t->add) x += vload(y);
                if (t->relu) x = vmax((vf){0}, x);
                vstore(y, x);
            }
        return;
    }
    float edge[12][TILE_NV * VL];
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vstore(edge[i] + v * VL, acc[i][v]);
    for (int i = 0; i < t->rows; i++)
        for (int j = 0; j < t->cols; j++) {
            const float x = edge[i][j] + (t->add ? t->y[i][j] : 0);
            t->y[i][j] = t->relu && x < 0 ? 0 : x;
        }
}

/* Functions for each nv: a full tile, three quarters of one, a half, and a single row. */
#define TILE_FUNCTION(name, mr, nv) __attribute__((noinline)) static void name(const tile_args *t) { tile_run(mr, nv, t); }
#define TILE_FUNCTIONS(nv, mr)                  \
    TILE_FUNCTION(tile_##nv##_full, mr, nv)     \
    TILE_FUNCTION(tile_##nv##_most, (mr) * 3 / 4, nv) \
    TILE_FUNCTION(tile_##nv##_half, (mr) / 2, nv) \
    TILE_FUNCTION(tile_##nv##_one, 1, nv)
#if VREGS == 32
TILE_FUNCTIONS(1, 12)
TILE_FUNCTIONS(2, 12)
TILE_FUNCTIONS(3, 8)
TILE_FUNCTIONS(4, 6)
#else
TILE_FUNCTIONS(1, 8)
TILE_FUNCTIONS(2, 6)
#endif

static void (*const tile_functions[TILE_NV][4])(const tile_args *) = {
    {tile_1_one, tile_1_half, tile_1_most, tile_1_full}, {tile_2_one, tile_2_half, tile_2_most, tile_2_full},
#if VREGS == 32
    {tile_3_one, tile_3_half, tile_3_most, tile_3_full}, {tile_4_one, tile_4_half, tile_4_most, tile_4_full},
#endif
};

/* Runs a tile of t->rows <= tile_mr[nv] rows and t->cols <= nv * VL columns. */
INLINE void tile(int nv, const tile_args *t) {
    const int mr = tile_mr[nv], rows = t->rows;
    tile_functions[nv - 1][rows == 1 ? 0 : rows <= mr / 2 ? 1 : rows <= mr * 3 / 4 ? 2 : 3](t);
}

/* The widest panel for the columns that are left. */
INLINE int tile_vectors(int64_t cols) { return (int)md_min(TILE_NV, md_ceil_div(cols, VL)); }
#endif
