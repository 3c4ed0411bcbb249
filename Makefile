# `make demo` and `make test` work on a fresh machine with Python >= 3.11 and make.
#
#   make demo PYTHON=/path/to/python3.12   names the interpreter of a new .venv
#   make demo UV_TORCH_BACKEND=cpu         names the build of torch (cpu, cu126, ...), see `install`
#   make test JOBS=8                       sets the number of test processes
#   make soak KILLS=1000                   sets the number of kills

VENV ?= .venv
PYTHON ?= python3.11 python3.12 python3.13 python3
JOBS ?= 2
KILLS ?= 25
INPUTS ?= 200

BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

# uv does not read pip's configuration, so a wheel folder set there is handed over (mostly none).
FIND_LINKS = $(sort $(PIP_FIND_LINKS) $(shell $(BIN)/pip config get global.find-links 2>/dev/null))
UV_INSTALL = $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -b constraints.txt \
	$(addprefix --find-links ,$(FIND_LINKS))

# PyPI's torch for Linux carries gigabytes of CUDA. Unless torch is here already, in the environment
# or in a wheel folder, uv takes the build that fits the driver (CPU when there is none) from
# PyTorch's own index; where that index does not answer within seconds, PyPI's will do.
define install
	@set -e; torch="$(UV_INSTALL) --quiet --dry-run --no-deps torch"; \
	if [ -z "$$UV_TORCH_BACKEND" ] && ! $$torch --no-index 2>/dev/null \
		&& UV_HTTP_TIMEOUT=5 UV_HTTP_RETRIES=0 $$torch --torch-backend=auto 2>/dev/null; \
	then export UV_TORCH_BACKEND=auto; fi; \
	$(UV_INSTALL) --compile-bytecode -e '$(1)'
	@touch $@
endef

.PHONY: help demo test lint test-cpus test-gpu test-slurm test-slow test-deep soak fuzz bench \
	gpu-first reports constraints clean

help:
	@echo "make demo         run the smoke suite and print its report"
	@echo "make test         run linters, layer rules and tests"
	@echo "make lint         run linters and layer rules"
	@echo "make test-cpus    run the tests that compute under the settings of several processors"
	@echo "make test-gpu     run the tests that need a CUDA device"
	@echo "make test-slurm   run the tests on a Slurm cluster of one machine; root may install it by apt"
	@echo "make test-slow    run the tests that are too slow for make test"
	@echo "make test-deep    run all of these, with new random examples"
	@echo "make soak         kill runs at random moments, KILLS=25 times, and count what was lost"
	@echo "make fuzz         try INPUTS=200 damaged inputs, and see that each gets a sensible answer"
	@echo "make bench        time training, testing and loading against the usual loop"
	@echo "make gpu-first    the first quarter of an hour on a GPU: is it right, and how fast"
	@echo "make reports      rebuild reports/ and the README's results from results/"
	@echo "make constraints  resolve constraints.txt anew"
	@echo "make clean        remove caches, builds and the demo"
	@echo "Each installs what it needs into $(VENV) first."

demo: $(VENV)/installed
	$(BIN)/resbench run smoke --results demo/results
	$(BIN)/resbench report smoke --results demo/results

test: lint
	$(PYTEST) -n $(JOBS) --dist worksteal

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test-cpus: $(VENV)/installed-test
	$(BIN)/python -m tools.cpus

test-gpu: $(VENV)/installed-test
	$(PYTEST) -m gpu -n 4

test-slurm: $(VENV)/installed-test
	$(PYTEST) -m slurm tests/slurm

test-slow: $(VENV)/installed-test
	$(PYTEST) -n $(JOBS) --dist worksteal -m 'slow and not gpu'

test-deep: $(VENV)/installed-test
	$(PYTEST) -n $(JOBS) --dist worksteal -m 'not gpu and not slurm' --hypothesis-profile random

soak: $(VENV)/installed-test
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tools.soak --kills $(KILLS)

fuzz: $(VENV)/installed-test
	$(BIN)/python -m tools.fuzz --inputs $(INPUTS)

bench: $(VENV)/installed
	$(BIN)/python -m tools.speed

# A machine with torch and the packages of resbench needs no $(VENV): python -m tools.gpu_first.
gpu-first: $(VENV)/installed-test
	$(BIN)/python -m tools.gpu_first

reports: $(VENV)/installed
	$(BIN)/resbench report --site reports --results results

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/uv
	$(call install,.)

$(VENV)/installed-test: $(VENV)/installed
	$(call install,.[test])

$(BIN)/uv:
	@for python in $(PYTHON); do \
		if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null; then found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then echo "make: none of '$(PYTHON)' is Python >= 3.11 with venv: install" \
		"one (Debian: python3 and python3-venv) or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; fi; \
	"$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

# One version of each package for all platforms; torch pins the CUDA packages of its build itself.
constraints: | $(BIN)/uv
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --universal \
		--fork-strategy fewest --no-annotate --no-header --all-extras -o $(VENV)/resolved.txt \
		pyproject.toml -
	{ grep '^#' constraints.txt; sed -E 's/ ;.*//; /^(cuda|nvidia|triton)/d' $(VENV)/resolved.txt; } \
		> $(VENV)/pins.txt
	mv $(VENV)/pins.txt constraints.txt

clean:
	rm -rf build demo dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find benchmark tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
