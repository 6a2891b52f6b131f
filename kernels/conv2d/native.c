/* Convolution without an im2col buffer: a matrix product of panel.h whose left operand is addressed through tables of offsets
 * into the image.
 *
 *   y[pixel][o]  = sum over k  of x[corner(pixel) + way(k)] * w[k][o]              k = (a, b, channel)
 *
 * Images lie as N, H, W, C. A border of zeros (padding) or another layout is made by copying a strip to scratch memory. */
#include "conv.h"

enum { FORWARD_PIXELS = 384 /* pixels of a task, at least */ };

typedef struct {
    conv_shape s;
    const md_array *x, *w;
    float *y;
    const float *bias, *packed, *direct; /* direct: weights that lie as K rows of O columns */
    int64_t images, rows; /* of a task */
    int in_place;         /* the images need neither border nor copy */
    const int64_t *way, *corner; /* to the taps of a window; to the windows of an image, or of a strip of it */
    _Atomic int status;
} forward;

/* Column panels of TILE_NV vectors, group by group; each K rows of zero-padded columns. */
static void pack_forward(int64_t task, void *ctx) {
    const forward *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t panels = md_ceil_div(s->og, PANEL), g = task / panels, j = task % panels * PANEL;
    const int64_t cols = md_min(PANEL, s->og - j), width = panel_vectors(cols) * VL;
    const int64_t *st = f->w->stride;
    float *to = (float *)f->packed + task * s->K * PANEL;
    const float *from = (const float *)f->w->data + (g * s->og + j) * st[0];
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++)
            for (int64_t c = 0; c < s->cg; c++, to += width) {
                const float *row = from + a * st[2] + b * st[3] + c * st[1];
                if (st[0] == 1) memcpy(to, row, (size_t)cols * sizeof(float));
                else for (int64_t i = 0; i < cols; i++) to[i] = row[i * st[0]];
                for (int64_t i = cols; i < width; i++) to[i] = 0;
            }
}

static void forward_task(int64_t task, void *ctx) {
    forward *f = ctx;
    const conv_shape *s = &f->s;
    const int64_t width = s->W + 2 * s->pw, strips = md_ceil_div(s->oh, f->rows);
    const int64_t n0 = task / strips * f->images, n1 = md_min(s->N, n0 + f->images);
    const int64_t u0 = task % strips * f->rows, u1 = md_min(s->oh, u0 + f->rows);
    const float *x = (const float *)f->x->data;
    int64_t image = s->H * width * s->C; /* floats between two images */
    if (f->in_place) x += n0 * image + u0 * s->sh * width * s->C;
    else {
        const int64_t rows = (u1 - u0 - 1) * s->sh + (s->kh - 1) * s->dh + 1;
        image = rows * width * s->C;
        float *strip = md_scratch(MD_SLOT_C, (size_t)((n1 - n0) * image) * sizeof(float));
        if (!strip) {
            f->status = MD_NO_MEMORY;
            return;
        }
        for (int64_t n = n0; n < n1; n++)
            copy_padded(strip + (n - n0) * image, f->x, n, u0 * s->sh, u0 * s->sh + rows, s->ph, s->pw);
        x = strip;
    }
    const int64_t pixels = (n1 - n0) * (u1 - u0) * s->ow; /* of the task: they are neighbours in y */
    float *y0 = f->y + (n0 * s->oh + u0) * s->ow * s->O;
    const float *a[PANEL_ROWS];
    float *y[PANEL_ROWS];
    for (int64_t g = 0; g < s->G; g++)
        for (int64_t j = 0, panel = 0; j < s->og; j += PANEL, panel++) {
            const int64_t cols = md_min(PANEL, s->og - j), o = g * s->og + j;
            const int nv = panel_vectors(cols);
            panel_args t = {.k = s->K, .a = a, .off = f->way, .y = y, .bias = f->bias ? f->bias + o : NULL,
                            .cols = (int)cols, .relu = s->activation == 1};
            if (f->direct) t.b = f->direct + o, t.ldb = s->O;
            else t.b = f->packed + (g * md_ceil_div(s->og, PANEL) + panel) * s->K * PANEL, t.ldb = nv * VL;
            const int64_t per_image = (u1 - u0) * s->ow;
            const float *from = x + g * s->cg; /* of the image under way */
            int64_t in_image = 0;
            for (int64_t pixel = 0, rows; pixel < pixels; pixel += rows) {
                rows = panel_rows(nv, pixels - pixel);
                for (int i = 0; i < rows; i++) {
                    a[i] = from + f->corner[in_image];
                    y[i] = y0 + (pixel + i) * s->O + o;
                    if (++in_image == per_image) in_image = 0, from += image;
                }
                panel_tile(nv, (int)rows, &t);
            }
        }
}

