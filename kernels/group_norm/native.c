/* Group norm of float32 images, channels-last or in C order.
 *
 * First every channel of an image is summed, channels-last in chunks of pixels; then groups are put together in double from
 * the sums of their channels, squares about a common mean as in Chan, Golub, LeVeque (1983); then every channel is scaled.
 * Chunks depend on the shape alone, so that the bits do not depend on the threads. */
#include "moments.h"

enum { GROUP = 4, RUN = 64, MIN_PIXELS = 16, AHEAD = 16, CHUNK_FLOATS = 32768, CACHED_FLOATS = 1 << 18 };

typedef struct {
    float *y;
    const float *x, *g;
    float *about, *scale, *slope, *shift; /* (images, channels): y = scale * (x - about) + shift, or with g
                                           * scale * g + slope * (x - about) + shift */
    float *mean, *rstd;           /* (images, groups) */
    const float *weight, *bias;
    double eps;
    double *parts; /* (images, chunks, 2, channels): mean and squares about it; or the sums of g and g * (x - about) */
    int64_t images, pixels, channels, groups, per_task, tasks, chunks;
    int last; /* channels lie side by side: a task is a chunk of pixels; else a range of channels, and there is one chunk */
} job;

INLINE void vector_sums(const float *x, const float *g, int64_t stride, int64_t pixels, int vectors, const vf *about,
                        double *first, double *second) {
    for (int i = 0; i < vectors * VL; i++) first[i] = second[i] = 0;
    for (int64_t p = 0; p < pixels; p += RUN) {
        vf a[GROUP] = {{0}}, b[GROUP] = {{0}};
        for (int64_t i = p; i < md_min(pixels, p + RUN); i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                vfetch(x + (i + AHEAD) * stride + v * VL); /* no stream that the processor itself would fetch ahead */
                if (g) vfetch(g + (i + AHEAD) * stride + v * VL);
                const vf d = vload(x + i * stride + v * VL) - about[v], f = g ? vload(g + i * stride + v * VL) : d;
                a[v] += f;
                b[v] += f * d;
            }
        float t[2 * GROUP * VL];
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

/* Some vectors of channels, side by side: their statistics, or with g their sums. */
INLINE void vector_part(const float *x, const float *g, int64_t stride, int64_t pixels, int vectors, const float *about,
                        double *first, double *second) {
    vf center[GROUP] = {{0}};
    if (g) {
        for (int v = 0; v < vectors; v++) center[v] = vload(about + v * VL);
        vector_sums(x, g, stride, pixels, vectors, center, first, second);
        return;
    }
    const int64_t some = md_min(pixels, 16); /* enough for a center: see rough_mean */
    for (int64_t i = 0; i < some; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) center[v] += vload(x + i * stride + v * VL);
    for (int v = 0; v < vectors; v++) center[v] /= (float)some;
    vector_sums(x, NULL, stride, pixels, vectors, center, first, second);
    float t[GROUP * VL];
    for (int v = 0; v < vectors; v++) vstore(t + v * VL, center[v]);
    for (int i = 0; i < vectors * VL; i++) {
        const double rest = first[i] / (double)pixels;
        second[i] -= rest * first[i];
        first[i] = t[i] + rest;
    }
}

static void channel_part(const float *x, const float *g, int64_t stride, int64_t pixels, double about, double *first,
                         double *second) {
    double a = 0, b = 0;
    if (!g) {
        about = 0;
        for (int64_t i = 0; i < pixels; i++) about += x[i * stride];
        about /= (double)pixels;
    }
    for (int64_t i = 0; i < pixels; i++) {
        const double d = x[i * stride] - about, f = g ? g[i * stride] : d;
        a += f;
        b += f * d;
    }
    *first = g ? a : about;
    *second = b;
}

static void sum_task(int64_t task, void *ctx) {
    const job *j = ctx;
    const int64_t image = task / j->tasks, start = task % j->tasks * j->per_task, channels = j->channels;
    const float *x = j->x + image * j->pixels * channels, *g = j->g ? j->g + image * j->pixels * channels : NULL;
    const float *about = j->about + image * channels;
    double *first = j->parts + (image * j->chunks + (j->last ? task % j->tasks : 0)) * 2 * channels;
    double *second = first + channels;
    if (!j->last) {
        for (int64_t c = start; c < md_min(channels, start + j->per_task); c++) {
            const int64_t n = j->pixels, at = c * n;
            moments m;
            if (g) m = row_moments(x + at, g + at, NULL, n, about[c]);
            else {
                const float rough = rough_mean(x + at, n);
                m = row_moments(x + at, NULL, NULL, n, rough);
                m.second -= m.first * m.first / (double)n;
                m.first = rough + m.first / (double)n;
            }
            first[c] = m.first;
            second[c] = m.second;
        }
        return;
    }
    const int64_t pixels = md_min(j->per_task, j->pixels - start);
    x += start * channels;
    g = g ? g + start * channels : NULL;
    int64_t c = 0;
    for (; c + GROUP * VL <= channels; c += GROUP * VL) {
        if (g) vector_part(x + c, g + c, channels, pixels, GROUP, about + c, first + c, second + c);
        else vector_part(x + c, NULL, channels, pixels, GROUP, NULL, first + c, second + c);
    }
    for (; c + VL <= channels; c += VL) {
        if (g) vector_part(x + c, g + c, channels, pixels, 1, about + c, first + c, second + c);
        else vector_part(x + c, NULL, channels, pixels, 1, NULL, first + c, second + c);
    }
    for (; c < channels; c++) channel_part(x + c, g ? g + c : NULL, channels, pixels, about[c], first + c, second + c);
}

/* The result at n positions, whose coefficients are vectors (along channels) or, along pixels, the same everywhere. */
INLINE void apply(float *y, const float *x, const float *g, int64_t n, const float *about, const float *scale,
                  const float *slope, const float *shift, int along) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        const vf d = vload(x + i) - (along ? vload(about + i) : vset(*about)), s = along ? vload(scale + i) : vset(*scale);
        vf r = s * (g ? vload(g + i) : d) + (along ? vload(shift + i) : vset(*shift));
        if (g) r += d * (along ? vload(slope + i) : vset(*slope));
        vstore(y + i, r);
    }
    for (; i < n; i++) {
        const int64_t k = along ? i : 0;
        const float d = x[i] - about[k];
        y[i] = g ? scale[k] * g[i] + shift[k] + slope[k] * d : scale[k] * d + shift[k];
    }
}

