/* How a product is cut into tiles and shared among threads, for the type REAL; `multiply` is the entry.
 *
 *   task                  some rows x some panels of columns: one or a few for each thread
 *     block of k          KC at most
 *       chunk of columns  its part of b is packed, PACKED_BYTES at most: it stays in the second cache
 *         block of rows   ROWS at most: their part of a stays there too, packed or where it is
 *           panel of columns, tile of rows
 *
 * With few registers (PACK_BOTH, tiles.h) a is packed before the chunks, so that both operands of a tile are panels.
 *
 * A task packs for itself, though several may pack the same: what another core has just written is slow to fetch. */
#ifndef MD_PRODUCT_H
#define MD_PRODUCT_H
#include "amx.h"
#include "thin.h"
#include "tiles.h"
#include "vmath.h"
#include <math.h>

#if VREGS == 32
enum { KC = 512, ROWS = 96, PACKED_BYTES = 1 << 20 };
#else
enum { KC = 256, ROWS = 96, PACKED_BYTES = 1 << 17 };
#endif
enum {
    MOST_ROWS = 16 * ROWS, /* of which a task has a packed at a time */
    TOGETHER = 16, AHEAD = 12, /* vectors of a row of b that are packed in one go; rows before which they are asked for */
    OUTER_K = 8, /* nearly a product of a column with a row: to write y is most of the work */
    PAGE = 4096, /* bytes: in rows of b as long as that each number of a column is in another one */
    THIN_KC = 64, /* block of k where a few rows read b in place: so many pages of it are open at a time */
    DOT_KC = 4096 /* numbers of a that dot products keep near */
};

typedef struct {
    REAL *y;
    const REAL *a, *b, *bias, *residual;
    int64_t M, N, K, y_ms, a_ms, a_ks, b_ks, b_ns, r_ms;
    int activation;
    /* the plan */
    int dots, thin, nv, mr, pack_a, threads, amx;
    int64_t packed_from; /* the column from which on b is packed: the last panel is where it is not of whole vectors */
    const REAL *kept; /* all of b packed, block of k by block of k, in a plan that keeps it */
    int64_t kc, rows, cols, across; /* of a block of k; rows and columns of a task; tasks that share rows */
    char *amx_b; /* memory for b as the matrix tiles want it, in a plan that keeps it, or NULL; amx_filled: b is there already */
    int amx_filled;
    _Atomic int *status;
} product;

INLINE int64_t whole_vectors(int64_t n) { return md_ceil_div(n, LANES) * LANES; }
static int panel_vectors(const product *c, int64_t j) { return (int)md_min(c->nv, md_ceil_div(c->N - j, LANES)); }

INLINE vr activated(vr x, const int activation) {
    if (activation == RELU || activation == RELU6) return rectified(x, activation);
    if (!REAL_IS_DOUBLE) {
        const vf f = (vf)x;
        return activation == GELU ? (vr)vgelu(f) : activation == GELU_TANH ? (vr)vgelu_tanh(f) : activation == SILU ? (vr)vsilu(f) : x;
    }
    for (int i = 0; i < LANES && activation; i++) {
        const double v = (double)x[i], low = v < -1000 ? -1000 : v;
        const double u = activation == SILU ? v : 2 * 0.79788456080286536 * v * (1 + 0.044715 * v * v);
        x[i] = (REAL)(activation == GELU ? low * erfc(-v * 0.70710678118654752) / 2 : low / (1 + exp(-u)));
    }
    return x;
}

typedef struct { int64_t m, rows, j, cols; } part; /* of y */

