/* Batch normalisation of float32 arrays whose channels lie together: a matrix of rows x channels.
 *
 * Statistics: each chunk of rows is summed in vectors over short runs of rows, the runs in double, and the chunks are
 * merged in double in their order. Chunks depend on the shape alone, so that the bits do not depend on the threads.
 * Means and squares are taken about a rough mean of the chunk's, which is nearly as accurate as two passes over memory
 * (Chan, Golub, LeVeque 1983). */
#include "planes.h"
#include "simd.h"
#include <math.h>

enum { GROUP = 4, RUN = 32, BLOCK = 256, CHUNK_FLOATS = 32768, MIN_ROWS = 64 };

typedef struct {
    float *y;
    const float *x, *g, *mean, *g_mean; /* y = scale * (x - mean) + shift */
    const float *scale, *slope, *shift; /* with g: y = scale * (g - g_mean) + slope * (x - mean) */
    const float *residual, *out;        /* y = activation(... + residual); out: g counts where it has a slope */
    int64_t rows, channels, y_row, x_row, g_row, residual_row, out_row, rows_per_chunk, chunks, blocks;
    int activation;
    double *first, *second; /* chunks x channels: mean and squares about it; or the sums of g and of g * (x - mean) */
} norm;

/* The sums over rows of GROUP or fewer vectors of channels, of d = x - shift and of d * d; or of g and of g * d. Where there is
 * out, g is masked by it, and goes to y so masked: afterwards one array is to be read instead of two. */
INLINE void sums(const norm *c, const float *x, const float *g, const float *out, float *y, int64_t rows, int vectors,
                 const vf *shift, double *first, double *second) {
    const vf last = (vf){0} + norm_end(c->activation);
    for (int i = 0; i < vectors * VL; i++) first[i] = second[i] = 0;
    for (int64_t r = 0; r < rows; r += RUN) {
        vf a[GROUP] = {{0}}, b[GROUP] = {{0}};
        float t[2 * GROUP * VL];
        for (int64_t i = r; i < md_min(rows, r + RUN); i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const vf d = vload(x + i * c->x_row + v * VL) - shift[v];
                vf f = g ? vload(g + i * c->g_row + v * VL) : d;
                if (out) {
                    const vf o = vload(out + i * c->out_row + v * VL);
                    f = vsel((o > 0.0f) & (o != last), f, (vf){0});
                    vstore(y + i * c->y_row + v * VL, f);
                }
                a[v] += f;
                b[v] += f * d;
            }
        for (int v = 0; v < vectors; v++) {
            vstore(t + v * VL, a[v]);
            vstore(t + (GROUP + v) * VL, b[v]);
        }
        for (int i = 0; i < vectors * VL; i++) {
            first[i] += t[i];
            second[i] += t[GROUP * VL + i];
        }
    }
}

/* The mean of each channel in a sixteenth of the rows: what sums are taken about, good enough as moments.h says. */
INLINE void rough_mean(const float *x, int64_t x_row, int64_t rows, int vectors, vf *mean) {
    vf a[GROUP] = {{0}};
    rows = md_min(rows, md_max(RUN, rows / 16));
    for (int64_t i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) a[v] += vload(x + i * x_row + v * VL);
    for (int v = 0; v < vectors; v++) mean[v] = a[v] / (float)rows;
}

INLINE void group_statistics(const norm *c, const float *x, int64_t rows, int vectors, double *mean, double *squares) {
    vf about[GROUP];
    float t[GROUP * VL];
    rough_mean(x, c->x_row, rows, vectors, about);
    sums(c, x, NULL, NULL, NULL, rows, vectors, about, mean, squares);
    for (int v = 0; v < vectors; v++) vstore(t + v * VL, about[v]);
    for (int i = 0; i < vectors * VL; i++) {
        const double off = mean[i] / (double)rows;
        squares[i] -= off * mean[i];
        mean[i] = t[i] + off;
    }
}