static void apply_task(int64_t task, void *ctx) {
    const job *j = ctx;
    const int64_t image = task / j->tasks, start = task % j->tasks * j->per_task, channels = j->channels;
    const int64_t at = image * channels, end = md_min(start + j->per_task, j->last ? j->pixels : channels);
    const int64_t n = j->last ? channels : j->pixels;
    for (int64_t i = start; i < end; i++) {
        const int64_t c = j->last ? at : at + i, from = (image * (j->last ? j->pixels : channels) + i) * n;
        const float *about = j->about + c, *scale = j->scale + c, *slope = j->slope + c, *shift = j->shift + c;
        if (j->last && j->g) apply(j->y + from, j->x + from, j->g + from, n, about, scale, slope, shift, 1);
        else if (j->last) apply(j->y + from, j->x + from, NULL, n, about, scale, slope, shift, 1);
        else if (j->g) apply(j->y + from, j->x + from, j->g + from, n, about, scale, slope, shift, 0);
        else apply(j->y + from, j->x + from, NULL, n, about, scale, slope, shift, 0);
    }
}

static void apply_backwards(int64_t task, void *ctx) {
    const job *j = ctx;
    apply_task(md_mirror(task, j->images * j->tasks), ctx);
}

static void over(job *j, void (*body)(int64_t, void *)) {
    const int64_t tasks = j->images * j->tasks;
    if (j->images * j->pixels * j->channels * (int64_t)sizeof(float) < MD_SMALL_BYTES)
        for (int64_t i = 0; i < tasks; i++) body(i, j);
    else md_parallel(tasks, body, j);
}

