/* Windows of one pixel: a convolution is the product of pixels x channels with channels x channels, and so are its gradients.
 *
 *   y = x w        by data  dx = g w'        by weights  dw = x' g
 */
#include "conv.h"

int MD_LOCAL(matmul_float)(const md_array *arrays, int activation); /* of the family matmul: y, a, b, bias, residual */

static int is_product(const conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->sh == 1 && s->sw == 1 && !s->ph && !s->pw && s->G == 1;
}

/* Dense images as pixels x channels; NULL data where there are none. */
static md_array pixels(const float *images, const conv_shape *s, int64_t channels) {
    return (md_array){.data = (char *)images, .shape = {s->N * s->oh * s->ow, channels}, .stride = {channels, 1}, .ndim = 2, .dtype = MD_F32};
}

/* Weights as input x output channels. */
static md_array channels(const md_array *w) {
    return (md_array){.data = w->data, .shape = {w->shape[1], w->shape[0]}, .stride = {w->stride[1], w->stride[0]}, .ndim = 2,
                      .dtype = MD_F32, .constant = w->constant};
}
static md_array transpose(md_array a) {
    const int64_t n = a.shape[0], stride = a.stride[0];
    a.shape[0] = a.shape[1], a.stride[0] = a.stride[1];
    a.shape[1] = n, a.stride[1] = stride;
    return a;
}

int MD_LOCAL(product_forward)(const md_array *y, const md_array *x, const md_array *w, const md_array *bias,
                              const md_array *residual, const conv_shape *s) {
    if (!is_product(s) || (md_has_amx() && s->C <= s->O)) return MD_NOT_MINE; /* what the tiles of native_tiles.c write soon after */
    const float *const images = dense(x, MD_SLOT_D, threads_for(2 * md_size(y) * s->C));
    if (!images) return MD_NO_MEMORY;
    const int added = residual && residual->data;
    if (added && !md_channels_last(residual)) return MD_NOT_MINE;
    const md_array arrays[] = {pixels((float *)y->data, s, s->O), pixels(images, s, s->C), channels(w), *bias,
                               pixels(added ? (float *)residual->data : NULL, s, s->O)};
    return MD_LOCAL(matmul_float)(arrays, s->activation);
}

int MD_LOCAL(product_data)(const md_array *dx, const md_array *g, const md_array *w, const conv_shape *s) {
    if (!is_product(s) || !md_channels_last(dx)) return MD_NOT_MINE;
    const float *const gradient = dense(g, MD_SLOT_D, threads_for(2 * md_size(dx) * s->O));
    if (!gradient) return MD_NO_MEMORY;
    const md_array arrays[] = {pixels((float *)dx->data, s, s->C), pixels(gradient, s, s->O), transpose(channels(w)), {0}, {0}};
    return MD_LOCAL(matmul_float)(arrays, 0);
}

/* ---- by weights: the product has few rows and columns unless channels are many ---- */

enum { FEW_CHANNELS = 96, FEW_PAIRS = 1 << 15, SUMMED = 192 /* pixels */ };

typedef struct { const float *g; int64_t pixels, O; float *db; int64_t stride; } columns;

/* db of one panel. */
static void column_task(int64_t panel, void *ctx) {
    const columns *c = ctx;
    const int64_t j = panel * PANEL, cols = md_min(PANEL, c->O - j);
    double sums[PANEL] = {0};
    for (int64_t i = 0; i < c->pixels; i += SUMMED)
        add_columns(sums, (int)(cols / VL), (int)cols, c->g + i * c->O + j, c->O, md_min(SUMMED, c->pixels - i));
    for (int64_t i = 0; i < cols; i++) c->db[(j + i) * c->stride] = (float)sums[i];
}

int MD_LOCAL(product_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s) {
    if (!is_product(s) || md_min(s->C, s->O) < FEW_CHANNELS || s->C * s->O <= FEW_PAIRS || s->O % VL || !md_channels_last(g))
        return MD_NOT_MINE;
    const int64_t threads = threads_for(2 * md_size(g) * s->C);
    const float *const images = dense(x, MD_SLOT_D, threads);
    if (!images) return MD_NO_MEMORY;
    const md_array gradient = pixels((const float *)g->data, s, s->O);
    const md_array arrays[] = {channels(dw), transpose(pixels(images, s, s->C)), gradient, {0}, {0}};
    columns c = {(const float *)gradient.data, gradient.shape[0], s->O, (float *)db->data, db->stride[0]};
    const int done = MD_LOCAL(matmul_float)(arrays, 0);
    if (done == MD_DONE) run_tasks(threads, md_ceil_div(s->O, PANEL), column_task, &c);
    return done;
}
