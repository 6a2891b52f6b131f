/* The registry of native kernels, the thread pool and scratch memory. Compiled once, for the oldest processor. */
#define _GNU_SOURCE /* sched_getcpu, pthread_setaffinity_np */
#include "md.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* ---- registry: filled by constructors before main, read-only afterwards ---- */
#define MAX_KERNELS 1024
static md_entry registry[MAX_KERNELS];
static int registered;

void md_register(md_entry kernel) {
    if (registered == MAX_KERNELS) abort();
    registry[registered++] = kernel;
}

const md_entry *md_find(const char *name, const char *isa) {
    for (int i = 0; i < registered; i++)
        if (!strcmp(registry[i].name, name) && !strcmp(registry[i].isa, isa)) return &registry[i];
    return NULL;
}

int md_has_isa(const char *isa) {
    for (int i = 0; i < registered; i++)
        if (!strcmp(registry[i].isa, isa)) return 1;
    return 0;
}

int md_cpu_has(const char *isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(isa, "v2")) return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    if (!strcmp(isa, "v3"))
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (!strcmp(isa, "v4"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512cd");
#endif
#if defined(__aarch64__)
    if (!strcmp(isa, "neon")) return 1;
#endif
    return !strcmp(isa, "portable");
}

/* The processor has the tiles; Linux grants a process the memory for their state when asked; MINIDL_AMX=0 refuses them. */
int md_has_amx(void) {
#if defined(__x86_64__) && defined(__linux__) && (__GNUC__ >= 11 || __clang_major__ >= 12)
    enum { REQUEST = 0x1023 /* ARCH_REQ_XCOMP_PERM */, TILE_DATA = 18 };
    static _Atomic int answer = -1;
    if (answer < 0) {
        const char *wish = getenv("MINIDL_AMX");
        __builtin_cpu_init();
        answer = !(wish && !strcmp(wish, "0")) && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                 !syscall(SYS_arch_prctl, REQUEST, TILE_DATA);
    }
    return answer;
#else
    return 0;
#endif
}

/* ---- threads ----
 * A job is open while tasks may be left. A worker enters it (active + 1), looks whether it is still open, takes tasks until
 * none is left, and leaves. The caller works too, closes the job and waits only for the workers inside: one that has not
 * woken in time is not waited for.
 *
 * Each thread has a share of neighbouring tasks and helps the others when it is through with it. So the same part of the
 * images stays with the same core, and in its cache, from one kernel to the next. */
#define MAX_WORKERS 255
#define PATIENCE 200000 /* nanoseconds of looking for the next job before a worker sleeps: more than Python needs between the
                         * kernels of a small step. To wake one costs the caller some 20 us, and the worker comes late. */
#define SPINS 4000 /* looks at a worker that finishes its task before the core is offered to it */
#define LINE _Alignas(64) /* of the cache: what different threads write is kept apart */

typedef struct { LINE _Atomic int64_t next; int64_t end; } share;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    LINE _Atomic int busy;
    _Atomic int workers, sleeping, limit;
    LINE _Atomic int64_t job;
    LINE _Atomic int64_t active;
    LINE _Atomic int open;
    int shares;
    void (*body)(int64_t, void *);
    void *ctx;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .limit = 1};
static share shares[MAX_WORKERS + 1];

static _Thread_local int inside; /* this thread is running a task */

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void take_tasks(int me) {
    void (*const body)(int64_t, void *) = pool.body;
    void *const ctx = pool.ctx;
    const int count = pool.shares;
    inside = 1;
    for (int s = 0; s < count; s++) {
        share *const from = &shares[(me + s) % count];
        for (int64_t i; (i = atomic_fetch_add(&from->next, 1)) < from->end;) body(i, ctx);
    }
    inside = 0;
}