/* The sums of all chunks of an image, in place of those of the first one. */
static void merge_chunks(const job *j, int64_t image) {
    const int64_t channels = j->channels, pixels = j->pixels, size = md_min(j->per_task, pixels);
    double *restrict first = j->parts + image * j->chunks * 2 * channels, *restrict second = first + channels;
    for (int64_t k = 1; k < j->chunks; k++) {
        const double *restrict a = first + k * 2 * channels, *restrict b = a + channels;
        const double before = (double)(k * size), more = (double)md_min(size, pixels - k * size);
        const double share = more / (before + more), between = before * share;
        if (j->g)
            for (int64_t c = 0; c < channels; c++) {
                first[c] += a[c];
                second[c] += b[c];
            }
        else
            for (int64_t c = 0; c < channels; c++) {
                const double off = a[c] - first[c];
                first[c] += off * share;
                second[c] += b[c] + off * off * between;
            }
    }
}

/* The statistics of one group and the coefficients of its channels. */
static void finish_group(const job *j, int64_t image, int64_t group) {
    const int64_t width = j->channels / j->groups, i = image * j->groups + group, c0 = group * width;
    const double *first = j->parts + image * j->chunks * 2 * j->channels, *second = first + j->channels;
    const double pixels = (double)j->pixels;
    double total = 0, squares = 0;
    for (int64_t c = c0; c < c0 + width; c++) total += first[c];
    total /= (double)width;
    for (int64_t c = c0; c < c0 + width; c++) squares += second[c] + pixels * (first[c] - total) * (first[c] - total);
    const double inverse = 1 / __builtin_sqrt(squares / (pixels * (double)width) + j->eps);
    j->mean[i] = (float)total;
    j->rstd[i] = (float)inverse;
    for (int64_t c = c0; c < c0 + width; c++) {
        const double scale = j->weight ? j->weight[c] * inverse : inverse;
        j->about[image * j->channels + c] = j->mean[i];
        j->scale[image * j->channels + c] = (float)scale;
        j->shift[image * j->channels + c] = (float)((j->bias ? j->bias[c] : 0) + (j->mean[i] - total) * scale);
    }
}

/* The coefficients of the derivative in one group. */
static void finish_gradient(const job *j, int64_t image, int64_t group) {
    const int64_t width = j->channels / j->groups, c0 = group * width, at = image * j->channels;
    const double *part = j->parts + image * j->chunks * 2 * j->channels;
    const double rstd = j->rstd[image * j->groups + group], count = (double)j->pixels * (double)width;
    double of_g = 0, of_d = 0;
    for (int64_t c = c0; c < c0 + width; c++) {
        const double w = j->weight ? j->weight[c] : 1;
        of_g += w * part[c];
        of_d += w * part[j->channels + c];
    }
    for (int64_t c = c0; c < c0 + width; c++) {
        j->scale[at + c] = (float)(j->weight ? j->weight[c] * rstd : rstd);
        j->slope[at + c] = (float)(-of_d / count * rstd * rstd * rstd);
        j->shift[at + c] = (float)(-of_g / count * rstd);
    }
}

static void finish(const job *j, int64_t image) {
    merge_chunks(j, image);
    for (int64_t group = 0; group < j->groups; group++)
        if (j->g) finish_gradient(j, image, group);
        else finish_group(j, image, group);
}

/* An image that stays in a core's cache is summed and scaled by the same thread; what was summed last comes first. */
static void image_task(int64_t image, void *ctx) {
    const job *j = ctx;
    for (int64_t t = 0; t < j->tasks; t++) sum_task(image * j->tasks + t, ctx);
    finish(j, image);
    for (int64_t t = j->tasks; t-- > 0;) apply_task(image * j->tasks + t, ctx);
}

static void whole(job *j) {
    const int64_t image = j->pixels * j->channels;
    if (image <= CACHED_FLOATS && j->images >= 2 * md_get_threads()) {
        if (j->images * image * (int64_t)sizeof(float) < MD_SMALL_BYTES)
            for (int64_t i = 0; i < j->images; i++) image_task(i, j);
        else md_parallel(j->images, image_task, j);
        return;
    }
    over(j, sum_task);
    for (int64_t i = 0; i < j->images; i++) finish(j, i);
    over(j, apply_backwards);
}

