/* The walk through a sequence that all recurrent kernels share: see recurrent.h. */
#include "step.h"

/* Of the input's share of a block of steps, for each thread: it stays in the second-level cache. */
enum { SHARE_BYTES = VREGS == 32 ? 1 << 20 : 1 << 18 };

static const cell_lines no_lines;

/* ---- forward ---- */

/* The i-th step of the walk. */
INLINE int64_t step_at(const sequence *s, int64_t i) { return s->reverse ? s->T - 1 - i : i; }

/* The input's share of a block's steps: of panel p and the rows of a task, which begin with r. */
INLINE float *share_of(const sequence *s, int64_t p, int64_t r) { return s->share + (p * s->N + r) * s->block * s->nv * VL; }

/* Computes it for the steps from the i-th to the last-th, rows [r, end) and panels [first, last). */
static void share(const sequence *s, int64_t i, int64_t last_i, int64_t r, int64_t end, int64_t first, int64_t last) {
    const packed *m = &s->by_x;
    const int64_t rows = (last_i - i) * (end - r), floats = md_ceil_div(rows * m->k, VL) * VL, width = s->nv * VL;
    _Alignas(64) float edge[CHUNK * 4 * VL]; /* tiles write whole strips of rows */
    left_rows left = {0};
    char *memory = row_memory(s, m, rows, floats);
    if (!memory) return;
    for (float *to = (float *)memory; i < last_i; i++)
        for (int64_t row = r; row < end; row++, to += m->k)
            memcpy(to, s->x + step_at(s, i) * s->x_step + row * s->x_row, (size_t)m->k * sizeof(float));
    if (!take_rows(s, m, &left, (float *)memory, m->k, rows, memory + floats * (int64_t)sizeof(float))) return;
    for (int64_t p = first; p < last; p++)
        for (int64_t at = 0; at < rows; at += CHUNK) {
            const int64_t count = md_min(CHUNK, rows - at);
            float *const to = share_of(s, p, r) + at * width;
            product(s, m, count % AMX_ROWS ? edge : to, s->bias_x + p * width, &left, at, count, p, &no_lines);
            if (count % AMX_ROWS) memcpy(to, edge, (size_t)(count * width) * sizeof(float));
        }
}

/* The i-th step, of rows [r, end) and panels [first, last). */
static void step(const sequence *s, int64_t i, int64_t r, int64_t end, int64_t first, int64_t last) {
    _Alignas(64) float acc[CHUNK * 4 * VL];
    const int64_t t = step_at(s, i), width = s->nv * VL, active = s->batch ? md_max(r, md_min(end, s->batch[t])) : end;
    left_rows left = {0};
    if (active > r) {
        char *memory = row_memory(s, &s->by_h, active - r, 0);
        if (!memory || !take_rows(s, &s->by_h, &left, before(s, t, r), s->H, active - r, memory)) return;
    }
    for (int64_t p = first; p < last; p++) {
        const float *in = share_of(s, p, r) + i % s->block * (end - r) * width;
        for (int64_t at = r, rows; at < active; at += rows) {
            rows = md_min(CHUNK, active - at);
            product(s, &s->by_h, acc, s->bias_h + p * width, &left, at - r, rows, p, &no_lines);
            s->cell(s, t, at, rows, p, acc, in + (at - r) * width);
        }
        for (int64_t at = active; at < end; at++) s->rest(s, t, at, p);
    }
}

/* ---- backward ---- */

/* Adds the products of a row to the gradient of its state. */
static void keep(const sequence *s, int64_t r, int64_t p, const float *acc) {
    float *dh = s->dh + r * s->H;
    for (int64_t j = p * 4 * VL; j < md_min(s->H, (p + 1) * 4 * VL); j += VL, acc += VL)
        store(dh + j, load(dh + j, s->H - j) + vload(acc), s->H - j);
}

/* What the cell of step t will read and write of panel p, from row r on. */
static void add_back(const sequence *s, cell_lines *l, int64_t t, int64_t r, int64_t p) {
    const int64_t units = 4 * VL, j = p * units, gates = (t * s->N + r) * s->row + j;
    for (int64_t g = 0; g < s->row; g += s->H) {
        if (s->gates_of) add_lines(l, s->gates_of + gates + g, s->row, units);
        add_lines(l, s->out + gates + g, s->row, units);
    }
    if (s->dy) add_lines(l, s->dy + (t * s->N + r) * s->H + j, s->H, units);
    if (s->cs) {
        add_lines(l, cell_before(s, t, r) + j, s->H, units);
        add_lines(l, cell_after(s, t, r) + j, s->H, units);
    }
    if (s->hs) add_lines(l, (s->gates_of ? before : after)(s, t, r) + j, s->H, units);
}

