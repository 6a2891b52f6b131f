/* Winograd's convolution (winograd.h), the gradient by weights: at each place of the filters a product over all tiles. */
#include "winograd.h"

enum {
    WEIGHT_TILES = 64,     /* that are summed at a time */
    PART_TILES = 1024,     /* of the part of a batch that is summed apart */
    HALF = PLACES / 2,     /* the places of a task */
    WEIGHT_CHANNELS = 128, /* of x, of a task */
};

/* Adds the pixels of y's gradient that row q of the tiles covers to the sums of one panel. */
static void add_pixels(double *sums, const winograd *w, int64_t q, int64_t start, int64_t width) {
    const conv_shape *s = &w->s;
    const int64_t each = w->g_taps ? 2 : 1, down = s->oh / each, across = s->ow / each; /* of g */
    const int64_t row = q % w->th * OUT / each, pixels = md_max(0, md_min(OUT / each, down - row)) * across;
    const int64_t first = (q / w->th * down + row) * across * s->O + start;
    for (int64_t j = first; j < first + width; j += VL) {
        vf sum = {0};
        if (w->g_taps)
            for (int64_t i = 0; i < pixels; i++) sum += at_any_tap(vload(w->g + i * s->O + j), load_taps(w->g_taps + i * s->O + j));
        else
            for (int64_t i = 0; i < pixels; i++) sum += vload(w->g + i * s->O + j);
        for (int l = 0; l < VL; l++) sums[j - first + l] += sum[l];
    }
}

/* Half of the places, from row r on, some channels of x from c0 on, one panel of columns, one part of the batch. */
INLINE void weight_places(const int r, winograd *w, int64_t part, int64_t c0, int64_t start) {
    const conv_shape *s = &w->s;
    const int64_t width = md_min(PANEL, s->O - start), strip = md_max(1, WEIGHT_TILES / w->tw);
    const int64_t channels = md_min(WEIGHT_CHANNELS, s->C - c0), lda = channels + VL;
    const int nv = (int)(width / VL);
    const int64_t begin = w->rows * part / w->parts, end = w->rows * (part + 1) / w->parts;
    const int64_t vs = strip * w->tw * lda + VL, ms = strip * w->tw * width + VL;
    float *v = md_scratch(MD_SLOT_C, (size_t)(HALF * (vs + ms)) * sizeof(float) + (size_t)(strip * w->tw) * sizeof(int64_t));
    if (!v) {
        w->status = MD_NO_MEMORY;
        return;
    }
    float *m = v + HALF * vs, *du = w->du + ((part * PLACES + SIDE * r) * s->C + c0) * s->O;
    int64_t *off = (int64_t *)(m + HALF * ms);
    for (int64_t tile = 0; tile < strip * w->tw; tile++) off[tile] = tile * lda;
    double sums[PANEL] = {0};
    for (int64_t q0 = begin, q1; q0 < end; q0 = q1) {
        q1 = md_min(end, q0 + strip);
        int64_t tile = 0;
        for (int64_t q = q0; q < q1; q++) {
            const int64_t n = q / w->th, row = q % w->th * OUT;
            const float *p[PLACES];
            const uint8_t *taps[4] = {NULL};
            for (int64_t j = 0; j < w->tw; j++, tile++) {
                patch(p, SIDE, w->x + n * s->H * s->W * s->C, s->H, s->W, s->C, row - s->ph, OUT * j - s->pw);
                for (int i = 0; i < PLACES; i++) p[i] += p[i] == zeros ? 0 : c0;
                input_tile(r, r + SIDE / 2, p, channels, v + tile * lda, vs);
                gradient_patch(p, taps, w, n, row, OUT * j, start);
                if (w->g_taps) gradient_tile(r, r + SIDE / 2, p, taps, width, m + tile * width, ms);
                else gradient_tile(r, r + SIDE / 2, p, NULL, width, m + tile * width, ms);
            }
        }
        const float *a[PANEL_ROWS];
        float *y[PANEL_ROWS];
        for (int place = 0; place < HALF; place++) {
            const panel_args t = {.k = tile, .a = a, .off = off, .y = y, .cols = (int)width, .ldb = width, .b = m + place * ms,
                                  .add = q0 != begin};
            for (int64_t c = 0, rows; c < channels; c += rows) {
                rows = panel_rows(nv, channels - c);
                for (int i = 0; i < rows; i++) {
                    a[i] = v + place * vs + c + i;
                    y[i] = du + (place * s->C + c + i) * s->O + start;
                }
                panel_tile(nv, (int)rows, &t);
            }
        }
        if (r == 0 && c0 == 0) /* a tile's pixels, for the bias */
            for (int64_t q = q0; q < q1; q++) add_pixels(sums, w, q, start, width);
    }
    if (r == 0 && c0 == 0) memcpy(w->sums + part * s->O + start, sums, (size_t)width * sizeof(double));
}

