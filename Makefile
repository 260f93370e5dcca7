# `make` alone says what there is. Nothing is installed twice: the stamps in the environment are
# older than pyproject.toml and constraints.txt only where these have changed.

PYTHON ?= python3
VENV ?= .venv
# Test processes side by side; each computes in one thread.
JOBS ?= 2
# What `make constraints` asks for where a release should not simply be the newest.
PINS ?= torch==2.13.0

# Ray and Spark are large, and Spark knows pandas 3 not yet: an environment of its own for each.
RAY_VENV ?= .venv-ray
SPARK_VENV ?= .venv-spark
SPARK_PANDAS ?= 2.3.3
# Libraries that know the answers of some scorers; nobody needs them to use the tool.
PEERS_VENV ?= .venv-peers
PEERS := data-selection==1.0.3 faiss-cpu==1.15.1 nltk==3.10.4 traker==0.3.2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# One file's tests stay in one process, so that its fixtures are made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL := -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo install install-dev test test-slow test-gpu test-browser
.PHONY: test-hf test-datatrove test-dask test-ray test-spark test-peers test-notebooks bench lint format docs constraints clean distclean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  settings: PYTHON=$(PYTHON) VENV=$(VENV) JOBS=$(JOBS) RAY_VENV=$(RAY_VENV) SPARK_VENV=$(SPARK_VENV)"

demo: $(RUN_STAMP)  ## install, audit pipelines/med.yaml, and say where the report lies
	$(BIN)/curation-audit attack --pipeline pipelines/med.yaml
	@echo "The report: runs/med/release/report.html"

install: $(RUN_STAMP)  ## make the environment with what the tool needs

install-dev: $(DEV_STAMP)  ## make the environment with what its developers need

test: lint  ## every check: lint, types, imports, then the fast tests
	$(PYTEST) $(PARALLEL)

test-slow: $(DEV_STAMP)  ## the tests that train many models or need the package index
	$(PYTEST) -m "slow and not gpu and not browser and not ray and not spark and not peers and not notebooks" --timeout 3600

test-gpu: $(DEV_STAMP)  ## the tests that need CUDA
	$(PYTEST) -m gpu

test-browser: $(DEV_STAMP)  ## the tests that need Chromium and its driver
	$(PYTEST) -m browser

test-hf: $(DEV_STAMP)  ## the tests of the adapter for Hugging Face datasets
	$(PYTEST) tests/adapters/test_huggingface.py

test-datatrove: $(DEV_STAMP)  ## the tests of the adapter for datatrove
	$(PYTEST) tests/adapters/test_datatrove.py

test-dask: $(DEV_STAMP)  ## the tests of the adapter for dask
	$(PYTEST) tests/adapters/test_dask.py

test-ray: $(RAY_VENV)/.installed  ## the tests of the adapter for Ray Data and the backend of Ray Core, in an environment of their own
	OMP_NUM_THREADS=1 $(RAY_VENV)/bin/python -m pytest -m ray tests/adapters/test_ray.py tests/backends/test_ray.py tests/backends/test_ray_nodes.py

test-spark: $(SPARK_VENV)/.installed  ## the same for Spark, which needs Java 17
	OMP_NUM_THREADS=1 $(SPARK_VENV)/bin/python -m pytest -m spark tests/adapters/test_spark.py

test-peers: $(PEERS_VENV)/.installed  ## scorers against other people's libraries, in an environment of their own
	OMP_NUM_THREADS=1 $(PEERS_VENV)/bin/python -m pytest -m peers -rs $(addprefix tests/pipelines/,test_dsir.py test_nearest.py test_perplexity.py test_trak.py)

test-notebooks: $(DEV_STAMP)  ## run the notebooks, each from a clean kernel; one to two minutes
	$(PYTEST) -m notebooks tests/test_notebooks.py

bench: $(DEV_STAMP)  ## the engine's speed on this machine's CPU, beside the usual ways; 10 to 20 minutes
	for one in training_speed logistic_speed batched_curations pool_speed curation_scale; do \
		echo "== $$one"; $(BIN)/python -m benchmarks.$$one || exit 1; done

lint: $(DEV_STAMP)  ## ruff (rules and format), mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_STAMP)  ## write the pages that are made from the code
	$(BIN)/python docs/generate.py

format: $(DEV_STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The build tool comes first, from the same pins, so that building needs no environment of its own.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(RUN_STAMP): $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt setuptools
	$(PIP) install --quiet --no-build-isolation -c constraints.txt -e .
	touch $@

$(DEV_STAMP): $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt setuptools
	$(PIP) install --quiet --no-build-isolation -c constraints.txt -e '.[dev]'
	touch $(RUN_STAMP) $@

$(RAY_VENV)/.installed: EXTRA := [ray]
$(SPARK_VENV)/.installed: EXTRA := [spark]
$(SPARK_VENV)/.installed: REPIN := s/^pandas==.*/pandas==$(SPARK_PANDAS)/
$(PEERS_VENV)/.installed: MORE := $(PEERS)
$(RAY_VENV)/.installed $(SPARK_VENV)/.installed $(PEERS_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	sed -e '$(REPIN)' constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet -c $(@D)/constraints.txt setuptools
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation \
	  -c $(@D)/constraints.txt -e '.$(EXTRA)' hypothesis pytest pytest-timeout $(MORE)
	touch $@

constraints:  ## resolve the newest releases in a fresh environment and pin them
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip --disable-pip-version-check install --quiet --upgrade 'setuptools>=77' $(PINS)
	build/constraints/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation -e '.[dev,ray]'
	build/constraints/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation pyspark
	{ \
	  echo "# Made by 'make constraints'; do not edit. Every package of 'pip install -e .[dev,ray] pyspark', pinned,"; \
	  echo "# as resolved in a fresh environment by $$(build/constraints/bin/python --version). Local version suffixes"; \
	  echo "# (CPU builds of torch) and the project itself are left out. 'make test-spark' has an older pandas."; \
	  build/constraints/bin/python -m pip --disable-pip-version-check freeze --all --exclude-editable --exclude pip \
	    | sed 's/+[A-Za-z0-9.]*$$//' | LC_ALL=C sort -f; \
	} > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/constraints

clean:  ## remove caches and build leftovers; runs/ and the environment stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find curation_audit tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove the environment, too
	rm -rf $(VENV) $(RAY_VENV) $(SPARK_VENV)
