# Every target sets itself up in .venv first, with the native kernels or not at all.
# PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
SOURCES := pyproject.toml setup.py $(wildcard kernels/*/*.[ch] kernels/_native/*.px?) $(wildcard kernels/*.pxd minidl/autograd/*.pxd) \
	kernels/_dispatch.py minidl/autograd/tensor.py minidl/autograd/node.py minidl/autograd/op.py minidl/autograd/engine.py

# An OPENBLAS_CORETYPE in the environment can slow NumPy's own products fourfold.
unexport OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

.PHONY: demo test sanitize neon bench lint build clean

demo: .venv/ready
	$(BIN)/python -m minidl demo

# Everything runs on the Python sources, which coverage can see, and what they carry again on their compiled twins.
test: .venv/ready
	MINIDL_PURE=1 $(BIN)/python -m pytest --cov --cov-report=term:skip-covered
	$(BIN)/python -m pytest tests/autograd tests/ops tests/kernels/test_dispatch.py tests/nn tests/test_compiled.py

# The native kernels under the sanitizers of GCC and under Valgrind; not a part of the tests, for it takes long.
sanitize: .venv/ready
	tests/sanitize.sh $(BIN)/python

# The kernels for 64-bit ARM under emulation; the script says what it needs.
neon: .venv/ready
	tests/neon.sh $(BIN)/python

bench: .venv/ready
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only --benchmark-autosave --benchmark-columns=min,median,rounds

lint: .venv/ready
	$(BIN)/ruff check .

build: .venv/ready

.venv/ready: $(SOURCES)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	MINIDL_REQUIRE_NATIVE=1 PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable ".[test,train,dev]"
	@touch $@

clean:
	rm -rf .venv build *.egg-info kernels/*.so kernels/_native/*.so minidl/autograd/*.so
