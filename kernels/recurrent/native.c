/* The walk through a sequence that all recurrent kernels share: see recurrent.h. */
#include "recurrent.h"

enum { KC = 64 }; /* rows of a panel that stay in the first cache while the tiles of a chunk pass */

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

void MD_LOCAL(recurrent_product)(float *acc, int nv, int64_t rows, int64_t k, const float *const *a, const float *panel) {
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

/* Where vector v of panel p belongs among the gates of a row; *cols of its lanes are units. */
INLINE int64_t unit(const sequence *s, int64_t p, int v, int64_t *cols) {
    const int64_t j = s->gates == 1 ? (p * s->nv + v) * VL : p * VL;
    *cols = md_max(0, md_min(VL, s->H - j));
    return s->gates == 1 ? j : v * s->H + j;
}

/* ---- packing ---- */
typedef struct { const sequence *s; const float *w; float *to; int64_t k, first; } packing;

static void pack(int64_t p, void *ctx) { /* the weights (gates H, k), turned */
    const packing *c = ctx;
    const int64_t width = c->s->nv * VL;
    float *to = c->to + p * width * c->k;
    for (int v = 0; v < c->s->nv; v++) {
        int64_t cols;
        const int64_t at = unit(c->s, p, v, &cols);
        pack_transposed(to + v * VL, width, c->w + at * c->k, c->k, c->k, cols);
        for (int64_t i = 0; cols < VL && i < c->k; i++) memset(to + i * width + v * VL + cols, 0, (size_t)(VL - cols) * sizeof(float));
    }
}

static void pack_columns(int64_t p, void *ctx) { /* 4 VL columns of the weights (k, H) */
    const packing *c = ctx;
    const int64_t H = c->s->H, width = 4 * VL, cols = md_min(width, H - p * width);
    float *to = c->to + p * width * c->k;
    for (int64_t i = 0; i < c->k; i++) {
        memcpy(to + i * width, c->w + (i + c->first) % c->k * H + p * width, (size_t)cols * sizeof(float));
        if (cols < width) memset(to + i * width + cols, 0, (size_t)(width - cols) * sizeof(float));
    }
}

/* Calls the gates of a panel for some rows, 4 KB apart and more, into the cache while the product runs. */
INLINE void fetch(const sequence *s, const float *gates, int64_t rows, int64_t j, int64_t lines) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t g = 0; g < s->row; g += s->H)
            for (int64_t l = 0; l < lines; l++) __builtin_prefetch(gates + i * s->row + g + j + l * 16, 0, 2);
}

/* ---- the input's share ---- */
typedef struct { const sequence *s; const md_array *x; const float *w, *bias; int64_t k, columns; } projection;

static void project(int64_t task, void *ctx) { /* a chunk of rows, and a share of the panels */
    const projection *c = ctx;
    const sequence *s = c->s;
    const int64_t panels = s->panels, first = task % c->columns * panels / c->columns, r0 = task / c->columns * CHUNK;
    const int64_t last = (task % c->columns + 1) * panels / c->columns, rows = md_min(CHUNK, s->T * s->N - r0);
    _Alignas(64) float acc[CHUNK * 4 * VL];
    const float *a[CHUNK];
    for (int64_t i = 0; i < rows; i++)
        a[i] = (const float *)c->x->data + (r0 + i) / s->N * c->x->stride[0] + (r0 + i) % s->N * c->x->stride[1];
    for (int64_t p = first; p < last; p++) {
        fetch(s, s->out + r0 * s->row, rows, p * VL, 1);
        MD_LOCAL(recurrent_product)(acc, s->nv, rows, c->k, a, c->w + p * s->nv * VL * c->k);
        for (int v = 0; v < s->nv; v++) {
            int64_t cols;
            const int64_t at = unit(s, p, v, &cols);
            if (!cols) continue;
            const vf bias = c->bias ? load(c->bias + at, cols) : vset(0);
            for (int64_t i = 0; i < rows; i++)
                store(s->out + (r0 + i) * s->row + s->input_at + at, vload(acc + (i * s->nv + v) * VL) + bias, cols);
        }
    }
}

static void each(int64_t n, void (*body)(int64_t, void *), void *ctx, int64_t flops) {
    if (flops < MD_SMALL_FLOPS) for (int64_t i = 0; i < n; i++) body(i, ctx);
    else md_parallel(n, body, ctx);
}

