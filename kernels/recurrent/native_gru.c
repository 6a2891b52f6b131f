/* GRU: the cell after and before the products of recurrent.h. The gates of a row are kept as w_hn h + b_hn, r, z, n. */
#include "recurrent.h"

INLINE void cell(const sequence *s, int64_t t, int64_t r0, int64_t rows, int64_t j, const int64_t cols, const float *acc, const float *in) {
    const int64_t H = s->H;
    for (int64_t k = 0; k < rows; k++, acc += 3 * VL, in += 3 * VL) {
        const vf r = vsigmoid(vload(acc) + vload(in)), z = vsigmoid(vload(acc + VL) + vload(in + VL)), hn = vload(acc + 2 * VL);
        const vf n = vtanh(vload(in + 2 * VL) + r * hn);
        if (s->out) {
            float *gates = s->out + (t * s->N + r0 + k) * s->row + j;
            ahead(s, gates, VL);
            store(gates, hn, cols);
            store(gates + H, r, cols);
            store(gates + 2 * H, z, cols);
            store(gates + 3 * H, n, cols);
        }
        store(after(s, t, r0 + k) + j, n + z * (load(before(s, t, r0 + k) + j, cols) - n), cols);
    }
}

static void gru_cell(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc, const float *in) {
    const int64_t j = p * VL, cols = s->H - j;
    if (cols >= VL) cell(s, t, r, rows, j, VL, acc, in);
    else cell(s, t, r, rows, j, cols, acc, in);
}

static void gru_rest(const sequence *s, int64_t t, int64_t r, int64_t p) {
    const int64_t j = p * VL, cols = md_min(VL, s->H - j);
    for (int g = 0; g < 4 && s->out; g++) store(s->out + (t * s->N + r) * s->row + g * s->H + j, vset(0), cols);
    store(after(s, t, r) + j, load(before(s, t, r) + j, cols), cols);
}

INLINE void cell_back(const sequence *s, int64_t t, int64_t row0, int64_t j, const int64_t cols, const float *acc) {
    const int64_t H = s->H, row = (t * s->N + row0) * s->row + j;
    const float *gates = s->gates_of + row;
    float *d = s->out + row, *dh_of = s->dh + row0 * H + j;
    if (VREGS == 32) { /* with 16 the product has called more than that: step.h */
        ahead(s, gates, 4 * VL);
        ahead(s, d, 4 * VL);
    }
    const vf hn = load(gates, cols), r = load(gates + H, cols), z = load(gates + 2 * H, cols), n = load(gates + 3 * H, cols);
    vf dh = vload(acc) + load(dh_of, cols);
    if (s->dy) dh += load(s->dy + (t * s->N + row0) * H + j, cols);
    const vf dn = dh * (1.0f - z) * (1.0f - n) * (1.0f + n);
    store(d, dn * r, cols);
    store(d + H, dn * hn * r * (1.0f - r), cols);
    store(d + 2 * H, dh * (load(before(s, t, row0) + j, cols) - n) * z * (1.0f - z), cols);
    store(d + 3 * H, dn, cols);
    store(dh_of, dh * z, cols);
}

static void gru_cell_back(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc,
                          __attribute__((unused)) const float *in) {
    for (int64_t k = 0; k < rows; k++)
        for (int64_t j = p * 4 * VL, v = 0; v < 4 && j < s->H; v++, j += VL) {
            if (s->H - j >= VL) cell_back(s, t, r + k, j, VL, acc + (k * 4 + v) * VL);
            else cell_back(s, t, r + k, j, s->H - j, acc + (k * 4 + v) * VL);
        }
}

MD_KERNEL(gru, 2, 7) {
    const md_array *hs = &a[0], *sizes = &a[8];
    const int64_t H = hs->shape[2];
    sequence s = {.T = hs->shape[0] - 1, .N = hs->shape[1], .H = H, .reverse = p[0] != 0, .gates = 3, .nv = 3,
                  .hs = (float *)hs->data, .out = a[1].shape[0] ? (float *)a[1].data : NULL, .row = 4 * H,
                  .batch = (const int64_t *)sizes->data, .cell = gru_cell, .rest = gru_rest};
    if (!MD_LOCAL(recurrent_serves)(a, 8, 2) || (s.batch && !md_contiguous(sizes))) return MD_NOT_MINE;
    return MD_LOCAL(recurrent_forward)(&s, &a[2], &a[3], &a[4]);
}

MD_KERNEL(gru_backward, 2, 6) {
    const md_array *hs = &a[3], *sizes = &a[7];
    const int64_t H = hs->shape[2];
    sequence s = {.T = hs->shape[0] - 1, .N = hs->shape[1], .H = H, .reverse = p[0] != 0, .gates = 3,
                  .out = (float *)a[0].data, .row = 4 * H, .dh = (float *)a[1].data, .gates_of = (const float *)a[2].data,
                  .hs = (float *)hs->data, .dy = (const float *)a[5].data, .batch = (const int64_t *)sizes->data,
                  .cell = gru_cell_back, .rest = MD_LOCAL(recurrent_rest_back)};
    if (!MD_LOCAL(recurrent_serves)(a, 7, -1) || (s.batch && !md_contiguous(sizes))) return MD_NOT_MINE;
    return MD_LOCAL(recurrent_backward)(&s, &a[4], 2 * H, &a[6]);
}
