/* Pooling of float32 images. The loops over pixels are the same for any strides; where channels lie together in memory,
 * the inner loop is vectors of them. The derivatives write each element of dx once, so there is nothing to clear and
 * threads never meet: windows that tile the image spread their g; where windows overlap, each place gathers from those
 * that cover it, in a fixed order. */
#include "md.h"
#include "taps.h"

enum {
    TAPS = 256,
    TASK_BYTES = 1 << 15,
    ABREAST = VREGS == 16 ? 8 : 1, /* vectors of a mean: their sums do not wait for each other, and lines are read in order */
};

INLINE void store_index(uint8_t *p, vi x) {
    const vb b = __builtin_convertvector(x, vb);
    memcpy(p, &b, sizeof b);
}

/* Window `out` covers an input place with its tap `tap`; the mean over it counts `count` places along this axis. */
typedef struct { int64_t out, tap, count; } cover;

typedef struct {
    const md_array *image, *out, *index; /* x or dx; y or g; the taps of maxima */
    int64_t kh, kw, sh, sw, ph, pw, dh, dw, rows_per_task;
    const cover *columns;   /* of each place of a row of dx, columns_each at most */
    const int64_t *covered; /* how many of them */
    int64_t columns_each;
    float divisor; /* of the sums, or 0: what a window counts */
    int include_pad, vectors, relu;
} pooling;

INLINE float *at(const md_array *a, int64_t n, int64_t h, int64_t w) {
    return (float *)a->data + n * a->stride[0] + h * a->stride[2] + w * a->stride[3];
}
INLINE uint8_t *index_at(const md_array *a, int64_t n, int64_t h, int64_t w) {
    return (uint8_t *)a->data + n * a->stride[0] + h * a->stride[2] + w * a->stride[3];
}

/* The taps [*k0, *k1) that lie inside the image, of a window of k taps from `start`. */
INLINE void inside(int64_t start, int64_t k, int64_t d, int64_t size, int64_t *k0, int64_t *k1) {
    *k0 = start < 0 ? md_min(k, md_ceil_div(-start, d)) : 0;
    *k1 = start + (k - 1) * d < size ? k : md_ceil_div(size - start, d);
}

/* The maximum of `taps` places for every channel; tap[0] of none is kept where nothing is larger. */
INLINE void maxima(const pooling *c, const float *x, const int64_t *way, const int32_t *tap, int taps, float *y,
                   uint8_t *index) {
    const int64_t C = c->image->shape[1], xs = c->image->stride[1], ys = c->out->stride[1], is = c->index->stride[1];
    int64_t ch = 0;
    if (c->vectors)
        for (; ch + VL <= C; ch += VL) {
            vf best = vload(x + way[0] + ch);
            vi where = (vi){0} + tap[0];
#pragma GCC unroll 9
            for (int t = 1; t < taps; t++) {
                const vf v = vload(x + way[t] + ch);
                const vi take = (v > best) | (v != v);
                best = vsel(take, v, best);
                where = visel(take, (vi){0} + tap[t], where);
            }
            if (c->relu) {
                where = visel(best > 0, where, (vi){0} + NO_TAP);
                best = vmax((vf){0}, best);
            }
            vstore(y + ch, best);
            store_index(index + ch, where);
        }
    for (; ch < C; ch++) {
        float best = x[way[0] + ch * xs];
        int32_t where = tap[0];
        for (int t = 1; t < taps; t++) {
            const float v = x[way[t] + ch * xs];
            const int take = (v > best) | (v != v);
            best = take ? v : best;
            where = take ? tap[t] : where;
        }
        if (c->relu && !(best > 0)) where = NO_TAP;
        y[ch * ys] = c->relu && best < 0 ? 0 : best;
        index[ch * is] = (uint8_t)where;
    }
}

/* The ways from the window's first place to its taps [ky0, ky1) x [kx0, kx1), and their numbers. */
INLINE int list_taps(const pooling *c, int64_t ky0, int64_t ky1, int64_t kx0, int64_t kx1, int64_t *way, int32_t *tap) {
    int taps = 0;
    for (int64_t ky = ky0; ky < ky1; ky++)
        for (int64_t kx = kx0; kx < kx1; kx++) {
            way[taps] = ky * c->dh * c->image->stride[2] + kx * c->dw * c->image->stride[3];
            tap[taps++] = (int32_t)(ky * c->kw + kx);
        }
    return taps;
}