int MD_LOCAL(recurrent_begin)(sequence *s, const md_array *x, const md_array *w_ih, const md_array *w_hh,
                              const md_array *b_ih, const md_array *b_hh) {
    const int64_t in = x->shape[2], H = s->H, width = s->nv * VL, n = s->gates * H;
    int filled_ih, filled_hh;
    s->panels = s->gates == 1 ? md_ceil_div(H, width) : md_ceil_div(H, VL);
    s->k = H;
    float *ih = md_keep(MD_SLOT_A, (size_t)(s->panels * width * in + 1) * sizeof(float), w_ih, &filled_ih);
    float *hh = md_keep(MD_SLOT_B, (size_t)(s->panels * width * H + 1) * sizeof(float), w_hh, &filled_hh);
    float *bias = md_scratch(MD_SLOT_C, (size_t)(n + 1) * sizeof(float));
    if (!ih || !hh || !bias) return MD_NO_MEMORY;
    packing i = {.s = s, .w = (const float *)w_ih->data, .to = ih, .k = in};
    packing h = {.s = s, .w = (const float *)w_hh->data, .to = hh, .k = H};
    if (!filled_ih) each(s->panels, pack, &i, 8 * n * in);
    if (!filled_hh) each(s->panels, pack, &h, 8 * n * H);
    s->weights = hh;
    for (int64_t j = 0; j < n; j++) {
        const int joint = b_hh->data && !(s->bias && j >= 2 * H);
        bias[j] = (b_ih->data ? ((const float *)b_ih->data)[j] : 0) + (joint ? ((const float *)b_hh->data)[j] : 0);
    }
    const int64_t rows = s->T * s->N, chunks = md_ceil_div(rows, CHUNK);
    projection c = {.s = s, .x = x, .w = ih, .bias = bias, .k = in};
    c.columns = md_min(s->panels, md_ceil_div(2 * md_get_threads(), md_max(1, chunks)));
    each(chunks * c.columns, project, &c, 2 * rows * n * in);
    return MD_DONE;
}

int MD_LOCAL(recurrent_begin_backward)(sequence *s, const md_array *w_hh, int64_t first) {
    s->nv = 4;
    s->k = s->gates * s->H;
    s->panels = md_ceil_div(s->H, 4 * VL);
    int filled;
    float *to = md_keep(MD_SLOT_A, (size_t)(s->panels * 4 * VL * s->k + 1) * sizeof(float), w_hh, &filled);
    if (!to) return MD_NO_MEMORY;
    packing c = {.s = s, .w = (const float *)w_hh->data, .to = to, .k = s->k, .first = first};
    if (!filled) each(s->panels, pack_columns, &c, 8 * s->k * s->H);
    s->weights = to;
    return MD_DONE;
}

/* ---- the steps ---- */
typedef struct { const sequence *s; int64_t t, columns, rows; } walk;

/* Step t of rows [r, end) and panels [first, last). */
static void step(const sequence *s, int64_t t, int64_t r, int64_t end, int64_t first, int64_t last) {
    _Alignas(64) float acc[CHUNK * 4 * VL];
    const float *a[CHUNK];
    const int64_t active = s->batch ? md_max(r, md_min(end, s->batch[t])) : end;
    for (; r < active; r += CHUNK) {
        const int64_t rows = md_min(CHUNK, active - r);
        for (int64_t i = 0; i < rows; i++) a[i] = before(s, s->hs, t, r + i);
        for (int64_t p = first; p < last; p++) {
            fetch(s, s->out + (t * s->N + r) * s->row, rows, p * VL, 1);
            MD_LOCAL(recurrent_product)(acc, s->nv, rows, s->k, a, s->weights + p * s->nv * VL * s->k);
            s->cell(s, t, r, rows, p, acc);
        }
    }
    for (r = active; r < end; r++)
        for (int64_t p = first; p < last; p++) s->rest(s, t, r, p);
}

/* Adds the products of a row to the gradient of its state. */
static void keep(const sequence *s, int64_t r, int64_t p, const float *acc) {
    float *dh = s->dh + r * s->H;
    for (int64_t j = p * 4 * VL; j < md_min(s->H, (p + 1) * 4 * VL); j += VL, acc += VL)
        store(dh + j, load(dh + j, s->H - j) + vload(acc), s->H - j);
}

/* The same backward: the gradient of the state after step t is that of the gates of the step after it times the weights.
 * There is none after the last step; t behind the first one gives the gradient of the first state. */