/* y = act(sums + residual) for a part of y. The sums may stand in y already. */
INLINE void finish_as(const product *c, const REAL *sums, int64_t sums_ms, part p, const int activation) {
    for (int64_t i = 0; i < p.rows; i++)
        for (int64_t v = 0; v < p.cols; v += LANES) {
            const int n = (int)md_min(LANES, p.cols - v);
            vr x = load_part(sums + i * sums_ms + v, n);
            if (c->residual) x += load_part(c->residual + (p.m + i) * c->r_ms + p.j + v, n);
            store_part(c->y + (p.m + i) * c->y_ms + p.j + v, activated(x, activation), n);
        }
}
static void finish(const product *c, const REAL *sums, int64_t sums_ms, part p) {
    switch (c->activation) {
    case NONE: finish_as(c, sums, sums_ms, p, NONE); break;
    case RELU: finish_as(c, sums, sums_ms, p, RELU); break;
    case GELU: finish_as(c, sums, sums_ms, p, GELU); break;
    case GELU_TANH: finish_as(c, sums, sums_ms, p, GELU_TANH); break;
    case RELU6: finish_as(c, sums, sums_ms, p, RELU6); break;
    default: finish_as(c, sums, sums_ms, p, SILU);
    }
}
static void finish_in_place(const product *c, part p) { finish(c, c->y + p.m * c->y_ms + p.j, c->y_ms, p); }
INLINE int rectifies(const product *c) { return c->activation == RELU || c->activation == RELU6; }
/* Bias, residual, ReLU and ReLU6 are applied in registers; with another activation the residual too is left to `finish`. */
INLINE int needs_finish(const product *c) { return c->activation && !rectifies(c); }

/* Rows left to cut into tiles of nearly the same height: the next one's. */
INLINE int tile_rows(int64_t left, int mr) { return (int)md_ceil_div(left, md_ceil_div(left, mr)); }

/* Rows [m0, m1) of a and a block of k, as panels one behind the other, each as high as its tile. */
static void pack_rows(const product *c, REAL *to, int64_t m0, int64_t m1, int64_t k0, int64_t kc) {
    const REAL *a = c->a + k0 * c->a_ks;
    if (PACK_BOTH && c->a_ms == 1 && (m1 - m0) % c->mr == 0 && c->mr == 6) { /* columns of a: of one that is read, all is used */
        for (int64_t k = 0; k < kc; k++)
            for (int64_t m = m0; m < m1; m += 6) memcpy(to + (m - m0) * kc + k * 6, a + k * c->a_ks + m, 6 * sizeof(REAL));
        return;
    }
    for (int64_t m = m0, rows; m < m1; m += rows, to += rows * kc) {
        rows = tile_rows(m1 - m, c->mr);
        pack(to, rows, a + m * c->a_ms, kc, rows, c->a_ks, c->a_ms);
    }
}

/* Columns [j0, j1) of b and a block of k, as panels one behind the other. Of rows that lie far apart some panels are filled
 * together. */
static void pack_columns(const product *c, REAL *to, int64_t j0, int64_t j1, int64_t k0, int64_t kc) {
    const int64_t whole = c->nv * LANES, together = PACK_BOTH && c->b_ns == 1 ? TOGETHER * LANES / whole * whole : 0;
    for (int64_t j = j0, width; j < j1; j += width, to += width * kc) {
        const REAL *from = c->b + k0 * c->b_ks + j * c->b_ns;
        width = together;
        if (together && j + together <= md_min(j1, c->N)) {
            for (int64_t k = 0; k < kc; k++)
                for (int64_t v = 0; v < together; v += LANES) {
                    __builtin_prefetch(from + (k + AHEAD) * c->b_ks + v);
                    store(to + v / whole * whole * kc + k * whole + v % whole, load(from + k * c->b_ks + v));
                }
            continue;
        }
        width = panel_vectors(c, j) * LANES;
        pack(to, width, from, kc, md_min(width, c->N - j), c->b_ks, c->b_ns);
    }
}

/* What a block of rows and columns reads, for a block of k; packed_a and packed_b: their parts of a and b, or NULL. */
typedef struct { const REAL *packed_a, *packed_b; int64_t m0, j0, k0, kc; } operands;