static void max_rows(int64_t task, void *ctx) {
    const pooling *c = ctx;
    const int64_t OH = c->out->shape[2], OW = c->out->shape[3], rows = c->out->shape[0] * OH, W = c->image->shape[3];
    int64_t way[TAPS], whole[TAPS];
    int32_t tap[TAPS], each[TAPS];
    const int all = list_taps(c, 0, c->kh, 0, c->kw, whole, each);
    for (int64_t row = task * c->rows_per_task; row < md_min(rows, (task + 1) * c->rows_per_task); row++) {
        const int64_t n = row / OH, oh = row % OH, h = oh * c->sh - c->ph;
        int64_t ky0, ky1, kx0, kx1;
        inside(h, c->kh, c->dh, c->image->shape[2], &ky0, &ky1);
        const float *x = at(c->image, n, h, -c->pw); /* of the window: may lie before the image where its taps do not */
        float *y = at(c->out, n, oh, 0);
        uint8_t *index = index_at(c->index, n, oh, 0);
        for (int64_t ow = 0, w = -c->pw; ow < OW; ow++, w += c->sw, x += c->sw * c->image->stride[3],
                     y += c->out->stride[3], index += c->index->stride[3]) {
            if (ky1 - ky0 == c->kh && w >= 0 && w + (c->kw - 1) * c->dw < W) {
                if (all == 4) maxima(c, x, whole, each, 4, y, index);
                else if (all == 9) maxima(c, x, whole, each, 9, y, index);
                else maxima(c, x, whole, each, all, y, index);
                continue;
            }
            inside(w, c->kw, c->dw, W, &kx0, &kx1);
            const int taps = list_taps(c, ky0, ky1, kx0, kx1, way, tap);
            if (taps) maxima(c, x, way, tap, taps, y, index);
            else
                for (int64_t ch = 0; ch < c->out->shape[1]; ch++) { /* dilated taps that all miss the image */
                    y[ch * c->out->stride[1]] = c->relu ? 0 : -__builtin_inff();
                    index[ch * c->index->stride[1]] = c->relu ? NO_TAP : 0;
                }
        }
    }
}

/* The sums of rows x columns places, over the count, for `many` vectors of channels. */
INLINE void mean_vectors(const int many, const float *x, int64_t hs, int64_t ws, int64_t rows, int64_t columns, float count,
                         float *y) {
    vf sum[ABREAST];
#pragma GCC unroll 8
    for (int v = 0; v < many; v++) sum[v] = (vf){0};
    for (int64_t h = 0; h < rows; h++)
        for (int64_t w = 0; w < columns; w++)
#pragma GCC unroll 8
            for (int v = 0; v < many; v++) sum[v] += vload(x + h * hs + w * ws + v * VL);
#pragma GCC unroll 8
    for (int v = 0; v < many; v++) vstore(y + v * VL, sum[v] / count);
}

/* The same for every channel. */
INLINE void mean(const pooling *c, const float *x, int64_t rows, int64_t columns, float count, float *y) {
    const int64_t C = c->image->shape[1], xs = c->image->stride[1], ys = c->out->stride[1];
    const int64_t hs = c->image->stride[2], ws = c->image->stride[3];
    int64_t ch = 0;
    if (c->vectors) {
        for (; ch + ABREAST * VL <= C; ch += ABREAST * VL) mean_vectors(ABREAST, x + ch, hs, ws, rows, columns, count, y + ch);
        for (; ch + VL <= C; ch += VL) mean_vectors(1, x + ch, hs, ws, rows, columns, count, y + ch);
    }
    for (; ch < C; ch++) {
        float sum = 0;
        for (int64_t h = 0; h < rows; h++)
            for (int64_t w = 0; w < columns; w++) sum += x[h * hs + w * ws + ch * xs];
        y[ch * ys] = sum / count;
    }
}

/* How many places of window `out` a mean counts along one axis. */
INLINE int64_t counted(int64_t out, int64_t k, int64_t s, int64_t pad, int64_t size, int include_pad) {
    const int64_t start = out * s - pad, stop = md_min(start + k, size + pad);
    return include_pad ? stop - start : md_min(stop, size) - md_max(start, 0);
}

INLINE float divisor(const pooling *c, int64_t count) { return c->divisor != 0 ? c->divisor : (float)count; }

