# Every target sets up what it needs: a virtual environment beside the code, from the exact versions of constraints.txt.
# On a bare Debian 12: apt install python3 python3-venv make git
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# Bytecode is written as it is needed, not for all that a package brings.
PIP := $(VENV)/bin/pip install --no-compile --disable-pip-version-check $(if $(MAKE_TERMOUT),,--quiet)
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
# Else each process that a test starts compiles all of the program anew.
unexport PYTHONDONTWRITEBYTECODE
# Two test processes on two cores: one thread each.
test slow: export OMP_NUM_THREADS := 1

.PHONY: demo test slow lint format docs screenshots bench soak clean

demo: $(READY)  ## render a corpus, train, evaluate, index and search it (about eight minutes)
	$(VENV)/bin/hit demo demo-out

test: lint  ## lint and the tests
	$(VENV)/bin/pytest -n 2 --dist worksteal -m "not slow"

slow: $(READY)  ## the tests that take minutes
	$(VENV)/bin/pytest -m slow --timeout 3600

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(READY)
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

docs: $(READY)  ## write docs/cli.md anew
	$(VENV)/bin/python docs/generate.py

screenshots: $(READY)  ## write docs/images/web-*.png anew, of the demo's library
	$(VENV)/bin/python docs/screenshots.py demo-out/library

bench: $(READY)  ## each benchmark prints one JSON line
	@for file in benchmarks/*.py; do $(VENV)/bin/python $$file || exit; done

soak: $(READY)  ## ten minutes of 50 clients against a served library: no error, and memory that stays
	$(VENV)/bin/python benchmarks/serve.py --seconds 600

clean:
	rm -rf $(VENV) demo-out build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# PyPI's torch for Linux brings gigabytes of CUDA libraries: take the CPU build from where pip is told to look, or from PyTorch.
# The stamp is written last: an install that was cut short is done again from nothing.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "HiT needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV): about 3 GB, some minutes"
	test -e $@ || rm -rf $(VENV)
	test -e $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps torch==$(TORCH)+cpu 2>/dev/null || \
		$(PIP) --no-deps --index-url https://download.pytorch.org/whl/cpu torch==$(TORCH)
	$(PIP) -c constraints.txt -e '.[minilm,dev]'
	touch $@
