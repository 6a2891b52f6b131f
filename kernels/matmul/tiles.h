/* The matrix product, written once for float and double: define REAL, and LANES of it in a vector, before including this header.
 *
 *     y[m][n] = act(sum over k of a[m][k] b[k][n] + bias[n] + residual[m][n])      any strides of a and b, y's rows dense
 *
 * Two loops do the arithmetic; both keep a tile of the result in registers:
 *
 * - `tile` broadcasts numbers of a and multiplies them with vectors along rows of b. b lies in panels of nv vectors, packed
 *   (and shared by all threads) or where it is; a is read where it is, or packed into panels as high as a tile.
 * - `dots` multiplies vectors along k, where both operands lie along k (x @ weight^T) and a copy of b would cost more than
 *   the product: few rows.
 *
 * k is summed in blocks whose length depends on the shape alone, and so the order of every sum does not depend on threads. */
#ifndef MD_TILES_H
#define MD_TILES_H
#include "md.h"
#include "simd.h"
#include <string.h>

#define REAL_IS_DOUBLE (sizeof(REAL) == 8)
typedef REAL vr __attribute__((vector_size(VBYTES)));
typedef REAL vr_mem __attribute__((vector_size(VBYTES), aligned(sizeof(REAL)), may_alias));
typedef __typeof__(_Generic((REAL)0, float: (int32_t)0, double: (int64_t)0)) lane_int;
typedef lane_int vr_int __attribute__((vector_size(VBYTES)));
#define UNROLL _Pragma("GCC unroll 32")
/* A tile of few registers is low, so that steps of k are short and what is not arithmetic counts: four of them at a time, from
 * panels whose strides are known, compute 88 GFLOP/s on a core that has 106, one at a time 74. */
#if VREGS == 16
#define UNROLL_K _Pragma("GCC unroll 4")
enum { PACK_BOTH = 1 };
#else
#define UNROLL_K
enum { PACK_BOTH = 0 };
#endif

INLINE vr load(const REAL *p) { return *(const vr_mem *)p; }
INLINE void store(REAL *p, vr x) { *(vr_mem *)p = x; }
INLINE vr set(REAL x) { return x - (vr){0}; }
INLINE vr positive(vr x) { return (vr)((vr_int)x & ~(x < (vr){0})); } /* NaN stays */

enum { NONE, RELU, GELU, GELU_TANH, SILU, RELU6 = 6 /* of convolutions, in float */ }; /* activations */
INLINE vr rectified(vr x, int activation) { return activation == RELU6 ? (vr)vmin(vset(6), (vf)positive(x)) : positive(x); }

/* The first n <= LANES numbers: the others read as zero and are not written. */
#if defined(__AVX512F__)
INLINE vr load_part(const REAL *p, int n) {
    if (REAL_IS_DOUBLE) return (vr)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
    return (vr)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void store_part(REAL *p, vr x, int n) {
    if (REAL_IS_DOUBLE) _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)x);
    else _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
}
/* All but the first n. */
INLINE vr load_from(const REAL *p, int n) {
    if (REAL_IS_DOUBLE) return (vr)_mm512_maskz_loadu_pd((__mmask8)(255u << n), p);
    return (vr)_mm512_maskz_loadu_ps((__mmask16)(65535u << n), p);
}
#else
/* A number of type REAL is one float or two. */
enum { FLOATS = sizeof(REAL) / sizeof(float) };
INLINE vr load_part(const REAL *p, int n) { return (vr)vload_part((const float *)p, n * FLOATS, 0); }
INLINE void store_part(REAL *p, vr x, int n) { vstore_part((float *)p, (vf)x, n * FLOATS); }
INLINE vr load_from(const REAL *p, int n) {
    REAL t[LANES] = {0};
    memcpy(t + n, p + n, (size_t)(LANES - n) * sizeof(REAL));
    return load(t);
}
#endif

/* Of two vectors, whose blocks of w lanes are numbered through, the even blocks of both in turn, or the odd ones: lane j of the
 * result comes from this lane of the two. */