static void mean_rows(int64_t task, void *ctx) {
    const pooling *c = ctx;
    const int64_t OH = c->out->shape[2], OW = c->out->shape[3], rows = c->out->shape[0] * OH;
    const int64_t H = c->image->shape[2], W = c->image->shape[3];
    for (int64_t row = task * c->rows_per_task; row < md_min(rows, (task + 1) * c->rows_per_task); row++) {
        const int64_t n = row / OH, oh = row % OH, height = counted(oh, c->kh, c->sh, c->ph, H, c->include_pad);
        const int64_t h0 = md_max(0, oh * c->sh - c->ph), h1 = md_min(H, oh * c->sh - c->ph + c->kh);
        for (int64_t ow = 0; ow < OW; ow++) {
            const int64_t w0 = md_max(0, ow * c->sw - c->pw), w1 = md_min(W, ow * c->sw - c->pw + c->kw);
            const float count = divisor(c, height * counted(ow, c->kw, c->sw, c->pw, W, c->include_pad));
            if (h1 - h0 == 2 && w1 - w0 == 2) mean(c, at(c->image, n, h0, w0), 2, 2, count, at(c->out, n, oh, ow));
            else mean(c, at(c->image, n, h0, w0), h1 - h0, w1 - w0, count, at(c->out, n, oh, ow));
        }
    }
}

/* The windows that cover place i of one axis. */
static int64_t covers(int64_t i, int64_t k, int64_t s, int64_t pad, int64_t d, int64_t size, int64_t outs,
                      int include_pad, cover *list) {
    int64_t count = 0;
    const int64_t reach = i + pad - (k - 1) * d;
    for (int64_t out = reach > 0 ? md_ceil_div(reach, s) : 0; out < outs && out * s <= i + pad; out++) {
        const int64_t offset = i + pad - out * s;
        if (offset % d) continue;
        list[count++] = (cover){out, offset / d, counted(out, k, s, pad, size, include_pad)};
    }
    return count;
}

/* dx = the sum over `many` windows of g where the window's maximum is this tap. */
INLINE void gather_max(const pooling *c, float *dx, int many, const float *const *g, const uint8_t *const *index,
                       const int32_t *tap) {
    const int64_t C = c->image->shape[1], xs = c->image->stride[1], gs = c->out->stride[1], is = c->index->stride[1];
    int64_t ch = 0;
    if (c->vectors)
        for (; ch + VL <= C; ch += VL) {
            vf sum = {0};
#pragma GCC unroll 4
            for (int m = 0; m < many; m++) {
                const vf part = at_tap(vload(g[m] + ch), load_taps(index[m] + ch), tap[m]);
                sum = m ? sum + part : part;
            }
            vstore(dx + ch, sum);
        }
    for (; ch < C; ch++) {
        float sum = 0;
        for (int m = 0; m < many; m++) sum += index[m][ch * is] == tap[m] ? g[m][ch * gs] : 0;
        dx[ch * xs] = sum;
    }
}

INLINE void gather_mean(const pooling *c, float *dx, const cover *rows, int64_t many_rows, const cover *columns,
                        int64_t many_columns, int64_t n) {
    const int64_t C = c->image->shape[1], xs = c->image->stride[1], gs = c->out->stride[1];
    for (int64_t r = 0; r < many_rows || !r; r++)
        for (int64_t q = 0; q < many_columns || !q; q++) {
            const int first = !r && !q, none = !many_rows || !many_columns;
            const float *g = none ? NULL : at(c->out, n, rows[r].out, columns[q].out);
            const float share = none ? 0 : 1.0f / divisor(c, rows[r].count * columns[q].count);
            int64_t ch = 0;
            if (none) {
                for (; ch < C; ch++) dx[ch * xs] = 0;
                return;
            }
            if (c->vectors)
                for (; ch + VL <= C; ch += VL) {
                    const vf part = vload(g + ch) * share;
                    vstore(dx + ch, first ? part : vload(dx + ch) + part);
                }
            for (; ch < C; ch++) dx[ch * xs] = (first ? 0 : dx[ch * xs]) + g[ch * gs] * share;
        }
}