MD_KERNEL(conv2d, 1, 3) {
    const md_array *y = &a[0], *x = &a[1], *w = &a[2], *bias = &a[3];
    if (y->dtype != MD_F32 || x->dtype != MD_F32 || w->dtype != MD_F32 || !md_channels_last(y)) return MD_NOT_MINE;
    if (bias->data && (bias->dtype != MD_F32 || (bias->stride[0] != 1 && bias->shape[0] > 1))) return MD_NOT_MINE;
    forward f = {.s = read_shape(x, w, y, p), .x = x, .w = w, .y = (float *)y->data, .bias = (float *)bias->data};
    conv_shape *s = &f.s;
    if (!md_size(y)) return MD_DONE;
    int done = MD_LOCAL(depthwise_forward)(y, x, w, bias, s);
    if (done == MD_NOT_MINE) done = MD_LOCAL(winograd_forward)(y, x, w, bias, s);
    if (done != MD_NOT_MINE) return done;
    f.in_place = !s->ph && !s->pw && md_channels_last(x);
    const int64_t pixels = s->oh * s->ow, all = s->N * pixels, st = s->O;
    const int64_t flops = 2 * all * s->O * s->K, threads = threads_for(flops);
    /* A task: some images, or a strip of rows where one image is enough; about four tasks a thread at most. */
    const int64_t fair = md_max(threads == 1 ? all : md_ceil_div(all, 4 * threads), md_min(FORWARD_PIXELS, md_ceil_div(all, threads)));
    f.images = md_max(1, fair / pixels);
    f.rows = f.images > 1 || fair >= pixels ? s->oh : md_max(1, md_ceil_div(fair, s->ow));
    /* Weights that lie as K rows of O columns, in whole vectors, are read where they lie. */
    const int64_t *ws = w->stride;
    const int lie = (ws[0] == 1 || s->O == 1) && (s->cg == 1 || ws[1] == st) && (s->kw == 1 || ws[3] == s->cg * st) &&
                    (s->kh == 1 || ws[2] == s->kw * s->cg * st);
    const int64_t panels = s->G * md_ceil_div(s->og, PANEL);
    if (lie && s->og % VL == 0 && s->O <= 2 * PANEL) f.direct = (const float *)w->data;
    else if (!(f.packed = md_scratch(MD_SLOT_A, (size_t)(panels * s->K * PANEL) * sizeof(float)))) return MD_NO_MEMORY;
    int64_t *way = md_scratch(MD_SLOT_B, (size_t)(s->K + f.rows * s->ow) * sizeof(int64_t));
    if (!way) return MD_NO_MEMORY;
    ways(way, s, s->W + 2 * s->pw);
    f.way = way;
    f.corner = way + s->K;
    for (int64_t u = 0, *corner = way + s->K; u < f.rows; u++)
        for (int64_t v = 0; v < s->ow; v++) *corner++ = (u * s->sh * (s->W + 2 * s->pw) + v * s->sw) * s->C;
    const int64_t tasks = md_ceil_div(s->N, f.images) * md_ceil_div(s->oh, f.rows);
    if (threads == 1) {
        if (!f.direct) for (int64_t i = 0; i < panels; i++) pack_forward(i, &f);
        for (int64_t i = 0; i < tasks; i++) forward_task(i, &f);
    } else {
        if (!f.direct) md_parallel(panels, pack_forward, &f);
        md_parallel(tasks, forward_task, &f);
    }
    return f.status;
}
