#!/bin/sh
# Runs the native kernels under GCC's AddressSanitizer and UndefinedBehaviorSanitizer at every instruction set of this
# processor, several threads under its ThreadSanitizer, and where Valgrind is installed the kernels' small cases under
# memcheck, which knows what was never written. The first report ends it.
#
#     tests/sanitize.sh [PYTHON]        or: make sanitize
#
# Each instrumented build goes to build/sanitize; the installed one stays as it is. Takes some ten minutes.
# MINIDL_FUZZ=N multiplies the examples of the property tests.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
python=${1:-$root/.venv/bin/python}
no_numba="import sys; sys.modules['numba'] = None" # what LLVM compiles is not instrumented

export PYTHONMALLOC=malloc PYTHONSAFEPATH=1 OMP_NUM_THREADS=3 OPENBLAS_NUM_THREADS=1
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=exitcode=66:report_signal_unsafe=0
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

# build NAME FLAGS: the library with these flags in build/sanitize/NAME/lib
build() {
    echo "== build for $1"
    CFLAGS="-g -fno-omit-frame-pointer $2" LDFLAGS="$2" MINIDL_REQUIRE_NATIVE=1 \
        "$python" setup.py -q build --build-base "build/sanitize/$1" --build-lib "build/sanitize/$1/lib"
}

runtime() { gcc -print-file-name="$1"; }

build address "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
for level in portable v2 v3 v4 neon; do
    export MINIDL_ISA=$level
    PYTHONPATH=build/sanitize/address/lib LD_PRELOAD="$(runtime libasan.so) $(runtime libubsan.so)" "$python" - <<END
$no_numba
import pytest
from minidl import kernels
from minidl.kernels import __main__, _dispatch
if "$level" not in _dispatch.core.isas() or not _dispatch.core.cpu_has("$level"):
    sys.exit()
print("==", kernels.isa(), "in", kernels.__file__)
sys.exit(__main__.main(["--check"]) or pytest.main(["-x", "-p", "no:cacheprovider", "tests/kernels/test_fuzz.py"]))
END
done

build thread "-fsanitize=thread"
PYTHONPATH=build/sanitize/thread/lib LD_PRELOAD="$(runtime libtsan.so)" MINIDL_ISA=$("$python" -c \
    "from minidl.kernels._dispatch import core; print('v2' if core.cpu_has('v2') else core.isas()[0])") \
    "$python" tests/kernels/many_threads.py

if command -v valgrind >/dev/null; then
    build memcheck ""
    log=build/sanitize/memcheck/log
    echo "== valgrind: $log"
    export MINIDL_ISA=v2 # it knows no AVX-512
    PYTHONPATH=build/sanitize/memcheck/lib valgrind --quiet --num-callers=20 --log-file=$log "$python" - <<END
$no_numba
from minidl.kernels import __main__, _dispatch
for kernel in _dispatch.kernels.values():
    kernel.cases = lambda every=kernel.cases: (case for case in every() if not case.bench)
sys.exit(__main__.main(["--check"]))
END
    # Python and NumPy have reports of their own, NumPy's also where core.c calls a loop of its: the innermost frame counts.
    if grep -E " (at|by) .*\((native\w*|runtime|memory|plan|machine)\.c:| at .*\(core\.c:" $log; then
        echo "valgrind: see $log" >&2
        exit 1
    fi
fi
echo "nothing found"
