/* What the files of this family share: the shapes of a convolution, images as dense N, H, W, C, tables of offsets. */
#ifndef CONV_H
#define CONV_H
#include "../_native/pack.h"
#include "panel.h"

typedef struct {
    int64_t N, C, H, W, O, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, G, cg, og, K; /* cg, og: channels of a group; K: cg kh kw */
    int activation;
} conv_shape;

static inline conv_shape read_shape(const md_array *x, const md_array *w, const double *p) {
    conv_shape s = {.N = x->shape[0], .C = x->shape[1], .H = x->shape[2], .W = x->shape[3], .O = w->shape[0],
                    .kh = w->shape[2], .kw = w->shape[3], .sh = (int64_t)p[0], .sw = (int64_t)p[1], .ph = (int64_t)p[2],
                    .pw = (int64_t)p[3], .dh = (int64_t)p[4], .dw = (int64_t)p[5], .G = (int64_t)p[6], .activation = (int)p[7]};
    s.oh = (s.H + 2 * s.ph - s.dh * (s.kh - 1) - 1) / s.sh + 1;
    s.ow = (s.W + 2 * s.pw - s.dw * (s.kw - 1) - 1) / s.sw + 1;
    s.cg = s.C / s.G;
    s.og = s.O / s.G;
    s.K = s.cg * s.kh * s.kw;
    return s;
}

/* Do weights lie in memory as kh, kw, C/G, O, without gaps? */
static inline int lies_flat(const md_array *w) {
    const int order[4] = {0, 1, 3, 2};
    int64_t expect = 1;
    for (int i = 0; i < 4; i++) {
        const int d = order[i];
        if (w->shape[d] != 1 && w->stride[d] != expect) return 0;
        expect *= w->shape[d];
    }
    return 1;
}

/* Copies rows [r0, r1) of image n, as if it had its border, to dense rows of (W + 2 pw) pixels. */
static inline void copy_padded(float *to, const md_array *x, int64_t n, int64_t r0, int64_t r1, int64_t ph, int64_t pw) {
    const int64_t C = x->shape[1], H = x->shape[2], W = x->shape[3], row = (W + 2 * pw) * C;
    const int64_t cs = x->stride[1], rs = x->stride[2], ws = x->stride[3];
    for (int64_t r = r0; r < r1; r++, to += row) {
        if (r < ph || r >= ph + H) {
            memset(to, 0, (size_t)row * sizeof(float));
            continue;
        }
        const float *from = (const float *)x->data + n * x->stride[0] + (r - ph) * rs;
        memset(to, 0, (size_t)(pw * C) * sizeof(float));
        memset(to + (pw + W) * C, 0, (size_t)(pw * C) * sizeof(float));
        if (cs == 1 && ws == C) memcpy(to + pw * C, from, (size_t)(W * C) * sizeof(float));
        else
            for (int64_t q = 0; q < W; q++)
                for (int64_t c = 0; c < C; c++) to[(pw + q) * C + c] = from[q * ws + c * cs];
    }
}

/* Rows [top, top + rows) of image n with its border: where they lie, or a copy in a task's scratch; NULL without memory. */
static inline const float *bordered(const md_array *x, const conv_shape *s, int64_t n, int64_t top, int64_t rows) {
    if (!s->ph && !s->pw && md_channels_last(x)) return (const float *)x->data + (n * s->H + top) * s->W * s->C;
    float *strip = md_scratch(MD_SLOT_C, (size_t)(rows * (s->W + 2 * s->pw) * s->C) * sizeof(float));
    if (strip) copy_padded(strip, x, n, top, top + rows, s->ph, s->pw);
    return strip;
}

typedef struct { const md_array *x; float *to; int64_t rows, ph, pw, image; } copying;

enum { COPIES = 4 }; /* tasks that copy an image */

static inline void copy_image(int64_t task, void *ctx) {
    const copying *c = ctx;
    const int64_t n = task / COPIES, r0 = c->rows * (task % COPIES) / COPIES, r1 = c->rows * (task % COPIES + 1) / COPIES;
    copy_padded(c->to + n * c->image + r0 * (c->image / c->rows), c->x, n, r0, r1, c->ph, c->pw);
}

/* body(i, ctx) for i < n, on the pool's threads or on this one. */
static inline void run_tasks(int64_t threads, int64_t n, void (*body)(int64_t, void *), void *ctx) {
    if (threads > 1) md_parallel(n, body, ctx);
    else for (int64_t i = 0; i < n; i++) body(i, ctx);
}

