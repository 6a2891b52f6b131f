/* Arrays whose last axis is no whole number of vectors, or not in line, as copies with zeros at the end of each row. */
#ifndef MD_PADDED_H
#define MD_PADDED_H
#include "attention.h"

INLINE int needs_padding(const md_array *a) { return a->shape[3] % VL || (a->stride[3] != 1 && a->shape[3] > 1); }
INLINE int64_t padded_size(const md_array *a) { return md_ceil_div(a->shape[3], VL) * VL; }

/* The array with rows of whole vectors in `memory`, which is moved on. */
INLINE md_array padded(const md_array *a, float **memory) {
    md_array to = *a;
    int64_t step = 1;
    to.shape[3] = padded_size(a);
    to.data = (char *)*memory;
    for (int d = 3; d >= 0; d--) {
        to.stride[d] = step;
        step *= to.shape[d];
    }
    *memory += step;
    return to;
}

typedef struct { const md_array *to, *from; } copy_job;

static void copy_heads(int64_t task, void *ctx) {
    const copy_job *c = ctx;
    const int64_t n = task / c->to->shape[1], h = task % c->to->shape[1], size = md_min(c->to->shape[3], c->from->shape[3]);
    for (int64_t t = 0; t < c->to->shape[2]; t++) {
        float *to = row(c->to, n, h, t);
        const float *from = row(c->from, n, h, t);
        for (int64_t d = 0; d < size; d++) to[d * c->to->stride[3]] = from[d * c->from->stride[3]];
        for (int64_t d = size; d < c->to->shape[3]; d++) to[d] = 0;
    }
}
static inline void copy_rows(const md_array *to, const md_array *from) {
    copy_job c = {to, from};
    md_parallel(to->shape[0] * to->shape[1], copy_heads, &c);
}

/* Runs the kernel on padded copies of `count` arrays of rows, the first `outs` of which it writes; nothing else changes. */
static inline int run_padded(const md_array *a, int n, const double *p, int outs, int count, const int *rows,
                             md_kernel kernel) {
    md_array copies[10];
    int64_t floats = 0;
    for (int i = 0; i < n; i++) copies[i] = a[i];
    for (int i = 0; i < count; i++) {
        const md_array *x = &a[rows[i]];
        floats += x->shape[0] * x->shape[1] * x->shape[2] * padded_size(x);
    }
    float *memory = md_scratch(MD_SLOT_A, (size_t)floats * sizeof(float));
    if (!memory) return MD_NO_MEMORY;
    for (int i = 0; i < count; i++) {
        copies[rows[i]] = padded(&a[rows[i]], &memory);
        if (i >= outs) copy_rows(&copies[rows[i]], &a[rows[i]]);
    }
    const int status = kernel(copies, n, p);
    for (int i = 0; i < outs && status == MD_DONE; i++) copy_rows(&a[rows[i]], &copies[rows[i]]);
    return status;
}
#endif
