/* The products of a step: rows of inputs or states (backward: of the gates' gradients) times a panel of weights. They run on
 * matrix tiles (amx.h) where rows are enough to fill them, else on vectors. Both pack the weights once for all steps, but not for
 * some few rows: these are dot products. For tiles the rows are split once, for all panels. */
#ifndef RECURRENT_STEP_H
#define RECURRENT_STEP_H
#include "amx.h"
#include "recurrent.h"

/* Rows whose sums are in the first-level cache together, and those of a panel, which stay there while they pass. */
enum { CHUNK = 64, KC = VREGS == 32 ? 64 : 128 };
enum { MOST_DOTS = 8 }; /* rows of all steps that packing the weights does not pay for */

/* ---- vectors ---- */

#if VREGS == 32
enum { ROWS_OF_3 = 8, ROWS_OF_4 = 6 };
#else
enum { ROWS_OF_3 = 4, ROWS_OF_4 = 3 };
#endif

/* acc (+)= a[i][k] panel[k] for k in [k0, k1), `mr` rows and nv vectors in registers; the sums begin with the row `start`. */
INLINE void tile_sum(const int mr, const int nv, float *acc, const float *start, const float *const *rows, int64_t k0, int64_t k1,
                     const float *panel) {
    const float *a[ROWS_OF_3];
    vf sum[ROWS_OF_3][4];
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++) {
        a[i] = rows[i];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) sum[i][v] = vload(k0 ? acc + (i * nv + v) * VL : start + v * VL);
    }
    panel += k0 * nv * VL;
    for (int64_t k = k0; k < k1; k++, panel += nv * VL) {
#if VREGS == 16
        if (mr <= nv) { /* all rows' numbers are in registers and one vector of the panel, which leaves 12 for the sums */
            vf x[4];
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) {
                x[i] = vset(a[i][k]);
                IN_REGISTER(x[i]);
            }
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) {
                vf b = vload(panel + v * VL);
                IN_REGISTER(b);
#pragma GCC unroll 4
                for (int i = 0; i < mr; i++) sum[i][v] += x[i] * b;
            }
            continue;
        }
#endif
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

#define SUM(mr, nv) case mr: tile_sum(mr, nv, acc, start, a, k0, k1, panel); break;
static void sum_of_4(int mr, float *acc, const float *start, const float *const *a, int64_t k0, int64_t k1, const float *panel) {
    switch (mr) {
        SUM(1, 4) SUM(2, 4) SUM(3, 4)
#if VREGS == 32
        SUM(4, 4) SUM(5, 4) SUM(6, 4)
#endif
    }
}
static void sum_of_3(int mr, float *acc, const float *start, const float *const *a, int64_t k0, int64_t k1, const float *panel) {
    switch (mr) {
        SUM(1, 3) SUM(2, 3) SUM(3, 3) SUM(4, 3)
#if VREGS == 32
        SUM(5, 3) SUM(6, 3) SUM(7, 3) SUM(8, 3)
#endif
    }
}

/* What the cell behind a product will read and write: lines of the cache, in the first row, and how far those of the next are. */
enum { MOST_LINES = 24 };
typedef struct { int count; const float *at[MOST_LINES]; int64_t row[MOST_LINES]; } cell_lines;

INLINE void add_lines(cell_lines *l, const float *from, int64_t row, int64_t floats) {
    for (int64_t j = 0; j < floats && l->count < MOST_LINES; j += 64 / sizeof(float)) {
        l->at[l->count] = from + j;
        l->row[l->count++] = row;
    }
}

/* With 16 registers it calls the lines into the second-level cache between its tiles, some in each block of k: all at once they
 * would be waited for. */
