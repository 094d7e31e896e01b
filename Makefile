# Everything runs in .venv, which the first target makes. `make demo` and `make test` need nothing else installed
# than Python >= 3.11. What is installed is compiled when it is first used: most of it never is.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long parity gpu-tiny lint docs check release-check clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

demo: .venv/installed
	$(BIN)/motionclone demo --out-dir demo --overwrite

# A process a core, up to four, and a file (of the matrix, a family) a process.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadgroup
test: .venv/installed
	$(PYTEST) -m "not long"

# What says at length what other tests say in short: all suites of the lab, every page and notebook done as it says.
test-long: .venv/installed
	$(PYTEST) -m long

# Parity with the authors on lesser processors than this one, one of them with two threads: sums run in other orders.
# That the transcription, in float64, is the authors' run does not hang on the processor, and `make test` has seen it.
PARITY := $(BIN)/pytest tests/test_parity.py -k "not transcription"
parity: .venv/installed
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(PARITY) & first=$$!; \
	TEST_THREADS=2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(PARITY); second=$$?; \
	wait $$first && exit $$second

# What is to run on a GPU once there is one, on tiny models and the CPU.
gpu-tiny: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gpu.py --tiny --device cpu --out-dir "$$(mktemp -d)"

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Into site/; warnings are errors, and neither this nor a reader fetches anything. The theme advertises its successor.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

check: lint test test-long docs

# What a release would be: built, checked, installed by itself, and tried from another folder.
release-check:
	PYTHON=$(PYTHON) .ci/release

clean:
	rm -rf .venv demo dist site .mypy_cache .ruff_cache .pytest_cache
