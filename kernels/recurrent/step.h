/* The product of a step: rows of states (backward: of the gates' gradients) times a panel of recurrent weights. It runs on matrix
 * tiles (amx.h) where rows are enough to fill them, else on vectors. Both pack the weights once for all steps; for tiles the rows
 * are split once in each step, for all panels. */
#ifndef RECURRENT_STEP_H
#define RECURRENT_STEP_H
#include "amx.h"
#include "recurrent.h"

/* Rows whose sums are in the first-level cache together, and those of a panel, which stay there while they pass. */
enum { CHUNK = 64, KC = 64 };

/* ---- vectors ---- */

#if VREGS == 32
enum { ROWS_OF_3 = 8, ROWS_OF_4 = 6 };
#else
enum { ROWS_OF_3 = 3, ROWS_OF_4 = 2 };
#endif

/* acc (+)= a[i][k] panel[k] for k in [k0, k1), `mr` rows and nv vectors in registers. */
INLINE void tile_sum(const int mr, const int nv, float *acc, const float *const *rows, int64_t k0, int64_t k1, const float *panel) {
    const float *a[ROWS_OF_3];
    vf sum[ROWS_OF_3][4];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
        a[i] = rows[i];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[i][v] = k0 ? vload(acc + (i * nv + v) * VL) : vset(0);
    }
    panel += k0 * nv * VL;
    for (int64_t k = k0; k < k1; k++, panel += nv * VL) {
        vf b[4];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) b[v] = vload(panel + v * VL);
#pragma GCC unroll 8
        for (int i = 0; i < mr; i++) {
            const vf x = vset(a[i][k]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) sum[i][v] += x * b[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) vstore(acc + (i * nv + v) * VL, sum[i][v]);
}

#define SUM(mr, nv) case mr: tile_sum(mr, nv, acc, a, k0, k1, panel); break;
static void sum_of_4(int mr, float *acc, const float *const *a, int64_t k0, int64_t k1, const float *panel) {
    switch (mr) {
        SUM(1, 4) SUM(2, 4)
#if VREGS == 32
        SUM(3, 4) SUM(4, 4) SUM(5, 4) SUM(6, 4)
#endif
    }
}
static void sum_of_3(int mr, float *acc, const float *const *a, int64_t k0, int64_t k1, const float *panel) {
    switch (mr) {
        SUM(1, 3) SUM(2, 3) SUM(3, 3)
#if VREGS == 32
        SUM(4, 3) SUM(5, 3) SUM(6, 3) SUM(7, 3) SUM(8, 3)
#endif
    }
}

static void vector_product(float *acc, int nv, int64_t rows, int64_t k, const float *const *a, const float *panel) {
    const int64_t tiles = md_ceil_div(rows, nv == 4 ? ROWS_OF_4 : ROWS_OF_3), each = rows / tiles, longer = rows % tiles;
    const int64_t block = rows == 1 ? k : KC;
    if (!k) memset(acc, 0, (size_t)(rows * nv * VL) * sizeof(float));
    for (int64_t k0 = 0; k0 < k; k0 += block)
        for (int64_t tile = 0, i = 0; tile < tiles; tile++) {
            const int mr = (int)(each + (tile < longer));
            (nv == 4 ? sum_of_4 : sum_of_3)(mr, acc + i * nv * VL, a + i, k0, md_min(k, k0 + block), panel);
            i += mr;
        }
}

/* Where vector v of panel p belongs among the columns of the product; *cols of its lanes exist. A panel of the forward product
 * has all gates of VL units. */
INLINE int64_t column(const sequence *s, int64_t p, int v, int64_t *cols) {
    const int64_t joint = s->gates == 1 || s->backward, j = joint ? (p * s->nv + v) * VL : p * VL;
    *cols = md_max(0, md_min(VL, s->H - j));
    return joint ? j : v * s->H + j;
}

typedef struct { const sequence *s; const float *w; float *to; } packing;

