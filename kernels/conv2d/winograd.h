/* 3x3 windows of stride 1 by Winograd's F(4x4, 3x3): 36 products for 16 pixels of the result, where the sum over taps takes
 * 144. A tile is 4x4 pixels of the result y, made from 6x6 of x. With d a tile's pixels of x, g a filter, ' the transpose:
 *
 *   forward       y  = A' [ (B' d B) * (G g G') ] A          by data    d's gradient = B [ (A y A') * (G g G') ] B'
 *   by weights    g's gradient = G' [ sum over tiles of (B' d B) * (A y A') ] G
 *
 * A row of A, B, G belongs to a point at which polynomials are multiplied (Toom and Cook): 0, a, -a, b, -b and infinity. Each *
 * is, for one of 36 places, a matrix product over channels (forward, by data) or tiles (by weights).
 *
 * Error: with the usual points a = 1, b = 2 it would be several times that of the plain sum. With a = 3/4, b = 3/2, whose powers
 * spread less and are exact in float32, its root mean square is about twice that of the plain sum; over the cases of this
 * family the largest error was 2.6e-6 of the largest value, where plain sums had 0.3e-6 to 2.7e-6. MINIDL_WINOGRAD=0 switches
 * it off. */
#ifndef CONV_WINOGRAD_H
#define CONV_WINOGRAD_H
#include <stdlib.h>
#include "../_native/taps.h"
#include "conv.h"

enum { SIDE = 6, PLACES = 36, OUT = 4 /* pixels of a tile's side in y */, MAX_CHANNELS = 2048 };

static const float a1 = 0.75f, a2 = 0.5625f, a3 = 0.421875f, b1 = 1.5f, b2 = 2.25f, b3 = 3.375f; /* powers of a, b */
static const float sum2 = 2.8125f, product2 = 1.265625f;                                        /* a2 + b2, a2 b2 */
static const float n0 = 1 / 1.265625f, na = -1 / 1.8984375f, nb = 1 / 7.59375f; /* 1 / M'(0), M'(a), M'(b): M = x (x2 - a2) (x2 - b2) */

typedef struct {
    conv_shape s;
    int64_t th, tw, rows;        /* tiles down and across an image; rows of tiles in all */
    int64_t in, out;             /* channels that are summed over; of the result */
    int by_data;
    const float *x, *g, *w;      /* dense images and filters */
    float *y, *dx;
    uint8_t *taps;               /* of the maxima of y's 2x2 windows, which y then holds; or NULL */
    const uint8_t *g_taps;       /* of the maxima whose gradient g then is; or NULL */
    ptrdiff_t residual;          /* how many floats from y lies what is added as well; or 0 */
    const float *bias;
    const float *u;              /* transformed filters that a plan keeps: [36][panel][in][columns]; or NULL */
    int64_t call;                /* which one, of all */
    const int64_t *identity;
    int64_t strip, tasks;        /* rows of tiles at a time; parts of all rows */
    float *v, *m;                /* tables [tile][36][channel] of some images */
    int64_t first, last;         /* their rows of tiles */
    float *du;                   /* the filters' gradient at each place: [part][36][C][O] */
    double *sums;
    int64_t parts;
    _Atomic int status;
} winograd;

static const float zeros[MAX_CHANNELS];

/* ---- the matrices, applied to vectors of six, four or three ---- */

