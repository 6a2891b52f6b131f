/* The walk through a sequence that all recurrent kernels share: see recurrent.h. */
#include "step.h"

int MD_LOCAL(matmul_float)(const md_array *arrays, int activation);

/* ---- the input's share ---- */

typedef struct { const md_array *x; float *to; int64_t batch, inputs; } gathering;

static void gather(int64_t t, void *ctx) {
    const gathering *c = ctx;
    for (int64_t r = 0; r < c->batch; r++)
        memcpy(c->to + (t * c->batch + r) * c->inputs, (const float *)c->x->data + t * c->x->stride[0] + r * c->x->stride[1],
               (size_t)c->inputs * sizeof(float));
}

/* out = x w_ih^T + b_ih + b_hh for all steps. weights: w_ih, w_hh, b_ih, b_hh. */
static int input_share(const sequence *s, const md_array *x, const md_array *weights) {
    const int64_t inputs = x->shape[2], rows = s->T * s->N, n = s->gates * s->H;
    const int in_line = s->T <= 1 || s->N <= 1 || x->stride[0] == s->N * x->stride[1]; /* else they are brought there */
    float *bias = md_scratch(MD_SLOT_C, (size_t)(n + 1 + (in_line ? 0 : rows * inputs)) * sizeof(float));
    if (!bias) return MD_NO_MEMORY;
    const float *b_ih = (const float *)weights[2].data, *b_hh = (const float *)weights[3].data;
    for (int64_t j = 0; j < n; j++) bias[j] = (b_ih ? b_ih[j] : 0) + (b_hh && !(s->bias && j >= 2 * s->H) ? b_hh[j] : 0);
    gathering g = {.x = x, .to = bias + n, .batch = s->N, .inputs = inputs};
    if (!in_line) md_parallel(s->T, gather, &g);
    const md_array arrays[] = {
        {.data = (char *)(s->out + s->input_at), .shape = {rows, n}, .stride = {s->row, 1}, .ndim = 2, .dtype = MD_F32},
        {.data = in_line ? x->data : (char *)g.to, .shape = {rows, inputs},
         .stride = {!in_line ? inputs : s->N <= 1 ? x->stride[0] : x->stride[1], 1}, .ndim = 2, .dtype = MD_F32},
        {.data = weights->data, .shape = {inputs, n}, .stride = {1, inputs}, .ndim = 2, .dtype = MD_F32, .constant = weights->constant},
        {.data = (char *)bias, .shape = {n}, .stride = {1}, .ndim = 1, .dtype = MD_F32},
        {.data = NULL}};
    return MD_LOCAL(matmul_float)(arrays, 0);
}

/* ---- the steps ---- */
typedef struct { const sequence *s; int64_t t, columns, rows; } walk;

/* Step t of rows [r, end) and panels [first, last). */
static void step(const sequence *s, int64_t t, int64_t r, int64_t end, int64_t first, int64_t last) {
    _Alignas(64) float acc[CHUNK * 4 * VL];
    left_rows left;
    const int64_t active = s->batch ? md_max(r, md_min(end, s->batch[t])) : end;
    if (active > r && !take_rows(s, &left, before(s, s->hs, t, r), s->H, active - r)) return;
    for (int64_t p = first; p < last; p++) {
        for (int64_t i = r, rows; i < active; i += rows) {
            rows = md_min(CHUNK, active - i);
            product(s, acc, &left, i - r, rows, p);
            s->cell(s, t, i, rows, p, acc);
        }
        for (int64_t i = active; i < end; i++) s->rest(s, t, i, p);
    }
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
    left_rows left;
    const int64_t t = s->reverse ? i : s->T - 1 - i, later = s->reverse ? t - 1 : t + 1;
    if (i && !take_rows(s, &left, s->out + (later * s->N + r) * s->row, s->row, end - r)) return;
    for (int64_t p = first; p < last; p++)
        for (int64_t at = r, rows; at < end; at += rows) {
            rows = md_min(CHUNK, end - at);
            if (i) product(s, acc, &left, at - r, rows, p);
            else memset(acc, 0, (size_t)(rows * 4 * VL) * sizeof(float));
            const int64_t active = i == s->T ? 0 : s->batch ? md_max(0, md_min(rows, s->batch[t] - at)) : rows;
            if (active) s->cell(s, t, at, active, p, acc);
            for (int64_t k = active; k < rows; k++) {
                keep(s, at + k, p, acc + k * 4 * VL);
                if (i < s->T) s->rest(s, t, at + k, p);
            }
        }
}