static void vector_product(float *acc, int nv, int64_t rows, int64_t k, const float *start, const float *const *a, const float *panel,
                           __attribute__((unused)) const cell_lines *l) {
    const int64_t tiles = md_ceil_div(rows, nv == 4 ? ROWS_OF_4 : ROWS_OF_3), each = rows / tiles, longer = rows % tiles;
    const int64_t block = rows == 1 ? md_max(1, k) : KC;
    int64_t k0 = 0;
    do {
#if VREGS == 16
        const int first = (int)(l->count * k0 / md_max(1, k)), last = (int)(l->count * md_min(k, k0 + block) / md_max(1, k));
#endif
        for (int64_t tile = 0, i = 0; tile < tiles; tile++) {
            const int mr = (int)(each + (tile < longer));
#if VREGS == 16
            for (int j = first; j < last; j++)
                for (int64_t r = i; r < i + mr; r++) __builtin_prefetch(l->at[j] + r * l->row[j], 0, 2);
#endif
            (nv == 4 ? sum_of_4 : sum_of_3)(mr, acc + i * nv * VL, start, a + i, k0, md_min(k, k0 + block), panel);
            i += mr;
        }
        k0 += block;
    } while (k0 < k);
}

/* Where vector v of panel p belongs among the columns of the product; *cols of its lanes exist. A panel of the forward product
 * has all gates of VL units. */
INLINE int64_t column(const sequence *s, int64_t p, int v, int64_t *cols) {
    const int64_t joint = s->gates == 1 || s->backward, j = joint ? (p * s->nv + v) * VL : p * VL;
    *cols = md_max(0, md_min(VL, s->H - j));
    return joint ? j : v * s->H + j;
}

typedef struct { const sequence *s; const packed *m; char *to; } packing;

/* Where the weights of vector v of panel p begin; from one of its lanes to the next it is `lane`, along k it is `along`. */
INLINE const float *weights_at(const sequence *s, const packed *m, int64_t p, int v, int64_t *cols, int64_t *lane, int64_t *along) {
    *lane = s->backward ? 1 : m->k;
    *along = s->backward ? s->H : 1;
    return m->rows + column(s, p, v, cols) * *lane;
}

static void pack_vectors(int64_t p, void *ctx) {
    const packing *c = ctx;
    const int64_t width = c->s->nv * VL, k = c->m->k;
    float *to = (float *)c->to + p * width * k;
    for (int v = 0; v < c->s->nv; v++, to += VL) {
        int64_t cols, lane, along;
        const float *w = weights_at(c->s, c->m, p, v, &cols, &lane, &along);
        if (c->s->backward)
            for (int64_t i = 0; i < k; i++) vstore(to + i * width, load(w + i * along, cols));
        else {
            pack_transposed(to, width, w, lane, k, cols);
            for (int64_t i = 0; cols < VL && i < k; i++) memset(to + i * width + cols, 0, (size_t)(VL - cols) * sizeof(float));
        }
    }
}