/* The images as dense N, H, W, C: where they lie, or a copy in the slot's scratch memory; NULL without memory. */
static inline const float *dense(const md_array *x, int slot, int64_t threads) {
    if (md_channels_last(x)) return (const float *)x->data;
    copying c = {.x = x, .rows = x->shape[2], .image = x->shape[1] * x->shape[2] * x->shape[3]};
    if (!(c.to = md_scratch(slot, (size_t)(x->shape[0] * c.image) * sizeof(float)))) return NULL;
    run_tasks(threads, x->shape[0] * COPIES, copy_image, &c);
    return c.to;
}

/* The way from a window's corner to each tap and channel, in an image with rows of `width` pixels. */
static inline void ways(int64_t *to, const conv_shape *s, int64_t width) {
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++)
            for (int64_t c = 0; c < s->cg; c++) *to++ = (a * s->dh * width + b * s->dw) * s->C + c;
}

/* Threads for so much work: waking them costs more than little work takes. */
static inline int64_t threads_for(int64_t flops) { return flops < MD_SMALL_FLOPS ? 1 : md_get_threads(); }

/* Copies nv vectors of each of some rows, `step` floats apart, side by side; memcpy of so few bytes takes longer. */
INLINE void copy_vectors(float *to, int nv, const float *from, int64_t step, int64_t rows) {
    for (int64_t i = 0; i < rows; i++, to += nv * VL, from += step) {
        if (nv == PANEL_NV)
#pragma GCC unroll 4
            for (int v = 0; v < PANEL_NV; v++) vstore(to + v * VL, vload(from + v * VL));
        else
            for (int v = 0; v < nv; v++) vstore(to + v * VL, vload(from + v * VL));
    }
}

/* Adds the columns of g, cols of nv vectors, to sums. */
static inline void add_columns(double *sums, int nv, int cols, const float *g, int64_t ldb, int64_t pixels) {
    for (int v = 0; v < nv; v++) {
        vf sum[4] = {{0}};
        int64_t i = 0;
        for (; i + 4 <= pixels; i += 4)
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) sum[r] += vload(g + (i + r) * ldb + v * VL);
        for (; i < pixels; i++) sum[0] += vload(g + i * ldb + v * VL);
        const vf total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        for (int j = 0; j < md_min(VL, cols - v * VL); j++) sums[v * VL + j] += total[j];
    }
}

/* native_depthwise.c: every channel with a window of its own. MD_NOT_MINE for other convolutions. */
int MD_LOCAL(depthwise_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias,
                                const conv_shape *s);
int MD_LOCAL(depthwise_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s);
int MD_LOCAL(depthwise_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x,
                               const conv_shape *s);

/* native_groups.c: groups of a few channels. MD_NOT_MINE for others. */
int MD_LOCAL(groups_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias, const conv_shape *s);
int MD_LOCAL(groups_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s);
int MD_LOCAL(groups_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s);

/* native_grey.c, native_few.c, native_few_data.c: images of one channel, of few channels. MD_NOT_MINE for others. */
int MD_LOCAL(grey_forward)(const md_array *y, const md_array *taps, const md_array *x, const md_array *w, const md_array *bias,
                           const conv_shape *s);
int MD_LOCAL(few_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s);
int MD_LOCAL(few_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *taps, const md_array *x,
                         const conv_shape *s);

/* native_product.c: windows of one pixel, which make a matrix product. MD_NOT_MINE for others, or where another way is faster. */
int MD_LOCAL(product_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias,
                              const md_array *residual, const conv_shape *s);
int MD_LOCAL(product_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s);
int MD_LOCAL(product_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s);

/* native_pixels.c: few pixels, many channels. MD_NOT_MINE for others. */
int MD_LOCAL(pixels_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias, const md_array *residual,
                             const conv_shape *s);
int MD_LOCAL(pixels_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s);
int MD_LOCAL(pixels_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s);

/* native_tiles*.c: on matrix tiles (amx.h). MD_NOT_MINE where there are none, they would not be faster, or numbers do not fit. */
int MD_LOCAL(tiles_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias,
                            const md_array *residual, const conv_shape *s);
int MD_LOCAL(tiles_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s);
int MD_LOCAL(tiles_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s);

/* winograd.h: 3x3 windows of stride 1 by fewer products. MD_NOT_MINE where they do not fit or would not be faster. With taps
 * y is the maxima of 2x2 windows (pool.h), and g their gradient. */
int MD_LOCAL(winograd_forward)(const md_array *y, const md_array *taps, const md_array *x, const md_array *w,
                               const md_array *bias, const md_array *residual, const conv_shape *s);
int MD_LOCAL(winograd_data)(const md_array *dx, const md_array *g, const md_array *taps, const md_array *w,
                            const conv_shape *s);
int MD_LOCAL(winograd_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *taps,
                              const md_array *x, const conv_shape *s);
#endif