static void gather_rows(int64_t task, void *ctx) {
    const pooling *c = ctx;
    const int64_t H = c->image->shape[2], W = c->image->shape[3], all = c->image->shape[0] * H;
    const int64_t g_step = c->out->stride[3], index_step = c->index ? c->index->stride[3] : 0;
    cover rows[TAPS];
    const float *g[TAPS], *g_row[TAPS];
    const uint8_t *index[TAPS], *index_row[TAPS];
    int32_t tap[TAPS], tap_row[TAPS];
    for (int64_t row = task * c->rows_per_task; row < md_min(all, (task + 1) * c->rows_per_task); row++) {
        const int64_t n = row / H, h = row % H;
        const int64_t many_rows = covers(h, c->kh, c->sh, c->ph, c->dh, H, c->out->shape[2], c->include_pad, rows);
        for (int64_t r = 0; c->index && r < many_rows; r++) {
            g_row[r] = at(c->out, n, rows[r].out, 0);
            index_row[r] = index_at(c->index, n, rows[r].out, 0);
            tap_row[r] = (int32_t)(rows[r].tap * c->kw);
        }
        for (int64_t w = 0; w < W; w++) {
            const cover *columns = c->columns + w * c->columns_each;
            const int64_t many_columns = c->covered[w];
            float *dx = at(c->image, n, h, w);
            int many = 0;
            if (!c->index) {
                gather_mean(c, dx, rows, many_rows, columns, many_columns, n);
                continue;
            }
            for (int64_t r = 0; r < many_rows; r++)
                for (int64_t q = 0; q < many_columns; q++) {
                    g[many] = g_row[r] + columns[q].out * g_step;
                    index[many] = index_row[r] + columns[q].out * index_step;
                    tap[many++] = tap_row[r] + (int32_t)columns[q].tap;
                }
            if (many == 1) gather_max(c, dx, 1, g, index, tap);
            else if (many == 2) gather_max(c, dx, 2, g, index, tap);
            else if (many == 4) gather_max(c, dx, 4, g, index, tap);
            else gather_max(c, dx, many, g, index, tap);
        }
    }
}

/* One g to the places of its window: to its maximum, or in equal shares to all. */
INLINE void spread(const pooling *c, const float *g, const uint8_t *index, float share, float *const *dx,
                   const int32_t *tap, int taps) {
    const int64_t C = c->image->shape[1], xs = c->image->stride[1], gs = c->out->stride[1];
    const int64_t is = index ? c->index->stride[1] : 0;
    int64_t ch = 0;
    if (c->vectors)
        for (; ch + VL <= C; ch += VL) {
            const vf whole = vload(g + ch) * share;
            const vtaps where = index ? load_taps(index + ch) : (vtaps){0};
#pragma GCC unroll 4
            for (int t = 0; t < taps; t++) vstore(dx[t] + ch, index ? at_tap(whole, where, tap[t]) : whole);
        }
    for (; ch < C; ch++)
        for (int t = 0; t < taps; t++) dx[t][ch * xs] = !index || index[ch * is] == tap[t] ? g[ch * gs] * share : 0;
}

static void zero(const pooling *c, int64_t n, int64_t h0, int64_t h1, int64_t w0) {
    for (int64_t h = h0; h < h1; h++)
        for (int64_t w = w0; w < c->image->shape[3]; w++) {
            float *dx = at(c->image, n, h, w);
            for (int64_t ch = 0; ch < c->image->shape[1]; ch++) dx[ch * c->image->stride[1]] = 0;
        }
}

/* Windows that tile the image: each writes its own part of dx, the last ones also what no window covers. */
static void spread_rows(int64_t task, void *ctx) {
    const pooling *c = ctx;
    const int64_t OH = c->out->shape[2], OW = c->out->shape[3], rows = c->out->shape[0] * OH;
    const int64_t H = c->image->shape[2], W = c->image->shape[3];
    float *dx[TAPS];
    int32_t tap[TAPS];
    for (int64_t row = task * c->rows_per_task; row < md_min(rows, (task + 1) * c->rows_per_task); row++) {
        const int64_t n = row / OH, oh = row % OH, h = oh * c->sh - c->ph;
        const int64_t height = counted(oh, c->kh, c->sh, c->ph, H, c->include_pad);
        int64_t ky0, ky1, kx0, kx1;
        inside(h, c->kh, 1, H, &ky0, &ky1);
        for (int64_t ow = 0; ow < OW; ow++) {
            const int64_t w = ow * c->sw - c->pw;
            const float *g = at(c->out, n, oh, ow);
            int taps = 0;
            inside(w, c->kw, 1, W, &kx0, &kx1);
            for (int64_t ky = ky0; ky < ky1; ky++)
                for (int64_t kx = kx0; kx < kx1; kx++) {
                    dx[taps] = at(c->image, n, h + ky, w + kx);
                    tap[taps++] = (int32_t)(ky * c->kw + kx);
                }
            if (c->index) {
                const uint8_t *index = index_at(c->index, n, oh, ow);
                if (taps == 4) spread(c, g, index, 1, dx, tap, 4);
                else spread(c, g, index, 1, dx, tap, taps);
            } else {
                const float share = 1.0f / divisor(c, height * counted(ow, c->kw, c->sw, c->pw, W, c->include_pad));
                if (taps == 4) spread(c, g, NULL, share, dx, tap, 4);
                else spread(c, g, NULL, share, dx, tap, taps);
            }
        }
        zero(c, n, h + ky0, h + ky1, OW * c->sw - c->pw);
        if (oh == OH - 1) zero(c, n, h + ky1, H, 0);
    }
}

