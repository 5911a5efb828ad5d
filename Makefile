# make demo    trains the guide's model on the embedded digits
# make test    runs the tests
# make lint    ruff, mypy, the import contracts, and that no instruction set's code gets into another's
# make bench   runs the benchmarks
# make clean   removes all that these made, .venv too
#
# Each makes .venv if there is none and installs the package in it, not editable, under the pins of
# constraints.txt; and again when a source has changed since.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Folders are listed too: a deleted file shows in the time of the folder that held it.
SOURCES := pyproject.toml constraints.txt \
	$(shell find src/ostinato native -name __pycache__ -prune -o \( -type f -o -type d \) -print)

.PHONY: demo test lint bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: $(VENV)/installed-demo
	$(BIN)/ostinato demo

# File by file in a few processes; threads of theirs that wait for each other give the cores to those that work.
test: $(VENV)/installed-test
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# From src and not from .venv: the checks are of the sources, and their messages name the file to mend.
lint: $(VENV)/installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports --no-cache
	$(BIN)/python tools/check_objects.py build/wheel

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip comes last when a virtual environment is made, so a half-made one is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("%s is Python %d.%d; ostinato needs 3.11 or newer. Try: make PYTHON=python3.11" \
		% (sys.executable, *sys.version_info[:2]) if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# $(call install,EXTRAS,STAMPS): STAMPS are the install stamps that these extras satisfy, the target's first.
# The stamp's time is that of the start, so that what is edited meanwhile is installed next time. The build's own
# packages come from constraints.txt, in .venv, so that the build has its pinned versions too: scikit-build-core, and
# what that asks for, CMake and Ninja, where the system has none. build/wheel keeps what was compiled, so that
# a change of Python alone compiles nothing. $(,) is a comma inside an argument.
, := ,
define install
	@touch $(VENV)/started
	$(PIP) install --quiet --constraint constraints.txt scikit-build-core
	$(BIN)/python -c 'from scikit_build_core.build import get_requires_for_build_wheel as asks; \
		print(*asks(), sep="\n")' > $(VENV)/build-requires.txt
	$(PIP) install --quiet --constraint constraints.txt --requirement $(VENV)/build-requires.txt
	$(PIP) install $(if $(wildcard $@),--quiet) --constraint constraints.txt --no-build-isolation \
		--config-settings build-dir=build/wheel '.[$(1)]'
	@for stamp in $(2); do touch -r $(VENV)/started $(VENV)/$$stamp; done
endef

$(VENV)/installed-demo: $(SOURCES) | $(BIN)/pip
	$(call install,plots,installed-demo)

$(VENV)/installed-test: $(SOURCES) | $(BIN)/pip
	$(call install,plots$(,)examples$(,)test,installed-test installed-demo)

$(VENV)/installed-lint: $(SOURCES) | $(BIN)/pip
	$(call install,plots$(,)examples$(,)test$(,)dev,installed-lint installed-test installed-demo)