static int describe(job *j, const md_array *y, const md_array *x, const md_array *g, int64_t groups) {
    const int dense = md_contiguous(x) && md_contiguous(y) && (!g || md_contiguous(g));
    const int last = md_channels_last(x) && md_channels_last(y) && (!g || md_channels_last(g));
    if (!dense && !last) return MD_NOT_MINE;
    const int64_t images = x->shape[0], channels = x->shape[1], size = md_size(x);
    *j = (job){.y = (float *)y->data, .x = (float *)x->data, .g = g ? (float *)g->data : NULL, .images = images,
               .channels = channels, .pixels = size / md_max(1, images * channels), .groups = groups, .last = last};
    const int64_t across = last ? channels : j->pixels, count = last ? j->pixels : channels;
    j->per_task = md_max(last ? MIN_PIXELS : 1, CHUNK_FLOATS / md_max(1, across));
    j->tasks = md_ceil_div(count, j->per_task);
    j->chunks = last ? j->tasks : 1;
    j->parts = md_scratch(MD_SLOT_A, (size_t)(images * j->chunks * 2 * channels + 1) * sizeof(double));
    j->about = md_scratch(MD_SLOT_B, (size_t)(4 * images * channels + 1) * sizeof(float));
    if (!j->parts || !j->about) return MD_NO_MEMORY;
    j->scale = j->about + images * channels;
    j->slope = j->scale + images * channels;
    j->shift = j->slope + images * channels;
    return MD_DONE;
}

static int usable(const md_array *a, int n) {
    for (int i = 0; i < n; i++)
        if (a[i].data && (a[i].dtype != MD_F32 || (a[i].ndim < 3 && !md_contiguous(&a[i])))) return 0;
    return 1;
}

MD_KERNEL(group_norm, 3, 3) {
    job j;
    if (!usable(a, n)) return MD_NOT_MINE;
    const int status = describe(&j, &a[0], &a[3], NULL, (int64_t)p[0]);
    if (status != MD_DONE) return status;
    j.mean = (float *)a[1].data;
    j.rstd = (float *)a[2].data;
    j.weight = (float *)a[4].data;
    j.bias = (float *)a[5].data;
    j.eps = p[1];
    whole(&j);
    return MD_DONE;
}

MD_KERNEL(group_norm_backward, 3, 5) {
    float *dweight = (float *)a[1].data, *dbias = (float *)a[2].data;
    job j;
    if (!usable(a, n)) return MD_NOT_MINE;
    const int status = describe(&j, &a[0], &a[4], &a[3], (int64_t)p[0]);
    if (status != MD_DONE) return status;
    double *total = md_scratch(MD_SLOT_C, (size_t)(2 * j.channels + 1) * sizeof(double));
    if (!total) return MD_NO_MEMORY;
    j.mean = (float *)a[5].data;
    j.rstd = (float *)a[6].data;
    j.weight = (float *)a[7].data;
    const int64_t width = j.channels / j.groups, channels = j.channels;
    for (int64_t i = 0; i < j.images * j.groups; i++)
        for (int64_t c = 0; c < width; c++) j.about[i * width + c] = j.mean[i];
    whole(&j);
    for (int64_t c = 0; c < 2 * channels; c++) total[c] = 0;
    for (int64_t i = 0; i < j.images; i++) {
        const double *part = j.parts + i * j.chunks * 2 * channels;
        for (int64_t k = 0; k < j.groups; k++)
            for (int64_t c = k * width; c < (k + 1) * width; c++) {
                total[c] += part[channels + c] * j.rstd[i * j.groups + k];
                total[channels + c] += part[c];
            }
    }
    for (int64_t c = 0; c < channels; c++) {
        dweight[c] = (float)total[c];
        dbias[c] = (float)total[channels + c];
    }
    return MD_DONE;
}
