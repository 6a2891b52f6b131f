/* The gradient of a convolution by weights on matrix tiles (amx.h): for each tap the product g' x over all pixels, where x is shifted
 * by the tap.
 *
 * Here pixels are what is summed over. A plane of x has 64 bytes for each pixel: 16 channels of it beside the same channels of
 * the pixel 16 further on, the two that a lane of a tile holds. So the right operand of a step of 32 pixels is 16 of these rows from
 * anywhere on: a shift costs nothing, and x is split once for all taps. g is split and turned once; it is zero between images. */
#include "tiles.h"
#include "winograd.h"

#if MD_AMX
enum {
    STEP = 2 * AMX_ROWS,    /* pixels */
    RANGE = 128,            /* channels of a task */
    MOST_BYTES = 900 << 10, /* of a band's planes */
    MOST_PARTS = 4,         /* of the batch, which are summed apart */
};

typedef struct {
    conv_shape s;
    planes p;           /* how x lies; of its channels, those of a task */
    const float *x, *g;
    int64_t rows, strips; /* of results, of a band; bands of an image, or of images abreast */
    int64_t bands, parts, c_ranges, o_ranges, steps; /* of all images; ...; at most, of a band */
    float *sums;        /* [part][range of o][range of c][tap][32 of o][32 of c][32][32] */
    double *bias;       /* [part][O] */
    float *dw;
    _Atomic int result;
} weights;

INLINE int64_t blocks_of(int64_t channels) { return md_ceil_div(channels, AMX_SIDE); }
INLINE int64_t range_floats(const weights *w) { return w->s.kh * w->s.kw * blocks_of(RANGE) * blocks_of(RANGE) * AMX_SIDE * AMX_SIDE; }

/* Where the pixels of a band are, in the order of a phase's planes. */
static void list_x(const float **to, const weights *w, int64_t n0, int64_t u0, int64_t rows, int64_t f, int64_t places) {
    const planes *p = &w->p;
    for (int64_t v = 0; v < places; v++) {
        const int64_t n = n0 + v % p->abreast, at = v / p->abreast, row = (u0 + at / p->pitch) * p->sr + f / p->sc - p->top;
        const int64_t column = at % p->pitch * p->sc + f % p->sc - p->left;
        const int inside = n < p->N && at / p->pitch < rows && row >= 0 && row < p->H && column >= 0 && column < p->W;
        to[v] = inside ? w->x + ((n * p->H + row) * p->W + column) * p->C : NULL;
    }
}
static void list_g(const float **to, const weights *w, int64_t n0, int64_t u0, int64_t u1, int64_t places) {
    const planes *p = &w->p;
    const conv_shape *s = &w->s;
    const int64_t pitch = p->abreast > 1 ? s->ow : p->pitch;
    for (int64_t v = 0; v < places; v++) {
        const int64_t n = n0 + v % p->abreast, at = v / p->abreast, u = u0 + at / pitch, q = at % pitch;
        to[v] = n < s->N && u < u1 && q < s->ow ? w->g + ((n * s->oh + u) * s->ow + q) * s->O : NULL;
    }
}

INLINE vf channels_at(const float *pixel, int64_t c, int64_t channels) {
    return pixel ? amx_load(pixel + c, channels - c) : (vf){0};
}

static amx_range split_x(char *to, const planes *p, const float *const *at, int64_t places, int64_t c0, int64_t c1) {
    amx_range range = amx_no_numbers;
    for (int64_t c = c0; c < c1; c += VL, to += AMX_PARTS * p->plane) {
        vi most = {0};
        for (int64_t v = 0; v < places; v++) {
            const vf low = channels_at(at[v], c, c1), high = channels_at(at[v + AMX_ROWS], c, c1);
            amx_split(to + v * LINE, p->plane, low, high);
            most = amx_larger(amx_larger(most, low), high);
        }
        range = amx_both(range, amx_range_of(most));
    }
    return range;
}

