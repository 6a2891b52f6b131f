/* The plain recurrent layer: h = tanh or relu of the sum. */
#include "recurrent.h"

static void rnn_cell(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc, const float *in) {
    for (int64_t k = 0; k < rows; k++)
        for (int64_t j = p * 4 * VL, v = 0; v < 4 && j < s->H; v++, j += VL) {
            const vf x = vload(acc + (k * 4 + v) * VL) + vload(in + (k * 4 + v) * VL);
            store(after(s, t, r + k) + j, s->relu ? vmax(vset(0), x) : vtanh(x), s->H - j);
        }
}

static void rnn_rest(const sequence *s, int64_t t, int64_t r, int64_t p) {
    const int64_t j = p * 4 * VL, end = md_min(s->H, j + 4 * VL);
    memcpy(after(s, t, r) + j, before(s, t, r) + j, (size_t)(end - j) * sizeof(float));
}

static void rnn_cell_back(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc,
                          __attribute__((unused)) const float *in) {
    for (int64_t k = 0; k < rows; k++)
        for (int64_t j = p * 4 * VL, v = 0; v < 4 && j < s->H; v++, j += VL) {
            const int64_t cols = s->H - j;
            float *dh_of = s->dh + (r + k) * s->H + j;
            const vf h = load(after(s, t, r + k) + j, cols);
            vf dh = vload(acc + (k * 4 + v) * VL) + load(dh_of, cols);
            if (s->dy) dh += load(s->dy + (t * s->N + r + k) * s->H + j, cols);
            store(s->out + (t * s->N + r + k) * s->H + j, s->relu ? vsel(h > 0.0f, dh, vset(0)) : dh * (1.0f - h) * (1.0f + h), cols);
            store(dh_of, vset(0), cols);
        }
}

MD_KERNEL(rnn, 1, 7) {
    const md_array *hs = &a[0], *sizes = &a[7];
    const int64_t H = hs->shape[2];
    sequence s = {.T = hs->shape[0] - 1, .N = hs->shape[1], .H = H, .reverse = p[0] != 0, .relu = p[1] != 0, .gates = 1, .nv = 4,
                  .hs = (float *)hs->data, .batch = (const int64_t *)sizes->data, .cell = rnn_cell, .rest = rnn_rest};
    if (!MD_LOCAL(recurrent_serves)(a, 7, 1) || (s.batch && !md_contiguous(sizes))) return MD_NOT_MINE;
    return MD_LOCAL(recurrent_forward)(&s, &a[1], &a[2], &a[3]);
}

MD_KERNEL(rnn_backward, 2, 5) {
    const md_array *hs = &a[2], *sizes = &a[6];
    const int64_t H = hs->shape[2];
    sequence s = {.T = hs->shape[0] - 1, .N = hs->shape[1], .H = H, .reverse = p[0] != 0, .relu = p[1] != 0, .gates = 1,
                  .out = (float *)a[0].data, .row = H, .dh = (float *)a[1].data, .hs = (float *)hs->data,
                  .dy = (const float *)a[4].data, .batch = (const int64_t *)sizes->data, .cell = rnn_cell_back,
                  .rest = MD_LOCAL(recurrent_rest_back)};
    if (!MD_LOCAL(recurrent_serves)(a, 6, -1) || (s.batch && !md_contiguous(sizes))) return MD_NOT_MINE;
    return MD_LOCAL(recurrent_backward)(&s, &a[3], 0, &a[5]);
}
