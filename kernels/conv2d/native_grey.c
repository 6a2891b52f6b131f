/* Images of one channel, forward: 3x3 and 5x5 windows of stride 1. The whole filters of one or two vectors of output channels
 * stay in registers while they go along a row of the result, some pixels at a time: those of a 2x2 window where maxima are
 * wanted, else neighbours in the row. */
#include "conv.h"
#include "pool.h"

enum { TASK_FLOPS = 1 << 20, MOST_TAPS = 25, MOST_PIXELS = 6 };

typedef struct {
    conv_shape s;
    const md_array *image;
    const float *w, *bias;
    float *y;
    uint8_t *taps; /* of the maxima, which y then holds; or NULL */
    int64_t down, across, each; /* rows and columns of y; pixels of a window's side */
    int64_t rows;               /* of a task */
    int64_t line;               /* of the image with its border */
    _Atomic int status;
} grey;

/* Columns [0, left) of nv vectors from x on, for all of a row of y; `down` x `right` pixels at a time. */
INLINE void grey_row(const int side, const int nv, const int down, const int right, const int whole, const grey *f,
                     const float *x, int64_t row, int64_t j) {
    const int64_t O = f->s.O, line = f->line, across = f->across, first = row * across * O + j;
    const int pooled = down > 1, relu = f->s.activation, left = whole ? nv * VL : (int)(O - j);
    const int over = VREGS == 16 && !whole && O <= VL; /* what a vector writes too much its neighbours overwrite */
    float *y = f->y + first;
    vf w[MOST_TAPS][2], bias[2];
#pragma GCC unroll 2
    for (int v = 0; v < nv; v++) {
        bias[v] = f->bias ? load_cols(f->bias + j + v * VL, left - v * VL) : (vf){0};
#pragma GCC unroll 25
        for (int k = 0; k < side * side; k++) w[k][v] = load_cols(f->w + k * O + j + v * VL, left - v * VL);
    }
    for (int64_t q = 0; q < across; q += pooled ? 1 : right) {
        if (!pooled) q = md_min(q, across - right); /* the last ones overlap */
        const float *corner = x + (pooled ? right * q : q);
        vf acc[MOST_PIXELS][2];
#pragma GCC unroll 6
        for (int i = 0; i < down * right; i++)
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++) acc[i][v] = bias[v];
#pragma GCC unroll 6
        for (int r = 0; r < side + down - 1; r++)
#pragma GCC unroll 10
            for (int c = 0; c < side + right - 1; c++) {
                const vf value = vset(corner[r * line + c]);
#pragma GCC unroll 2
                for (int h = 0; h < down; h++)
#pragma GCC unroll 6
                    for (int b = 0; b < right; b++)
#pragma GCC unroll 2
                        for (int v = 0; v < nv; v++)
                            if (r >= h && r < h + side && c >= b && c < b + side)
                                acc[h * right + b][v] += value * w[(r - h) * side + c - b][v];
            }
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) {
            float *to = y + q * O + v * VL;
            const int lanes_left = whole ? VL : left - v * VL;
            if (pooled) store_maximum(to, f->taps + (to - f->y), acc[0][v], acc[1][v], acc[2][v], acc[3][v], relu, lanes_left);
            else
#pragma GCC unroll 6
                for (int b = 0; b < right; b++) {
                    const vf sum = activated(acc[b][v], relu);
                    if (whole || (over && (right - b) * O >= VL)) vstore(to + b * O, sum);
                    else store_cols(to + b * O, sum, lanes_left);
                }
        }
    }
}

typedef void row_function(const grey *, const float *, int64_t, int64_t);
#define GREY_ROW(name, side, nv, down, right, whole)                                              \
    static void name(const grey *f, const float *x, int64_t row, int64_t j) {                     \
        grey_row(side, nv, down, right, whole, f, x, row, j);                                     \
    }
#define GREY(side, nv, right)                                                                     \
    GREY_ROW(plain_##side##_##nv, side, nv, 1, right, 1)                                          \
    GREY_ROW(plain_##side##_##nv##_ragged, side, nv, 1, right, 0)                                 \
    GREY_ROW(pooled_##side##_##nv, side, nv, 2, 2, 1)                                             \
    GREY_ROW(pooled_##side##_##nv##_ragged, side, nv, 2, 2, 0)
#define KIND(side, nv, right) \
    {side, nv, right, {{plain_##side##_##nv##_ragged, plain_##side##_##nv}, {pooled_##side##_##nv##_ragged, pooled_##side##_##nv}}}

typedef struct { int side, vectors, right; row_function *run[2][2]; /* pooled, whole vectors */ } kind;

GREY(3, 1, 4)
GREY(5, 1, 6)
#if VREGS == 32
GREY(3, 2, 4)
#endif

static const kind kinds[] = {
#if VREGS == 32
    KIND(3, 2, 4),
#endif
    KIND(5, 1, 6), KIND(3, 1, 4),
};

static const kind *find_kind(int64_t side, int64_t vectors) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].side == side && kinds[i].vectors <= vectors) return &kinds[i];
    return NULL;
}

static void rows_task(int64_t task, void *ctx) {
    grey *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t all = s->N * f->down, end = md_min(all, (task + 1) * f->rows);
    for (int64_t row = task * f->rows, last; row < end; row = last) { /* those of one image */
        const int64_t n = row / f->down, top = row % f->down * f->each;
        last = md_min(end, (n + 1) * f->down);
        const float *x = bordered(f->image, s, n, top, (last - row) * f->each + s->kh - 1);
        if (!x) {
            f->status = MD_NO_MEMORY;
            return;
        }
        for (; row < last; row++, x += f->each * f->line)
            for (int64_t j = 0, width; j < s->O; j += width) {
                const kind *k = find_kind(s->kh, md_ceil_div(s->O - j, VL));
                width = k->vectors * VL;
                k->run[f->taps != NULL][s->O - j >= width](f, x, row, j);
            }
    }
}

int MD_LOCAL(grey_forward)(const md_array *y, const md_array *taps, const md_array *x, const md_array *w, const md_array *bias,
                           const conv_shape *s) {
    grey f = {.s = *s, .image = x, .w = (const float *)w->data, .bias = (const float *)bias->data, .y = (float *)y->data,
              .taps = taps ? (uint8_t *)taps->data : NULL, .down = y->shape[2], .across = y->shape[3], .each = taps ? 2 : 1,
              .line = s->W + 2 * s->pw};
    const kind *k = find_kind(s->kh, 1);
    if (s->C != 1 || s->kh != s->kw || s->sh != 1 || s->sw != 1 || s->dh != 1 || s->dw != 1 || !k || !lies_flat(w) ||
        (!taps && f.across < k->right))
        return MD_NOT_MINE;
    const int64_t in_row = 2 * f.each * s->ow * s->K * s->O, rows = s->N * f.down;
    f.rows = md_max(1, TASK_FLOPS / in_row);
    run_tasks(threads_for(rows * in_row), md_ceil_div(rows, f.rows), rows_task, &f);
    return f.status;
}