INLINE void group_products(const norm *c, const float *x, const float *g, const float *out, float *y, int64_t rows, int vectors,
                           const float *mean, double *first, double *second) {
    vf about[GROUP];
    for (int v = 0; v < vectors; v++) about[v] = vload(mean + v * VL);
    if (out) sums(c, x, g, out, y, rows, vectors, about, first, second);
    else sums(c, x, g, NULL, NULL, rows, vectors, about, first, second);
}

/* One chunk of rows and one block of channels. */
static void chunk(int64_t task, void *ctx) {
    const norm *c = ctx;
    const int64_t k = task / c->blocks, row = k * c->rows_per_chunk, rows = md_min(c->rows_per_chunk, c->rows - row);
    const int64_t end = md_min(c->channels, (task % c->blocks + 1) * BLOCK);
    const float *x = c->x + row * c->x_row, *g = c->g ? c->g + row * c->g_row : NULL;
    const float *out = c->out ? c->out + row * c->out_row : NULL;
    float *y = c->y + row * c->y_row;
    double *first = c->first + k * c->channels, *second = c->second + k * c->channels;
    int64_t ch = task % c->blocks * BLOCK;
    for (; ch + GROUP * VL <= end; ch += GROUP * VL) {
        if (g) group_products(c, x + ch, g + ch, out ? out + ch : NULL, y + ch, rows, GROUP,
                              c->mean + ch, first + ch, second + ch);
        else group_statistics(c, x + ch, rows, GROUP, first + ch, second + ch);
    }
    for (; ch + VL <= end; ch += VL) {
        if (g) group_products(c, x + ch, g + ch, out ? out + ch : NULL, y + ch, rows, 1,
                              c->mean + ch, first + ch, second + ch);
        else group_statistics(c, x + ch, rows, 1, first + ch, second + ch);
    }
    for (; ch < end; ch++) {
        const float last = norm_end(c->activation);
        double a = 0, b = 0, about = 0;
        if (g) about = c->mean[ch];
        else {
            for (int64_t i = 0; i < rows; i++) about += x[i * c->x_row + ch];
            about /= (double)rows;
        }
        for (int64_t i = 0; i < rows; i++) {
            const double d = x[i * c->x_row + ch] - about;
            const float o = out ? out[i * c->out_row + ch] : 1, masked = g && o > 0 && o != last ? g[i * c->g_row + ch] : 0;
            const double f = g ? masked : d;
            if (out) y[i * c->y_row + ch] = masked;
            a += f;
            b += f * d;
        }
        first[ch] = g ? a : about;
        second[ch] = b;
    }
}

/* The result of some rows for GROUP or fewer vectors of channels, whose coefficients stay in registers. */
enum { WITH_G = 1, RELU = 2, RESIDUAL = 4 };
INLINE void apply(const norm *c, int64_t row, int64_t end, int64_t ch, int vectors, int kind) {
    vf mean[GROUP], scale[GROUP], third[GROUP], g_mean[GROUP];
    const vf top = (vf){0} + norm_top(c->activation);
    for (int v = 0; v < vectors; v++) {
        mean[v] = vload(c->mean + ch + v * VL);
        scale[v] = vload(c->scale + ch + v * VL);
        third[v] = vload((kind & WITH_G ? c->slope : c->shift) + ch + v * VL);
        if (kind & WITH_G) g_mean[v] = vload(c->g_mean + ch + v * VL);
    }
    for (; row < end; row++) {
        const float *x = c->x + row * c->x_row + ch, *g = kind & WITH_G ? c->g + row * c->g_row + ch : NULL;
        const float *residual = kind & RESIDUAL ? c->residual + row * c->residual_row + ch : NULL;
        float *y = c->y + row * c->y_row + ch;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const vf d = vload(x + v * VL) - mean[v];
            vf r = scale[v] * d + third[v];
            if (kind & WITH_G) r = scale[v] * (vload(g + v * VL) - g_mean[v]) + third[v] * d;
            if (kind & RESIDUAL) r += vload(residual + v * VL);
            if (kind & RELU) r = vmin(top, vmax((vf){0}, r));
            vstore(y + v * VL, r);
        }
    }
}

