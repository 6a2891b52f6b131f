/* Winograd's convolution (winograd.h), forward and by data.
 *
 * Where the transformed filters fit the second cache, a task takes a strip of rows of tiles all the way: images to a table
 * [36][tile][channel], its products with the filters to another, and that to the result. Else the tables hold all tiles of some images, and a task
 * multiplies half of the places for one panel of columns, transforming filters as it goes. */
#include "winograd.h"
#include "pool.h"

enum {
    STRIP_FLOATS = 100000,  /* of a strip's two tables */
    CHUNK_FLOATS = 2 << 20, /* of the tables of some images, where the filters do not */
    BLOCK = 128,            /* channels that are summed at a time: the panel stays in the first cache and the error small */
};

/* Tables hold 36 places of `channels` for each tile, side by side: a tile is written and read in one go. Between two tiles
 * there is a gap, so that they do not meet in the same sets of the first cache. */
INLINE int64_t table_step(int64_t channels) { return PLACES * channels + VL; }

/* ---- filters ---- */

/* Rows [r0, r1) of G g G' for channels [k0, k1) that are summed over and one panel of columns, to places of u `step` apart. */
INLINE void filters(const int r0, const int r1, const winograd *w, int64_t k0, int64_t k1, int64_t start, int64_t width,
                    float *u, int64_t step) {
    const int64_t C = w->s.C, O = w->s.O;
    vf turned[9][VL];
    for (int64_t k = k0; k < k1; k += VL)
        for (int64_t j = 0; j < width; j += VL) {
            if (w->by_data)
                for (int tap = 0; tap < 9; tap++) {
#pragma GCC unroll 16
                    for (int i = 0; i < VL; i++) turned[tap][i] = vload(w->w + (tap * C + start + j + i) * O + k);
                    vtranspose(turned[tap]);
                }
            for (int i = 0; i < VL; i++) {
                float *to = u + (k - k0 + i) * width + j;
                vf t[SIDE][3];
#pragma GCC unroll 3
                for (int b = 0; b < 3; b++) {
                    vf g[3], v[SIDE];
#pragma GCC unroll 3
                    for (int a = 0; a < 3; a++)
                        g[a] = w->by_data ? turned[a * 3 + b][i] : vload(w->w + ((a * 3 + b) * C + k + i) * O + start + j);
                    apply_G(v, g);
#pragma GCC unroll 6
                    for (int r = r0; r < r1; r++) t[r][b] = v[r];
                }
#pragma GCC unroll 6
                for (int r = r0; r < r1; r++) {
                    vf v[SIDE];
                    apply_G(v, t[r]);
#pragma GCC unroll 6
                    for (int q = 0; q < SIDE; q++) vstore(to + ((r - r0) * SIDE + q) * step, v[q]);
                }
            }
        }
}

/* The same for all places and channels, to a table of all filters. */
static int64_t table_floats(const winograd *w) { return PLACES * (w->in * w->out + VL); }
static void all_filters(const winograd *w, float *u) {
    for (int64_t p = 0; p < w->out; p += PANEL) {
        const int64_t width = md_min(PANEL, w->out - p);
        filters(0, SIDE, w, 0, w->in, p, width, u + w->in * p, w->in * w->out + VL);
    }
}

/* The thread's own table, made at its first task of a call: to transform all filters takes less time than to fetch half of them from
 * another core and to write where that has read. NULL without memory. */
static const float *own_filters(const winograd *w) {
    static _Thread_local int64_t made; /* for which call */
    float *const u = md_scratch(MD_SLOT_D, (size_t)table_floats(w) * sizeof(float));
    if (u && made != w->call) {
        all_filters(w, u);
        made = w->call;
    }
    return u;
}

