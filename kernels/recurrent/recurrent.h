/* What the recurrent kernels share: the walk through a sequence, and the product of a step.
 *
 * Weights are packed into panels of nv vectors, so that one register tile holds all gates of VL hidden units (of an RNN, which
 * has one gate, those of 4 VL units), and the nonlinearities follow while the sums are in the cache. The input's share is computed
 * for a block of steps at once, which stays in the cache until they follow one after the other. The threads split the batch, and
 * then need no barrier in the whole sequence, or, where the batch is small, the hidden units of each step. Neither changes the
 * order of a sum. */
#ifndef RECURRENT_H
#define RECURRENT_H
#include "amx.h"
#include "pack.h"
#include "vmath.h"

/* Weights as the right operand of products with an inner size of k: packed in panels, or as they are. */
typedef struct {
    int64_t k;
    const float *rows;    /* as they are */
    const float *vectors; /* packed for vectors, or NULL */
    char *tiles;          /* packed for matrix tiles, or NULL */
#if MD_AMX
    amx_range range;
#endif
} packed;

typedef struct sequence sequence;
struct sequence {
    int64_t T, N, H;
    int reverse, gates, nv; /* gates: products for each hidden unit; nv: vectors of a panel */
    float *hs, *cs;         /* states (T + 1, N, H): step t goes from slot t + reverse to slot t + 1 - reverse */
    int64_t c_slot;         /* floats from slot to slot of cs: 0 where only the last is kept */
    float *out;             /* the gates of each step and row, or NULL; backward: their gradients */
    int64_t row;            /* floats of `out` from row to row */
    const int64_t *batch;   /* rows that take part in step t, or NULL for all */
    /* rows [r, r + rows) of step t from the sums of panel p, rows of nv vectors: the states' in acc, the input's in `in` */
    void (*cell)(const sequence *s, int64_t t, int64_t r, int64_t rows, int64_t p, const float *acc, const float *in);
    void (*rest)(const sequence *s, int64_t t, int64_t r, int64_t p); /* a row that does not take part */
    const float *gates_of, *dy;
    float *dh, *dc;         /* backward: what comes from the step before, its product aside */
    int relu;
    /* the walk's own */
    int backward, by_columns;
    int64_t panels, block;    /* of each product; steps whose input's share is computed at once */
    packed by_x, by_h;
    const float *x;           /* the input: floats from step to step and from row to row */
    int64_t x_step, x_row;
    float *share, *bias_x, *bias_h; /* the input's share, and what sums start from: all in panels */
    _Atomic int *status;      /* MD_NOT_MINE: numbers do not split, and all steps are to be done anew on vectors */
};

/* All steps. x, first states (h0, and c0 where there are cells), w_ih, w_hh, b_ih and b_hh as the kernels get them. */
int MD_LOCAL(recurrent_forward)(sequence *s, const md_array *x, const md_array *states, const md_array *weights);
/* All steps back. The rows of w_hh (gates H, H) that belong to `out` begin with `first`; last: the gradients of the last states. */
int MD_LOCAL(recurrent_backward)(sequence *s, const md_array *w_hh, int64_t first, const md_array *last);

/* `rest` of all backward passes: no gradient of the gates, and the state's goes on. */
void MD_LOCAL(recurrent_rest_back)(const sequence *s, int64_t t, int64_t r, int64_t p);

/* All arrays float32 and, where they are not NULL, in C order without gaps. */
int MD_LOCAL(recurrent_serves)(const md_array *a, int n, int strided);

/* The states of row r before and after step t. */
INLINE float *before(const sequence *s, int64_t t, int64_t r) { return s->hs + ((t + s->reverse) * s->N + r) * s->H; }
INLINE float *after(const sequence *s, int64_t t, int64_t r) { return s->hs + ((t + 1 - s->reverse) * s->N + r) * s->H; }
INLINE float *cell_before(const sequence *s, int64_t t, int64_t r) { return s->cs + (t + s->reverse) * s->c_slot + r * s->H; }
INLINE float *cell_after(const sequence *s, int64_t t, int64_t r) { return s->cs + (t + 1 - s->reverse) * s->c_slot + r * s->H; }

/* Calls what a row holds `at` floats further on, a later panel of its gates, into the second-level cache. */
INLINE void ahead(const sequence *s, const float *gates, int at) {
    for (int64_t g = 0; g < s->row; g += s->H) __builtin_prefetch(gates + g + at, 0, 2);
}

/* VL floats or, with `cols` of them left, fewer. */
INLINE vf load(const float *p, int64_t cols) { return cols >= VL ? vload(p) : vload_part(p, (int)cols, 0); }
INLINE void store(float *p, vf x, int64_t cols) {
    if (cols >= VL) vstore(p, x);
    else vstore_part(p, x, (int)cols);
}
#endif