static void one_tile(const product *c, const operands *from, int64_t m, int64_t rows, int64_t j) {
    const int64_t k0 = from->k0, kc = from->kc;
    const int last_block = k0 + kc == c->K, nv = panel_vectors(c, j);
    tile_args t = {.k = kc, .ams = c->a_ms, .aks = c->a_ks, .ldb = c->b_ks, .ldy = c->y_ms,
                   .a = c->a + m * c->a_ms + k0 * c->a_ks, .b = c->b + k0 * c->b_ks + j,
                   .bias = c->bias && last_block ? c->bias + j : NULL, .y = c->y + m * c->y_ms + j,
                   .residual = c->residual && last_block && !needs_finish(c) ? c->residual + m * c->r_ms + j : NULL, .ldr = c->r_ms,
                   .last = (int)md_min(LANES, c->N - j - (nv - 1) * LANES), .add = k0 > 0,
                   .relu = last_block && rectifies(c) ? c->activation : NONE};
    if (from->packed_a) t.a = from->packed_a + (m - from->m0) * kc, t.ams = 1, t.aks = rows;
    if (j >= c->packed_from) t.b = from->packed_b + (j - md_max(from->j0, c->packed_from)) * kc, t.ldb = nv * LANES;
    multiply_tile((int)rows, nv, &t);
    if (last_block && needs_finish(c)) finish_in_place(c, (part){m, rows, j, (nv - 1) * LANES + t.last});
}

/* Rows [m0, m1), columns [j0, j1) and a block of k. With few registers a tile is low, and to read a panel of b for each takes
 * more than to read the tile's rows of a for each panel: the panel stays in the first cache, else the rows do. */
static void block(const product *c, const operands *from, int64_t m1, int64_t j1) {
    const int64_t width = c->nv * LANES;
    if (PACK_BOTH && c->K > OUTER_K) {
        for (int64_t j = from->j0; j < j1; j += width)
            for (int64_t m = from->m0, rows; m < m1; m += rows) one_tile(c, from, m, rows = tile_rows(m1 - m, c->mr), j);
        return;
    }
    for (int64_t m = from->m0, rows; m < m1; m += rows) {
        rows = tile_rows(m1 - m, c->mr);
        for (int64_t j = from->j0; j < j1; j += width) one_tile(c, from, m, rows, j);
    }
}

static void tile_task(const product *c, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    const int64_t width = c->nv * LANES, panels = md_ceil_div(n1 - n0, width), kc_most = md_max(1, md_min(c->kc, c->K));
    int64_t chunk = panels, k0 = 0;
    REAL *a = NULL, *b = NULL;
    const int to_pack = n1 > c->packed_from && !c->kept;
    if (to_pack) {
        const int64_t fit = md_max(1, PACKED_BYTES / (int64_t)sizeof(REAL) / (kc_most * width));
        if (!c->packed_from) chunk = md_ceil_div(panels, md_ceil_div(panels, fit));
        b = md_scratch(MD_SLOT_B, (size_t)(c->packed_from ? width : chunk * width) * (size_t)kc_most * sizeof(REAL));
    }
    const int64_t rows_of_a = PACK_BOTH ? m1 - m0 : md_min(m1 - m0, ROWS);
    if (c->pack_a) a = md_scratch(MD_SLOT_A, (size_t)(rows_of_a * kc_most + LANES) * sizeof(REAL));
    if ((c->pack_a && !a) || (to_pack && !b)) {
        *c->status = MD_NO_MEMORY;
        return;
    }
    do {
        const int64_t kc = md_min(c->kc, c->K - k0);
        for (int64_t j0 = n0; j0 < n1; j0 += chunk * width) {
            const int64_t j1 = md_min(n1, j0 + chunk * width);
            if (to_pack && j1 > c->packed_from) pack_columns(c, b, md_max(j0, c->packed_from), j1, k0, kc);
            for (int64_t m = m0; m < m1; m += ROWS) {
                const int64_t end = md_min(m1, m + ROWS);
                REAL *rows = a && PACK_BOTH ? a + (m - m0) * kc : a;
                if (a && (!PACK_BOTH || j0 == n0)) pack_rows(c, rows, m, end, k0, kc);
                const REAL *packed_b = c->kept ? c->kept + k0 * whole_vectors(c->N) + j0 * kc : b;
                block(c, &(operands){rows, packed_b, m, j0, k0, kc}, end, j1);
            }
        }
        k0 += kc;
    } while (k0 < c->K);
}