static void pack_vectors(int64_t p, void *ctx) { /* the weights (gates H, H): forward turned, backward as they are */
    const packing *c = ctx;
    const sequence *s = c->s;
    const int64_t width = s->nv * VL;
    float *to = c->to + p * width * s->k;
    for (int v = 0; v < s->nv; v++, to += VL) {
        int64_t cols;
        const int64_t at = column(s, p, v, &cols);
        if (!s->backward) pack_transposed(to, width, c->w + at * s->H, s->H, s->k, cols);
        for (int64_t i = 0; s->backward && i < s->k; i++) memcpy(to + i * width, c->w + i * s->H + at, (size_t)cols * sizeof(float));
        for (int64_t i = 0; cols < VL && i < s->k; i++) memset(to + i * width + cols, 0, (size_t)(VL - cols) * sizeof(float));
    }
}

/* ---- matrix tiles ---- */
typedef struct { /* rows of the left operand, and their parts */
    const float *x;
    int64_t stride;
    const char *parts;
} left_rows;

#if MD_AMX
enum { TILE_STEP = AMX_PARTS * AMX_TILE }; /* bytes of 32 of k and 16 rows or columns */

INLINE int64_t strip_bytes(const sequence *s) { return md_ceil_div(s->k, AMX_K) * TILE_STEP; }
/* Behind the panels stand their ranges. */
INLINE amx_range *ranges_of(const sequence *s, char *tiles) { return (amx_range *)(tiles + s->panels * s->nv * strip_bytes(s)); }

static void pack_tiles(int64_t p, void *ctx) { /* pairs of vectors side by side */
    const packing *c = ctx;
    const sequence *s = c->s;
    char *const tiles = (char *)c->to;
    amx_range range = amx_no_numbers;
    for (int v = 0; v < s->nv; v++) {
        const int pair = v / 2 * 2, across = s->nv - pair > 1 ? 2 : 1;
        int64_t cols;
        const int64_t at = column(s, p, v, &cols), rs = s->backward ? 1 : s->H, ks = s->backward ? s->H : 1;
        char *to = tiles + (p * s->nv + pair) * strip_bytes(s) + (v - pair) * AMX_TILE;
        range = amx_both(range, amx_pack(to, across * TILE_STEP, across * AMX_TILE, c->w + at * rs, rs, ks, cols, s->k, 1));
    }
    ranges_of(s, tiles)[p] = range;
}

/* The weights as tiles: 0 where there is no memory. s->tiles stays NULL where they do not split. */
static int begin_tiles(sequence *s, const md_array *w, const float *rows) {
    int filled;
    char *tiles = md_keep(MD_SLOT_D, (size_t)(s->panels * s->nv * strip_bytes(s)) + (size_t)s->panels * sizeof(amx_range), w, &filled);
    if (!tiles) return 0;
    packing c = {.s = s, .w = rows, .to = (float *)tiles};
    if (!filled) md_parallel(s->panels, pack_tiles, &c);
    s->range = amx_no_numbers;
    for (int64_t p = 0; p < s->panels; p++) s->range = amx_both(s->range, ranges_of(s, tiles)[p]);
    if (amx_fits(amx_no_numbers, s->range)) s->tiles = tiles;
    return 1;
}

static int split_rows(const sequence *s, left_rows *l, int64_t rows) {
    char *const to = md_scratch(MD_SLOT_B, (size_t)(md_ceil_div(rows, AMX_ROWS) * strip_bytes(s)));
    if (!to) return MD_NO_MEMORY;
    amx_range range = amx_no_numbers;
    for (int64_t i = 0; i < rows; i += AMX_ROWS)
        range = amx_both(range, amx_pack(to + i / AMX_ROWS * strip_bytes(s), TILE_STEP, AMX_TILE, l->x + i * l->stride, l->stride, 1,
                                         md_min(AMX_ROWS, rows - i), s->k, 0));
    l->parts = to;
    return amx_fits(range, s->range) ? MD_DONE : MD_NOT_MINE;
}

