/* Groups of 2, 4 or 8 channels that give as many. A vector holds VL channels of some groups, of the image and of the result
 * alike: factor i of a window's place is that vector with channel i of each group in all of the group's lanes.
 *
 *   forward      y[pixel][lane] = sum over taps and i of x[place][i of lane's group] * w[tap][i][lane]
 *   by data      the same of g with the taps turned round, and with the rows and columns of each group's weights exchanged
 *   by weights   dw[tap][i][lane] = sum over pixels of x[place][i of lane's group] * g[pixel][lane] */
#include "conv.h"

enum { ROW_PIXELS = 8, WEIGHT_RUN = 3, MOST_PARTS = 16, PART_FLOPS = 1 << 20, TASK_FLOPS = 1 << 20 };

typedef struct {
    conv_shape s; /* of what is computed: by data x is g */
    const md_array *image;
    const float *w, *bias, *g;
    float *y, *parts; /* parts: of the gradient by weights, (K + 1) rows of O, the last those of g */
    int64_t rows, count; /* rows of a task; parts */
    _Atomic int status;
} grouped;

/* Channel i of each group, in all its lanes. */
INLINE vf of_group(const int q, vf x, int i) { return __builtin_shuffle(x, (VLANES & -q) + i); }

/* VL channels of `many` neighbours in a row of the result; x is the corner of the first one's window. */
INLINE void group_pixels(const int q, const int many, const grouped *f, const float *x, int64_t line, float *y, int64_t c) {
    const conv_shape *s = &f->s;
    const float *w = f->w + c;
    vf acc[ROW_PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < many; p++) acc[p] = f->bias ? vload(f->bias + c) : (vf){0};
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++) {
            const float *place = x + a * s->dh * line + b * s->dw * s->C + c;
#pragma GCC unroll 8
            for (int i = 0; i < q; i++, w += s->O) {
                const vf factor = vload(w);
#pragma GCC unroll 8
                for (int p = 0; p < many; p++) acc[p] += of_group(q, vload(place + p * s->sw * s->C), i) * factor;
            }
        }
#pragma GCC unroll 8
    for (int p = 0; p < many; p++) vstore(y + p * s->O + c, activated(acc[p], s->activation));
}

/* What the windows of the result's rows from `row` to `last` cover: those up to `end` that are of one image. NULL, and the reason in
 * f->status, where there is no memory. */
static const float *rows_of_image(grouped *f, int64_t row, int64_t end, int64_t *last) {
    const conv_shape *s = &f->s;
    const int64_t n = row / s->oh, top = row % s->oh * s->sh;
    *last = md_min(end, (n + 1) * s->oh);
    const float *x = bordered(f->image, s, n, top, (*last - row - 1) * s->sh + (s->kh - 1) * s->dh + 1);
    if (!x) f->status = MD_NO_MEMORY;
    return x;
}

INLINE void group_rows(const int q, int64_t task, grouped *f) {
    const conv_shape *s = &f->s;
    const int64_t line = (s->W + 2 * s->pw) * s->C, all = s->N * s->oh, end = md_min(all, (task + 1) * f->rows);
    for (int64_t row = task * f->rows, last; row < end; row = last) {
        const float *x = rows_of_image(f, row, end, &last);
        if (!x) return;
        for (; row < last; row++, x += s->sh * line)
            for (int64_t c = 0; c < s->C; c += VL)
                for (int64_t v = 0, many; v < s->ow; v += many) {
                    if (s->ow >= ROW_PIXELS) v = md_min(v, s->ow - ROW_PIXELS); /* the last ones overlap */
                    many = s->ow >= ROW_PIXELS ? ROW_PIXELS : 1;
                    const float *corner = x + v * s->sw * s->C;
                    float *y = f->y + (row * s->ow + v) * s->O;
                    if (many > 1) group_pixels(q, ROW_PIXELS, f, corner, line, y, c);
                    else group_pixels(q, 1, f, corner, line, y, c);
                }
    }
}

/* Adds the sums of one row of g and some taps of a window's row to dw. */
INLINE void group_weights(const int q, const int run, const grouped *f, const float *x, const float *g, float *dw) {
    const conv_shape *s = &f->s;
    vf acc[WEIGHT_RUN][8];
#pragma GCC unroll 3
    for (int b = 0; b < run; b++)
#pragma GCC unroll 8
        for (int i = 0; i < q; i++) acc[b][i] = (vf){0};
    for (int64_t v = 0; v < s->ow; v++, x += s->sw * s->C, g += s->O) {
        const vf factor = vload(g);
#pragma GCC unroll 3
        for (int b = 0; b < run; b++) {
            const vf place = vload(x + b * s->dw * s->C);
#pragma GCC unroll 8
            for (int i = 0; i < q; i++) acc[b][i] += of_group(q, place, i) * factor;
        }
    }
#pragma GCC unroll 3
    for (int b = 0; b < run; b++)
#pragma GCC unroll 8
        for (int i = 0; i < q; i++) {
            float *to = dw + (b * q + i) * s->O;
            vstore(to, vload(to) + acc[b][i]);
        }
}

