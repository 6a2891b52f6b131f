/* The reductions of one type T of number, with vectors V of it: included once for each type. NAME(f) is f for this type.
 *
 * Sums are floats of type T over short runs in vectors, and doubles above them. */
enum { NAME(LANES) = sizeof(V) / sizeof(T) };
typedef T NAME(mem) __attribute__((vector_size(VBYTES), aligned(sizeof(T)), may_alias));

INLINE V NAME(load)(const T *x) { return *(const NAME(mem) *)x; }
/* The first n lanes; the others read as fill. */
INLINE V NAME(load_part)(const T *x, int64_t n, T fill) {
    T t[NAME(LANES)];
    for (int i = 0; i < NAME(LANES); i++) t[i] = i < n ? x[i] : fill;
    return NAME(load)(t);
}
INLINE V NAME(fill)(T x) { return x - (V){0}; }

/* What an element adds to a sum, c being the center it is taken about. */
INLINE V NAME(term)(V x, V c, int kind) {
    if (kind == SQUARES) return x * x;
    if (kind == ABOUT) return (x - c) * (x - c);
    if (kind == EXPONENTIALS) return VEXP(x - c);
    return x;
}
/* A running result and the next element. */
INLINE V NAME(join)(V acc, V x, V c, int kind) {
#if VREGS == 16 /* fewer steps where a choice takes three; VMAX and VMIN give x where either is NaN */
    if (kind == LARGEST || kind == SMALLEST) {
        const V other = kind == LARGEST ? VMAX(acc, x) : VMIN(acc, x);
        return SELECT(acc != acc, acc, other);
    }
#endif
    if (kind == LARGEST) return SELECT((x > acc) | (x != x), x, acc);
    if (kind == SMALLEST) return SELECT((x < acc) | (x != x), x, acc);
    return acc + NAME(term)(x, c, kind);
}
/* Two results. */
INLINE V NAME(merge)(V a, V b, int kind) { return kind == LARGEST || kind == SMALLEST ? NAME(join)(a, b, a, kind) : a + b; }
INLINE T NAME(start)(int kind) { return kind == LARGEST ? -(T)__builtin_inff() : kind == SMALLEST ? (T)__builtin_inff() : 0; }

/* The largest or smallest of n elements that lie side by side, where their sum is a number: then none of them is NaN. */
INLINE double NAME(extreme)(const T *x, int64_t n, int kind) {
    enum { L = NAME(LANES), ACC = VREGS == 32 ? 8 : 6 }; /* two registers each */
    V best[ACC], sum[ACC] = {{0}};
    int64_t i = 0;
#pragma GCC unroll 8
    for (int k = 0; k < ACC; k++) best[k] = NAME(fill)(NAME(start)(kind));
    for (; i + ACC * L <= n; i += ACC * L)
#pragma GCC unroll 8
        for (int k = 0; k < ACC; k++) {
            const V v = NAME(load)(x + i + k * L);
            best[k] = kind == LARGEST ? VMAX(v, best[k]) : VMIN(v, best[k]);
            sum[k] += v;
        }
    for (; i < n; i += L) {
        const V v = i + L <= n ? NAME(load)(x + i) : NAME(load_part)(x + i, n - i, x[i]);
        best[0] = kind == LARGEST ? VMAX(v, best[0]) : VMIN(v, best[0]);
        sum[0] += v;
    }
#pragma GCC unroll 8
    for (int k = 1; k < ACC; k++) {
        best[0] = kind == LARGEST ? VMAX(best[k], best[0]) : VMIN(best[k], best[0]);
        sum[0] += sum[k];
    }
#pragma GCC unroll 4
    for (int w = L / 2; w; w /= 2) {
        __typeof__(sum[0] < sum[0]) other;
        for (int k = 0; k < L; k++) other[k] = (k + w) % L;
        const V v = __builtin_shuffle(best[0], other);
        best[0] = kind == LARGEST ? VMAX(v, best[0]) : VMIN(v, best[0]);
        sum[0] += __builtin_shuffle(sum[0], other);
    }
    return sum[0][0] == sum[0][0] ? best[0][0] : __builtin_nan("");
}

/* A line of n elements that lie side by side. */
INLINE double NAME(along)(const T *x, int64_t n, T center, int kind) {
    enum { L = NAME(LANES), ACC = 8, RUN = 32 };
    if (kind == LARGEST || kind == SMALLEST) {
        const double found = NAME(extreme)(x, n, kind);
        if (found == found) return found;
    }
    const V c = NAME(fill)(center), first = NAME(fill)(NAME(start)(kind));
    double total = NAME(start)(kind);
    int64_t i = 0;
    while (i + L <= n) {
        V a[ACC];
        T t[L];
#pragma GCC unroll 8
        for (int k = 0; k < ACC; k++) a[k] = first;
        const int64_t end = md_min(n, i + RUN * ACC * L);
        for (; i + ACC * L <= end; i += ACC * L)
#pragma GCC unroll 8
            for (int k = 0; k < ACC; k++) a[k] = NAME(join)(a[k], NAME(load)(x + i + k * L), c, kind);
        for (; i + L <= end; i += L) a[0] = NAME(join)(a[0], NAME(load)(x + i), c, kind);
#pragma GCC unroll 8
        for (int w = ACC / 2; w; w /= 2)
#pragma GCC unroll 8
            for (int k = 0; k < w; k++) a[k] = NAME(merge)(a[k], a[k + w], kind);
#if VL == 8
        if (sizeof(T) == 4 && kind != LARGEST && kind != SMALLEST) { /* the sums below, in vectors */
            total += vsum_double((vf)a[0]);
            continue;
        }
#endif
        *(NAME(mem) *)t = a[0];
        double lanes[L];
        for (int k = 0; k < L; k++) lanes[k] = t[k];
#pragma GCC unroll 4
        for (int w = L / 2; w; w /= 2)
#pragma GCC unroll 16
            for (int k = 0; k < w; k++) lanes[k] = joined(lanes[k], lanes[k + w], kind);
        total = joined(total, lanes[0], kind);
    }
    for (; i < n; i++) {
        const V one = NAME(join)(first, NAME(fill)(x[i]), c, kind);
        total = joined(total, one[0], kind);
    }
    return total;
}