#define LOW(j, w) (j) & (w) ? (j) - (w) + LANES : (j)
#define HIGH(j, w) (j) & (w) ? (j) + LANES : (j) + (w)
#define TWO_LANES(f, j, w) f(j, w), f(j + 1, w)
#define FOUR_LANES(f, j, w) TWO_LANES(f, j, w), TWO_LANES(f, j + 2, w)
#define EIGHT_LANES(f, j, w) FOUR_LANES(f, j, w), FOUR_LANES(f, j + 4, w)
#if LANES == 16
#define EACH_LANE(f, w) EIGHT_LANES(f, 0, w), EIGHT_LANES(f, 8, w)
#elif LANES == 8
#define EACH_LANE(f, w) EIGHT_LANES(f, 0, w)
#elif LANES == 4
#define EACH_LANE(f, w) FOUR_LANES(f, 0, w)
#else
#define EACH_LANE(f, w) TWO_LANES(f, 0, w)
#endif
#define LANE(j, w) j

/* Lane j of the result is lane j + n of x, and the first lanes follow the last. */
INLINE vr turned(vr x, int n) {
    const vr_int lanes = {EACH_LANE(LANE, 0)};
    return __builtin_shuffle(x, (lanes + n) & (LANES - 1));
}

/* ---- tile: rows x nv vectors of y, from a[i * ams + k * aks] and the vectors at b + k * ldb ---- */

/* Vectors across (nv) and the rows (mr) of a tile, so that mr * nv sums, nv factors and one broadcast fit the registers. */
#if VREGS == 32
enum { MAX_NV = 4, MAX_MR = 12 };
static const int max_rows[MAX_NV + 1] = {0, 12, 12, 8, 6};
#else
enum { MAX_NV = 4, MAX_MR = 8 };
static const int max_rows[MAX_NV + 1] = {0, 8, 6, 3, 2};
#endif

typedef struct {
    int64_t k, ams, aks, ldb, ldy, ldr;
    const REAL *a, *b, *bias, *residual; /* the last two: or NULL */
    REAL *y;
    int last; /* columns of the last vector */
    int add, relu; /* relu: RELU, RELU6 or NONE */
    int skew; /* numbers from a line of the cache to b */
} tile_args;

/* packed: a and b are panels of this tile's size. skewed: b is read line by line, and each vector is put together from two of
 * them: to read one across two lines takes longer. */
INLINE void tile_run(const int mr, const int nv, const int packed, const int skewed, const tile_args *t) {
    const int skew = skewed ? t->skew : 0;
    const vr_int behind = (vr_int){EACH_LANE(LANE, 0)} + skew;
    const int last = t->last, add = t->add, relu = t->relu; /* y might be where t is, for all that the compiler knows */
    const int64_t ldy = t->ldy, ldr = t->ldr;
    const int64_t ams = packed ? 1 : t->ams, aks = packed ? mr : t->aks, ldb = packed ? nv * LANES : t->ldb;
    REAL *const out = t->y;
    const REAL *a[(MAX_MR + 2) / 3], *b = t->b; /* a pointer for three rows: two more are in reach of an address */
    vr acc[MAX_MR][MAX_NV];
    UNROLL for (int i = 0; i < mr; i += 3) a[i / 3] = t->a + i * ams;
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int v = 0; v < nv; v++) acc[i][v] = (vr){0};
    if (packed && add) /* by the end of k they have come */
        UNROLL for (int i = 0; i < mr; i++) __builtin_prefetch(out + i * ldy);
    if (t->residual)
        UNROLL for (int i = 0; i < mr; i++)
            UNROLL for (int v = 0; v < nv; v++) __builtin_prefetch(t->residual + i * ldr + v * LANES);
    UNROLL_K
    for (int64_t k = t->k; k; k--, b += ldb) {
        vr bv[MAX_NV + 1];
        UNROLL for (int v = 0; v < nv; v++) bv[v] = skewed && !v ? load_from(b - skew, skew) : load(b - skew + v * LANES);
        if (skewed) {
            bv[nv] = load_part(b - skew + nv * LANES, skew);
            UNROLL for (int v = 0; v < nv; v++) bv[v] = __builtin_shuffle(bv[v], bv[v + 1], behind);
        }
        UNROLL for (int i = 0; i < mr; i++) {
            const vr x = set(a[i / 3][i % 3 * ams]);
            UNROLL for (int v = 0; v < nv; v++) acc[i][v] += x * bv[v];
        }
        UNROLL for (int i = 0; i < mr; i += 3) a[i / 3] += aks;
    }
    UNROLL for (int v = 0; v < nv; v++) {
        const int part = v == nv - 1 && last < LANES;
        const REAL *const residual = t->residual ? t->residual + v * LANES : NULL;
        const vr bias = !t->bias ? (vr){0} : part ? load_part(t->bias + v * LANES, last) : load(t->bias + v * LANES);
        UNROLL for (int i = 0; i < mr; i++) {
            REAL *y = out + i * ldy + v * LANES;
            vr x = acc[i][v] + bias;
            if (add) x += part ? load_part(y, last) : load(y);
            if (residual) x += part ? load_part(residual + i * ldr, last) : load(residual + i * ldr);
            if (relu) x = rectified(x, relu);
            if (part) store_part(y, x, last);
            else store(y, x);
        }
    }
}

