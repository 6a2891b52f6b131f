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

/* act(A' m A + bias + residual) to four pixels of y. */
INLINE void output_tile(const winograd *w, const float *m, int64_t step, float *const *y) {
    for (int64_t c = 0; c < w->s.O; c += VL) {
        const vf bias = w->bias ? vload(w->bias + c) : (vf){0};
        vf t[2][4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            const float *at = m + q * step + c;
            const vf m0 = vload(at), m1 = vload(at + 4 * step), m2 = vload(at + 8 * step), m3 = vload(at + 12 * step);
            t[0][q] = m0 + m1 + m2, t[1][q] = m1 - m2 + m3;
        }
#pragma GCC unroll 2
        for (int r = 0; r < 2; r++) {
            vf left = t[r][0] + t[r][1] + t[r][2] + bias, right = t[r][1] - t[r][2] + t[r][3] + bias;
            if (w->s.activation) left = vmax((vf){0}, left), right = vmax((vf){0}, right);
            vstore(y[2 * r] + c, left);
            vstore(y[2 * r + 1] + c, right);
        }
    }
}

/* ---- filters ---- */

/* u = G g G' for VL of the channels that are summed over and all columns. */
static void transform_filters(int64_t task, void *ctx) {
    const winograd *w = ctx;
    const int64_t C = w->s.C, O = w->s.O, k0 = task * VL, us = w->in * w->out + VL;
    vf turned[9][VL];
    for (int64_t j = 0; j < w->out; j += VL) {
        if (w->by_data)
            for (int tap = 0; tap < 9; tap++) {
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++) turned[tap][i] = vload(w->w + (tap * C + j + i) * O + k0);
                vtranspose(turned[tap]);
            }
        const int64_t p = j / PANEL * PANEL, width = md_min(PANEL, w->out - p);
        for (int i = 0; i < VL; i++) {
            float *u = w->u + w->in * p + (k0 + i) * width + j - p;
            vf t[4][3];
#pragma GCC unroll 3
            for (int b = 0; b < 3; b++) {
                vf g[3];
#pragma GCC unroll 3
                for (int a = 0; a < 3; a++)
                    g[a] = w->by_data ? turned[a * 3 + b][i] : vload(w->w + ((a * 3 + b) * C + k0 + i) * O + j);
                const vf even = (g[0] + g[2]) * 0.5f, odd = g[1] * 0.5f;
                t[0][b] = g[0], t[1][b] = even + odd, t[2][b] = even - odd, t[3][b] = g[2];
            }
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++, u += 4 * us) {
                const vf even = (t[r][0] + t[r][2]) * 0.5f, odd = t[r][1] * 0.5f;
                vstore(u, t[r][0]);
                vstore(u + us, even + odd);
                vstore(u + 2 * us, even - odd);
                vstore(u + 3 * us, t[r][2]);
            }
        }
    }
}

/* m = v u at one place for one panel of columns and `tiles` tiles. */
static void multiply(const winograd *w, const float *v, float *m, int64_t tiles, int place, int64_t panel_start) {
    const int64_t width = md_min(PANEL, w->out - panel_start);
    const int nv = (int)(width / VL);
    const float *a[PANEL_ROWS];
    float *y[PANEL_ROWS];
    const panel_args t = {.k = w->in, .a = a, .off = w->identity, .y = y, .cols = (int)width, .ldb = width,
                          .b = w->u + place * (w->in * w->out + VL) + w->in * panel_start};
    for (int64_t tile = 0, rows; tile < tiles; tile += rows) {
        rows = panel_rows(nv, tiles - tile);
        for (int i = 0; i < rows; i++) a[i] = v + (tile + i) * w->in, y[i] = m + (tile + i) * w->out + panel_start;
        panel_tile(nv, (int)rows, &t);
    }
}

/* ---- rows of tiles: row q is row q % th of image q / th ---- */

static void gather_row(const winograd *w, int64_t q, float *v, int64_t vs) {
    const conv_shape *s = &w->s;
    const int64_t n = q / w->th, row = q % w->th * 2;
    const float *p[16];
    for (int64_t j = 0; j < w->tw; j++, v += w->in) {
        if (w->by_data) {
            patch(p, 2, w->g + n * s->oh * s->ow * s->O, s->oh, s->ow, s->O, row, 2 * j);
            gradient_tile(0, 4, p, s->O, v, vs);
        } else {
            patch(p, 4, w->x + n * s->H * s->W * s->C, s->H, s->W, s->C, row - s->ph, 2 * j - s->pw);
            input_tile(0, 4, p, s->C, v, vs);
        }
    }
}

