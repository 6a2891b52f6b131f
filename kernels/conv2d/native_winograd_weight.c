/* Winograd's convolution (winograd.h), the gradient by weights: each place of the filters is a product over all tiles. */
#include "winograd.h"

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