static amx_range split_g(char *to, const float *const *at, int64_t steps, int64_t o0, int64_t o1, double *bias) {
    amx_range range = amx_no_numbers;
    for (int64_t o = o0; o < o1; o += VL) {
        vi most = {0};
        vf sum = {0};
        for (int64_t s = 0; s < steps; s++, to += AMX_PARTS * AMX_TILE) {
            vf low[AMX_ROWS], high[AMX_ROWS];
#pragma GCC unroll 16
            for (int i = 0; i < AMX_ROWS; i++) {
                low[i] = channels_at(at[s * STEP + i], o, o1);
                high[i] = channels_at(at[s * STEP + AMX_ROWS + i], o, o1);
                most = amx_larger(amx_larger(most, low[i]), high[i]);
                sum += low[i] + high[i];
            }
            vtranspose(low), vtranspose(high);
#pragma GCC unroll 16
            for (int i = 0; i < AMX_ROWS; i++) amx_split(to + i * LINE, AMX_TILE, low[i], high[i]);
        }
        for (int64_t l = 0; l < md_min(VL, o1 - o) && bias; l++) bias[o + l] += (double)sum[l];
        range = amx_both(range, amx_range_of(most));
    }
    return range;
}

/* Adds the products of a band to the sums of a task. */
AMX_CODE static void multiply_band(const weights *w, const char *x, const char *g, const int64_t *a_steps, const int64_t *b_steps,
                                   int64_t steps, int64_t channels, int64_t outputs, float *sums, int begins) {
    static const float zeros[AMX_SIDE];
    const conv_shape *s = &w->s;
    const planes *p = &w->p;
    const int64_t strip = w->steps * AMX_PARTS * AMX_TILE, phase = md_ceil_div(channels, VL) * AMX_PARTS * p->plane;
    amx_args t = {.a_steps = a_steps, .b_steps = b_steps, .steps = steps, .a_row = LINE, .a_tile = strip, .a_part = AMX_TILE,
                  .b_tile = AMX_PARTS * p->plane, .b_part = p->plane, .ldy = AMX_SIDE, .y = sums};
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++) {
            const int64_t i = phase_index(p, a * s->dh % s->sh, b * s->dw % s->sw);
            const char *shifted = x + i * phase + (a * s->dh / s->sh * p->pitch + b * s->dw / s->sw) * p->abreast * LINE;
            for (int64_t o = 0; o < outputs; o += AMX_SIDE)
                for (int64_t c = 0; c < channels; c += AMX_SIDE, t.y += AMX_SIDE * AMX_SIDE) {
                    const int last = c + AMX_SIDE >= channels;
                    t.a = g + o / VL * strip;
                    t.b = shifted + c / VL * t.b_tile;
                    t.next_a = last && o + AMX_SIDE < outputs ? t.a + 2 * strip : last ? g : t.a;
                    t.next_b = (last ? shifted : t.b + 2 * t.b_tile) + b_steps[0];
                    t.start = begins ? zeros : t.y;
                    t.start_row = begins ? 0 : AMX_SIDE;
                    amx_multiply(outputs - o > AMX_ROWS ? 2 : 1, channels - c > AMX_ROWS ? 2 : 1, &t);
                }
        }
}