INLINE void group_part(const int q, int64_t part, grouped *f) {
    const conv_shape *s = &f->s;
    const int64_t line = (s->W + 2 * s->pw) * s->C, all = s->N * s->oh, end = all * (part + 1) / f->count;
    float *sums = f->parts + part * (s->K + 1) * s->O;
    memset(sums, 0, (size_t)((s->K + 1) * s->O) * sizeof(float));
    for (int64_t row = all * part / f->count, last; row < end; row = last) {
        const float *x = rows_of_image(f, row, end, &last);
        if (!x) return;
        for (; row < last; row++, x += s->sh * line)
            for (int64_t c = 0; c < s->C; c += VL) {
                const float *g = f->g + row * s->ow * s->O + c;
                vf sum = vload(sums + s->K * s->O + c);
                for (int64_t v = 0; v < s->ow; v++) sum += vload(g + v * s->O);
                vstore(sums + s->K * s->O + c, sum);
                for (int64_t a = 0; a < s->kh; a++)
                    for (int64_t b = 0, run; b < s->kw; b += run) {
                        const float *from = x + a * s->dh * line + b * s->dw * s->C + c;
                        float *dw = sums + (a * s->kw + b) * q * s->O + c;
                        run = q < 8 && s->kw - b >= WEIGHT_RUN ? WEIGHT_RUN : 1;
                        if (run > 1) group_weights(q, WEIGHT_RUN, f, from, g, dw);
                        else group_weights(q, 1, f, from, g, dw);
                    }
            }
    }
}

static void rows_task(int64_t task, void *ctx) {
    grouped *f = ctx;
    if (f->s.cg == 2) group_rows(2, task, f);
    else if (f->s.cg == 4) group_rows(4, task, f);
    else group_rows(8, task, f);
}

static void part_task(int64_t part, void *ctx) {
    grouped *f = ctx;
    if (f->s.cg == 2) group_part(2, part, f);
    else if (f->s.cg == 4) group_part(4, part, f);
    else group_part(8, part, f);
}

static int small_groups(const conv_shape *s) {
    return s->cg == s->og && (s->cg == 2 || s->cg == 4 || s->cg == 8) && s->cg <= VL && s->G > 1 && s->C % VL == 0;
}

static int64_t flops_of(const conv_shape *s) { return 2 * s->N * s->oh * s->ow * s->K * s->O; }

static int run_rows(grouped *f) {
    const conv_shape *s = &f->s;
    f->rows = md_max(1, TASK_FLOPS / (2 * s->ow * s->K * s->O));
    run_tasks(threads_for(flops_of(s)), md_ceil_div(s->N * s->oh, f->rows), rows_task, f);
    return f->status;
}

int MD_LOCAL(groups_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias, const conv_shape *s) {
    if (!small_groups(s) || !lies_flat(w)) return MD_NOT_MINE;
    grouped f = {.s = *s, .image = x, .w = (const float *)w->data, .bias = (const float *)bias->data, .y = (float *)y->data};
    return run_rows(&f);
}

int MD_LOCAL(groups_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s) {
    const int64_t ph = (s->kh - 1) * s->dh - s->ph, pw = (s->kw - 1) * s->dw - s->pw, q = s->cg;
    if (!small_groups(s) || s->sh != 1 || s->sw != 1 || ph < 0 || pw < 0 || !md_channels_last(dx)) return MD_NOT_MINE;
    float *turned = md_scratch(MD_SLOT_A, (size_t)(s->K * s->C) * sizeof(float)), *to = turned;
    if (!turned) return MD_NO_MEMORY;
    const int64_t *st = w->stride;
    for (int64_t a = s->kh - 1; a >= 0; a--)
        for (int64_t b = s->kw - 1; b >= 0; b--)
            for (int64_t i = 0; i < q; i++)
                for (int64_t c = 0; c < s->C; c++)
                    *to++ = ((const float *)w->data)[a * st[2] + b * st[3] + c % q * st[1] + (c / q * q + i) * st[0]];
    grouped f = {.s = *s, .image = g, .w = turned, .y = (float *)dx->data};
    f.s.H = s->oh, f.s.W = s->ow, f.s.oh = s->H, f.s.ow = s->W, f.s.ph = ph, f.s.pw = pw, f.s.activation = 0;
    return run_rows(&f);
}

int MD_LOCAL(groups_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s) {
    if (!small_groups(s) || db->stride[0] != 1) return MD_NOT_MINE;
    const int64_t threads = threads_for(flops_of(s)), size = (s->K + 1) * s->O;
    grouped f = {.s = *s, .image = x, .count = md_max(1, md_min(MOST_PARTS, md_min(flops_of(s) / PART_FLOPS, s->N * s->oh)))};
    if (!(f.parts = md_scratch(MD_SLOT_A, (size_t)(f.count * size) * sizeof(float)))) return MD_NO_MEMORY;
    if (!(f.g = dense(g, MD_SLOT_B, threads))) return MD_NO_MEMORY;
    run_tasks(threads, f.count, part_task, &f);
    for (int64_t i = 0; i < size; i += VL) {
        vf sum = vload(f.parts + i);
        for (int64_t part = 1; part < f.count; part++) sum += vload(f.parts + part * size + i);
        vstore(i < s->K * s->O ? (float *)dw->data + i : (float *)db->data + (i - s->K * s->O), sum);
    }
    return f.status;
}