#define TILE(mr, nv)                                                                                    \
    __attribute__((noinline)) static void tile_##mr##_##nv(const tile_args *t) {                          \
        if (PACK_BOTH && t->ams == 1 && t->aks == mr && t->ldb == nv * LANES) tile_run(mr, nv, 1, 0, t); \
        else tile_run(mr, nv, 0, 0, t);                                                                   \
    }
#if VREGS == 32
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define TILES_3(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define TILES_4(X) X(1) X(2) X(3) X(4) X(5) X(6)
#else
#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define TILES_3(X) X(1) X(2) X(3)
#define TILES_4(X) X(1) X(2)
#endif
#define TILE_1(mr) TILE(mr, 1)
#define TILE_2(mr) TILE(mr, 2)
#define TILE_3(mr) TILE(mr, 3)
#define TILE_4(mr) TILE(mr, 4)
#define NAME_1(mr) tile_##mr##_1,
#define NAME_2(mr) tile_##mr##_2,
#define NAME_3(mr) tile_##mr##_3,
#define NAME_4(mr) tile_##mr##_4,
TILES(TILE_1)
TILES(TILE_2)
TILES_3(TILE_3)
TILES_4(TILE_4)
static void (*const tiles[MAX_NV][MAX_MR])(const tile_args *) = {
    {TILES(NAME_1)}, {TILES(NAME_2)}, {TILES_3(NAME_3)}, {TILES_4(NAME_4)},
};

/* Few rows leave time to put vectors of b together, where b lies across the lines of the cache. */
#if defined(__AVX512F__)
#define SKEWED_TILE(mr) __attribute__((noinline)) static void skewed_tile_##mr(const tile_args *t) { tile_run(mr, MAX_NV, 0, 1, t); }
SKEWED_TILE(1) SKEWED_TILE(2) SKEWED_TILE(3)
static void (*const skewed_tiles[])(const tile_args *) = {skewed_tile_1, skewed_tile_2, skewed_tile_3};
#endif

static void multiply_tile(int mr, int nv, tile_args *t) {
#if defined(__AVX512F__)
    t->skew = nv < MAX_NV || mr > 3 || t->ldb % LANES ? 0 : (int)((uintptr_t)t->b / sizeof(REAL) % LANES);
    if (t->skew) {
        skewed_tiles[mr - 1](t);
        return;
    }
#endif
    tiles[nv - 1][mr - 1](t);
}

/* ---- dots: rows x cols of y, from a[i * ams + k] and b[j * bns + k] ---- */

/* Up to DOT_ROWS rows are one tile; more are cut into tiles of three. */
#if VREGS == 32
enum { DOT_ROWS = 5, DOT_COLS = 8 };
static const int dot_cols[DOT_ROWS + 1] = {0, 8, 8, 8, 6, 4};
#define DOTS(X) X(1, 8) X(2, 8) X(3, 8) X(4, 6) X(5, 4)
#else
enum { DOT_ROWS = 3, DOT_COLS = 8 };
static const int dot_cols[DOT_ROWS + 1] = {0, 8, 4, 4};
#define DOTS(X) X(1, 8) X(2, 4) X(3, 4)
#endif

/* The sums over lanes of LANES vectors, as the lanes of r[0]: each step adds the halves of two vectors. */
INLINE void add_halves(vr *r, const int w) {
    const vr_int low = {EACH_LANE(LOW, w)}, high = {EACH_LANE(HIGH, w)};
    UNROLL for (int i = 0; i < LANES; i += 2 * w)
        r[i] = __builtin_shuffle(r[i], r[i + w], low) + __builtin_shuffle(r[i], r[i + w], high);
}
INLINE void add_lanes(vr *r) {
    add_halves(r, 1);
    if (LANES > 2) add_halves(r, 2);
    if (LANES > 4) add_halves(r, 4);
    if (LANES > 8) add_halves(r, 8);
}

typedef struct {
    int64_t k, ams, bns;
    const REAL *a, *b;
    REAL *sums; /* rows x DOT_COLS */
    int cols;   /* those that exist: the last is repeated for the others */
} dot_args;

/* Vectors of b across two lines of the cache take twice the time. Where all rows of b lie alike, the vectors begin at a line: the
 * first lacks `before` numbers. Each sum of a lane has the same terms as otherwise, only in another lane, and all are turned back
 * at the end: where b lies does not change a bit of the result. */
INLINE void dots_run(const int mr, const int nc, const dot_args *t) {
    enum { MOST = (DOT_ROWS * DOT_COLS + LANES - 1) / LANES * LANES };
    const int before = t->bns % LANES || t->k < 8 * LANES ? 0 : (int)((uintptr_t)t->b / sizeof(REAL) % LANES);
    const REAL *a = t->a - before, *b[DOT_COLS];
    const int64_t ams = t->ams, K = t->k + before;
    vr acc[MOST];
    UNROLL for (int j = 0; j < nc; j++) b[j] = t->b + md_min(j, t->cols - 1) * t->bns - before;
    UNROLL for (int i = 0; i < mr * nc; i++) acc[i] = (vr){0};
    int64_t k = 0;
    if (before) {
        vr av[DOT_ROWS];
        UNROLL for (int i = 0; i < mr; i++) av[i] = load_from(a + i * ams, before);
        UNROLL for (int j = 0; j < nc; j++) {
            const vr x = load_from(b[j], before);
            UNROLL for (int i = 0; i < mr; i++) acc[i * nc + j] += av[i] * x;
        }
        k = LANES;
    }
    for (; k + LANES <= K; k += LANES) {
        vr av[DOT_ROWS];
        UNROLL for (int i = 0; i < mr; i++) av[i] = load(a + i * ams + k);
        UNROLL for (int j = 0; j < nc; j++) {
            vr x = load(b[j] + k);
            IN_REGISTER(x); /* else each product loads it again */
            UNROLL for (int i = 0; i < mr; i++) acc[i * nc + j] += av[i] * x;
        }
    }
    if (k < K) {
        vr av[DOT_ROWS];
        UNROLL for (int i = 0; i < mr; i++) av[i] = load_part(a + i * ams + k, (int)(K - k));
        UNROLL for (int j = 0; j < nc; j++) {
            const vr x = load_part(b[j] + k, (int)(K - k));
            UNROLL for (int i = 0; i < mr; i++) acc[i * nc + j] += av[i] * x;
        }
    }
    if (before)
        UNROLL for (int i = 0; i < mr * nc; i++) acc[i] = turned(acc[i], before);
    REAL flat[MOST];
    UNROLL for (int g = 0; g < mr * nc; g += LANES) {
        vr r[LANES];
        UNROLL for (int i = 0; i < LANES; i++) r[i] = g + i < mr * nc ? acc[g + i] : (vr){0};
        add_lanes(r);
        store(flat + g, r[0]);
    }
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nc; j++) t->sums[i * DOT_COLS + j] = flat[i * nc + j];
}
#define DOT(mr, nc) __attribute__((noinline)) static void dots_##mr(const dot_args *t) { dots_run(mr, nc, t); }
#define DOT_NAME(mr, nc) dots_##mr,
DOTS(DOT)
static void (*const dots[])(const dot_args *) = {DOTS(DOT_NAME)};