static void step_back(const sequence *s, int64_t i, int64_t r, int64_t end, int64_t first, int64_t last) {
    _Alignas(64) float acc[CHUNK * 4 * VL];
    const float *a[CHUNK];
    const int64_t t = s->reverse ? i : s->T - 1 - i, later = s->reverse ? t - 1 : t + 1;
    for (; r < end; r += CHUNK) {
        const int64_t rows = md_min(CHUNK, end - r);
        for (int64_t k = 0; k < rows; k++) a[k] = s->out + (later * s->N + r + k) * s->row + s->k_at;
        for (int64_t p = first; p < last; p++) {
            if (i < s->T) {
                fetch(s, s->out + (t * s->N + r) * s->row, rows, p * 4 * VL, 4);
                if (s->gates_of) fetch(s, s->gates_of + (t * s->N + r) * s->row, rows, p * 4 * VL, 4);
            }
            if (i) MD_LOCAL(recurrent_product)(acc, 4, rows, s->k, a, s->weights + p * 4 * VL * s->k);
            else memset(acc, 0, (size_t)(rows * 4 * VL) * sizeof(float));
            const int64_t active = i == s->T ? 0 : s->batch ? md_max(0, md_min(rows, s->batch[t] - r)) : rows;
            if (active) s->cell(s, t, r, active, p, acc);
            for (int64_t k = active; k < rows; k++) {
                keep(s, r + k, p, acc + k * 4 * VL);
                if (i < s->T) s->rest(s, t, r + k, p);
            }
        }
    }
}

static void rows_forward(int64_t task, void *ctx) {
    const walk *w = ctx;
    const sequence *s = w->s;
    for (int64_t i = 0; i < s->T; i++)
        step(s, s->reverse ? s->T - 1 - i : i, task * s->N / w->rows, (task + 1) * s->N / w->rows, 0, s->panels);
}
static void columns_forward(int64_t task, void *ctx) {
    const walk *w = ctx;
    step(w->s, w->t, 0, w->s->N, task * w->s->panels / w->columns, (task + 1) * w->s->panels / w->columns);
}
static void rows_backward(int64_t task, void *ctx) {
    const walk *w = ctx;
    const sequence *s = w->s;
    for (int64_t i = 0; i <= s->T; i++) step_back(s, i, task * s->N / w->rows, (task + 1) * s->N / w->rows, 0, s->panels);
}
static void columns_backward(int64_t task, void *ctx) {
    const walk *w = ctx;
    step_back(w->s, w->t, 0, w->s->N, task * w->s->panels / w->columns, (task + 1) * w->s->panels / w->columns);
}

/* How many threads the steps are worth. */
static int64_t useful_threads(const sequence *s) {
    return 2 * s->N * s->gates * s->H * s->H < MD_SMALL_FLOPS ? 1 : md_get_threads();
}

void MD_LOCAL(recurrent_forward)(const sequence *s) {
    walk w = {.s = s};
    const int64_t threads = useful_threads(s);
    if (threads == 1 || s->N >= 8 * threads) {
        w.rows = threads;
        md_parallel(threads, rows_forward, &w);
        return;
    }
    w.columns = md_min(threads, s->panels);
    for (int64_t i = 0; i < s->T; i++) {
        w.t = s->reverse ? s->T - 1 - i : i;
        md_parallel(w.columns, columns_forward, &w);
    }
}

void MD_LOCAL(recurrent_backward)(const sequence *s) {
    walk w = {.s = s};
    const int64_t threads = useful_threads(s);
    if (threads == 1 || s->N >= 8 * threads) {
        w.rows = threads;
        md_parallel(threads, rows_backward, &w);
        return;
    }
    w.columns = md_min(threads, s->panels);
    for (w.t = 0; w.t <= s->T; w.t++) md_parallel(w.columns, columns_backward, &w);
}

void MD_LOCAL(recurrent_rest_back)(const sequence *s, int64_t t, int64_t r, int64_t p) {
    const int64_t row = t * s->N + r;
    for (int64_t j = p * 4 * VL; j < md_min(s->H, (p + 1) * 4 * VL); j++) {
        for (int64_t g = j; g < s->row; g += s->H) s->out[row * s->row + g] = 0;
        if (s->dy) s->dh[r * s->H + j] += s->dy[row * s->H + j];
    }
}

int MD_LOCAL(recurrent_serves)(const md_array *a, int n, int strided) {
    for (int i = 0; i < n; i++) {
        if (!a[i].data) continue;
        if (a[i].dtype != MD_F32) return 0;
        if (i == strided ? a[i].shape[2] > 1 && a[i].stride[2] != 1 : !md_contiguous(&a[i])) return 0;
    }
    return 1;
}