INLINE void apply_some(const norm *c, int64_t row, int64_t end, int64_t ch, int vectors) {
    if (c->g) apply(c, row, end, ch, vectors, WITH_G);
    else if (c->residual) apply(c, row, end, ch, vectors, RELU | RESIDUAL);
    else if (c->activation) apply(c, row, end, ch, vectors, RELU);
    else apply(c, row, end, ch, vectors, 0);
}

static float apply_one(const norm *c, int64_t i, int64_t j) {
    const float d = c->x[i * c->x_row + j] - c->mean[j];
    if (c->g) return c->scale[j] * (c->g[i * c->g_row + j] - c->g_mean[j]) + c->slope[j] * d;
    const float r = c->scale[j] * d + c->shift[j] + (c->residual ? c->residual[i * c->residual_row + j] : 0);
    return !c->activation ? r : r < 0 ? 0 : r > norm_top(c->activation) ? norm_top(c->activation) : r;
}

static void apply_chunk(int64_t task, void *ctx) {
    const norm *c = ctx;
    const int64_t k = c->first ? md_mirror(task, c->chunks) : task; /* after statistics backwards */
    const int64_t row = k * c->rows_per_chunk, end = md_min(c->rows, row + c->rows_per_chunk);
    int64_t ch = 0;
    for (; ch + GROUP * VL <= c->channels; ch += GROUP * VL) apply_some(c, row, end, ch, GROUP);
    for (; ch + VL <= c->channels; ch += VL) apply_some(c, row, end, ch, 1);
    for (int64_t i = row; i < end; i++)
        for (int64_t j = ch; j < c->channels; j++) c->y[i * c->y_row + j] = apply_one(c, i, j);
}

static void over(const norm *c, int64_t tasks, void (*body)(int64_t, void *)) {
    if (c->rows * c->channels * (int64_t)sizeof(float) < MD_SMALL_BYTES)
        for (int64_t i = 0; i < tasks; i++) body(i, (void *)c);
    else md_parallel(tasks, body, (void *)c);
}

/* Is `a` a matrix of rows x channels, channels side by side? Its row stride, else -1. */
static int64_t row_stride(const md_array *a) {
    int64_t row = 0, expect = 0;
    int found = 0;
    if (a->dtype != MD_F32 || (a->stride[1] != 1 && a->shape[1] != 1)) return -1;
    for (int i = a->ndim - 1; i >= 1; i--) { /* the axes from the fastest to the slowest: 2.. backwards, then 0 */
        const int d = i == 1 ? 0 : i;
        if (a->shape[d] == 1) continue;
        if (!found++) expect = row = a->stride[d];
        if (a->stride[d] != expect) return -1;
        expect *= a->shape[d];
    }
    return found ? row : a->shape[1];
}

static int vector_or_none(const md_array *a) {
    return !a->data || (a->dtype == MD_F32 && (a->stride[0] == 1 || a->shape[0] == 1));
}

static int describe(norm *c, const md_array *y, const md_array *x, const md_array *g) {
    const int64_t channels = x->shape[1];
    *c = (norm){.y = (float *)y->data, .x = (float *)x->data, .g = g ? (float *)g->data : NULL, .channels = channels,
                .y_row = row_stride(y), .x_row = row_stride(x), .g_row = g ? row_stride(g) : 0};
    if (c->y_row < 0 || c->x_row < 0 || c->g_row < 0) return 0;
    c->rows = channels ? md_size(x) / channels : 0;
    c->rows_per_chunk = md_max(MIN_ROWS, md_min(CHUNK_FLOATS / md_max(1, md_min(channels, BLOCK)), c->rows / 16));
    c->chunks = md_ceil_div(c->rows, c->rows_per_chunk);
    c->blocks = md_ceil_div(channels, BLOCK);
    return 1;
}