/* ---- packing ---- */

/* Exchanges rows and columns of LANES vectors: each step swaps the off-diagonal blocks of w x w. */
INLINE void exchange_blocks(vr *r, const int w) {
    const vr_int low = {EACH_LANE(LOW, w)}, high = {EACH_LANE(HIGH, w)};
    UNROLL for (int i = 0; i < LANES; i++)
        if (!(i & w)) {
            const vr a = r[i], b = r[i + w];
            r[i] = __builtin_shuffle(a, b, low);
            r[i + w] = __builtin_shuffle(a, b, high);
        }
}
INLINE void transpose(vr *r) {
    exchange_blocks(r, 1);
    if (LANES > 2) exchange_blocks(r, 2);
    if (LANES > 4) exchange_blocks(r, 4);
    if (LANES > 8) exchange_blocks(r, 8);
}

/* Up to LANES columns, narrow: whole vectors are stored, of which the next row takes what is too much; `to` has room for it. */
INLINE void pack_narrow(REAL *to, const int width, const REAL *from, int64_t rows, int64_t is, int64_t js) {
    int64_t i = 0;
    if (js == 1)
        for (; i < rows; i++, to += width) store_part(to, load_part(from + i * is, width), width);
    else if (is == 1)
        for (; i + LANES <= rows; i += LANES) {
            vr r[LANES];
            UNROLL for (int v = 0; v < LANES; v++) r[v] = v < width ? load(from + v * js + i) : (vr){0};
            transpose(r);
            UNROLL for (int v = 0; v < LANES; v++, to += width) store(to, r[v]);
        }
    for (; i < rows; i++, to += width)
        for (int j = 0; j < width; j++) to[j] = from[i * is + j * js];
}

