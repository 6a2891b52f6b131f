/* Winograd's convolution (winograd.h), forward and by data: filters, strips of tiles, and their way through both. */
#include "winograd.h"

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