/* An array of x's shape, or none: its data and row stride. */
static int beside(const md_array *a, const float **data, int64_t *row) {
    if (!a->data) return 1;
    *data = (float *)a->data;
    *row = row_stride(a);
    return *row >= 0;
}

/* Scratch for the chunks' statistics; returns that for `vectors` vectors of floats, NULL where there is no memory. */
static float *reserve(norm *c, int64_t vectors) {
    const int64_t parts = c->chunks * c->channels;
    c->first = md_scratch(MD_SLOT_A, (size_t)(2 * parts + 1) * sizeof(double));
    if (!c->first) return NULL;
    c->second = c->first + parts;
    float *extra = md_scratch(MD_SLOT_B, (size_t)(vectors * c->channels + 1) * sizeof(float));
    return extra;
}

MD_KERNEL(batch_norm, 1, 5) {
    const md_array *weight = &a[2], *bias = &a[3], *mean = &a[4], *var = &a[5];
    norm c;
    if (!vector_or_none(weight) || !vector_or_none(bias) || !vector_or_none(mean) || !vector_or_none(var)) return MD_NOT_MINE;
    if (!describe(&c, &a[0], &a[1], NULL))
        return MD_LOCAL(norm_planes)(&(planes){.y = (float *)a[0].data, .weight = (float *)weight->data,
                                               .bias = (float *)bias->data, .mean = (float *)mean->data,
                                               .var = (float *)var->data, .eps = p[0], .mode = PLANES_GIVEN},
                                     &a[1], (const md_array *[]){&a[0]}, 1);
    float *scale = md_scratch(MD_SLOT_B, (size_t)(2 * c.channels + 1) * sizeof(float)), *shift = scale + c.channels;
    if (!scale) return MD_NO_MEMORY;
    for (int64_t ch = 0; ch < c.channels; ch++) {
        const double w = weight->data ? ((float *)weight->data)[ch] : 1;
        scale[ch] = (float)(w / sqrt(((float *)var->data)[ch] + p[0]));
        shift[ch] = bias->data ? ((float *)bias->data)[ch] : 0;
    }
    c.mean = (float *)mean->data;
    c.scale = scale;
    c.shift = shift;
    over(&c, c.chunks, apply_chunk);
    return MD_DONE;
}

MD_KERNEL(batch_norm_train, 4, 4) {
    float *mean = (float *)a[1].data, *var = (float *)a[2].data, *rstd = (float *)a[3].data;
    const float *weight = (float *)a[5].data, *bias = (float *)a[6].data;
    norm c;
    for (int i = 1; i < 7; i++)
        if (i != 4 && !vector_or_none(&a[i])) return MD_NOT_MINE;
    if (!describe(&c, &a[0], &a[4], NULL) || !beside(&a[7], &c.residual, &c.residual_row))
        return MD_LOCAL(norm_planes)(&(planes){.y = (float *)a[0].data, .mean = mean, .var = var, .rstd = rstd,
                                               .weight = weight, .bias = bias, .residual = (float *)a[7].data,
                                               .activation = (int)p[1], .eps = p[0], .mode = PLANES_TRAIN},
                                     &a[4], (const md_array *[]){&a[0], &a[7]}, 2);
    c.activation = (int)p[1];
    float *scale = reserve(&c, 2), *shift = scale + c.channels;
    double *total = md_scratch(MD_SLOT_C, (size_t)(2 * c.channels) * sizeof(double)), *squares = total + c.channels;
    if (!scale || !total) return MD_NO_MEMORY;
    over(&c, c.chunks * c.blocks, chunk);
    for (int64_t ch = 0; ch < c.channels; ch++) total[ch] = squares[ch] = 0;
    for (int64_t k = 0; k < c.chunks; k++) {
        const double rows = (double)md_min(c.rows_per_chunk, c.rows - k * c.rows_per_chunk);
        const double *part = c.first + k * c.channels;
        for (int64_t ch = 0; ch < c.channels; ch++) total[ch] += rows * part[ch];
    }
    for (int64_t ch = 0; ch < c.channels; ch++) total[ch] /= (double)c.rows;
    for (int64_t k = 0; k < c.chunks; k++) {
        const double rows = (double)md_min(c.rows_per_chunk, c.rows - k * c.rows_per_chunk);
        const double *part = c.first + k * c.channels, *about = c.second + k * c.channels;
        for (int64_t ch = 0; ch < c.channels; ch++) {
            const double off = part[ch] - total[ch];
            squares[ch] += about[ch] + rows * off * off;
        }
    }
    for (int64_t ch = 0; ch < c.channels; ch++) {
        const double variance = squares[ch] / (double)c.rows, inverse = 1 / sqrt(variance + p[0]);
        const double s = weight ? weight[ch] * inverse : inverse;
        mean[ch] = (float)total[ch];
        var[ch] = (float)variance;
        rstd[ch] = (float)inverse;
        scale[ch] = (float)s;
        shift[ch] = (float)((bias ? bias[ch] : 0) + (mean[ch] - total[ch]) * s); /* what rounding the mean left */
    }
    c.mean = mean;
    c.scale = scale;
    c.shift = shift;
    over(&c, c.chunks, apply_chunk);
    return MD_DONE;
}

