# `make demo` and `make test` need Python 3.11 or later with its headers, make and a C++ compiler; they set up .venv by
# themselves, with uv where there is one and with pip where not.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CALLS ?= 100000
SOURCES := setup.cfg setup.py pyproject.toml constraints.txt $(wildcard csrc/*)
HEADER := os.path.join(sysconfig.get_path("include"), "Python.h")

.PHONY: help demo test test-all soak lint sanitize install clean

help:
	@echo 'make demo      train, segment, score and export on synthetic torsos'
	@echo 'make test      the tests of a few minutes; make test-all for every one'
	@echo 'make soak      thousands of damaged files, all orientations, hundreds of killed trainings, half an hour'
	@echo 'make lint      style, types, layers, spelling'
	@echo 'make sanitize  the C++ core under the address and undefined-behaviour sanitizers, CALLS=100000 random volumes'
	@echo 'make install   only set up $(VENV)'
	@echo 'make clean     remove what these made'

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/medfs demo --output demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-all: $(INSTALLED)
	$(BIN)/python -m pytest -m ""

soak: $(INSTALLED)
	$(BIN)/python -m pytest -m slow -rP tests/io/test_fuzzed_files.py tests/io/test_geometry_sweep.py \
		tests/engines/test_killed_training.py tests/engines/test_random_kills.py \
		tests/inference/test_folder_run_killed.py tests/inference/test_folder_run_shared.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/cython-lint --no-pycodestyle --max-line-length 120 csrc

sanitize:
	@mkdir -p build
	$(CXX) -std=c++17 -O1 -g -ffp-contract=off -Wall -Wextra -fsanitize=address,undefined -fno-sanitize-recover=all \
		csrc/test_felzenszwalb.cpp -o build/sanitize_felzenszwalb
	build/sanitize_felzenszwalb $(CALLS)

$(INSTALLED): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "medfs needs Python 3.11 or later;" \
		"'$(PYTHON)' is none; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists($(HEADER)))' || { echo "medfs compiles one" \
		"module: '$(PYTHON)' lacks Python.h; install python3-dev (Debian, Ubuntu) or python3-devel (Fedora)" >&2; exit 1; }
	@echo '#include <vector>' | $(CXX) -std=c++17 -fsyntax-only -x c++ - || { echo "medfs compiles one module: '$(CXX)'" \
		"is no C++17 compiler; install g++ or clang, or name one with: make CXX=clang++ $(MAKECMDGOALS)" >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo medfs/*.so