INLINE void apply_Bt(vf *v, const vf *d) { /* 6 -> 6 */
    const vf even_a = d[4] - b2 * d[2], odd_a = d[3] - b2 * d[1], even_b = d[4] - a2 * d[2], odd_b = d[3] - a2 * d[1];
    v[0] = product2 * d[0] + (d[4] - sum2 * d[2]);
    v[1] = even_a + a1 * odd_a;
    v[2] = even_a - a1 * odd_a;
    v[3] = even_b + b1 * odd_b;
    v[4] = even_b - b1 * odd_b;
    v[5] = product2 * d[1] + (d[5] - sum2 * d[3]);
}
INLINE void apply_B(vf *d, const vf *m) { /* 6 -> 6 */
    const vf even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    d[0] = product2 * m[0];
    d[1] = product2 * m[5] - (a1 * b2) * odd_a - (b1 * a2) * odd_b;
    d[2] = -sum2 * m[0] - b2 * even_a - a2 * even_b;
    d[3] = a1 * odd_a + b1 * odd_b - sum2 * m[5];
    d[4] = m[0] + even_a + even_b;
    d[5] = m[5];
}
INLINE void apply_A(vf *v, const vf *y) { /* 4 -> 6 */
    const vf even_a = y[0] + a2 * y[2], odd_a = y[1] + a2 * y[3], even_b = y[0] + b2 * y[2], odd_b = y[1] + b2 * y[3];
    v[0] = y[0];
    v[1] = even_a + a1 * odd_a;
    v[2] = even_a - a1 * odd_a;
    v[3] = even_b + b1 * odd_b;
    v[4] = even_b - b1 * odd_b;
    v[5] = y[3];
}
INLINE void apply_At(vf *y, const vf *m) { /* 6 -> 4 */
    const vf even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = a1 * odd_a + b1 * odd_b;
    y[2] = a2 * even_a + b2 * even_b;
    y[3] = a3 * odd_a + b3 * odd_b + m[5];
}
INLINE void apply_G(vf *u, const vf *g) { /* 3 -> 6 */
    const vf even_a = na * g[0] + (na * a2) * g[2], odd_a = (na * a1) * g[1];
    const vf even_b = nb * g[0] + (nb * b2) * g[2], odd_b = (nb * b1) * g[1];
    u[0] = n0 * g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
}
INLINE void apply_Gt(vf *g, const vf *u) { /* 6 -> 3 */
    const vf even_a = u[1] + u[2], even_b = u[3] + u[4];
    g[0] = n0 * u[0] + na * even_a + nb * even_b;
    g[1] = (na * a1) * (u[1] - u[2]) + (nb * b1) * (u[3] - u[4]);
    g[2] = (na * a2) * even_a + (nb * b2) * even_b + u[5];
}

/* ---- the transforms of one tile of images, VL channels at a time ---- */

/* Pointers to size x size pixels of an image from (row, column) on; outside of it, to zeros. */
INLINE void patch(const float **p, const int size, const float *image, int64_t H, int64_t W, int64_t C, int64_t row,
                  int64_t column) {
    const float *at = image + (row * W + column) * C;
    if (row >= 0 && column >= 0 && row + size <= H && column + size <= W) {
        for (int r = 0; r < size; r++)
            for (int q = 0; q < size; q++) p[r * size + q] = at + (r * W + q) * C;
        return;
    }
    for (int r = 0; r < size; r++)
        for (int q = 0; q < size; q++) {
            const int inside = row + r >= 0 && row + r < H && column + q >= 0 && column + q < W;
            p[r * size + q] = inside ? at + (r * W + q) * C : zeros;
        }
}

/* Rows [r0, r1) of B' d B, to places of `to` that lie `step` floats apart. */
INLINE void input_tile(const int r0, const int r1, const float *const *p, int64_t channels, float *to, int64_t step) {
    for (int64_t c = 0; c < channels; c += VL) {
        vf t[SIDE][SIDE];
#pragma GCC unroll 6
        for (int q = 0; q < SIDE; q++) {
            vf d[SIDE], v[SIDE];
#pragma GCC unroll 6
            for (int r = 0; r < SIDE; r++) d[r] = vload(p[r * SIDE + q] + c);
            apply_Bt(v, d);
#pragma GCC unroll 6
            for (int r = r0; r < r1; r++) t[r][q] = v[r];
        }
#pragma GCC unroll 6
        for (int r = r0; r < r1; r++) {
            vf v[SIDE];
            apply_Bt(v, t[r]);
#pragma GCC unroll 6
            for (int q = 0; q < SIDE; q++) vstore(to + ((r - r0) * SIDE + q) * step + c, v[q]);
        }
    }
}