MD_KERNEL(batch_norm_backward, 3, 6) {
    float *dweight = (float *)a[1].data, *dbias = (float *)a[2].data;
    const float *rstd = (float *)a[6].data, *weight = (float *)a[7].data;
    norm c;
    for (int i = 1; i < 8; i++)
        if (i != 3 && i != 4 && !vector_or_none(&a[i])) return MD_NOT_MINE;
    if (!describe(&c, &a[0], &a[4], &a[3]) || !beside(&a[8], &c.out, &c.out_row))
        return MD_LOCAL(norm_planes)(&(planes){.y = (float *)a[0].data, .dweight = dweight, .dbias = dbias,
                                               .g = (float *)a[3].data, .mean = (float *)a[5].data, .rstd = (float *)a[6].data, .weight = weight,
                                               .out = (float *)a[8].data, .activation = (int)p[1], .mode = PLANES_BACKWARD},
                                     &a[4], (const md_array *[]){&a[0], &a[3], &a[8]}, 3);
    float *scale = reserve(&c, 3), *slope = scale + c.channels, *g_mean = slope + c.channels;
    double *sum = md_scratch(MD_SLOT_C, (size_t)(2 * c.channels + 1) * sizeof(double)), *products = sum + c.channels;
    if (!scale || !sum) return MD_NO_MEMORY;
    c.mean = (float *)a[5].data;
    c.activation = (int)p[1];
    over(&c, c.chunks * c.blocks, chunk);
    for (int64_t ch = 0; ch < c.channels; ch++) sum[ch] = products[ch] = 0;
    for (int64_t k = 0; k < c.chunks; k++)
        for (int64_t ch = 0; ch < c.channels; ch++) {
            sum[ch] += c.first[k * c.channels + ch];
            products[ch] += c.second[k * c.channels + ch];
        }
    for (int64_t ch = 0; ch < c.channels; ch++) {
        const double s = weight ? (double)weight[ch] * rstd[ch] : rstd[ch], dw = products[ch] * rstd[ch];
        dweight[ch] = (float)dw;
        dbias[ch] = (float)sum[ch];
        scale[ch] = (float)s;
        slope[ch] = (float)(-s * rstd[ch] * dw / (double)md_max(1, c.rows));
        g_mean[ch] = (float)(sum[ch] / (double)md_max(1, c.rows));
    }
    c.scale = scale;
    c.slope = slope;
    c.g_mean = g_mean;
    if (c.out) { /* masked gradients are in y */
        c.g = c.y;
        c.g_row = c.y_row;
    }
    over(&c, c.chunks, apply_chunk);
    return MD_DONE;
}