static void output_row(const winograd *w, int64_t q, const float *m, int64_t ms) {
    const conv_shape *s = &w->s;
    const int64_t n = q / w->th, row = q % w->th * 2;
    float outside[MAX_CHANNELS], *y[4];
    for (int64_t j = 0; j < w->tw; j++, m += s->O) {
        for (int i = 0; i < 4; i++) {
            const int64_t u = row + i / 2, v = 2 * j + i % 2;
            y[i] = u < s->oh && v < s->ow ? w->y + ((n * s->oh + u) * s->ow + v) * s->O : outside;
        }
        output_tile(w, m, ms, y);
    }
}

/* Two rows of dx, from the row of tiles that starts there (`current`) and the one above (`above`): B m B' of neighbouring tiles
 * overlap by two pixels, so what a tile gives to the pixels on its right is carried on to the next. */
INLINE void input_rows(const int has_current, const int has_above, const winograd *w, const float *current, const float *above,
                       int64_t ms, float *first, float *second) {
    const conv_shape *s = &w->s;
    for (int64_t c = 0; c < s->C; c += VL) {
        vf carry[2][2] = {{{0}}};
        for (int64_t j = 0; j <= w->tw; j++) {
            vf t[2][4] = {{{0}}}, left[2][2];
            if (j < w->tw)
#pragma GCC unroll 4
                for (int q = 0; q < 4; q++) {
                    const float *m = current + q * ms + j * s->C + c, *n = above + q * ms + j * s->C + c;
                    if (has_current) t[0][q] = vload(m), t[1][q] = vload(m + 4 * ms) - vload(m + 8 * ms) - vload(m + 12 * ms);
                    if (has_above) t[0][q] += vload(n + 4 * ms) + vload(n + 8 * ms) - vload(n), t[1][q] += vload(n + 12 * ms);
                }
#pragma GCC unroll 2
            for (int r = 0; r < 2; r++) {
                left[r][0] = carry[r][0] + t[r][0], left[r][1] = carry[r][1] + t[r][1] - t[r][2] - t[r][3];
                carry[r][0] = t[r][1] + t[r][2] - t[r][0], carry[r][1] = t[r][3];
            }
            const int64_t column = 2 * j - s->pw;
#pragma GCC unroll 2
            for (int q = 0; q < 2; q++)
                if (column + q >= 0 && column + q < s->W) {
                    if (first) vstore(first + (column + q) * s->C + c, left[0][q]);
                    if (second) vstore(second + (column + q) * s->C + c, left[1][q]);
                }
        }
    }
}

/* What is complete once row q of the tiles is there: dx's rows from its top, and after the last one those below. */
static void input_row(const winograd *w, int64_t q, const float *m, int64_t ms) {
    const conv_shape *s = &w->s;
    const int64_t n = q / w->th, i = q % w->th;
    const float *above = m - w->tw * s->C;
    float *image = w->dx + n * s->H * s->W * s->C;
    for (int64_t b = i; b <= i + (i == w->th - 1); b++) {
        const int64_t h = 2 * b - s->ph;
        float *first = h >= 0 && h < s->H ? image + h * s->W * s->C : NULL;
        float *second = h + 1 >= 0 && h + 1 < s->H ? image + (h + 1) * s->W * s->C : NULL;
        if (b > i) input_rows(0, 1, w, m, m, ms, first, second);
        else if (i) input_rows(1, 1, w, m, above, ms, first, second);
        else input_rows(1, 0, w, m, m, ms, first, second);
    }
}

static void finish_row(const winograd *w, int64_t q, const float *m, int64_t ms) {
    if (w->by_data) input_row(w, q, m, ms);
    else output_row(w, q, m, ms);
}

/* One part of all rows, a strip at a time. By data a strip needs the row above it: the last one of the strip before, or, at
 * the beginning of the part, one more that is computed here too. Row 0 of the tables is kept for it. */