AMX_CODE static void weight_task(int64_t index, void *ctx) {
    weights *w = ctx;
    const conv_shape *s = &w->s;
    const planes *p = &w->p;
    const int64_t ranges = w->c_ranges * w->o_ranges, part = index / ranges;
    const int64_t c_range = index % w->c_ranges, o_range = index % ranges / w->c_ranges;
    const int64_t c0 = c_range * RANGE, c1 = md_min(s->C, c0 + RANGE), o0 = o_range * RANGE, o1 = md_min(s->O, o0 + RANGE);
    const int64_t places = plane_pixels(p, 1, w->rows + (s->kh - 1) * s->dh / s->sh), listed = p->plane / LINE + STEP;
    const int64_t phase = md_ceil_div(c1 - c0, VL) * AMX_PARTS * p->plane, strip = w->steps * AMX_PARTS * AMX_TILE;
    const int64_t x_bytes = phases_used(p) * phase, g_bytes = md_ceil_div(o1 - o0, VL) * strip;
    char *const x = md_scratch(MD_SLOT_C, (size_t)(x_bytes + g_bytes) + (size_t)(listed + w->steps * (STEP + 2)) * sizeof(int64_t));
    if (!x) {
        w->result = MD_NO_MEMORY;
        return;
    }
    char *const g = x + x_bytes;
    int64_t *const a_steps = (int64_t *)(g + g_bytes), *const b_steps = a_steps + w->steps;
    const float **const at = (const float **)(b_steps + w->steps);
    double *const bias = c0 ? NULL : w->bias + part * s->O;
    float *const sums = w->sums + index * range_floats(w);
    for (int64_t o = o0; o < o1 && bias; o++) bias[o] = 0;
    const int64_t begin = w->bands * part / w->parts, end = w->bands * (part + 1) / w->parts;
    amx_begin();
    for (int64_t band = begin; band < end && w->result == MD_DONE; band++) {
        const int64_t n0 = band / w->strips * p->abreast, u0 = band % w->strips * w->rows, u1 = md_min(s->oh, u0 + w->rows);
        const int64_t pixels = p->abreast > 1 ? (u1 - u0) * s->ow * p->abreast : (u1 - u0 - 1) * p->pitch + s->ow;
        const int64_t steps = md_ceil_div(pixels, STEP);
        list_g(at, w, n0, u0, u1, steps * STEP);
        amx_range of_g = amx_no_numbers, of_x = amx_no_numbers;
        for (int64_t i = 0; i < steps; i++) {
            a_steps[i] = i * AMX_PARTS * AMX_TILE;
            b_steps[i] = p->abreast > 1 ? (i / s->ow * p->pitch + i % s->ow) * STEP * LINE : i * STEP * LINE;
        }
        for (int64_t o = o0; o < o1; o += VL) /* strips lie as far apart in every band */
            of_g = amx_both(of_g, split_g(g + (o - o0) / VL * strip, at, steps, o, md_min(o1, o + VL), bias));
        char *to = x;
        for (int64_t f = 0; f < p->sr * p->sc; f++) {
            if (!(p->used >> f & 1)) continue;
            list_x(at, w, n0, u0, places / p->pitch / p->abreast, f, listed);
            of_x = amx_both(of_x, split_x(to, p, at, p->plane / LINE, c0, c1));
            to += phase;
        }
        if (!amx_fits(of_g, of_x)) w->result = MD_NOT_MINE;
        else multiply_band(w, x, g, a_steps, b_steps, steps, c1 - c0, o1 - o0, sums, band == begin);
    }
    amx_end();
}

/* Sums the parts and turns them, for 16 channels of x and one tap. */
static void finish_task(int64_t index, void *ctx) {
    const weights *w = ctx;
    const conv_shape *s = &w->s;
    const int64_t strips = md_ceil_div(s->C, VL), tap = index / strips, c = index % strips * VL, ranges = w->c_ranges * w->o_ranges;
    for (int64_t o = 0; o < s->O; o += VL) {
        const int64_t c_range = c / RANGE, o_range = o / RANGE, across = blocks_of(md_min(RANGE, s->C - c_range * RANGE));
        const int64_t down = blocks_of(md_min(RANGE, s->O - o_range * RANGE));
        const int64_t block = (tap * down + o % RANGE / AMX_SIDE) * across + c % RANGE / AMX_SIDE;
        const float *from = w->sums + (o_range * w->c_ranges + c_range) * range_floats(w) + block * AMX_SIDE * AMX_SIDE +
                            o % AMX_SIDE * AMX_SIDE + c % AMX_SIDE;
        vf sum[VL];
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) {
            sum[i] = vload(from + i * AMX_SIDE);
            for (int64_t part = 1; part < w->parts; part++) sum[i] += vload(from + part * ranges * range_floats(w) + i * AMX_SIDE);
        }
        vtranspose(sum);
        float *to = w->dw + (tap * s->C + c) * s->O + o;
        for (int i = 0; i < md_min(VL, s->C - c); i++) store_cols(to + i * s->O, sum[i], (int)(s->O - o));
    }
}

/* Cycles, and those of the other ways. */
static double tiles_cost(const weights *w) {
    const conv_shape *s = &w->s;
    const double taps = (double)(s->kh * s->kw), bands = (double)w->bands;
    const double pixels = (double)plane_pixels(&w->p, 1, w->rows) * phases_used(&w->p);
    const double blocks = (double)(md_ceil_div(s->C, VL) * md_ceil_div(s->O, VL)) / 4;
    return bands * ((double)w->steps * taps * blocks * 430 + taps * blocks * 250 + pixels * 1.1 * (double)(s->C * w->o_ranges) +
                    (double)(w->steps * STEP) * 1.4 * (double)(s->O * w->c_ranges)) +
           (double)w->parts * taps * (double)(s->C * s->O) * 0.5;
}
static double other_cost(const conv_shape *s) {
    const double pairs = (double)s->C * (double)s->O;
    if (!fits(s, narrow(s) ? 150 : 1300)) return 2 * (double)(s->N * s->oh * s->ow * s->O) * (double)s->K / 65;
    const double places = (double)(PLACES * s->N * md_ceil_div(s->oh, OUT) * md_ceil_div(s->ow, OUT));
    return places * (pairs * 2 / 80 + (double)(s->C * md_ceil_div(s->O, 64) + s->O * md_ceil_div(s->C, 128)) * 0.5) + 30 * pairs;
}