/* Adds the sums of a block of k, and behind the last one what follows. */
INLINE void take_sums(const product *c, const REAL *sums, int64_t lds, part p, int64_t k0, int last_block) {
    for (int64_t i = 0; i < p.rows; i++)
        for (int64_t v = 0; v < p.cols; v += LANES) {
            const int n = (int)md_min(LANES, p.cols - v);
            REAL *y = c->y + (p.m + i) * c->y_ms + p.j + v;
            vr x = load_part(sums + i * lds + v, n);
            if (k0) x += load_part(y, n);
            if (last_block && c->bias) x += load_part(c->bias + p.j + v, n);
            if (last_block && c->residual && !needs_finish(c)) x += load_part(c->residual + (p.m + i) * c->r_ms + p.j + v, n);
            store_part(y, last_block && rectifies(c) ? rectified(x, c->activation) : x, n);
        }
    if (last_block && needs_finish(c)) finish_in_place(c, p);
}

/* The same as dot products. */
static void dot_task(const product *c, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    REAL sums[DOT_ROWS * DOT_COLS];
    for (int64_t k0 = 0; k0 < c->K; k0 += c->kc) {
        const int last_block = k0 + c->kc >= c->K;
        dot_args t = {.k = md_min(c->kc, c->K - k0), .ams = c->a_ms, .bns = c->b_ns, .sums = sums};
        for (int64_t j = n0, step; j < n1; j += step) {
            t.b = c->b + j * c->b_ns + k0;
            step = dot_cols[tile_rows(m1 - m0, c->mr)];
            t.cols = (int)md_min(step, n1 - j);
            for (int64_t m = m0, rows; m < m1; m += rows) {
                rows = tile_rows(m1 - m, c->mr);
                t.a = c->a + m * c->a_ms + k0;
                dots[rows - 1](&t);
                take_sums(c, sums, DOT_COLS, (part){m, rows, j, t.cols}, k0, last_block);
            }
        }
    }
}

/* The same of few rows, b where it lies. */
static void thin_task(const product *c, int64_t n0, int64_t n1) {
    _Alignas(VBYTES) REAL sums[THIN_SUMS];
    const int64_t most = THIN_SUMS / c->M / THIN_STEP * THIN_STEP;
    for (int64_t k0 = 0; k0 < c->K; k0 += c->kc) {
        const int64_t kc = md_min(c->kc, c->K - k0);
        for (int64_t j0 = n0, cols; j0 < n1; j0 += cols) {
            cols = md_min(most, n1 - j0);
            thin_args t = {.sums = sums, .a = c->a + k0 * c->a_ks, .b = c->b + k0 * c->b_ks + j0, .lds = most, .ams = c->a_ms,
                           .aks = c->a_ks, .ldb = c->b_ks, .cols = cols};
            thin_sums((int)c->M, kc, &t);
            take_sums(c, sums, most, (part){0, c->M, j0, cols}, k0, k0 + kc == c->K);
        }
    }
}

static void task(int64_t index, void *ctx) {
    const product *c = ctx;
    const int64_t m0 = index / c->across * c->rows, m1 = md_min(c->M, m0 + c->rows);
    const int64_t n0 = index % c->across * c->cols, n1 = md_min(c->N, n0 + c->cols);
    if (c->dots) dot_task(c, m0, m1, n0, n1);
    else if (c->thin) thin_task(c, n0, n1);
    else if (!PACK_BOTH) tile_task(c, m0, m1, n0, n1);
    else for (int64_t m = m0; m < m1; m += MOST_ROWS) tile_task(c, m, md_min(m1, m + MOST_ROWS), n0, n1);
}

/* The width of panels that wastes least: a last panel of one vector costs a third more than its share. */
static int choose_nv(int64_t M, int64_t N) {
    const int64_t vectors = md_ceil_div(N, LANES);
    if (VREGS == 16) return (int)md_min(vectors, M > 3 ? 2 : M > 2 ? 3 : 4);
    if (vectors < MAX_NV) return (int)vectors;
    if (M <= max_rows[4]) return MAX_NV;
    return vectors % 4 == 0 ? (vectors % 3 == 0 && vectors > 12 ? 3 : 4) : vectors % 3 == 1 ? 4 : 3;
}