/* Step i of the walk, for some rows and panels. */
static void any_step(const sequence *s, int64_t i, int64_t r, int64_t end, int64_t first, int64_t last) {
    if (s->backward) step_back(s, i, r, end, first, last);
    else step(s, s->reverse ? s->T - 1 - i : i, r, end, first, last);
}

static void some_rows(int64_t task, void *ctx) {
    const walk *w = ctx;
    const sequence *s = w->s;
    begin_task(s);
    for (int64_t i = 0; i < s->T + s->backward && *s->status == MD_DONE; i++)
        any_step(s, i, task * s->N / w->rows, (task + 1) * s->N / w->rows, 0, s->panels);
    end_task(s);
}
static void some_columns(int64_t task, void *ctx) {
    const walk *w = ctx;
    const sequence *s = w->s;
    begin_task(s);
    any_step(s, w->t, 0, s->N, task * s->panels / w->columns, (task + 1) * s->panels / w->columns);
    end_task(s);
}

/* All steps, in order, over the threads. */
static void all_steps(const sequence *s) {
    walk w = {.s = s, .rows = useful_threads(s), .columns = md_min(useful_threads(s), s->panels)};
    if (!s->by_columns) md_parallel(w.rows, some_rows, &w);
    else for (; w.t < s->T + s->backward && *s->status == MD_DONE; w.t++) md_parallel(w.columns, some_columns, &w);
}

static void start(float *to, const md_array *from, int64_t n) {
    if (from->data) memcpy(to, from->data, (size_t)n * sizeof(float));
    else memset(to, 0, (size_t)n * sizeof(float));
}

/* Twice, if need be: tiles give up where they meet numbers that do not split. */
int MD_LOCAL(recurrent_forward)(sequence *s, const md_array *x, const md_array *states, const md_array *weights) {
    const int64_t first = (s->reverse ? s->T : 0) * s->N * s->H;
    _Atomic int status;
    s->status = &status;
    s->k = s->H;
    s->panels = s->gates == 1 ? md_ceil_div(s->H, s->nv * VL) : md_ceil_div(s->H, VL);
    for (int tiles = 1; tiles >= 0; tiles--) {
        status = input_share(s, x, weights);
        if (status != MD_DONE) return status;
        if (!begin_product(s, &weights[1], (const float *)weights[1].data, tiles)) return MD_NO_MEMORY;
        start(s->hs + first, &states[0], s->N * s->H);
        if (s->cs) start(s->cs + first, &states[1], s->N * s->H);
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
    s->k = whole;
    s->panels = md_ceil_div(s->H, 4 * VL);
    if (first) { /* in the slot that neither packing nor splitting takes */
        float *turned = md_scratch(MD_SLOT_C, (size_t)(whole * s->H + 1) * sizeof(float));
        if (!turned) return MD_NO_MEMORY;
        memcpy(turned, w + first * s->H, (size_t)((whole - first) * s->H) * sizeof(float));
        memcpy(turned + (whole - first) * s->H, w, (size_t)(first * s->H) * sizeof(float));
        w = turned;
    }
    for (int tiles = 1; tiles >= 0; tiles--) {
        status = MD_DONE;
        if (!begin_product(s, w_hh, w, tiles)) return MD_NO_MEMORY;
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
        if (i == strided ? a[i].shape[2] > 1 && a[i].stride[2] != 1 : !md_contiguous(&a[i])) return 0;
    }
    return 1;
}
