/* Few rows times a matrix that lies row by row: each of its numbers is used for these rows alone, and so reading it is the work. It
 * is read in the order in which it lies, STREAMS rows side by side, while the sums of as many columns as fit stay in the first
 * cache. A tile instead would go down a few columns, where each line is in another page and nothing is fetched ahead.
 *
 * The order of a sum is that of a tile. */
#ifndef MD_THIN_H
#define MD_THIN_H
#include "tiles.h"

enum { THIN_ROWS = 8, STREAMS = 8, THIN_SUMS = 16384 / sizeof(REAL), THIN_STEP = 64 / sizeof(REAL) };

typedef struct {
    REAL *sums;
    const REAL *a, *b; /* of the first stream */
    int64_t lds, ams, aks, ldb, cols;
    int first; /* the sums begin */
} thin_args;

/* sums[i][j] (+)= sum over the streams of a[i][r] b[r][j], in the order of r. */
INLINE void thin_run(const int rows, const int streams, const thin_args *t) {
    enum { MOST = THIN_ROWS * STREAMS };
    const int nv = rows <= 4 ? 2 : 1; /* so that sums, a vector of b and a factor fit the registers */
    const int64_t ldb = t->ldb, lds = t->lds, cols = t->cols;
    const int first = t->first;
    const REAL *b = t->b;
    REAL *sums = t->sums;
    vr x[MOST];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int r = 0; r < streams; r++) x[i * streams + r] = set(t->a[i * t->ams + r * t->aks]);
    int64_t j = 0;
    for (; j + nv * LANES <= cols; j += nv * LANES, b += nv * LANES, sums += nv * LANES) {
        vr s[THIN_ROWS][2];
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int v = 0; v < nv; v++) s[i][v] = first ? (vr){0} : load(sums + i * lds + v * LANES);
        UNROLL for (int r = 0; r < streams; r++) {
            UNROLL for (int v = 0; v < nv; v++) {
                const vr bv = load(b + r * ldb + v * LANES);
                UNROLL for (int i = 0; i < rows; i++) s[i][v] += x[i * streams + r] * bv;
            }
        }
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int v = 0; v < nv; v++) store(sums + i * lds + v * LANES, s[i][v]);
    }
    for (; j < cols; j += LANES, b += LANES, sums += LANES) {
        const int n = (int)md_min(LANES, cols - j);
        UNROLL for (int i = 0; i < rows; i++) {
            vr s = first ? (vr){0} : load(sums + i * lds);
            UNROLL for (int r = 0; r < streams; r++) s += x[i * streams + r] * load_part(b + r * ldb, n);
            store(sums + i * lds, s);
        }
    }
}

#define THIN(rows)                                                                                                    \
    __attribute__((noinline)) static void thin_##rows(const thin_args *t) { thin_run(rows, STREAMS, t); }              \
    __attribute__((noinline)) static void thin_one_##rows(const thin_args *t) { thin_run(rows, 1, t); }
THIN(1) THIN(2) THIN(3) THIN(4) THIN(5) THIN(6) THIN(7) THIN(8)
static void (*const thin[THIN_ROWS])(const thin_args *) = {thin_1, thin_2, thin_3, thin_4, thin_5, thin_6, thin_7, thin_8};
static void (*const thin_one[THIN_ROWS])(const thin_args *) = {thin_one_1, thin_one_2, thin_one_3, thin_one_4,
                                                              thin_one_5, thin_one_6, thin_one_7, thin_one_8};

/* A block of k. */
static void thin_sums(int rows, int64_t k, thin_args *t) {
    for (t->first = 1; k > 0; t->first = 0) {
        const int64_t step = k >= STREAMS ? STREAMS : 1;
        if (step == 1) thin_one[rows - 1](t);
        else thin[rows - 1](t);
        t->a += step * t->aks;
        t->b += step * t->ldb;
        k -= step;
    }
}
#endif
