# `make demo` and `make test` set up all they need; `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links
PINNED := $(COMPILE) --constraints requirements/test.txt

.PHONY: help demo test test-kubernetes lint bench lock clean

help:
	@echo "make demo [KEEP=1]   the whole story with real servers; KEEP=1 leaves it running"
	@echo "make test [ARGS=...] every check and every test; ARGS goes to pytest"
	@echo "make test-kubernetes what concerns clusters, against the one that KUBECONFIG names"
	@echo "make lint            the checks alone"
	@echo "make bench           speed and memory, into benchmarks/results/"
	@echo "make lock            new versions of all dependencies, into requirements/"
	@echo "make clean           removes all that the other targets made"

demo: $(VENV)/demo.installed
	KEEP=$(KEEP) $(BIN)/python demo/run.py

test: lint
	sh .ci/install-servers
	$(BIN)/python -m pytest $(ARGS)

# Without KUBECONFIG the double answers. The user of a real one has to be an administrator.
test-kubernetes: $(VENV)/test.installed
	$(BIN)/python -m pytest tests/clouds/kubernetes tests/secrets/test_kubernetes.py \
		tests/contracts/connectors/test_kubernetes.py tests/contracts/secret_stores/test_kubernetes.py \
		tests/contracts/test_pipeline_runners.py tests/pipelines/kubernetes $(ARGS)

lint: $(VENV)/test.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/test.installed
	sh .ci/install-servers
	$(BIN)/python benchmarks/run.py $(ARGS)

lock: $(VENV)/test.installed
	$(COMPILE) --upgrade pyproject.toml --extra test --group build -o requirements/test.txt
	$(PINNED) pyproject.toml --extra demo --group build -o requirements/demo.txt
	$(PINNED) pyproject.toml --extra all -o requirements/runtime.txt
	$(PINNED) --group build -o requirements/build.txt
	for server in requirements/servers/*.in; do \
		$(COMPILE) --upgrade $$server -o $${server%.in}.txt || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info benchmarks/results .cache .mypy_cache .ruff_cache .pytest_cache
	rm -rf .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/%.installed: requirements/%.txt pyproject.toml $(BIN)/pip
	$(BIN)/python -m pip install --quiet --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# pip is the last thing that a virtual environment gets: with it, it is whole.
$(BIN)/pip:
	@sh .ci/make-venv "$(PYTHON)" $(VENV)