static void tile_product(const sequence *s, float *acc, const char *parts, int64_t rows, int64_t p) {
    static const float zeros[2 * VL];
    const int64_t strip = strip_bytes(s);
    const char *b = s->tiles + p * s->nv * strip;
    amx_args t = {.steps = md_ceil_div(s->k, AMX_K), .a_row = 64, .a_tile = strip,
                  .a_part = AMX_TILE, .ldy = s->nv * VL, .start = zeros};
    for (int v = 0; v < s->nv; v += 2) {
        const int across = s->nv - v > 1 ? 2 : 1;
        for (int64_t i = 0; i < rows; i += 2 * AMX_ROWS) {
            const int more = i + 2 * AMX_ROWS < rows;
            t.a = parts + i / AMX_ROWS * strip;
            t.next_a = more ? t.a + 2 * strip : parts;
            t.b = b;
            t.next_b = more ? b : b + across * strip;
            t.y = acc + (i * s->nv + v) * VL;
            amx_multiply(rows - i > AMX_ROWS ? 2 : 1, across, &t);
        }
        b += across * strip;
    }
}

AMX_CODE static void configure(void) { amx_begin(); }
AMX_CODE static void release(void) { amx_end(); }
#endif

/* ---- either ---- */

/* The threads share the columns of a step, which all of them must have ended before the next begins, or the rows of the batch, and
 * then never wait; but then each goes through all weights, which the second-level cache may not hold, and for few rows. */
static int by_columns(const sequence *s, int64_t threads, int tiles) {
    enum { IN_CACHE = 5 << 19 };
    if (threads == 1 || s->N < 8 * threads) return threads > 1;
    if ((tiles ? 6 : 4) * s->gates * s->H * s->H > IN_CACHE) return 1;
    return tiles && !s->backward && s->N < AMX_ROWS * threads;
}

/* How many threads the steps are worth. */
static int64_t useful_threads(const sequence *s) {
    return 2 * s->N * s->gates * s->H * s->H < MD_SMALL_FLOPS ? 1 : md_get_threads();
}

/* The weights (gates H, H) from `rows` on, which are those of w or follow from them. 0: no memory. */
static int begin_product(sequence *s, const md_array *w, const float *rows, __attribute__((unused)) int tiles) {
    const int64_t threads = useful_threads(s);
    s->tiles = NULL;
#if MD_AMX
    s->by_columns = by_columns(s, threads, 1);
    const int64_t each = s->by_columns ? s->N : s->N / threads;
    if (tiles && md_has_amx() && each >= 12 && s->H >= 32 && s->T * each >= 96) {
        if (!begin_tiles(s, w, rows)) return 0;
        if (s->tiles) return 1;
    }
#endif
    s->by_columns = by_columns(s, threads, 0);
    int filled;
    float *to = md_keep(MD_SLOT_A, (size_t)(s->panels * s->nv * VL * s->k + 1) * sizeof(float), w, &filled);
    packing c = {.s = s, .w = rows, .to = to};
    if (to && !filled) {
        if (8 * s->gates * s->H * s->H < MD_SMALL_FLOPS) for (int64_t p = 0; p < s->panels; p++) pack_vectors(p, &c);
        else md_parallel(s->panels, pack_vectors, &c);
    }
    s->weights = to;
    return to != NULL;
}

/* Before the first and after the last product of a task. */
static void begin_task(__attribute__((unused)) const sequence *s) {
#if MD_AMX
    if (s->tiles) configure();
#endif
}
static void end_task(__attribute__((unused)) const sequence *s) {
#if MD_AMX
    if (s->tiles) release();
#endif
}

/* So many rows from x on are to be multiplied. 0, and the reason in *s->status, where that cannot be done. */
static int take_rows(__attribute__((unused)) const sequence *s, left_rows *l, const float *x, int64_t stride,
                     __attribute__((unused)) int64_t rows) {
    l->x = x;
    l->stride = stride;
#if MD_AMX
    if (s->tiles) {
        const int status = split_rows(s, l, rows);
        if (status != MD_DONE) *s->status = status;
        return status == MD_DONE;
    }
#endif
    return 1;
}

/* acc[i][j] = sum over k of rows[first + i][k] panel p[k][j]. */
static void product(const sequence *s, float *acc, const left_rows *l, int64_t first, int64_t rows, int64_t p) {
#if MD_AMX
    if (s->tiles) {
        tile_product(s, acc, l->parts + first / AMX_ROWS * strip_bytes(s), rows, p);
        return;
    }
#endif
    const float *a[CHUNK];
    for (int64_t i = 0; i < rows; i++) a[i] = l->x + (first + i) * l->stride;
    vector_product(acc, s->nv, rows, s->k, a, s->weights + p * s->nv * VL * s->k);
}
#endif