/* m (+)= v u for channels [k0, k1) and one panel, at one place of tables of `in` and `out` channels. */
static void multiply(const winograd *w, const float *v, const float *u, float *m, int64_t tiles, int64_t k0, int64_t k1,
                     int64_t width) {
    const int nv = (int)(width / VL);
    const float *a[PANEL_ROWS];
    float *y[PANEL_ROWS];
    const panel_args t = {.k = k1 - k0, .a = a, .off = w->identity, .y = y, .cols = (int)width, .ldb = width, .b = u,
                          .add = k0 > 0};
    const int64_t vs = table_step(w->in), ms = table_step(w->out);
    for (int64_t tile = 0, rows; tile < tiles; tile += rows) {
        rows = panel_rows(nv, tiles - tile);
        for (int i = 0; i < rows; i++) a[i] = v + (tile + i) * vs + k0, y[i] = m + (tile + i) * ms;
        panel_tile(nv, (int)rows, &t);
    }
}

/* ---- rows of tiles: row q is row q % th of image q / th ---- */

static void gather_row(const winograd *w, int64_t q, float *v) {
    const conv_shape *s = &w->s;
    const int64_t n = q / w->th, row = q % w->th * OUT;
    const float *p[PLACES];
    const uint8_t *taps[4] = {NULL};
    for (int64_t j = 0; j < w->tw; j++, v += table_step(w->in)) {
        if (w->by_data) {
            gradient_patch(p, taps, w, n, row, OUT * j, 0);
            if (w->g_taps) gradient_tile(0, SIDE, p, taps, s->O, v, s->O);
            else gradient_tile(0, SIDE, p, NULL, s->O, v, s->O);
        } else {
            patch(p, SIDE, w->x + n * s->H * s->W * s->C, s->H, s->W, s->C, row - s->ph, OUT * j - s->pw);
            input_tile(0, SIDE, p, s->C, v, s->C);
        }
    }
}

/* Where the pixels of a tile go: to y, those inside, or the maxima of its four 2x2 windows. */
INLINE void store_tile(const winograd *w, const vf y[OUT][OUT], float *to, int64_t rows, int64_t columns) {
    const conv_shape *s = &w->s;
    const int64_t line = (w->taps ? s->ow / 2 : s->ow) * s->O;
    if (w->taps)
#pragma GCC unroll 2
        for (int r = 0; r < OUT; r += 2)
#pragma GCC unroll 2
            for (int q = 0; q < OUT; q += 2) {
                float *window = to + r / 2 * line + q / 2 * s->O;
                if (r + 1 < rows && q + 1 < columns)
                    store_maximum(window, w->taps + (window - w->y), y[r][q], y[r][q + 1], y[r + 1][q], y[r + 1][q + 1],
                                  s->activation, VL);
            }
    else
#pragma GCC unroll 4
        for (int r = 0; r < OUT; r++)
#pragma GCC unroll 4
            for (int q = 0; q < OUT; q++) {
                float *pixel = to + r * line + q * s->O;
                vf sum = y[r][q];
                if (r >= rows || q >= columns) break;
                if (w->residual) sum += vload(pixel + w->residual);
                vstore(pixel, activated(sum, s->activation));
            }
}

/* act(A' m A + bias + residual) for a row of tiles. */
static void output_row(const winograd *w, int64_t q, const float *m) {
    const conv_shape *s = &w->s;
    const int64_t n = q / w->th, row = q % w->th * OUT, rows = md_min(OUT, s->oh - row), each = w->taps ? 2 : 1;
    float *to = w->y + (n * (s->oh / each) + row / each) * (s->ow / each) * s->O;
    for (int64_t j = 0; j < w->tw; j++, m += table_step(s->O), to += OUT / each * s->O)
        for (int64_t c = 0; c < s->O; c += VL) {
            const vf bias = w->bias ? vload(w->bias + c) : (vf){0};
            vf t[OUT][SIDE], y[OUT][OUT];
#pragma GCC unroll 6
            for (int q = 0; q < SIDE; q++) {
                vf at[SIDE], column[OUT];
#pragma GCC unroll 6
                for (int r = 0; r < SIDE; r++) at[r] = vload(m + (r * SIDE + q) * s->O + c);
                apply_At(column, at);
#pragma GCC unroll 4
                for (int r = 0; r < OUT; r++) t[r][q] = column[r];
            }
#pragma GCC unroll 4
            for (int r = 0; r < OUT; r++) {
                apply_At(y[r], t[r]);
#pragma GCC unroll 4
                for (int q = 0; q < OUT; q++) y[r][q] += bias;
            }
            store_tile(w, (const vf(*)[OUT])y, to + c, rows, s->ow - OUT * j);
        }
}