/* `vectors` vectors of columns, of `rows` rows; of the last vector only `left` lanes are there. */
INLINE void NAME(columns)(const T *x, int64_t rows, int64_t stride, int vectors, int left, const T *center, int kind,
                          double *out) {
    enum { L = NAME(LANES), MOST = 4, RUN = 32 };
    V c[MOST] = {{0}};
    if (center)
        for (int v = 0; v < vectors; v++) c[v] = left < L ? NAME(load_part)(center, left, 0) : NAME(load)(center + v * L);
    for (int i = 0; i < vectors * L && i < (vectors - 1) * L + left; i++) out[i] = NAME(start)(kind);
    for (int64_t r = 0; r < rows; r += RUN) {
        V a[MOST];
        T t[MOST * L] = {0};
        for (int v = 0; v < vectors; v++) a[v] = NAME(fill)(NAME(start)(kind));
        for (int64_t i = r; i < md_min(rows, r + RUN); i++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const T *const at = x + i * stride + v * L;
                a[v] = NAME(join)(a[v], left < L ? NAME(load_part)(at, left, 0) : NAME(load)(at), c[v], kind);
            }
        for (int v = 0; v < vectors; v++) *(NAME(mem) *)(t + v * L) = a[v];
        for (int i = 0; i < (vectors - 1) * L + left; i++) out[i] = joined(out[i], t[i], kind);
    }
}

/* Every column of `rows` rows of n elements. */
INLINE void NAME(down)(const T *x, int64_t rows, int64_t stride, int64_t n, const T *center, int kind, double *out) {
    enum { L = NAME(LANES) };
    int64_t j = 0;
    for (; j + 4 * L <= n; j += 4 * L) NAME(columns)(x + j, rows, stride, 4, L, center ? center + j : NULL, kind, out + j);
    for (; j + L <= n; j += L) NAME(columns)(x + j, rows, stride, 1, L, center ? center + j : NULL, kind, out + j);
    if (j < n) NAME(columns)(x + j, rows, stride, 1, (int)(n - j), center ? center + j : NULL, kind, out + j);
}

/* Few columns: LANES rows are taken for one wide row, and its parts are joined at the end. */
INLINE void NAME(down_narrow)(const T *x, int64_t rows, int64_t n, const T *center, int kind, double *out) {
    enum { L = NAME(LANES) };
    double wide[NARROW * L];
    T centers[NARROW * L];
    if (center)
        for (int64_t i = 0; i < n * L; i++) centers[i] = center[i % n];
    const int64_t whole = rows / L;
    NAME(down)(x, whole, n * L, n * L, center ? centers : NULL, kind, wide);
    for (int64_t j = 0; j < n; j++) {
        out[j] = wide[j];
        for (int k = 1; k < L; k++) out[j] = joined(out[j], wide[k * n + j], kind);
        for (int64_t r = whole * L; r < rows; r++)
            out[j] = joined(out[j], NAME(along)(x + r * n + j, 1, center ? center[j] : 0, kind), kind);
    }
}

INLINE void NAME(part)(const reduction *r, int64_t line, int64_t chunk, const int kind, double *out) {
    const int64_t outer = line / r->a, a = line % r->a, first = chunk * r->rows, n = md_min(r->rows, r->r1 - first);
    const T *const x = (const T *)r->x + outer * r->r0_stride + a * r->a_stride + first * r->r1_stride;
    const T *const center = r->center ? (const T *)r->center + a * r->b : NULL;
    if (r->b == 1) *out = NAME(along)(x, n, center ? *center : 0, kind);
    else if (r->b <= NARROW && r->r1_stride == r->b && n >= 2 * NAME(LANES)) NAME(down_narrow)(x, n, r->b, center, kind, out);
    else NAME(down)(x, n, r->r1_stride, r->b, center, kind, out);
}

static void NAME(task)(int64_t task, void *ctx) {
    const reduction *r = ctx;
    const int64_t group = task / r->chunks, chunk = task % r->chunks;
    for (int64_t line = group * r->lines; line < md_min(r->r0 * r->a, (group + 1) * r->lines); line++) {
        double *const out = r->parts + (chunk * r->r0 * r->a + line) * r->b;
        switch (r->kind) {
        case SUM: NAME(part)(r, line, chunk, SUM, out); break;
        case SQUARES: NAME(part)(r, line, chunk, SQUARES, out); break;
        case LARGEST: NAME(part)(r, line, chunk, LARGEST, out); break;
        case SMALLEST: NAME(part)(r, line, chunk, SMALLEST, out); break;
        case ABOUT: NAME(part)(r, line, chunk, ABOUT, out); break;
        case EXPONENTIALS: NAME(part)(r, line, chunk, EXPONENTIALS, out); break;
        }
    }
}

/* Where a line first holds `value`, or NaN. */
static int64_t NAME(find)(const T *x, int64_t n, T value) {
    enum { L = NAME(LANES), STEP = 8 * L };
    int64_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        int any = 0;
        for (int k = 0; k < STEP; k++) any |= x[i + k] == value || x[i + k] != x[i + k];
        if (any) break;
    }
    for (; i < n; i++)
        if (x[i] == value || x[i] != x[i]) break;
    return i;
}