/* to[i * width + j] = from[i * is + j * js] for i < rows, j < cols; zeros for cols <= j < width. */
static void pack(REAL *to, int64_t width, const REAL *from, int64_t rows, int64_t cols, int64_t is, int64_t js) {
    int64_t j = 0;
    if (LANES == 8 && width <= 6 && cols == width) {
        switch (width) {
        case 6: pack_narrow(to, 6, from, rows, is, js); return;
        case 5: pack_narrow(to, 5, from, rows, is, js); return;
        case 4: pack_narrow(to, 4, from, rows, is, js); return;
        }
    }
    if (js == 1) {
        for (int64_t i = 0; i < rows; i++) {
            for (j = 0; j + LANES <= cols; j += LANES) store(to + i * width + j, load(from + i * is + j));
            if (j < cols) store_part(to + i * width + j, load_part(from + i * is + j, (int)(cols - j)), (int)(cols - j));
        }
        j = cols;
    } else if (is == 1) {
        const int64_t whole = rows / LANES * LANES;
        for (; j + LANES <= cols; j += LANES) {
            for (int64_t i = 0; i < whole; i += LANES) {
                vr r[LANES];
                UNROLL for (int v = 0; v < LANES; v++) r[v] = load(from + (j + v) * js + i);
                if (PACK_BOTH) /* the columns of the next turn: each is too short a piece for the processor to see it coming */
                    UNROLL for (int v = 0; v < LANES; v++) __builtin_prefetch(from + (j + LANES + v) * js + i);
                transpose(r);
                UNROLL for (int v = 0; v < LANES; v++) store(to + (i + v) * width + j, r[v]);
            }
            for (int64_t i = whole; i < rows; i++)
                for (int64_t v = j; v < j + LANES; v++) to[i * width + v] = from[i + v * js];
        }
    }
    for (; j < cols; j++)
        for (int64_t i = 0; i < rows; i++) to[i * width + j] = from[i * is + j * js];
    if (cols < width)
        for (int64_t i = 0; i < rows; i++) memset(to + i * width + cols, 0, (size_t)(width - cols) * sizeof(REAL));
}
#endif
