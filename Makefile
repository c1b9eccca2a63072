# Two commands set everything up from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
DATA ?= ../shared/data
TOOLS := .venv-release
TOOLS_STAMP := $(TOOLS)/.installed
SERVICE ?= pypi
INTEGRATIONS := .venv-integrations
INTEGRATIONS_STAMP := $(INTEGRATIONS)/.installed
FRAMEWORKS := 'langchain-openai>=1.1' 'langchain-cohere>=0.5' 'llama-index-core>=0.14' 'llama-index-embeddings-openai-like>=0.2' \
	'llama-index-postprocessor-cohere-rerank>=0.5' 'haystack-ai>=3' 'cohere-haystack>=11'

# What computes, for `test-processors`.
NUMERIC := $(addprefix tests/,balance nn metrics tasks text training compare export serve bulk test_model.py test_onnx_backend.py \
	test_predict_backend.py test_bundle_sharing.py test_end_to_end.py)

.PHONY: demo test test-long test-processors test-slow test-integrations check bench durability corpus docs dist containers release audit clean

demo: $(STAMP)
	rm -rf runs/demo
	$(BIN)/manyheads demo --output runs/demo

# With one thread the workers do not fight for the cores. Compiled modules are kept for the processes that tests start. Each worker
# gets half of the files, in order, and takes from the other's at the end: models that the tests of a file share are made once.
test test-long: export OMP_NUM_THREADS = 1
test test-long: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# What takes seconds each: processes that are killed, servers, browsers, exports, and every page from its first command to its last.
test-long: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'long and not slow'

test-slow: $(STAMP)
	MANYHEADS_DATA=$(DATA) $(BIN)/python -m pytest -m slow --timeout=3600

# As on other processors: the products of oneDNN and MKL with AVX2 alone, then torch's and MKL's own loops in plain instructions.
test-processors: $(STAMP)
	ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' $(NUMERIC)
	ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE $(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' $(NUMERIC)

# docs/frameworks.md with LangChain, LlamaIndex and Haystack.
test-integrations: $(STAMP) $(INTEGRATIONS_STAMP)
	$(INTEGRATIONS)/bin/python -m pytest -m slow tests/docs/test_frameworks.py

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

# Two hours on 2 cores; docs/durability.md has results.
durability: $(STAMP)
	PYTHONPATH=benchmarks $(BIN)/python -m durability all

corpus: $(STAMP)
	$(BIN)/python corpus/build.py src/manyheads/demo/corpus

# Into site/. Any warning, such as a link that leads nowhere, is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dist: $(STAMP)
	$(BIN)/python -m build

# Builds the images and uses them; needs Docker, and a network for the build.
containers:
	scripts/containers.sh

# Wheel, sdist, SBOM and SHA256SUMS of the last commit, built twice and compared; SECURITY.md says how to check one.
release: $(STAMP) $(TOOLS_STAMP)
	$(TOOLS)/bin/python release/make_release.py dist --environment $(VENV)

# Needs an advisory service on the network: SERVICE=pypi or SERVICE=osv.
audit: $(TOOLS_STAMP)
	$(TOOLS)/bin/python release/audit.py --service $(SERVICE)

clean:
	rm -rf $(VENV) .venv-release $(INTEGRATIONS) build dist site src/*.egg-info

# torch comes first and pinned: left to a dependency's range, pip would take the newest CUDA build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Apart from what users install. The folder ignores itself: git and ruff pass it over.
$(TOOLS_STAMP): release/requirements.txt
	$(PYTHON) -m venv $(TOOLS)
	echo '*' > $(TOOLS)/.gitignore
	$(TOOLS)/bin/python -m pip install -q --disable-pip-version-check -r release/requirements.txt
	touch $@

# Beside the environment of the tests, which it reads too: the frameworks need an older cohere, and nothing else may differ.
$(INTEGRATIONS_STAMP): $(STAMP)
	$(PYTHON) -m venv $(INTEGRATIONS)
	echo '*' > $(INTEGRATIONS)/.gitignore
	$(BIN)/python -m pip freeze --exclude-editable | grep -iv '^cohere==' > $(INTEGRATIONS)/constraints.txt
	$(INTEGRATIONS)/bin/python -m pip install -q --disable-pip-version-check -c $(INTEGRATIONS)/constraints.txt $(FRAMEWORKS)
	$(BIN)/python -c "import sysconfig; print(f\"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\")" \
		> "$$($(INTEGRATIONS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/tests.pth"
	touch $@