static void strip_task(int64_t task, void *ctx) {
    winograd *w = ctx;
    const int64_t begin = w->rows * task / w->tasks, end = w->rows * (task + 1) / w->tasks;
    const int64_t tiles = (w->strip + 1) * w->tw, vs = tiles * w->in + VL, ms = tiles * w->out + VL;
    float *v = md_scratch(MD_SLOT_C, (size_t)(PLACES * (vs + ms)) * sizeof(float));
    if (!v) {
        w->status = MD_NO_MEMORY;
        return;
    }
    float *m = v + PLACES * vs;
    const int64_t v_row = w->tw * w->in, m_row = w->tw * w->out;
    for (int64_t q0 = begin, q1; q0 < end; q0 = q1) {
        q1 = md_min(end, q0 + w->strip);
        const int above = w->by_data && q0 % w->th != 0;
        const int64_t from = above && q0 == begin ? 0 : 1, count = q1 - q0 + 1 - from;
        if (above && from)
            for (int place = 0; place < PLACES; place++)
                memcpy(m + place * ms, m + place * ms + w->strip * m_row, (size_t)m_row * sizeof(float));
        for (int64_t i = 0; i < count; i++) gather_row(w, q0 - 1 + from + i, v + (from + i) * v_row, vs);
        for (int place = 0; place < PLACES; place++)
            for (int64_t p = 0; p < w->out; p += PANEL)
                multiply(w, v + place * vs + from * v_row, m + place * ms + from * m_row, count * w->tw, place, p);
        for (int64_t q = q0; q < q1; q++) finish_row(w, q, m + (q - q0 + 1) * m_row, ms);
    }
}

/* ---- the same for filters beyond the second cache: three steps over the tables of some images ---- */

static void chunk_gather(int64_t task, void *ctx) {
    const winograd *w = ctx;
    gather_row(w, w->first + task, w->v + task * w->tw * w->in, w->vs);
}

static void chunk_multiply(int64_t task, void *ctx) {
    const winograd *w = ctx;
    const int64_t panels = md_ceil_div(w->out, PANEL);
    const int place = (int)(task / panels);
    multiply(w, w->v + place * w->vs, w->m + place * w->ms, (w->last - w->first) * w->tw, place, task % panels * PANEL);
}

static void chunk_finish(int64_t task, void *ctx) {
    const winograd *w = ctx;
    finish_row(w, w->first + task, w->m + task * w->tw * w->out, w->ms);
}

static int chunks(winograd *w) {
    const int64_t per_image = PLACES * w->th * w->tw * (w->in + w->out);
    const int64_t images = md_min(w->s.N, md_max(1, CHUNK_FLOATS / per_image)), tiles = images * w->th * w->tw;
    w->vs = tiles * w->in + VL;
    w->ms = tiles * w->out + VL;
    if (!(w->v = md_scratch(MD_SLOT_C, (size_t)(PLACES * (w->vs + w->ms)) * sizeof(float)))) return MD_NO_MEMORY;
    w->m = w->v + PLACES * w->vs;
    for (w->first = 0; w->first < w->rows; w->first = w->last) {
        w->last = md_min(w->rows, w->first + images * w->th);
        md_parallel(w->last - w->first, chunk_gather, w);
        md_parallel(PLACES * md_ceil_div(w->out, PANEL), chunk_multiply, w);
        md_parallel(w->last - w->first, chunk_finish, w);
    }
    return MD_DONE;
}

/* ---- which convolutions ---- */

/* MINIDL_WINOGRAD=0 in the environment: plain sums everywhere. */
static int wanted(void) {
    static _Atomic int known;
    if (!known) {
        const char *text = getenv("MINIDL_WINOGRAD");
        known = text && !strcmp(text, "0") ? 1 : 2;
    }
    return known == 2;
}

/* 16 products a tile against `taps` of the plain sum over 9 taps; the transforms cost as much as some channels. */
static int fits(const conv_shape *s) {
    if (s->kh != 3 || s->kw != 3 || s->sh != 1 || s->sw != 1 || s->dh != 1 || s->dw != 1 || s->G != 1) return 0;
    if (s->C % VL || s->O % VL || s->C > MAX_CHANNELS || s->O > MAX_CHANNELS || s->C < 32 || s->O < 32) return 0;
    const int64_t tiles = md_ceil_div(s->oh, 2) * md_ceil_div(s->ow, 2);
    return s->N * tiles >= 24 && 16 * tiles * 5 < 9 * s->oh * s->ow * 4 && wanted();
}

static winograd describe(const conv_shape *s, int by_data) {
    winograd w = {.s = *s, .th = md_ceil_div(s->oh, 2), .tw = md_ceil_div(s->ow, 2), .by_data = by_data};
    w.rows = s->N * w.th;
    w.in = by_data ? s->O : s->C;
    w.out = by_data ? s->C : s->O;
    return w;
}