/* Four rows of dx, from the row of tiles that starts there (`current`) and the one above: B m B' of neighbouring tiles overlap
 * by two pixels, so what a tile gives to the pixels on its right is carried on to the next. */
INLINE void input_rows(const int has_current, const int has_above, const winograd *w, const float *current, const float *above,
                       float *const *rows) {
    const conv_shape *s = &w->s;
    const int64_t step = table_step(s->C);
    for (int64_t c = 0; c < s->C; c += VL) {
        vf carry[OUT][2] = {{{0}}};
        for (int64_t j = 0; j <= w->tw; j++) {
            vf t[OUT][SIDE] = {{{0}}};
            if (j < w->tw)
#pragma GCC unroll 6
                for (int q = 0; q < SIDE; q++) {
                    vf at[SIDE], d[SIDE];
                    if (has_current) {
#pragma GCC unroll 6
                        for (int r = 0; r < SIDE; r++) at[r] = vload(current + j * step + (r * SIDE + q) * s->C + c);
                        apply_B(d, at);
#pragma GCC unroll 4
                        for (int r = 0; r < OUT; r++) t[r][q] = d[r];
                    }
                    if (has_above) {
#pragma GCC unroll 6
                        for (int r = 0; r < SIDE; r++) at[r] = vload(above + j * step + (r * SIDE + q) * s->C + c);
                        apply_B(d, at);
                        t[0][q] += d[4], t[1][q] += d[5];
                    }
                }
            const int64_t column = OUT * j - s->pw;
#pragma GCC unroll 4
            for (int r = 0; r < OUT; r++) {
                vf d[SIDE];
                if (!has_current && r > 1) break;
                apply_B(d, t[r]);
                d[0] += carry[r][0], d[1] += carry[r][1];
                carry[r][0] = d[4], carry[r][1] = d[5];
#pragma GCC unroll 4
                for (int q = 0; q < OUT; q++)
                    if (rows[r] && column + q >= 0 && column + q < s->W) vstore(rows[r] + (column + q) * s->C + c, d[q]);
            }
        }
    }
}

/* What is complete once row q of the tiles is there: dx's rows from its top, and after the last one those below. */
static void input_row(const winograd *w, int64_t q, const float *m) {
    const conv_shape *s = &w->s;
    const int64_t n = q / w->th, i = q % w->th;
    const float *above = m - w->tw * table_step(s->C);
    for (int64_t b = i; b <= i + (i == w->th - 1); b++) {
        float *rows[OUT];
        for (int r = 0; r < OUT; r++) {
            const int64_t h = OUT * b + r - s->ph;
            rows[r] = h >= 0 && h < s->H ? w->dx + (n * s->H + h) * s->W * s->C : NULL;
        }
        if (b > i) input_rows(0, 1, w, m, m, rows);
        else if (i) input_rows(1, 1, w, m, above, rows);
        else input_rows(1, 0, w, m, m, rows);
    }
}

static void finish_row(const winograd *w, int64_t q, const float *m) {
    if (w->by_data) input_row(w, q, m);
    else output_row(w, q, m);
}

/* One part of all rows, a strip at a time. By data a strip needs the row above it: the last one of the strip before, or, at
 * the beginning of the part, one more that is computed here too. Row 0 of the tables is kept for it. */