static void *work(void *arg) {
    const int me = (int)(intptr_t)arg; /* the caller is 0 */
    int64_t seen = 0, job;
    for (;;) {
        const int64_t since = nanoseconds();
        while ((job = atomic_load(&pool.job)) == seen && nanoseconds() - since < PATIENCE) pause_cpu();
        if (job == seen) {
            pthread_mutex_lock(&pool.lock);
            atomic_fetch_add(&pool.sleeping, 1);
            while ((job = atomic_load(&pool.job)) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
            atomic_fetch_sub(&pool.sleeping, 1);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = job;
        if (me >= atomic_load(&pool.limit)) continue;
        atomic_fetch_add(&pool.active, 1);
        if (atomic_load(&pool.open)) take_tasks(me);
        atomic_fetch_sub(&pool.active, 1);
    }
    return NULL;
}

/* A forked child has the pool's memory but none of its threads. It works on one thread until it asks for more: most
 * forked processes are one of several workers, which together would fight over the cores. */
static void after_fork_in_child(void) {
    pool.limit = 1;
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.busy = pool.workers = pool.sleeping = 0;
    pool.job = pool.active = pool.open = 0;
    inside = 0;
}
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

static pthread_t threads[MAX_WORKERS];
#if defined(__linux__)
static cpu_set_t allowed; /* the processors that the workers began with */
static int closed = -1;   /* the one that is closed to them */
#endif

static void start_workers(int wanted) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
#if defined(__linux__)
    if (!atomic_load(&pool.workers) && sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
    closed = -1;
#endif
    for (int w = atomic_load(&pool.workers); w < wanted; w++) {
        if (pthread_create(&threads[w], &attr, work, (void *)(intptr_t)(w + 1))) break;
        atomic_store(&pool.workers, w + 1);
    }
    pthread_attr_destroy(&attr);
}

/* A virtual processor that was idle for long counts as busy to Linux, which then wakes a worker on the caller's own: there
 * it waits for the caller's time slice to end, for milliseconds. So the caller's processor is closed to the workers. */
static void keep_off_this_processor(void) {
#if defined(__linux__)
    const int here = sched_getcpu();
    if (here == closed || here < 0 || here >= CPU_SETSIZE) return;
    cpu_set_t others = allowed;
    CPU_CLR(here, &others);
    if (!CPU_COUNT(&others)) return;
    for (int w = 0; w < atomic_load(&pool.workers); w++) pthread_setaffinity_np(threads[w], sizeof others, &others);
    closed = here;
#endif
}

void md_parallel(int64_t n, void (*body)(int64_t, void *), void *ctx) {
    const int limit = atomic_load(&pool.limit);
    if (n <= 1 || limit <= 1 || inside || atomic_exchange(&pool.busy, 1)) {
        for (int64_t i = 0; i < n; i++) body(i, ctx);
        return;
    }
    if (atomic_load(&pool.workers) < limit - 1) start_workers(limit - 1);
    pool.body = body;
    pool.ctx = ctx;
    pool.shares = (int)md_min(n, limit);
    for (int s = 0; s < pool.shares; s++) {
        atomic_store_explicit(&shares[s].next, n * s / pool.shares, memory_order_relaxed);
        shares[s].end = n * (s + 1) / pool.shares;
    }
    atomic_store(&pool.open, 1);
    atomic_fetch_add(&pool.job, 1);
    if (atomic_load(&pool.sleeping)) {
        keep_off_this_processor();
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    take_tasks(0);
    atomic_store(&pool.open, 0);
    for (int spin = 0; atomic_load(&pool.active); spin++) {
        if (spin < SPINS) pause_cpu();
        else sched_yield();
    }
    atomic_store(&pool.busy, 0);
}

int md_get_threads(void) { return atomic_load(&pool.limit); }
void md_set_threads(int n) { atomic_store(&pool.limit, n < 1 ? 1 : n > MAX_WORKERS + 1 ? MAX_WORKERS + 1 : n); }

/* ---- scratch: one growing block for each thread and slot, freed when the thread ends ---- */
typedef struct { void *block[MD_SLOTS]; size_t size[MD_SLOTS]; } scratch_set;
static pthread_key_t scratch_key;

static void free_scratch(void *p) {
    scratch_set *s = p;
    for (int i = 0; i < MD_SLOTS; i++) free(s->block[i]);
    free(s);
}
__attribute__((constructor)) static void make_scratch_key(void) { pthread_key_create(&scratch_key, free_scratch); }

void *md_scratch(int slot, size_t bytes) {
    scratch_set *s = pthread_getspecific(scratch_key);
    if (!s) {
        if (!(s = calloc(1, sizeof *s))) return NULL;
        pthread_setspecific(scratch_key, s);
    }
    if (bytes > SIZE_MAX / 2) return NULL;
    if (!s->block[slot] || s->size[slot] < bytes) {
        free(s->block[slot]);
        s->size[slot] = bytes / 4096 * 4096 + 4096;
        s->block[slot] = aligned_alloc(64, s->size[slot]);
        if (!s->block[slot]) s->size[slot] = 0;
    }
    return s->block[slot];
}

/* ---- what the steps of a plan keep between runs ---- */
static _Thread_local md_kept *keeping;

void md_keep_in(md_kept *step) { keeping = step; }

void *md_keep(int slot, size_t bytes, const md_array *of, int *filled) {
    *filled = 0;
    if (!keeping || inside || (of && !of->constant)) return md_scratch(slot, bytes);
    if (keeping->block[slot] && keeping->size[slot] == bytes) {
        *filled = 1;
        return keeping->block[slot];
    }
    free(keeping->block[slot]);
    keeping->size[slot] = bytes;
    keeping->block[slot] = bytes > SIZE_MAX / 2 ? NULL : aligned_alloc(64, bytes / 64 * 64 + 64);
    return keeping->block[slot];
}

void md_forget(md_kept *step) {
    for (int i = 0; i < MD_SLOTS; i++) free(step->block[i]);
    *step = (md_kept){{0}, {0}};
}

size_t md_kept_bytes(const md_kept *step) {
    size_t bytes = 0;
    for (int i = 0; i < MD_SLOTS; i++) bytes += step->size[i];
    return bytes;
}
