#!/bin/sh
# Compiles the native kernels for 64-bit ARM and runs their tests under emulation, on an x86-64 Debian:
#
#     apt-get install gcc-aarch64-linux-gnu qemu-user
#     dpkg --add-architecture arm64 && apt-get update      # once: Python itself comes from Debian's packages for ARM
#     tests/neon.sh [PYTHON]                               # or: make neon
#
# PYTHON is the one that builds (3.11, as Debian 12's, with cython and setuptools). All goes to build/neon. Nothing that is
# measured here says anything about speed. On a machine that is ARM itself the ordinary tests cover NEON.
set -eu
cd "$(dirname "$0")/.."
python=${1:-$PWD/.venv/bin/python}
root=$PWD/build/neon/root
site=$PWD/build/neon/site
lib=$PWD/build/neon/lib
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tag=$("$python" -c 'import sys; print("cpython-%d%d" % sys.version_info[:2])')

if [ ! -x "$root/usr/bin/python$version" ]; then
    mkdir -p build/neon/debs "$root"
    (cd build/neon/debs && apt-get -qq download $(for p in libc6 libgcc-s1 libstdc++6 libssl3 zlib1g libexpat1 libffi8 libbz2-1.0 \
        liblzma5 libuuid1 "python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib" "libpython$version-dev"; \
        do echo "$p:arm64"; done))
    for deb in build/neon/debs/*.deb; do dpkg -x "$deb" "$root"; done
fi
if [ ! -d "$site/numpy" ]; then
    "$python" -m pip -q install --target "$site" --only-binary=:all: --python-version "$version" --implementation cp \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 numpy
fi

echo "== build"
include="-I$root/usr/include/python$version -I$root/usr/include -I$root/usr/include/aarch64-linux-gnu/python$version"
CC="aarch64-linux-gnu-gcc $include" LDSHARED="aarch64-linux-gnu-gcc -shared" MINIDL_TARGET_MACHINE=aarch64 \
    MINIDL_REQUIRE_NATIVE=1 SETUPTOOLS_EXT_SUFFIX=".$tag-aarch64-linux-gnu.so" CFLAGS="" \
    "$python" setup.py -q build --build-base build/neon/objects --build-lib "$lib" build_ext

MINIDL_ISA=neon OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 \
    qemu-aarch64 -L "$root" "$root/usr/bin/python$version" -I -c "
import sys
sys.path[:0] = ['$lib', '$site']
from minidl.kernels import __main__, _dispatch
for kernel in _dispatch.kernels.values():  # what is large takes long under emulation
    kernel.cases = lambda every=kernel.cases: (case for case in every() if not case.bench)
sys.exit(__main__.main(['--check']))"
echo "all kernels agree with the reference"
