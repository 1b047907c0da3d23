# make demo and make test are all a newcomer needs; both create .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# the model's weights come from a package: nothing asks a model hub
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
# the tests start many processes, and each would compile our modules anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-more lint bench clean

demo: $(STAMP)
	$(BIN)/python -m examples.demo

test: $(STAMP)  # three processes for two cores: tests wait for servers, too
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile -m "not exhaustive"

# the further cases of the matrices that test takes a few of, and what takes long
test-more: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile -m exhaustive

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
