/* Batch norm of float32 arrays (N, C, ...) in C order. A channel is a task: `images` planes of `pixels` values each, which are
 * summed and then scaled, by the same thread, so that a cache may still hold them. */
#include "planes.h"
#include "moments.h"
#include <math.h>

/* One plane of y = scale * (x - mean) + shift, or for PLANES_BACKWARD of scale * (g - g_mean) + slope * (x - mean). */
INLINE void scale_plane(const planes *j, int64_t at, float mean, float scale, float g_mean, float slope, float shift,
                        int kind) {
    const float *x = j->x + at, *residual = j->residual ? j->residual + at : NULL;
    float *y = j->y + at;
    const float *g = j->out ? y : j->g + at; /* masked gradients are in y already */
    const int64_t n = j->pixels;
    const float top = norm_top(j->activation);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const vf d = vload(x + i) - mean;
        vf r = kind == PLANES_BACKWARD ? scale * (vload(g + i) - g_mean) + slope * d : scale * d + shift;
        if (residual) r += vload(residual + i);
        if (j->activation && kind != PLANES_BACKWARD) r = vmin((vf){0} + top, vmax((vf){0}, r));
        vstore(y + i, r);
    }
    for (; i < n; i++) {
        const float d = x[i] - mean;
        float r = kind == PLANES_BACKWARD ? scale * (g[i] - g_mean) + slope * d : scale * d + shift;
        if (residual) r += residual[i];
        y[i] = !j->activation || kind == PLANES_BACKWARD ? r : r < 0 ? 0 : r > top ? top : r;
    }
}

static void channel_task(int64_t c, void *ctx) {
    const planes *j = ctx;
    const int64_t n = j->pixels, step = j->channels * n, end = j->images * step;
    const double count = (double)j->images * (double)n, weight = j->weight ? j->weight[c] : 1, bias = j->bias ? j->bias[c] : 0;
    if (j->mode == PLANES_GIVEN) {
        const float scale = (float)(weight / sqrt(j->var[c] + j->eps));
        for (int64_t at = c * n; at < end; at += step) scale_plane(j, at, j->mean[c], scale, 0, 0, (float)bias, PLANES_GIVEN);
        return;
    }
    moments sum = {0, 0};
    if (j->mode == PLANES_TRAIN) {
        double about = 0;
        for (int64_t at = c * n; at < end; at += step) about += rough_mean(j->x + at, n);
        const float rough = (float)(about / (double)j->images);
        for (int64_t at = c * n; at < end; at += step) {
            const moments m = row_moments(j->x + at, NULL, NULL, n, rough);
            sum.first += m.first;
            sum.second += m.second;
        }
        const double rest = sum.first / count, mean = rough + rest, squares = sum.second / count - rest * rest;
        const double variance = squares > 0 || squares != squares ? squares : 0, rstd = 1 / sqrt(variance + j->eps);
        j->mean[c] = (float)mean;
        j->var[c] = (float)variance;
        j->rstd[c] = (float)rstd;
        const float shift = (float)(bias + (j->mean[c] - mean) * weight * rstd); /* what rounding the mean left */
        for (int64_t at = c * n; at < end; at += step)
            scale_plane(j, at, j->mean[c], (float)(weight * rstd), 0, 0, shift, PLANES_TRAIN);
        return;
    }
    const float mean = j->mean[c], rstd = j->rstd[c];
    for (int64_t at = c * n; at < end; at += step) {
        const float *g = j->g + at;
        if (j->out) {
            float *const masked = j->y + at;
            const float *out = j->out + at, last = norm_end(j->activation);
            for (int64_t i = 0; i < n; i++) masked[i] = (out[i] > 0) & (out[i] != last) ? g[i] : 0;
            g = masked;
        }
        const moments m = row_moments(j->x + at, g, NULL, n, mean);
        sum.first += m.first;
        sum.second += m.second;
    }
    const double scale = weight * rstd, dw = sum.second * rstd;
    j->dweight[c] = (float)dw;
    j->dbias[c] = (float)sum.first;
    for (int64_t at = c * n; at < end; at += step)
        scale_plane(j, at, mean, (float)scale, (float)(sum.first / count), (float)(-scale * rstd * dw / count), 0,
                    PLANES_BACKWARD);
}

int MD_LOCAL(norm_planes)(planes *j, const md_array *x, const md_array *const *others, int count) {
    for (int i = -1; i < count; i++) {
        const md_array *a = i < 0 ? x : others[i];
        if (a->data && (a->dtype != MD_F32 || !md_contiguous(a))) return MD_NOT_MINE;
    }
    j->x = (float *)x->data;
    j->images = x->shape[0];
    j->channels = x->shape[1];
    j->pixels = md_size(x) / md_max(1, j->images * j->channels);
    if (md_size(x) * (int64_t)sizeof(float) < MD_SMALL_BYTES)
        for (int64_t c = 0; c < j->channels; c++) channel_task(c, j);
    else md_parallel(j->channels, channel_task, j);
    return MD_DONE;
}