/* The filters as dense kh, kw, C, O in slot D, if they do not lie like that. */
static const float *dense_filters(const md_array *w) {
    if (lies_flat(w)) return (const float *)w->data;
    const int64_t C = w->shape[1], O = w->shape[0];
    float *to = md_scratch(MD_SLOT_D, (size_t)(9 * C * O) * sizeof(float));
    for (int64_t i = 0; to && i < 9 * C * O; i++) {
        const int64_t tap = i / O / C, c = i / O % C, o = i % O;
        to[i] = ((const float *)w->data)[tap / 3 * w->stride[2] + tap % 3 * w->stride[3] + c * w->stride[1] + o * w->stride[0]];
    }
    return to;
}

static int run(winograd *w, const md_array *filters) {
    const int64_t size = w->in * w->out, threads = threads_for(2 * PLACES * w->rows * w->tw * size);
    int filled;
    w->u = md_keep(MD_SLOT_A, (size_t)(PLACES * (size + VL)) * sizeof(float) + (size_t)w->in * sizeof(int64_t), filters, &filled);
    if (!w->u || !(w->w = dense_filters(filters))) return MD_NO_MEMORY;
    int64_t *identity = (int64_t *)(w->u + PLACES * (size + VL));
    w->identity = identity;
    if (!filled) {
        for (int64_t k = 0; k < w->in; k++) identity[k] = k;
        run_tasks(threads, w->in / VL, transform_filters, w);
    }
    if (PLACES * size > FILTER_FLOATS) return chunks(w);
    w->strip = md_max(1, STRIP_FLOATS / (PLACES * (w->in + w->out) * w->tw));
    w->tasks = threads == 1 ? 1 : md_min(w->rows, md_max(threads, md_min(4 * threads, w->rows / w->strip)));
    if (w->by_data && w->s.N >= 4 * threads) w->tasks = md_min(w->s.N, 4 * threads); /* fewer rows are computed twice */
    w->strip = md_min(w->strip, md_ceil_div(w->rows, w->tasks));
    run_tasks(threads, w->tasks, strip_task, w);
    return w->status;
}

int MD_LOCAL(winograd_forward)(const md_array *y, const md_array *x, const md_array *filters, const md_array *bias,
                               const conv_shape *s) {
    if (!fits(s)) return MD_NOT_MINE;
    winograd w = describe(s, 0);
    w.y = (float *)y->data;
    w.bias = (const float *)bias->data;
    if (!(w.x = dense(x, MD_SLOT_B, md_get_threads()))) return MD_NO_MEMORY;
    return run(&w, filters);
}

int MD_LOCAL(winograd_data)(const md_array *dx, const md_array *g, const md_array *filters, const conv_shape *s) {
    if (!fits(s) || !md_channels_last(dx)) return MD_NOT_MINE;
    winograd w = describe(s, 1);
    w.dx = (float *)dx->data;
    if (!(w.g = dense(g, MD_SLOT_B, md_get_threads()))) return MD_NO_MEMORY;
    return run(&w, filters);
}

/* ---- by weights ---- */

/* Row r of the places, one panel of columns, one part of the batch. */
INLINE void weight_places(const int r, winograd *w, int64_t part, int64_t start) {
    const conv_shape *s = &w->s;
    const int64_t width = md_min(PANEL, s->O - start), strip = md_max(1, WEIGHT_TILES / w->tw), lda = s->C + VL;
    const int nv = (int)(width / VL);
    const int64_t begin = w->rows * part / w->parts, end = w->rows * (part + 1) / w->parts;
    const int64_t vs = strip * w->tw * lda + VL, ms = strip * w->tw * width + VL;
    float *v = md_scratch(MD_SLOT_C, (size_t)(4 * (vs + ms)) * sizeof(float) + (size_t)(strip * w->tw) * sizeof(int64_t));
    if (!v) {
        w->status = MD_NO_MEMORY;
        return;
    }
    float *m = v + 4 * vs, *du = w->du + (part * PLACES + 4 * r) * s->C * s->O;
    int64_t *off = (int64_t *)(m + 4 * ms);
    for (int64_t tile = 0; tile < strip * w->tw; tile++) off[tile] = tile * lda;
    double sums[PANEL] = {0};
    for (int64_t q0 = begin, q1; q0 < end; q0 = q1) {
        q1 = md_min(end, q0 + strip);
        int64_t tile = 0;
        for (int64_t q = q0; q < q1; q++) {
            const int64_t n = q / w->th, row = q % w->th * 2;
            const float *p[16];
            for (int64_t j = 0; j < w->tw; j++, tile++) {
                patch(p, 4, w->x + n * s->H * s->W * s->C, s->H, s->W, s->C, row - s->ph, 2 * j - s->pw);
                input_tile(r, r + 1, p, s->C, v + tile * lda, vs);
                patch(p, 2, w->g + n * s->oh * s->ow * s->O, s->oh, s->ow, s->O, row, 2 * j);
                for (int i = 0; i < 4; i++) p[i] += p[i] == zeros ? 0 : start;
                gradient_tile(r, r + 1, p, width, m + tile * width, ms);
            }
        }
        const float *a[PANEL_ROWS];
        float *y[PANEL_ROWS];
        for (int place = 0; place < 4; place++) {
            const panel_args t = {.k = tile, .a = a, .off = off, .y = y, .cols = (int)width, .ldb = width, .b = m + place * ms,
                                  .add = q0 != begin};
            for (int64_t c = 0, rows; c < s->C; c += rows) {
                rows = panel_rows(nv, s->C - c);
                for (int i = 0; i < rows; i++) {
                    a[i] = v + place * vs + c + i;
                    y[i] = du + (place * s->C + c + i) * s->O + start;
                }
                panel_tile(nv, (int)rows, &t);
            }
        }
        if (r == 1) /* place (1, 1) of A y A' is the sum of the tile's four pixels */
            for (int64_t j = 0; j < width; j += VL) {
                vf sum = {0};
                for (int64_t i = 0; i < tile; i++) sum += vload(m + ms + i * width + j);
                for (int l = 0; l < VL; l++) sums[j + l] += sum[l];
            }
    }
    if (r == 1) memcpy(w->sums + part * s->O + start, sums, (size_t)width * sizeof(double));
}

