/* Convolutions on matrix tiles (amx.h): how images are split for them.
 *
 * A band, some rows of some images, is split into planes, for each 32 channels and each part one. A plane holds 64 bytes for each
 * pixel, so 16 pixels behind one another are a tile, and a tap of the window is a way from there: no im2col buffer exists. With a
 * stride, the rows and columns that taps can reach together are neighbours: each phase of the stride has planes of its own.
 *
 * Zeros around images are part of the planes. Rows follow one another so closely that the zeros behind one are those before the
 * next, and so do images. The products for what lies between, where windows reach across, are computed and thrown away. Small
 * images would be mostly that: of them 16 or 32 are taken at a time, `abreast`, whose same pixels are neighbours in a plane. */
#ifndef CONV_TILES_H
#define CONV_TILES_H
#include "../_native/amx.h"
#include "conv.h"

#if MD_AMX
enum { LINE = 64 /* bytes of a pixel in a plane */, SLACK = 2 * AMX_ROWS /* pixels that tiles read beyond the last */ };

typedef struct {
    const float *x; /* dense images */
    int64_t N, H, W, C, channels; /* in all; of a group */
    int64_t sr, sc, top, left;    /* row i of phase f is row i * sr + f - top of the image; the same for columns */
    int64_t abreast, pitch, gap;  /* images abreast, or 1; pixels from a row to the next; rows from an image to the next */
    int64_t steps, plane;         /* of 32 channels; bytes */
    uint16_t used;                /* which of the phases, a bit for each */
} planes;

typedef struct { int64_t n0, n1, u0, rows, group; } band; /* images; rows of each phase, from u0 on */

/* The least distance of neighbours of which `full` places are read, so that the last of one may be the first of the next. */
static inline int64_t spacing(int64_t full, int64_t size, int64_t stride, int64_t before) {
    int64_t least = 1;
    for (int64_t f = 0; f < stride; f++) {
        const int64_t first = md_max(0, md_ceil_div(before - f, stride)), end = md_ceil_div(size + before - f, stride);
        least = md_max(least, md_max(full - first, end));
    }
    return md_min(full, least);
}

/* Pixels of a phase's planes. */
static inline int64_t plane_pixels(const planes *p, int64_t images, int64_t rows) {
    return (p->abreast > 1 ? rows : (images - 1) * p->gap + rows) * p->pitch * p->abreast;
}
static inline int phases_used(const planes *p) { return __builtin_popcount(p->used); }
static inline int64_t planes_bytes(const planes *p) { return phases_used(p) * p->steps * AMX_PARTS * p->plane; }

/* Up to 16 pixels, `from_step` floats apart, to neighbouring places of the planes. */
INLINE amx_range split_pixels(char *to, int64_t plane, const float *from, int64_t from_step, int64_t count, int64_t channels,
                              const int whole) {
    vi most[AMX_ROWS] = {{0}};
    for (int64_t c = 0; c < channels; c += AMX_K, to += AMX_PARTS * plane)
        for (int64_t i = 0; i < count; i++) {
            const float *x = from + i * from_step + c;
            const vf low = whole ? vload(x) : amx_load(x, channels - c);
            const vf high = whole ? vload(x + VL) : amx_load(x + VL, channels - c - VL);
            amx_split(to + i * LINE, plane, low, high);
            most[i] = amx_larger(amx_larger(most[i], low), high);
        }
    return amx_range_of_rows(most);
}

static amx_range split_run(char *to, const planes *p, const float *from, int64_t from_step, int64_t count) {
    amx_range range = amx_no_numbers;
    for (int64_t i = 0; i < count; i += AMX_ROWS) {
        const float *x = from + i * from_step;
        char *at = to + i * LINE;
        const int64_t n = md_min(AMX_ROWS, count - i);
        range = amx_both(range, p->channels % AMX_K ? split_pixels(at, p->plane, x, from_step, n, p->channels, 0)
                                                    : split_pixels(at, p->plane, x, from_step, n, p->channels, 1));
    }
    return range;
}

static void zero_run(char *to, const planes *p, int64_t pixels) {
    for (int64_t i = 0; i < p->steps * AMX_PARTS && pixels > 0; i++) memset(to + i * p->plane, 0, (size_t)(pixels * LINE));
}

/* One row of one phase: of image n, or of all that are abreast. */
static amx_range split_row(char *to, const planes *p, const band *b, int64_t n, int64_t row, int64_t fc) {
    const int64_t j0 = md_min(p->pitch, md_max(0, md_ceil_div(p->left - fc, p->sc)));
    const int64_t j1 = md_max(j0, md_min(p->pitch, md_ceil_div(p->W + p->left - fc, p->sc)));
    if (row < 0 || row >= p->H) {
        zero_run(to, p, p->pitch * p->abreast);
        return amx_no_numbers;
    }
    amx_range range = amx_no_numbers;
    const float *from = p->x + ((n * p->H + row) * p->W + j0 * p->sc + fc - p->left) * p->C + b->group * p->channels;
    zero_run(to, p, j0 * p->abreast);
    if (p->abreast == 1) range = split_run(to + j0 * LINE, p, from, p->sc * p->C, j1 - j0);
    for (int64_t j = j0; j < j1 && p->abreast > 1; j++, from += p->sc * p->C) {
        char *const at = to + j * p->abreast * LINE;
        range = amx_both(range, split_run(at, p, from, p->H * p->W * p->C, b->n1 - n));
        zero_run(at + (b->n1 - n) * LINE, p, p->abreast - (b->n1 - n));
    }
    zero_run(to + j1 * p->abreast * LINE, p, (p->pitch - j1) * p->abreast);
    return range;
}

/* The range is that of the pixels, each for itself. */
__attribute__((unused)) static amx_range split_band(char *to, const planes *p, const band *b) {
    amx_range range = amx_no_numbers;
    const int64_t end = plane_pixels(p, b->n1 - b->n0, b->rows) * LINE;
    for (int64_t f = 0; f < p->sr * p->sc; f++) {
        if (!(p->used >> f & 1)) continue;
        for (int64_t n = b->n0; n < (p->abreast > 1 ? b->n0 + 1 : b->n1); n++)
            for (int64_t i = 0; i < (n + 1 == b->n1 || p->abreast > 1 ? b->rows : p->gap); i++)
                range = amx_both(range, split_row(to + ((n - b->n0) * p->gap + i) * p->pitch * p->abreast * LINE, p, b, n,
                                                  (b->u0 + i) * p->sr + f / p->sc - p->top, f % p->sc));
        zero_run(to + end, p, (p->plane - end) / LINE);
        to += p->steps * AMX_PARTS * p->plane;
    }
    return range;
}

/* Which of the used phases' planes are those of phase (fr, fc). */
static inline int64_t phase_index(const planes *p, int64_t fr, int64_t fc) {
    return __builtin_popcount(p->used & ((1u << (fr * p->sc + fc)) - 1));
}
#endif
#endif