/* Runs body over the rows of `a`, in tasks of about TASK_BYTES of the image. */
static void over_rows(pooling *c, const md_array *a, void (*body)(int64_t, void *)) {
    const int64_t rows = a->shape[0] * a->shape[2], bytes = md_size(c->image) * (int64_t)sizeof(float);
    c->rows_per_task = bytes < MD_SMALL_BYTES ? md_max(rows, 1) : md_max(1, rows * TASK_BYTES / bytes);
    md_parallel(md_ceil_div(rows, c->rows_per_task), body, c);
}

static int backward(pooling *c) {
    if (c->sh == c->kh && c->sw == c->kw && c->dh == 1 && c->dw == 1 && c->kh * c->kw <= TAPS) {
        over_rows(c, c->out, spread_rows);
        return MD_DONE;
    }
    const int64_t W = c->image->shape[3];
    const int64_t each = md_min(c->kw, c->out->shape[3]);
    cover *columns = md_scratch(MD_SLOT_A, (size_t)(W * each) * sizeof(cover));
    int64_t *covered = md_scratch(MD_SLOT_B, (size_t)W * sizeof(int64_t));
    if (!columns || !covered) return MD_NO_MEMORY;
    for (int64_t w = 0; w < W; w++)
        covered[w] = covers(w, c->kw, c->sw, c->pw, c->dw, W, c->out->shape[3], c->include_pad, columns + w * each);
    c->columns = columns;
    c->covered = covered;
    c->columns_each = each;
    over_rows(c, c->image, gather_rows);
    return MD_DONE;
}

static int unit_channels(const md_array *a) { return a->stride[1] == 1 || a->shape[1] == 1; }

/* The maximum's parameters are kh kw sh sw ph pw dh dw relu, the mean's kh kw sh sw ph pw include_pad divisor. */
static pooling describe(const md_array *image, const md_array *out, const md_array *index, const double *p) {
    return (pooling){.image = image, .out = out, .index = index, .kh = (int64_t)p[0], .kw = (int64_t)p[1],
                     .sh = (int64_t)p[2], .sw = (int64_t)p[3], .ph = (int64_t)p[4], .pw = (int64_t)p[5],
                     .dh = index ? (int64_t)p[6] : 1, .dw = index ? (int64_t)p[7] : 1,
                     .relu = index && p[8] != 0, .include_pad = !index && p[6] != 0, .divisor = index ? 0 : (float)p[7],
                     .vectors = unit_channels(image) && unit_channels(out) && (!index || unit_channels(index))};
}

static int float32(const md_array *a, const md_array *b) { return a->dtype == MD_F32 && b->dtype == MD_F32; }

MD_KERNEL(max_pool2d, 2, 1) {
    pooling c = describe(&a[2], &a[0], &a[1], p);
    if (!float32(&a[0], &a[2]) || a[1].dtype != MD_U8) return MD_NOT_MINE;
    over_rows(&c, c.out, max_rows);
    return MD_DONE;
}

MD_KERNEL(max_pool2d_backward, 1, 2) {
    pooling c = describe(&a[0], &a[1], &a[2], p);
    if (!float32(&a[0], &a[1]) || a[2].dtype != MD_U8) return MD_NOT_MINE;
    return backward(&c);
}

MD_KERNEL(avg_pool2d, 1, 1) {
    pooling c = describe(&a[1], &a[0], NULL, p);
    if (!float32(&a[0], &a[1])) return MD_NOT_MINE;
    over_rows(&c, c.out, mean_rows);
    return MD_DONE;
}

MD_KERNEL(avg_pool2d_backward, 1, 1) {
    pooling c = describe(&a[0], &a[1], NULL, p);
    if (!float32(&a[0], &a[1]) || c.kh > TAPS) return MD_NOT_MINE;
    return backward(&c);
}
