/* LSTM: the cell after and before the products of recurrent.h. */
#include "recurrent.h"

INLINE void cell(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t j, const int64_t cols, const float *acc, const float *in) {
    const int64_t H = s->H;
    for (int64_t k = 0; k < rows; k++, acc += 4 * VL, in += 4 * VL) {
        const vf i = vsigmoid(vload(acc) + vload(in)), f = vsigmoid(vload(acc + VL) + vload(in + VL));
        const vf g = vtanh(vload(acc + 2 * VL) + vload(in + 2 * VL)), o = vsigmoid(vload(acc + 3 * VL) + vload(in + 3 * VL));
        const vf c = f * load(cell_before(s, t, r + k) + j, cols) + i * g;
        if (s->out) {
            float *gates = s->out + (t * s->N + r + k) * s->row + j;
            ahead(s, gates, VL);
            store(gates, i, cols);
            store(gates + H, f, cols);
            store(gates + 2 * H, g, cols);
            store(gates + 3 * H, o, cols);
        }
        store(cell_after(s, t, r + k) + j, c, cols);
        store(after(s, t, r + k) + j, o * vtanh(c), cols);
    }
}

static void lstm_cell(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc, const float *in) {
    const int64_t j = p * VL, cols = s->H - j;
    if (cols >= VL) cell(s, t, r, rows, j, VL, acc, in);
    else cell(s, t, r, rows, j, cols, acc, in);
}

static void lstm_rest(const sequence *s, int64_t t, int64_t r, int64_t p) {
    const int64_t j = p * VL, cols = md_min(VL, s->H - j);
    for (int g = 0; g < 4 && s->out; g++) store(s->out + (t * s->N + r) * s->row + g * s->H + j, vset(0), cols);
    store(cell_after(s, t, r) + j, load(cell_before(s, t, r) + j, cols), cols);
    store(after(s, t, r) + j, load(before(s, t, r) + j, cols), cols);
}

INLINE void cell_back(const sequence *s, int64_t t, int64_t r, int64_t j, const int64_t cols, const float *acc) {
    const int64_t H = s->H, row = (t * s->N + r) * s->row + j;
    const float *gates = s->gates_of + row;
    float *d = s->out + row, *dh_of = s->dh + r * H + j, *dc_of = s->dc + r * H + j;
    if (VREGS == 32) { /* with 16 the product has called more than that: step.h */
        ahead(s, gates, 4 * VL);
        ahead(s, d, 4 * VL);
    }
    const vf i = load(gates, cols), f = load(gates + H, cols), g = load(gates + 2 * H, cols), o = load(gates + 3 * H, cols);
    const vf tanh_c = vtanh(load(cell_after(s, t, r) + j, cols));
    vf dh = vload(acc) + load(dh_of, cols);
    if (s->dy) dh += load(s->dy + (t * s->N + r) * H + j, cols);
    const vf dc = load(dc_of, cols) + dh * o * (1.0f - tanh_c) * (1.0f + tanh_c);
    store(d, dc * g * i * (1.0f - i), cols);
    store(d + H, dc * load(cell_before(s, t, r) + j, cols) * f * (1.0f - f), cols);
    store(d + 2 * H, dc * i * (1.0f - g) * (1.0f + g), cols);
    store(d + 3 * H, dh * tanh_c * o * (1.0f - o), cols);
    store(dh_of, vset(0), cols);
    store(dc_of, dc * f, cols);
}

static void lstm_cell_back(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc,
                           __attribute__((unused)) const float *in) {
    for (int64_t k = 0; k < rows; k++)
        for (int64_t j = p * 4 * VL, v = 0; v < 4 && j < s->H; v++, j += VL) {
            if (s->H - j >= VL) cell_back(s, t, r + k, j, VL, acc + (k * 4 + v) * VL);
            else cell_back(s, t, r + k, j, s->H - j, acc + (k * 4 + v) * VL);
        }
}

MD_KERNEL(lstm, 3, 8) {
    const md_array *hs = &a[0], *sizes = &a[10];
    sequence s = {.T = hs->shape[0] - 1, .N = hs->shape[1], .H = hs->shape[2], .reverse = p[0] != 0, .gates = 4, .nv = 4,
                  .hs = (float *)hs->data, .cs = (float *)a[1].data, .row = 4 * hs->shape[2],
                  .out = a[2].shape[0] ? (float *)a[2].data : NULL,
                  .c_slot = a[1].shape[0] > 1 ? hs->shape[1] * hs->shape[2] : 0,
                  .batch = (const int64_t *)sizes->data, .cell = lstm_cell, .rest = lstm_rest};
    if (!MD_LOCAL(recurrent_serves)(a, 10, 3) || (s.batch && !md_contiguous(sizes))) return MD_NOT_MINE;
    return MD_LOCAL(recurrent_forward)(&s, &a[3], &a[4], &a[6]);
}

MD_KERNEL(lstm_backward, 3, 7) {
    const md_array *cs = &a[4], *sizes = &a[9];
    sequence s = {.T = cs->shape[0] - 1, .N = cs->shape[1], .H = cs->shape[2], .reverse = p[0] != 0, .gates = 4,
                  .out = (float *)a[0].data, .row = 4 * cs->shape[2], .dh = (float *)a[1].data, .dc = (float *)a[2].data,
                  .gates_of = (const float *)a[3].data, .cs = (float *)cs->data,
                  .c_slot = cs->shape[1] * cs->shape[2], .dy = (const float *)a[6].data,
                  .batch = (const int64_t *)sizes->data, .cell = lstm_cell_back, .rest = MD_LOCAL(recurrent_rest_back)};
    if (!MD_LOCAL(recurrent_serves)(a, 9, -1) || (s.batch && !md_contiguous(sizes))) return MD_NOT_MINE;
    return MD_LOCAL(recurrent_backward)(&s, &a[5], 0, &a[7]);
}
