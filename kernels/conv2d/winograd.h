/* 3x3 windows of stride 1 by Winograd's F(2x2, 3x3): 16 products for four pixels of the result, where the sum over taps takes
 * 36. A tile is 2x2 pixels of the result y, made from 4x4 of x. With d a tile's pixels of x, g a filter, m = products:
 *
 *   forward       y  = A' [ (B' d B) * (G g G') ] A          by data    d's gradient = B [ (A y A') * (G g G') ] B'
 *   by weights    g's gradient = G' [ sum over tiles of (B' d B) * (A y A') ] G          (' is the transpose)
 *
 *        | 1  0 -1  0 |        | 1    0    0  |        | 1  0 |
 *   B' = | 0  1  1  0 |    G = | 1/2  1/2  1/2 |   A = | 1  1 |
 *        | 0 -1  1  0 |        | 1/2 -1/2  1/2 |       | 1 -1 |
 *        | 0 -1  0  1 |        | 0    0    1  |        | 0  1 |
 *
 * Each * is, for one of 16 places, a matrix product over channels (forward, by data) or tiles (by weights). The transforms add
 * and halve only, so the result is about as exact as the plain sum, whose sums are nine times longer.
 * Tables [16][tile][channel] of a strip of tile rows stay in the second cache. Where the transformed filters themselves do not
 * fit it, all tiles of some images are transformed before each place's product runs. */
#ifndef CONV_WINOGRAD_H
#define CONV_WINOGRAD_H
#include <stdlib.h>
#include "conv.h"

enum {
    PLACES = 16,
    STRIP_FLOATS = 150000, /* of a strip's two tables */
    FILTER_FLOATS = 1 << 18, /* of transformed filters that stay in the second cache */
    CHUNK_FLOATS = 4 << 20,  /* of the tables of some images, where the filters do not */
    WEIGHT_TILES = 64,     /* that the gradient by weights sums at a time */
    PART_TILES = 8192,     /* of the part of a batch that it sums apart */
    MAX_CHANNELS = 2048,
};

typedef struct {
    conv_shape s;
    int64_t th, tw, rows;        /* tiles down and across an image; rows of tiles in all */
    int64_t in, out;             /* channels that are summed over; of the result */
    int by_data;
    const float *x, *g, *w;      /* dense images and filters */
    float *y, *dx;
    const float *bias;
    float *u;                    /* transformed filters: [16][panel][in][columns] */
    const int64_t *identity;
    int64_t strip, tasks;        /* rows of tiles at a time; parts of all rows */
    float *v, *m;                /* tables of a chunk of images */
    int64_t vs, ms, first, last; /* floats between two places of them; its rows of tiles */
    float *du;                   /* the gradient's places: [part][16][C][O] */
    double *sums;
    int64_t parts;
    _Atomic int status;
} winograd;

static const float zeros[MAX_CHANNELS];

/* ---- transforms of one tile, VL channels at a time ---- */

/* Pointers to rows x columns pixels of an image from (row, column) on; outside of it, to zeros. */
INLINE void patch(const float **p, int size, const float *image, int64_t H, int64_t W, int64_t C, int64_t row, int64_t column) {
    const int inside = row >= 0 && column >= 0 && row + size <= H && column + size <= W;
    for (int r = 0; r < size; r++)
        for (int q = 0; q < size; q++) {
            const int64_t h = row + r, w = column + q;
            p[r * size + q] = inside || (h >= 0 && h < H && w >= 0 && w < W) ? image + (h * W + w) * C : zeros;
        }
}

/* Rows [r0, r1) of B' d B, to places of `to` that lie `step` floats apart. */
INLINE void input_tile(const int r0, const int r1, const float *const *p, int64_t channels, float *to, int64_t step) {
    for (int64_t c = 0; c < channels; c += VL) {
        vf t[4][4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            const vf d0 = vload(p[q] + c), d1 = vload(p[4 + q] + c), d2 = vload(p[8 + q] + c), d3 = vload(p[12 + q] + c);
            t[0][q] = d0 - d2, t[1][q] = d1 + d2, t[2][q] = d2 - d1, t[3][q] = d3 - d1;
        }
#pragma GCC unroll 4
        for (int r = r0; r < r1; r++) {
            float *v = to + (r - r0) * 4 * step + c;
            vstore(v, t[r][0] - t[r][2]);
            vstore(v + step, t[r][1] + t[r][2]);
            vstore(v + 2 * step, t[r][2] - t[r][1]);
            vstore(v + 3 * step, t[r][3] - t[r][1]);
        }
    }
}

/* Rows [r0, r1) of A y A'. */
INLINE void gradient_tile(const int r0, const int r1, const float *const *p, int64_t channels, float *to, int64_t step) {
    for (int64_t c = 0; c < channels; c += VL) {
        vf t[4][2];
#pragma GCC unroll 2
        for (int q = 0; q < 2; q++) {
            const vf y0 = vload(p[q] + c), y1 = vload(p[2 + q] + c);
            t[0][q] = y0, t[1][q] = y0 + y1, t[2][q] = y0 - y1, t[3][q] = y1;
        }
#pragma GCC unroll 4
        for (int r = r0; r < r1; r++) {
            float *v = to + (r - r0) * 4 * step + c;
            vstore(v, t[r][0]);
            vstore(v + step, t[r][0] + t[r][1]);
            vstore(v + 2 * step, t[r][0] - t[r][1]);
            vstore(v + 3 * step, t[r][1]);
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

/* 16 products a tile against `taps` of the plain sum over 9 taps; the transforms cost as much as some channels. */
static inline int fits(const conv_shape *s) {
    if (s->kh != 3 || s->kw != 3 || s->sh != 1 || s->sw != 1 || s->dh != 1 || s->dw != 1 || s->G != 1) return 0;
    if (s->C % VL || s->O % VL || s->C > MAX_CHANNELS || s->O > MAX_CHANNELS || s->C < 32 || s->O < 32) return 0;
    const int64_t tiles = md_ceil_div(s->oh, 2) * md_ceil_div(s->ow, 2);
    return s->N * tiles >= 24 && 16 * tiles * 5 < 9 * s->oh * s->ow * 4 && wanted();
}

static inline winograd describe(const conv_shape *s, int by_data) {
    winograd w = {.s = *s, .th = md_ceil_div(s->oh, 2), .tw = md_ceil_div(s->ow, 2), .by_data = by_data};
    w.rows = s->N * w.th;
    w.in = by_data ? s->O : s->C;
    w.out = by_data ? s->C : s->O;
    return w;
}
#endif