/* The same backward: the gradient of the state after step t is that of the gates of the step after it times the weights.
 * There is none after the last step; t behind the first one gives the gradient of the first state. */
static void step_back(const sequence *s, int64_t i, int64_t r, int64_t end, int64_t first, int64_t last) {
    static const float zeros[4 * VL];
    _Alignas(64) float acc[CHUNK * 4 * VL];
    left_rows left = {0};
    const int64_t t = s->reverse ? i : s->T - 1 - i, later = s->reverse ? t - 1 : t + 1;
    if (i) {
        char *memory = row_memory(s, &s->by_h, end - r, 0);
        if (!memory || !take_rows(s, &s->by_h, &left, s->out + (later * s->N + r) * s->row, s->row, end - r, memory)) return;
    }
    for (int64_t p = first; p < last; p++)
        for (int64_t at = r, rows; at < end; at += rows) {
            rows = md_min(CHUNK, end - at);
            cell_lines lines;
            lines.count = 0;
            if (VREGS == 16 && rows > 1 && i < s->T) add_back(s, &lines, t, at, p);
            if (i) product(s, &s->by_h, acc, zeros, &left, at - r, rows, p, &lines);
            else memset(acc, 0, (size_t)(rows * 4 * VL) * sizeof(float));
            const int64_t active = i == s->T ? 0 : s->batch ? md_max(0, md_min(rows, s->batch[t] - at)) : rows;
            if (active) s->cell(s, t, at, active, p, acc, NULL);
            for (int64_t k = active; k < rows; k++) {
                keep(s, at + k, p, acc + k * 4 * VL);
                if (i < s->T) s->rest(s, t, at + k, p);
            }
        }
}

/* ---- all steps, over the threads ---- */
typedef struct { const sequence *s; int64_t i, last, columns, rows; } walk;

static void any_step(const sequence *s, int64_t i, int64_t r, int64_t end, int64_t first, int64_t last) {
    if (s->backward) step_back(s, i, r, end, first, last);
    else step(s, i, r, end, first, last);
}

static void some_rows(int64_t task, void *ctx) {
    const walk *w = ctx;
    const sequence *s = w->s;
    const int64_t r = task * s->N / w->rows, end = (task + 1) * s->N / w->rows;
    begin_task(s);
    for (int64_t i = 0; i < w->last && *s->status == MD_DONE; i++) {
        if (!s->backward && i % s->block == 0) share(s, i, md_min(s->T, i + s->block), r, end, 0, s->panels);
        if (*s->status == MD_DONE) any_step(s, i, r, end, 0, s->panels);
    }
    end_task(s);
}
static void share_of_columns(int64_t task, void *ctx) {
    const walk *w = ctx;
    const sequence *s = w->s;
    begin_task(s);
    share(s, w->i, md_min(s->T, w->i + s->block), 0, s->N, task * s->panels / w->columns, (task + 1) * s->panels / w->columns);
    end_task(s);
}
static void some_columns(int64_t task, void *ctx) {
    const walk *w = ctx;
    begin_task(w->s);
    any_step(w->s, w->i, 0, w->s->N, task * w->s->panels / w->columns, (task + 1) * w->s->panels / w->columns);
    end_task(w->s);
}

static void all_steps(const sequence *s) {
    const int64_t threads = useful_threads(s), columns = md_min(threads, s->panels);
    walk w = {.s = s, .rows = threads, .last = s->T + s->backward};
    if (!s->by_columns) md_parallel(w.rows, some_rows, &w);
    else
        for (; w.i < w.last && *s->status == MD_DONE; w.i++) {
            w.columns = share_threads(s);
            if (!s->backward && w.i % s->block == 0) md_parallel(w.columns, share_of_columns, &w);
            w.columns = columns;
            if (*s->status == MD_DONE) md_parallel(columns, some_columns, &w);
        }
}