static void strip_task(int64_t task, void *ctx) {
    winograd *w = ctx;
    const int64_t begin = w->rows * task / w->tasks, end = w->rows * (task + 1) / w->tasks;
    const int64_t v_row = w->tw * table_step(w->in), m_row = w->tw * table_step(w->out), us = w->in * w->out + VL;
    float *v = md_scratch(MD_SLOT_C, (size_t)((w->strip + 1) * (v_row + m_row)) * sizeof(float));
    const float *const u = w->u ? w->u : own_filters(w);
    if (!v || !u) {
        w->status = MD_NO_MEMORY;
        return;
    }
    float *m = v + (w->strip + 1) * v_row;
    for (int64_t q0 = begin, q1; q0 < end; q0 = q1) {
        q1 = md_min(end, q0 + w->strip);
        const int above = w->by_data && q0 % w->th != 0;
        const int64_t from = above && q0 == begin ? 0 : 1, count = q1 - q0 + 1 - from;
        if (above && from) memcpy(m, m + w->strip * m_row, (size_t)m_row * sizeof(float));
        for (int64_t i = 0; i < count; i++) gather_row(w, q0 - 1 + from + i, v + (from + i) * v_row);
        for (int place = 0; place < PLACES; place++)
            for (int64_t p = 0; p < w->out; p += PANEL) {
                const int64_t width = md_min(PANEL, w->out - p);
                for (int64_t k = 0; k < w->in; k += BLOCK)
                    multiply(w, v + from * v_row + place * w->in, u + place * us + w->in * p + k * width,
                             m + from * m_row + place * w->out + p, count * w->tw, k, md_min(w->in, k + BLOCK), width);
            }
        for (int64_t q = q0; q < q1; q++) finish_row(w, q, m + (q - q0 + 1) * m_row);
    }
}

/* ---- the same in three steps over the tables of some images ---- */

static void chunk_gather(int64_t task, void *ctx) {
    const winograd *w = ctx;
    gather_row(w, w->first + task, w->v + task * w->tw * table_step(w->in));
}

/* Half of the places, from row r on, for one panel. */
INLINE void chunk_places(const int r, winograd *w, int64_t start) {
    const int64_t width = md_min(PANEL, w->out - start), step = BLOCK * width + VL, tiles = (w->last - w->first) * w->tw;
    const int first = r * SIDE, last = first + PLACES / 2;
    float *u = md_scratch(MD_SLOT_D, (size_t)(PLACES / 2 * step) * sizeof(float));
    if (!u) {
        w->status = MD_NO_MEMORY;
        return;
    }
    for (int64_t k0 = 0; k0 < w->in; k0 += BLOCK) {
        const int64_t k1 = md_min(w->in, k0 + BLOCK);
        filters(r, r + SIDE / 2, w, k0, k1, start, width, u, step);
        for (int place = first; place < last; place++)
            multiply(w, w->v + place * w->in, u + (place - first) * step, w->m + place * w->out + start, tiles, k0, k1, width);
    }
}

static void chunk_multiply(int64_t task, void *ctx) {
    if (task % 2) chunk_places(SIDE / 2, ctx, task / 2 * PANEL);
    else chunk_places(0, ctx, task / 2 * PANEL);
}

static void chunk_finish(int64_t task, void *ctx) {
    const winograd *w = ctx;
    finish_row(w, w->first + task, w->m + task * w->tw * table_step(w->out));
}

static int chunks(winograd *w, int64_t threads) {
    const int64_t per_image = w->th * w->tw * (table_step(w->in) + table_step(w->out));
    const int64_t images = md_min(w->s.N, md_max(1, CHUNK_FLOATS / per_image));
    if (!(w->v = md_scratch(MD_SLOT_C, (size_t)(images * per_image) * sizeof(float)))) return MD_NO_MEMORY;
    w->m = w->v + images * w->th * w->tw * table_step(w->in);
    for (w->first = 0; w->first < w->rows && !w->status; w->first = w->last) {
        w->last = md_min(w->rows, w->first + images * w->th);
        run_tasks(threads, w->last - w->first, chunk_gather, w);
        run_tasks(threads, 2 * md_ceil_div(w->out, PANEL), chunk_multiply, w);
        run_tasks(threads, w->last - w->first, chunk_finish, w);
    }
    return w->status;
}