/* Bands of so many rows of an image, or of images abreast. */
static void cut(weights *w, int64_t abreast) {
    const conv_shape *s = &w->s;
    planes *p = &w->p;
    const int64_t down = (s->kh - 1) * s->dh / s->sh, right = (s->kw - 1) * s->dw / s->sw;
    p->abreast = abreast;
    p->pitch = abreast > 1 ? s->ow + right : md_max(s->ow, spacing(s->ow + right, s->W, s->sw, s->pw));
    const int64_t each = 12 * md_min(s->C, RANGE) * phases_used(p) + 6 * md_min(s->O, RANGE), row = p->pitch * abreast * each;
    w->strips = md_min(s->oh, md_max(1, md_ceil_div(s->oh * row, MOST_BYTES)));
    w->rows = md_ceil_div(s->oh, w->strips);
    w->strips = md_ceil_div(s->oh, w->rows);
    w->bands = md_ceil_div(s->N, abreast) * w->strips;
    w->steps = md_ceil_div(w->rows * p->pitch * abreast, STEP);
    p->plane = ((plane_pixels(p, 1, w->rows + down) + right * abreast + 3 * AMX_ROWS) | 1) * LINE;
    w->parts = md_min(w->bands, md_max(1, MOST_PARTS / (w->c_ranges * w->o_ranges)));
}

int MD_LOCAL(tiles_weight)(const md_array *dw, const md_array *db, const md_array *g, const md_array *x, const conv_shape *s) {
    if (!md_has_amx() || s->G > 1 || s->C < 16 || s->O < 16 || s->sh > 4 || s->sw > 4) return MD_NOT_MINE;
    weights w = {.s = *s, .dw = (float *)dw->data, .c_ranges = md_ceil_div(s->C, RANGE), .o_ranges = md_ceil_div(s->O, RANGE)};
    w.p = (planes){.N = s->N, .H = s->H, .W = s->W, .C = s->C, .sr = s->sh, .sc = s->sw, .top = s->ph, .left = s->pw};
    for (int64_t a = 0; a < s->kh; a++)
        for (int64_t b = 0; b < s->kw; b++) w.p.used |= (uint16_t)(1u << (a * s->dh % s->sh * s->sw + b * s->dw % s->sw));
    cut(&w, 1);
    if (s->N > STEP / 2) {
        weights other = w;
        cut(&other, STEP);
        if (tiles_cost(&other) < tiles_cost(&w)) w = other;
    }
    const int64_t threads = threads_for(2 * md_size(g) * s->K), tasks = w.parts * w.c_ranges * w.o_ranges;
    if (tiles_cost(&w) * (double)md_ceil_div(tasks, 2) * 2 / (double)tasks > other_cost(s)) return MD_NOT_MINE; /* whatever the threads */
    const size_t sums = (size_t)(tasks * range_floats(&w)) * sizeof(float);
    char *memory = md_scratch(MD_SLOT_A, sums + (size_t)(w.parts * s->O) * sizeof(double));
    if (!memory || !(w.x = dense(x, MD_SLOT_B, threads)) || !(w.g = dense(g, MD_SLOT_D, threads))) return MD_NO_MEMORY;
    w.sums = (float *)memory;
    w.bias = (double *)(memory + sums);
    run_tasks(threads, tasks, weight_task, &w);
    if (w.result != MD_DONE) return w.result;
    run_tasks(threads, s->kh * s->kw * md_ceil_div(s->C, VL), finish_task, &w);
    for (int64_t o = 0; o < s->O; o++) {
        double sum = 0;
        for (int64_t part = 0; part < w.parts; part++) sum += w.bias[part * s->O + o];
        ((float *)db->data)[o * db->stride[0]] = (float)sum;
    }
    return MD_DONE;
}
#else
int MD_LOCAL(tiles_weight)(__attribute__((unused)) const md_array *dw, __attribute__((unused)) const md_array *db,
                           __attribute__((unused)) const md_array *g, __attribute__((unused)) const md_array *x,
                           __attribute__((unused)) const conv_shape *s) {
    return MD_NOT_MINE;
}
#endif