static void weight_task(int64_t task, void *ctx) {
    winograd *w = ctx;
    const int64_t panels = md_ceil_div(w->s.O, PANEL), runs = md_ceil_div(w->s.C, WEIGHT_CHANNELS);
    const int64_t start = task / 2 % panels * PANEL, c0 = task / 2 / panels % runs * WEIGHT_CHANNELS;
    const int64_t part = task / 2 / panels / runs;
    if (task % 2) weight_places(SIDE / 2, w, part, c0, start);
    else weight_places(0, w, part, c0, start);
}

/* G' du G for one channel of x. */
static void weight_finish(int64_t c, void *ctx) {
    const winograd *w = ctx;
    const int64_t C = w->s.C, O = w->s.O;
    for (int64_t o = 0; o < O; o += VL) {
        vf t[3][SIDE];
#pragma GCC unroll 6
        for (int q = 0; q < SIDE; q++) {
            vf u[SIDE], g[3];
#pragma GCC unroll 6
            for (int r = 0; r < SIDE; r++) {
                const float *du = w->du + ((SIDE * r + q) * C + c) * O + o;
                u[r] = vload(du);
                for (int64_t part = 1; part < w->parts; part++) u[r] += vload(du + part * PLACES * C * O);
            }
            apply_Gt(g, u);
            t[0][q] = g[0], t[1][q] = g[1], t[2][q] = g[2];
        }
#pragma GCC unroll 3
        for (int a = 0; a < 3; a++) {
            vf g[3];
            apply_Gt(g, t[a]);
#pragma GCC unroll 3
            for (int b = 0; b < 3; b++) vstore(w->y + ((a * 3 + b) * C + c) * O + o, g[b]);
        }
    }
}

int MD_LOCAL(winograd_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *taps,
                              const md_array *x, const conv_shape *s) {
    if (!fits(s, narrow(s) ? 150 : 1300)) return MD_NOT_MINE;
    winograd w = describe(s, 0);
    w.y = (float *)dw->data;
    w.g_taps = (const uint8_t *)taps->data;
    w.parts = 1 + w.rows * w.tw / PART_TILES;
    if (w.parts > 8) w.parts = 8;
    w.sums = md_scratch(MD_SLOT_A, (size_t)(w.parts * s->O) * sizeof(double) +
                                       (size_t)(w.parts * PLACES * s->C * s->O) * sizeof(float));
    if (!w.sums) return MD_NO_MEMORY;
    w.du = (float *)(w.sums + w.parts * s->O);
    const int64_t threads = threads_for(2 * PLACES * w.rows * w.tw * s->C * s->O);
    if (!(w.x = dense(x, MD_SLOT_B, threads)) || !(w.g = dense(g, MD_SLOT_D, threads))) return MD_NO_MEMORY;
    run_tasks(threads, 2 * w.parts * md_ceil_div(s->O, PANEL) * md_ceil_div(s->C, WEIGHT_CHANNELS), weight_task, &w);
    if (w.status) return w.status;
    run_tasks(threads, s->C, weight_finish, &w);
    for (int64_t o = 0; o < s->O; o++) {
        double sum = 0;
        for (int64_t part = 0; part < w.parts; part++) sum += w.sums[part * s->O + o];
        ((float *)db->data)[o * db->stride[0]] = (float)sum;
    }
    return MD_DONE;
}
