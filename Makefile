# Two commands set everything up from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
DATA ?= ../shared/data

.PHONY: demo test test-slow check bench corpus dist clean

demo: $(STAMP)
	rm -rf runs/demo
	$(BIN)/manyheads demo --output runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(STAMP)
	MANYHEADS_DATA=$(DATA) $(BIN)/python -m pytest -m slow --timeout=3600

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Hours on 2 cores; docs/benchmarks.md has results.
bench: $(STAMP)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scorers.py $(DATA)
	$(BIN)/python benchmarks/ner_trainer.py $(DATA)/conll2003 --seeds 0 1 2
	$(BIN)/python benchmarks/run_files.py ner $(DATA) --seeds 0 1 2
	$(BIN)/python benchmarks/run_files.py joint $(DATA)
	$(BIN)/python benchmarks/run_files.py biomedical $(DATA)
	$(BIN)/python benchmarks/offsets.py runs/bench/joint-seed0 $(DATA)

corpus: $(STAMP)
	$(BIN)/python corpus/build.py src/manyheads/demo/corpus

dist: $(STAMP)
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist src/*.egg-info

# torch comes first and pinned: left to a dependency's range, pip would take the newest CUDA build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