static void start(float *to, const md_array *from, int64_t n) {
    if (from->data) memcpy(to, from->data, (size_t)n * sizeof(float));
    else memset(to, 0, (size_t)n * sizeof(float));
}

/* Biases (gates H,), or none, in panels. */
static void pack_bias(const sequence *s, float *to, const md_array *bias) {
    memset(to, 0, (size_t)(s->panels * s->nv * VL) * sizeof(float));
    for (int64_t p = 0; p < s->panels && bias->data; p++)
        for (int v = 0; v < s->nv; v++, to += VL) {
            int64_t cols;
            const int64_t at = column(s, p, v, &cols);
            if (cols) memcpy(to, (const float *)bias->data + at, (size_t)cols * sizeof(float));
        }
}

/* Twice, if need be: tiles give up where they meet numbers that do not split. */
int MD_LOCAL(recurrent_forward)(sequence *s, const md_array *x, const md_array *states, const md_array *weights) {
    const int64_t slot = s->reverse ? s->T : 0;
    _Atomic int status;
    s->status = &status;
    s->x = (const float *)x->data;
    s->x_step = x->stride[0];
    s->x_row = x->stride[1];
    s->by_x = (packed){.k = x->shape[2], .rows = (const float *)weights[0].data};
    s->by_h = (packed){.k = s->H, .rows = (const float *)weights[1].data};
    s->panels = s->gates == 1 ? md_ceil_div(s->H, s->nv * VL) : md_ceil_div(s->H, VL);
    const int64_t width = s->panels * s->nv * VL, bytes = width * s->N * (int64_t)sizeof(float);
    s->block = md_max(1, md_min(s->T, SHARE_BYTES * useful_threads(s) / md_max(1, bytes)));
    s->bias_x = md_scratch(MD_SLOT_C, (size_t)(bytes * s->block) + (size_t)(2 * width) * sizeof(float));
    if (!s->bias_x) return MD_NO_MEMORY;
    s->bias_h = s->bias_x + width;
    s->share = s->bias_h + width;
    pack_bias(s, s->bias_x, &weights[2]);
    pack_bias(s, s->bias_h, &weights[3]);
    for (int tiles = 1; tiles >= 0; tiles--) {
        status = MD_DONE;
        if (!begin_step(s, &weights[1], tiles)) return MD_NO_MEMORY;
        const int64_t each = s->block * (s->by_columns ? s->N : s->N / useful_threads(s));
        if (!begin_product(s, &s->by_x, MD_SLOT_D, &weights[0], each, md_ceil_div(s->T, s->block), tiles)) return MD_NO_MEMORY;
        start(s->hs + slot * s->N * s->H, &states[0], s->N * s->H);
        if (s->cs) start(s->cs + slot * s->c_slot, &states[1], s->N * s->H);
        all_steps(s);
        if (status != MD_NOT_MINE) break;
    }
    return status;
}

int MD_LOCAL(recurrent_backward)(sequence *s, const md_array *w_hh, int64_t first, const md_array *last) {
    const int64_t whole = s->gates * s->H;
    const float *w = (const float *)w_hh->data;
    _Atomic int status = MD_DONE;
    s->status = &status;
    s->backward = 1;
    s->nv = 4;
    s->panels = md_ceil_div(s->H, 4 * VL);
    if (first) { /* in the slot that neither packing nor splitting takes */
        float *turned = md_scratch(MD_SLOT_C, (size_t)(whole * s->H + 1) * sizeof(float));
        if (!turned) return MD_NO_MEMORY;
        memcpy(turned, w + first * s->H, (size_t)((whole - first) * s->H) * sizeof(float));
        memcpy(turned + (whole - first) * s->H, w, (size_t)(first * s->H) * sizeof(float));
        w = turned;
    }
    s->by_h = (packed){.k = whole, .rows = w};
    for (int tiles = 1; tiles >= 0; tiles--) {
        status = MD_DONE;
        if (!begin_step(s, w_hh, tiles)) return MD_NO_MEMORY;
        start(s->dh, &last[0], s->N * s->H);
        if (s->dc) start(s->dc, &last[1], s->N * s->H);
        all_steps(s);
        if (status != MD_NOT_MINE) break;
    }
    return status;
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
        if (i == strided ? a[i].shape[2] > 1 && a[i].stride[2] != 1 : md_size(&a[i]) && !md_contiguous(&a[i])) return 0;
    }
    return 1;
}