/* Forward, with weights as they are: row by row, so that each lane's sum lies in a vector of its own. */
static void dot_product(const sequence *s, const packed *m, float *acc, const float *start, int64_t rows, const float *const *a,
                        int64_t p) {
    for (int v = 0; v < s->nv; v++) {
        int64_t cols, lane, along;
        const float *w = weights_at(s, m, p, v, &cols, &lane, &along);
        for (int64_t i = 0; i < rows; i++) {
            vf sum[VL];
            for (int j = 0; j < VL; j++) sum[j] = vset(0);
            for (int64_t k = 0; cols && k < m->k; k += VL) { /* without units there are no weights */
                const vf x = load(a[i] + k, m->k - k);
#pragma GCC unroll 16
                for (int j = 0; j < VL; j++) sum[j] += x * load(w + (j < cols ? j : 0) * lane + k, m->k - k);
            }
            vstore(acc + (i * s->nv + v) * VL, cols ? vload(start + v * VL) + vsums(sum) : vset(0));
        }
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

INLINE int64_t strip_bytes(const packed *m) { return md_ceil_div(m->k, AMX_K) * TILE_STEP; }
/* Behind the panels stand their ranges. */
INLINE amx_range *ranges_of(const sequence *s, const packed *m, char *tiles) {
    return (amx_range *)(tiles + s->panels * s->nv * strip_bytes(m));
}

static void pack_tiles(int64_t p, void *ctx) { /* pairs of vectors side by side */
    const packing *c = ctx;
    const int nv = c->s->nv;
    amx_range range = amx_no_numbers;
    for (int v = 0; v < nv; v++) {
        const int pair = v / 2 * 2, across = nv - pair > 1 ? 2 : 1;
        int64_t cols, lane, along;
        const float *w = weights_at(c->s, c->m, p, v, &cols, &lane, &along);
        char *to = c->to + (p * nv + pair) * strip_bytes(c->m) + (v - pair) * AMX_TILE;
        range = amx_both(range, amx_pack(to, across * TILE_STEP, across * AMX_TILE, w, lane, along, cols, c->m->k, 1));
    }
    ranges_of(c->s, c->m, c->to)[p] = range;
}

/* The weights as tiles: 0 where there is no memory. m->tiles stays NULL where they do not split. */
static int begin_tiles(const sequence *s, packed *m, int slot, const md_array *w) {
    int filled;
    char *tiles = md_keep(slot, (size_t)(s->panels * s->nv * strip_bytes(m)) + (size_t)s->panels * sizeof(amx_range), w, &filled);
    if (!tiles) return 0;
    packing c = {s, m, tiles};
    if (!filled) md_parallel(s->panels, pack_tiles, &c);
    m->range = amx_no_numbers;
    for (int64_t p = 0; p < s->panels; p++) m->range = amx_both(m->range, ranges_of(s, m, tiles)[p]);
    if (amx_fits(amx_no_numbers, m->range)) m->tiles = tiles;
    return 1;
}

INLINE int64_t split_bytes(const packed *m, int64_t rows) { return md_ceil_div(rows, AMX_ROWS) * strip_bytes(m); }
static int split_rows(const packed *m, left_rows *l, int64_t rows, char *to) {
    amx_range range = amx_no_numbers;
    for (int64_t i = 0; i < rows; i += AMX_ROWS)
        range = amx_both(range, amx_pack(to + i / AMX_ROWS * strip_bytes(m), TILE_STEP, AMX_TILE, l->x + i * l->stride, l->stride, 1,
                                         md_min(AMX_ROWS, rows - i), m->k, 0));
    l->parts = to;
    return amx_fits(range, m->range) ? MD_DONE : MD_NOT_MINE;
}

static void tile_product(const packed *m, float *acc, int nv, int64_t rows, const float *start, const char *parts, int64_t p) {
    const int64_t strip = strip_bytes(m);
    const char *b = m->tiles + p * nv * strip;
    amx_args t = {.steps = md_ceil_div(m->k, AMX_K), .a_row = 64, .a_tile = strip, .a_part = AMX_TILE, .ldy = nv * VL};
    for (int v = 0; v < nv; v += 2) {
        const int across = nv - v > 1 ? 2 : 1;
        t.start = start + v * VL;
        for (int64_t i = 0; i < rows; i += 2 * AMX_ROWS) {
            const int more = i + 2 * AMX_ROWS < rows;
            t.a = parts + i / AMX_ROWS * strip;
            t.next_a = more ? t.a + 2 * strip : parts;
            t.b = b;
            t.next_b = more ? b : b + across * strip;
            t.y = acc + (i * nv + v) * VL;
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
    const int64_t bytes = (tiles ? 6 : 4) * s->gates * s->H * s->H;
    if (threads == 1 || s->N < 8 * threads) return md_get_threads() > 1;
    if (bytes > IN_CACHE) return 1;
    return tiles && !s->backward && s->N - (bytes > IN_CACHE / 2) < AMX_ROWS * threads;
}

/* How many threads the steps are worth. */
static int64_t useful_threads(const sequence *s) {
    return 2 * s->N * s->gates * s->H * s->H < MD_SMALL_FLOPS ? 1 : md_get_threads();
}

static int64_t share_threads(const sequence *s) {
    const int64_t flops = 2 * s->block * s->N * s->gates * s->H * s->by_x.k;
    return flops < MD_SMALL_FLOPS ? 1 : md_min(md_get_threads(), s->panels);
}

/* Packs m->rows, which are those of w or follow from them, for so many rows of `each` task and step. 0: no memory. */
static int begin_product(const sequence *s, packed *m, int slot, const md_array *w, __attribute__((unused)) int64_t each,
                         __attribute__((unused)) int64_t steps, __attribute__((unused)) int tiles) {
    m->tiles = NULL;
    m->vectors = NULL;
#if MD_AMX
    if (tiles && md_has_amx() && each >= 12 && m->k >= 32 && s->H >= 32 && steps * each >= 96) {
        if (!begin_tiles(s, m, slot, w)) return 0;
        if (m->tiles) return 1;
    }
#endif
    if (!s->backward && !w->constant && s->T * s->N <= MOST_DOTS) return 1;
    int filled;
    char *to = md_keep(slot, (size_t)(s->panels * s->nv * VL * m->k + 1) * sizeof(float), w, &filled);
    packing c = {s, m, to};
    if (to && !filled) {
        if (8 * s->gates * s->H * m->k < MD_SMALL_FLOPS) for (int64_t p = 0; p < s->panels; p++) pack_vectors(p, &c);
        else md_parallel(s->panels, pack_vectors, &c);
    }
    m->vectors = (float *)to;
    return to != NULL;
}

/* The same for the weights of the states, or backward of the gates, and how the threads share the steps. */
static int begin_step(sequence *s, const md_array *w, int tiles) {
    const int64_t threads = useful_threads(s);
    s->by_columns = by_columns(s, threads, tiles);
    const int64_t each = s->by_columns ? s->N : s->N / threads;
    if (!begin_product(s, &s->by_h, MD_SLOT_A, w, each, s->T, tiles)) return 0;
    if (!s->by_h.tiles) s->by_columns = by_columns(s, threads, 0);
    return 1;
}

/* Before the first and after the last product of a task. */
static void begin_task(__attribute__((unused)) const sequence *s) {
#if MD_AMX
    if (s->by_x.tiles || s->by_h.tiles) configure();
#endif
}
static void end_task(__attribute__((unused)) const sequence *s) {
#if MD_AMX
    if (s->by_x.tiles || s->by_h.tiles) release();
#endif
}

/* Memory of this thread for the parts of so many rows, behind so many floats; NULL, and said so, where there is none. */
static char *row_memory(const sequence *s, __attribute__((unused)) const packed *m, __attribute__((unused)) int64_t rows, int64_t floats) {
    int64_t bytes = floats * (int64_t)sizeof(float) + 64;
#if MD_AMX
    if (m->tiles) bytes += split_bytes(m, rows);
#endif
    char *memory = md_scratch(MD_SLOT_B, (size_t)bytes);
    if (!memory) *s->status = MD_NO_MEMORY;
    return memory;
}

/* So many rows from x on are to be multiplied by m. 0, and the reason in *s->status, where they do not split. */
static int take_rows(__attribute__((unused)) const sequence *s, __attribute__((unused)) const packed *m, left_rows *l, const float *x,
                     int64_t stride, __attribute__((unused)) int64_t rows, __attribute__((unused)) char *memory) {
    *l = (left_rows){.x = x, .stride = stride};
#if MD_AMX
    if (m->tiles) {
        const int status = split_rows(m, l, rows, memory);
        if (status != MD_DONE) *s->status = status;
        return status == MD_DONE;
    }
#endif
    return 1;
}

/* acc[i][j] = start[j] + sum over k of rows[first + i][k] panel p[k][j]. */
static void product(const sequence *s, const packed *m, float *acc, const float *start, const left_rows *l, int64_t first, int64_t rows,
                    int64_t p, const cell_lines *lines) {
#if MD_AMX
    if (m->tiles) {
        tile_product(m, acc, s->nv, rows, start, l->parts + first / AMX_ROWS * strip_bytes(m), p);
        return;
    }
#endif
    const float *a[CHUNK];
    for (int64_t i = 0; i < rows; i++) a[i] = l->x + (first + i) * l->stride;
    if (m->vectors) vector_product(acc, s->nv, rows, m->k, start, a, m->vectors + p * s->nv * VL * m->k, lines);
    else dot_product(s, m, acc, start, rows, a, p);
}
#endif