static const float *copy_filters(const md_array *w, float *to) {
    const int64_t C = w->shape[1], O = w->shape[0];
    for (int64_t i = 0; i < 9 * C * O; i++) {
        const int64_t tap = i / O / C, c = i / O % C, o = i % O;
        to[i] = ((const float *)w->data)[tap / 3 * w->stride[2] + tap % 3 * w->stride[3] + c * w->stride[1] + o * w->stride[0]];
    }
    return to;
}

static int run(winograd *w, const md_array *weight) {
    const int64_t size = w->in * w->out, threads = threads_for(2 * PLACES * w->rows * w->tw * size);
    const int wide = !narrow(&w->s);
    static _Atomic int64_t calls;
    int filled;
    const int64_t table = !wide && weight->constant ? table_floats(w) : 0, copy = lies_flat(weight) ? 0 : 9 * size;
    int64_t *identity = md_keep(MD_SLOT_A, (size_t)w->in * sizeof(int64_t) + (size_t)(table + copy) * sizeof(float) + 64,
                                weight, &filled);
    if (!identity) return MD_NO_MEMORY;
    w->identity = identity;
    float *rest = (float *)(identity + w->in);
    w->u = table ? rest : NULL;
    w->call = ++calls;
    if (!filled) {
        for (int64_t k = 0; k < w->in; k++) identity[k] = k;
        w->w = copy ? copy_filters(weight, rest + table) : (const float *)weight->data;
        if (table) all_filters(w, rest);
    } else w->w = copy ? rest + table : (const float *)weight->data;
    if (wide) return chunks(w, threads);
    w->strip = md_max(1, STRIP_FLOATS / (PLACES * (w->in + w->out) * w->tw));
    w->tasks = threads == 1 ? 1 : md_min(w->rows, md_max(threads, md_min(4 * threads, w->rows / w->strip)));
    if (w->by_data) w->tasks = md_min(w->rows, w->s.N < 4 * threads ? threads : 4 * threads); /* fewer rows are computed twice */
    w->strip = md_min(w->strip, md_ceil_div(w->rows, w->tasks));
    run_tasks(threads, w->tasks, strip_task, w);
    return w->status;
}

int MD_LOCAL(winograd_forward)(const md_array *y, const md_array *taps, const md_array *x, const md_array *weight,
                               const md_array *bias, const md_array *residual, const conv_shape *s) {
    if (!fits(s, 150)) return MD_NOT_MINE;
    winograd w = describe(s, 0);
    w.y = (float *)y->data;
    w.taps = taps ? (uint8_t *)taps->data : NULL;
    w.bias = (const float *)bias->data;
    if (residual && residual->data) {
        if (!md_channels_last(residual)) return MD_NOT_MINE;
        w.residual = (const float *)residual->data - w.y;
    }
    if (!(w.x = dense(x, MD_SLOT_B, md_get_threads()))) return MD_NO_MEMORY;
    return run(&w, weight);
}

int MD_LOCAL(winograd_data)(const md_array *dx, const md_array *g, const md_array *taps, const md_array *weight,
                            const conv_shape *s) {
    if (!fits(s, 150) || !md_channels_last(dx)) return MD_NOT_MINE;
    winograd w = describe(s, 1);
    w.dx = (float *)dx->data;
    w.g_taps = (const uint8_t *)taps->data;
    if (!(w.g = dense(g, MD_SLOT_B, md_get_threads()))) return MD_NO_MEMORY;
    return run(&w, weight);
}