/* Pointers to channels from c on of a tile's pixels of y's gradient; or to its four windows and their taps. */
INLINE void gradient_patch(const float **p, const uint8_t **taps, const winograd *w, int64_t n, int64_t row, int64_t column,
                           int64_t c) {
    const conv_shape *s = &w->s;
    if (w->g_taps) {
        const int64_t h = s->oh / 2, width = s->ow / 2;
        patch(p, OUT / 2, w->g + n * h * width * s->O, h, width, s->O, row / 2, column / 2);
        for (int i = 0; i < 4; i++) taps[i] = p[i] == zeros ? (const uint8_t *)zeros : w->g_taps + (p[i] - w->g) + c;
    } else patch(p, OUT, w->g + n * s->oh * s->ow * s->O, s->oh, s->ow, s->O, row, column);
    for (int i = 0; i < (w->g_taps ? 4 : OUT * OUT); i++) p[i] += p[i] == zeros ? 0 : c;
}

/* Rows [r0, r1) of A y A'. */
INLINE void gradient_tile(const int r0, const int r1, const float *const *p, const uint8_t *const *taps, int64_t channels,
                          float *to, int64_t step) {
    for (int64_t c = 0; c < channels; c += VL) {
        vf t[SIDE][OUT];
#pragma GCC unroll 2
        for (int half = 0; half < OUT / 2; half++) {
            vf y[2][OUT], v[SIDE]; /* two columns */
            if (taps) {
#pragma GCC unroll 2
                for (int i = 0; i < 2; i++) {
                    const vf g = vload(p[2 * i + half] + c);
                    const vtaps at = load_taps(taps[2 * i + half] + c);
                    y[0][2 * i] = at_tap(g, at, 0), y[1][2 * i] = at_tap(g, at, 1);
                    y[0][2 * i + 1] = at_tap(g, at, 2), y[1][2 * i + 1] = at_tap(g, at, 3);
                }
            } else {
#pragma GCC unroll 4
                for (int r = 0; r < OUT; r++)
                    y[0][r] = vload(p[r * OUT + 2 * half] + c), y[1][r] = vload(p[r * OUT + 2 * half + 1] + c);
            }
#pragma GCC unroll 2
            for (int q = 0; q < 2; q++) {
                apply_A(v, y[q]);
#pragma GCC unroll 6
                for (int r = r0; r < r1; r++) t[r][2 * half + q] = v[r];
            }
        }
#pragma GCC unroll 6
        for (int r = r0; r < r1; r++) {
            vf v[SIDE];
            apply_A(v, t[r]);
#pragma GCC unroll 6
            for (int q = 0; q < SIDE; q++) vstore(to + ((r - r0) * SIDE + q) * step + c, v[q]);
        }
    }
}

/* ---- which convolutions ---- */

/* MINIDL_WINOGRAD=0 in the environment: plain sums everywhere. */
static inline int wanted(void) {
    static _Atomic int known;
    if (!known) {
        const char *text = getenv("MINIDL_WINOGRAD");
        known = text && !strcmp(text, "0") ? 1 : 2;
    }
    return known == 2;
}

/* Do the filters, transformed, fit the second cache? */
static inline int narrow(const conv_shape *s) { return PLACES * s->C * s->O <= 300000; }

/* The products saved must pay for the transforms: of images some five products for each place and channel, of filters
 * `by_filter` for each pair of channels. Few tiles are not worth a table of filters that threads share. */
static inline int fits(const conv_shape *s, int64_t by_filter) {
    if (s->kh != 3 || s->kw != 3 || s->sh != 1 || s->sw != 1 || s->dh != 1 || s->dw != 1 || s->G != 1) return 0;
    if (s->C % VL || s->O % VL || s->C > MAX_CHANNELS || s->O > MAX_CHANNELS) return 0;
    const int64_t tiles = s->N * md_ceil_div(s->oh, OUT) * md_ceil_div(s->ow, OUT);
    const int64_t saved = 9 * s->N * s->oh * s->ow - PLACES * tiles - by_filter;
    return (tiles >= 48 || !narrow(s)) && saved * s->C * s->O > 5 * PLACES * tiles * (s->C + s->O) && wanted();
}

static inline winograd describe(const conv_shape *s, int by_data) {
    winograd w = {.s = *s, .th = md_ceil_div(s->oh, OUT), .tw = md_ceil_div(s->ow, OUT), .by_data = by_data};
    w.rows = s->N * w.th;
    w.in = by_data ? s->O : s->C;
    w.out = by_data ? s->C : s->O;
    return w;
}
#endif