/* Cuts y into rows x cols for each task, so that the slowest thread has least to do: products and packing. */
static void share_out(product *c, int64_t step) {
    const int64_t steps = md_ceil_div(c->N, step);
    double best = 1e300;
    for (int64_t down = 1; down <= md_min(c->M, 4 * c->threads); down++)
        for (int64_t across = 1; across <= md_min(steps, 4 * c->threads) && down * across <= 4 * c->threads; across++) {
            const int64_t rows = md_ceil_div(c->M, down), cols = md_ceil_div(steps, across) * step;
            const int64_t tasks = md_ceil_div(c->M, rows) * md_ceil_div(c->N, cols);
            const double cost = (double)md_ceil_div(tasks, c->threads) *
                                ((double)rows * (double)cols + (c->packed_from ? 0 : 12.0 * cols) + (c->pack_a ? 6.0 * rows : 0) + 64);
            if (cost < best) best = cost, c->rows = rows, c->cols = cols;
        }
    c->across = md_ceil_div(c->N, c->cols);
}

/* constant: b is a weight that a plan keeps packed. That changes where b is read, never the order of a sum: a plan gives the
 * bits of a call. */
static void make_plan(product *c, int threads, int constant) {
    const int64_t M = c->M, N = c->N, K = c->K;
    c->threads = 2.0 * (double)M * (double)N * (double)K < MD_SMALL_FLOPS ? 1 : threads;
    const int along_k = c->a_ks == 1 && c->b_ks == 1 && (c->b_ns != 1 || N == 1) && K >= 4 * LANES;
    c->dots = along_k && (M <= 32 || N <= 2 || (M <= 64 && K >= 512 && N * K <= 1 << 19));
    if (c->dots) {
        c->mr = M <= DOT_ROWS ? (int)M : 3;
        c->kc = DOT_KC / md_min(M, 4);
        share_out(c, dot_cols[c->mr]);
        return;
    }
    c->nv = choose_nv(M, N);
    c->mr = max_rows[c->nv];
    const int64_t width = c->nv * LANES;
    const int outer = PACK_BOTH && K <= OUTER_K;
    const int few = M <= (PACK_BOTH && c->b_ks * (int64_t)sizeof(REAL) >= PAGE ? THIN_ROWS : 32); /* that do not pay for packing b */
    const int direct = c->b_ns == 1 && (M <= 3 || (!constant && (few || N <= 2 * width || outer)));
    c->packed_from = !direct ? 0 : N % LANES ? N / width * width : N;
    c->pack_a = (c->a_ks != 1 && (c->a_ms != 1 || K > 64)) || (PACK_BOTH && N >= 320 && M > 8 && !outer);
    const int64_t blocks = md_max(1, md_ceil_div(K, !PACK_BOTH && c->b_ns == 1 && M <= 8 && N > 2 * width ? THIN_KC : KC));
    c->kc = md_max(1, md_ceil_div(md_ceil_div(K, blocks), 8) * 8);
    c->thin = PACK_BOTH && direct && M <= THIN_ROWS && N > 2 * width && K;
    if (!c->thin) {
        share_out(c, width);
        return;
    }
    c->rows = M;
    c->cols = md_ceil_div(md_ceil_div(N, c->threads), THIN_STEP) * THIN_STEP;
    c->across = md_ceil_div(N, c->cols);
}

#if MD_AMX && LANES == VL
#include "product_amx.h"
#else
INLINE int multiply_by_tiles(__attribute__((unused)) const product *c) { return MD_NOT_MINE; }
INLINE int amx_pays(__attribute__((unused)) const product *c) { return 0; }
INLINE size_t amx_size(__attribute__((unused)) const product *c) { return 0; }
#endif

static void run_plan(product *c) {
    if (c->amx) {
        const int result = multiply_by_tiles(c);
        if (result == MD_NO_MEMORY) *c->status = result;
        if (result != MD_NOT_MINE) return;
    }
    const int64_t tasks = md_ceil_div(c->M, c->rows) * c->across;
    if (c->threads > 1) md_parallel(tasks, task, c);
    else for (int64_t i = 0; i < tasks; i++) task(i, c);
}

typedef struct { const md_array *y, *a, *b, *residual; product first; _Atomic int status; } batch;

static void one_of_batch(int64_t index, void *ctx) {
    batch *all = ctx;
    product c = all->first;
    for (int d = all->y->ndim - 3; d >= 0; d--) {
        const int64_t i = index % all->y->shape[d];
        index /= all->y->shape[d];
        c.y += i * all->y->stride[d];
        c.a += i * all->a->stride[d];
        c.b += i * all->b->stride[d];
        if (c.residual) c.residual += i * all->residual->stride[d];
    }
    run_plan(&c);
}

