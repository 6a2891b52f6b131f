/* What the recurrent kernels share: the walk through a sequence, and the product of a step.
 *
 * Weights are packed into panels of nv vectors, so that one register tile holds all gates of VL hidden units (of an RNN, which
 * has one gate, those of 4 VL units), and the nonlinearities follow while the sums are in the cache. First the input's share is
 * computed for all steps at once, then the steps follow each other. The threads split the batch, and then need no barrier in
 * the whole sequence, or, where the batch is small, the hidden units of each step. Neither changes the order of a sum. */
#ifndef RECURRENT_H
#define RECURRENT_H
#include "md.h"
#include "tile.h"
#include "vmath.h"

enum { CHUNK = 48 }; /* rows whose sums are in the cache together */

typedef struct sequence sequence;
struct sequence {
    int64_t T, N, H;
    int reverse, gates, nv; /* gates: products for each hidden unit; nv: vectors of a panel */
    float *hs, *cs;         /* states (T + 1, N, H): step t goes from slot t + reverse to slot t + 1 - reverse */
    float *out;             /* of each step and row: the input's share, then the gates; backward: their gradients */
    int64_t row, input_at;  /* floats of `out` from row to row; where the input's share begins */
    const int64_t *batch;   /* rows that take part in step t, or NULL for all */
    /* rows [r, r + rows) of step t from the sums of panel p in acc, rows of nv vectors */
    void (*cell)(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc);
    void (*rest)(const sequence *s, int64_t t, int64_t r, int64_t p); /* a row that does not take part */
    const float *weights;   /* panels, `k` rows each */
    int64_t k, panels, k_at; /* k_at: where in `out` the factors of backward's products begin */
    const float *gates_of, *dy;
    float *dh, *dc;         /* backward: what comes from the step before, its product aside */
    const float *bias;      /* of the recurrent product, where it does not go with the input's share */
    int relu;
};

/* acc[i][j] = sum over k of a[i][k] panel[k][j] for `rows` <= CHUNK rows and nv = 3 or 4 vectors of columns. */
void MD_LOCAL(recurrent_product)(float *acc, int nv, int64_t rows, int64_t k, const float *const *a, const float *panel);

/* Runs all steps, forward or backward, over the threads. */
void MD_LOCAL(recurrent_forward)(const sequence *s);
void MD_LOCAL(recurrent_backward)(const sequence *s);

/* out = x w^T + b_ih + b_hh, by panels, for all steps; and the packed recurrent weights. MD_NO_MEMORY where there is none. */
int MD_LOCAL(recurrent_begin)(sequence *s, const md_array *x, const md_array *w_ih, const md_array *w_hh,
                              const md_array *b_ih, const md_array *b_hh);
/* The recurrent weights (gates H, H) by columns, their rows from `first` on, round about. MD_NO_MEMORY where there is none. */
int MD_LOCAL(recurrent_begin_backward)(sequence *s, const md_array *w_hh, int64_t first);

/* `rest` of all backward passes: no gradient of the gates, and the state's goes on. */
void MD_LOCAL(recurrent_rest_back)(const sequence *s, int64_t t, int64_t r, int64_t p);

/* All arrays float32 and, where they are not NULL, in C order without gaps. */
int MD_LOCAL(recurrent_serves)(const md_array *a, int n, int strided);

/* Slot of the states before and after step t. */
INLINE float *before(const sequence *s, float *states, int64_t t, int64_t r) { return states + ((t + s->reverse) * s->N + r) * s->H; }
INLINE float *after(const sequence *s, float *states, int64_t t, int64_t r) { return states + ((t + 1 - s->reverse) * s->N + r) * s->H; }

/* VL floats or, with `cols` of them left, fewer. */
INLINE vf load(const float *p, int64_t cols) { return cols >= VL ? vload(p) : vload_part(p, (int)cols, 0); }
INLINE void store(float *p, vf x, int64_t cols) {
    if (cols >= VL) vstore(p, x);
    else vstore_part(p, x, (int)cols);
}

INLINE void start(float *to, const md_array *from, int64_t n) {
    if (from->data) memcpy(to, from->data, (size_t)n * sizeof(float));
    else memset(to, 0, (size_t)n * sizeof(float));
}

/* 1 / x for 1 <= x < 2**100: a division takes as long as ten multiplications. */
INLINE vf reciprocal(vf x) {
#if defined(__AVX512F__)
    const vf r = (vf)_mm512_rcp14_ps((__m512)x);
    return r + r * (1.0f - x * r);
#else
    return 1.0f / x;
#endif
}
INLINE vf gate_sigmoid(vf x) {
    const vf e = vexp(-vabs(x));
    return vsel(x < 0.0f, e, vset(1)) * reciprocal(1.0f + e);
}
INLINE vf gate_tanh(vf x) {
    const vf e = vexpm1(vat_most(vabs(x) * 2.0f, 30.0f));
    return (vf)((vi)(e * reciprocal(e + 2.0f)) | ((vi)x & (int32_t)0x80000000));
}
#endif
