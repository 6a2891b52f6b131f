/* The gradient by data where images have few channels. Output channels, which are summed over, lie along the lanes of vectors:
 *
 *   dx[h][w][c] = sum over taps (a, b) and o of g[u][v][o] * w[a][b][c][o]        u sh = h + ph - a dh,  v sw = w + pw - b dw
 *
 * VL sums stay in registers, those of the channels of some pixels that are a stride apart, so that the same taps reach all of
 * them, and become one vector at the end. A strip of g is copied, VL channels after VL, with a border of zeros: no tap misses
 * it sideways. */
#include "conv.h"

enum { MOST_CHANNELS = 4, MOST_TAPS = 144, STRIP_FLOATS = 1 << 17 };

typedef struct {
    conv_shape s;
    float *dx;
    const float *g, *w;             /* w: for each tap `vectors` times C vectors */
    int64_t vectors, left, width;   /* of O; columns of the border before g; columns of a row with borders */
    int64_t rows;                   /* of dx, of a task */
    _Atomic int status;
} few;

typedef struct { const float *g, *w; } tap;

/* The sums of VL / C pixels, whose places in g are neighbours. */
INLINE vf pixels(const int C, const few *f, const tap *taps, int64_t many, int64_t first) {
    const int64_t vectors = f->vectors, width = f->width * VL;
    vf acc[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) acc[i] = (vf){0};
    for (int64_t t = 0; t < many; t++) {
        const float *g = taps[t].g + first * VL, *w = taps[t].w;
        for (int64_t o = 0; o < vectors; o++, g += width, w += C * VL) {
            vf factor[MOST_CHANNELS];
#pragma GCC unroll 4
            for (int c = 0; c < C; c++) factor[c] = vload(w + c * VL);
#pragma GCC unroll 16
            for (int i = 0; i < VL / C; i++) {
                const vf value = vload(g + i * VL);
#pragma GCC unroll 4
                for (int c = 0; c < C; c++) acc[i * C + c] += value * factor[c];
            }
        }
    }
    return vsums(acc);
}

/* The pixels of a row of dx that lie a stride apart, from column `start` on: `to` is that column. */
INLINE void phase(const int C, const few *f, const tap *taps, int64_t many, int64_t start, float *to) {
    const int64_t sw = f->s.sw, count = md_ceil_div(f->s.W - start, sw), step = VL / C;
    for (int64_t i = 0; i < count; i += step) {
        if (count >= step) i = md_min(i, count - step); /* the last ones overlap */
        const int64_t left = md_min(step, count - i);
        const vf sums = pixels(C, f, taps, many, i);
        if (sw == 1) store_cols(to + i * C, sums, (int)(left * C));
        else
            for (int64_t j = 0; j < left; j++)
                for (int c = 0; c < C; c++) to[(i + j) * sw * C + c] = sums[j * C + c];
    }
}

#define PHASE(C)                                                                                           \
    static void phase_##C(const few *f, const tap *taps, int64_t many, int64_t start, float *to) {           \
        phase(C, f, taps, many, start, to);                                                                 \
    }
PHASE(1) PHASE(2) PHASE(3) PHASE(4)

static void rows_task(int64_t task, void *ctx) {
    static void (*const phases[])(const few *, const tap *, int64_t, int64_t, float *) = {phase_1, phase_2, phase_3, phase_4};
    few *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t strips = md_ceil_div(s->H, f->rows), n = task / strips, r0 = task % strips * f->rows;
    const int64_t r1 = md_min(s->H, r0 + f->rows), line = f->width * f->vectors * VL;
    const int64_t above = r0 + s->ph - (s->kh - 1) * s->dh;
    const int64_t u0 = above > 0 ? md_ceil_div(above, s->sh) : 0, u1 = md_min(s->oh, (r1 - 1 + s->ph) / s->sh + 1);
    float *strip = md_scratch(MD_SLOT_C, (size_t)(md_max(1, u1 - u0) * line) * sizeof(float));
    if (!strip) {
        f->status = MD_NO_MEMORY;
        return;
    }
    for (int64_t u = u0; u < u1; u++)
        for (int64_t o = 0; o < f->vectors; o++) {
            float *to = strip + (u - u0) * line + o * f->width * VL;
            const float *from = f->g + (n * s->oh + u) * s->ow * s->O + o * VL;
            for (int64_t v = -f->left; v < f->width - f->left; v++, to += VL)
                vstore(to, v >= 0 && v < s->ow ? load_cols(from + v * s->O, (int)(s->O - o * VL)) : (vf){0});
        }
    tap taps[MOST_TAPS];
    for (int64_t h = r0; h < r1; h++)
        for (int64_t start = 0; start < md_min(s->sw, s->W); start++) {
            int64_t many = 0;
            for (int64_t a = 0; a < s->kh; a++)
                for (int64_t b = 0; b < s->kw; b++) {
                    const int64_t down = h + s->ph - a * s->dh, across = start + s->pw - b * s->dw + f->left * s->sw;
                    if (down % s->sh || down < 0 || down / s->sh >= s->oh || across % s->sw) continue;
                    taps[many++] = (tap){strip + (down / s->sh - u0) * line + across / s->sw * VL,
                                         f->w + (a * s->kw + b) * f->vectors * s->C * VL};
                }
            phases[s->C - 1](f, taps, many, start, f->dx + ((n * s->H + h) * s->W + start) * s->C);
        }
}

int MD_LOCAL(few_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s) {
    if (s->G != 1 || s->C > md_min(MOST_CHANNELS, VL) || s->kh * s->kw > MOST_TAPS || !md_channels_last(dx)) return MD_NOT_MINE;
    const int64_t threads = threads_for(2 * s->N * s->oh * s->ow * s->K * s->O);
    few f = {.s = *s, .dx = (float *)dx->data, .vectors = md_ceil_div(s->O, VL)};
    f.left = md_max(0, md_ceil_div((s->kw - 1) * s->dw - s->pw, s->sw));
    f.width = f.left + md_max(s->ow, (s->W - 1 + s->pw) / s->sw + 1) + md_max(0, VL / s->C - s->W / s->sw);
    float *packed = md_scratch(MD_SLOT_A, (size_t)(s->K * f.vectors * VL) * sizeof(float));
    if (!packed || !(f.g = dense(g, MD_SLOT_B, threads))) return MD_NO_MEMORY;
    f.w = packed;
    for (int64_t tap = 0; tap < s->kh * s->kw; tap++)
        for (int64_t o = 0; o < s->O; o += VL, packed += s->C * VL)
            pack_strided(packed, 1, (const float *)w->data + tap / s->kw * w->stride[2] + tap % s->kw * w->stride[3] + o * w->stride[0],
                         s->C, md_min(VL, s->O - o), w->stride[1], w->stride[0]);
    /* A task: a strip of dx whose rows of g stay in the second cache. */
    f.rows = md_min(s->H, md_max(1, STRIP_FLOATS / (f.width * f.vectors * VL) - (s->kh - 1) * s->dh / s->sh) * s->sh);
    if (s->N < threads) f.rows = md_min(f.rows, md_ceil_div(s->H, threads));
    run_tasks(threads, s->N * md_ceil_div(s->H, f.rows), rows_task, &f);
    return f.status;
}