static void weight_task(int64_t task, void *ctx) {
    winograd *w = ctx;
    const int64_t panels = md_ceil_div(w->s.O, PANEL), part = task / 4 / panels, start = task / 4 % panels * PANEL;
    switch (task % 4) {
    case 0: weight_places(0, w, part, start); break;
    case 1: weight_places(1, w, part, start); break;
    case 2: weight_places(2, w, part, start); break;
    default: weight_places(3, w, part, start);
    }
}

/* G' du G for one channel of x. */
static void weight_finish(int64_t c, void *ctx) {
    const winograd *w = ctx;
    const int64_t C = w->s.C, O = w->s.O;
    for (int64_t o = 0; o < O; o += VL) {
        vf t[3][4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            vf m[4];
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                const float *du = w->du + ((4 * r + q) * C + c) * O + o;
                m[r] = vload(du);
                for (int64_t part = 1; part < w->parts; part++) m[r] += vload(du + part * PLACES * C * O);
            }
            const vf even = (m[1] + m[2]) * 0.5f;
            t[0][q] = m[0] + even, t[1][q] = (m[1] - m[2]) * 0.5f, t[2][q] = even + m[3];
        }
#pragma GCC unroll 3
        for (int a = 0; a < 3; a++) {
            const vf even = (t[a][1] + t[a][2]) * 0.5f;
            float *dw = w->y + (a * 3 * C + c) * O + o;
            vstore(dw, t[a][0] + even);
            vstore(dw + C * O, (t[a][1] - t[a][2]) * 0.5f);
            vstore(dw + 2 * C * O, even + t[a][3]);
        }
    }
}

int MD_LOCAL(winograd_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x,
                              const conv_shape *s) {
    if (!fits(s)) return MD_NOT_MINE;
    winograd w = describe(s, 0);
    w.y = (float *)dw->data;
    w.parts = 1 + w.rows * w.tw / PART_TILES;
    if (w.parts > 8) w.parts = 8;
    w.sums = md_scratch(MD_SLOT_A, (size_t)(w.parts * s->O) * sizeof(double) +
                                       (size_t)(w.parts * PLACES * s->C * s->O) * sizeof(float));
    if (!w.sums) return MD_NO_MEMORY;
    w.du = (float *)(w.sums + w.parts * s->O);
    const int64_t threads = threads_for(2 * PLACES * w.rows * w.tw * s->C * s->O);
    if (!(w.x = dense(x, MD_SLOT_B, threads)) || !(w.g = dense(g, MD_SLOT_D, threads))) return MD_NO_MEMORY;
    run_tasks(threads, w.parts * 4 * md_ceil_div(s->O, PANEL), weight_task, &w);
    if (w.status) return w.status;
    run_tasks(threads, s->C, weight_finish, &w);
    for (int64_t o = 0; o < s->O; o++) {
        double sum = 0;
        for (int64_t part = 0; part < w.parts; part++) sum += w.sums[part * s->O + o];
        ((float *)db->data)[o * db->stride[0]] = (float)sum;
    }
    return MD_DONE;
}