/* y, a, b, bias, residual of type REAL; the last two may be absent. */
static int multiply(const md_array *arrays, int activation) {
    const md_array *y = &arrays[0], *a = &arrays[1], *b = &arrays[2], *bias = &arrays[3], *residual = &arrays[4];
    const int nd = y->ndim;
    md_array turned[4];
    if (y->shape[nd - 1] == 1 && y->stride[nd - 2] == 1 && !bias->data && (!residual->data || residual->stride[nd - 2] == 1)) {
        /* A product with one column is the product of a row with the transpose, which more loops know. */
        const md_array *const from[4] = {y, b, a, residual};
        for (int i = 0; i < 4; i++) {
            turned[i] = *from[i];
            turned[i].shape[nd - 1] = from[i]->shape[nd - 2], turned[i].shape[nd - 2] = from[i]->shape[nd - 1];
            turned[i].stride[nd - 1] = from[i]->stride[nd - 2], turned[i].stride[nd - 2] = from[i]->stride[nd - 1];
        }
        y = &turned[0], a = &turned[1], b = &turned[2], residual = &turned[3];
    }
    if (y->stride[nd - 1] != 1 && y->shape[nd - 1] > 1) return MD_NOT_MINE;
    if (bias->data && bias->stride[0] != 1 && bias->shape[0] > 1) return MD_NOT_MINE;
    if (residual->data && residual->stride[nd - 1] != 1 && y->shape[nd - 1] > 1) return MD_NOT_MINE;
    batch all = {.y = y, .a = a, .b = b, .residual = residual};
    all.first = (product){.y = (REAL *)y->data, .a = (REAL *)a->data, .b = (REAL *)b->data, .bias = (REAL *)bias->data,
                          .residual = (REAL *)residual->data, .M = y->shape[nd - 2], .N = y->shape[nd - 1],
                          .K = a->shape[nd - 1], .y_ms = y->stride[nd - 2], .a_ms = a->stride[nd - 2],
                          .a_ks = a->stride[nd - 1], .b_ks = b->stride[nd - 2], .b_ns = b->stride[nd - 1],
                          .r_ms = residual->data ? residual->stride[nd - 2] : 0, .activation = activation,
                          .status = &all.status};
    product *c = &all.first;
    int64_t count = 1;
    int joins = 1; /* matrices that lie one behind the other and share b are rows of one product */
    for (int d = nd - 3; d >= 0; d--) {
        const int64_t rows = count * c->M;
        joins &= y->shape[d] == 1 || (!b->stride[d] && y->stride[d] == rows * c->y_ms && a->stride[d] == rows * c->a_ms &&
                                      (!residual->data || residual->stride[d] == rows * c->r_ms));
        count *= y->shape[d];
    }
    if (joins) c->M *= count, count = md_min(count, 1);
    if (!count || !c->M || !c->N) return MD_DONE;
    const int threads = md_get_threads(), small = 2 * md_size(y) * c->K < MD_SMALL_FLOPS;
    const int constant = b->constant && count == 1;
    make_plan(c, count > 1 ? 1 : threads, constant);
    c->amx = amx_pays(c);
    if (c->amx && constant) {
        c->amx_b = md_keep(MD_SLOT_B, amx_size(c), b, &c->amx_filled);
        if (!c->amx_b) return MD_NO_MEMORY;
    } else if (constant && !c->dots && !c->packed_from && c->K) {
        int filled;
        REAL *kept = md_keep(MD_SLOT_C, (size_t)(whole_vectors(c->N) * c->K) * sizeof(REAL), b, &filled);
        if (!kept) return MD_NO_MEMORY;
        for (int64_t k0 = 0; k0 < c->K && !filled; k0 += c->kc)
            pack_columns(c, kept + k0 * whole_vectors(c->N), 0, c->N, k0, md_min(c->kc, c->K - k0));
        c->kept = kept;
    }
    if (count == 1 || small || threads == 1) for (int64_t i = 0; i < count; i++) one_of_batch(i, &all);
    else md_parallel(count, one_of_batch, &all);
    return all.status;
}
#endif
