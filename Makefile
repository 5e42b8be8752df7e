# Everything is set up by the target that needs it: Debian packages (.ci/debian), newer peers (.ci/newer), a virtual
# environment in .venv, the compiled extension. Stamps of what is done lie in .make.
#
#   make test ARGS="-k layout -x"    arguments for pytest
#   make demo REF=oci:/var/lib/x:1   an image of yours
#   make PYTHON=python3.13 test      another Python than the machine's python3

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard ocikit/_native/*.[ch] ocikit/_native/*.py ocikit/_native/helper/*)
HOUSE := $(patsubst %,tests/house/test_%.py,architecture form face clean import_weight)
export PYTHON PIP_DISABLE_PIP_VERSION_CHECK = 1

# Tests make containers, which takes root. What root would leave in the tree of somebody else is not written.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env env "PATH=$(PATH)" PYTHONDONTWRITEBYTECODE=1)
PYTEST = $(ROOT) $(BIN)/python -m pytest $(if $(ROOT),-p no:cacheprovider)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: test
test: check .make/peers .make/newer ## check, then every test, in two halves at a time (root or sudo; installs what it needs)
	$(if $(ARGS),,.ci/halves) $(PYTEST) $(ARGS)

.PHONY: check
check: .make/tools ## format, lint, types, layers, public face: seconds, no root
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(foreach conftest,$(wildcard tests/*/conftest.py),$(BIN)/mypy --cache-dir=.mypy_cache/$(conftest) $(conftest) &&) true
	$(BIN)/python -m pytest -q $(HOUSE)

.PHONY: demo
demo: .make/installed $(if $(REF),,.make/busybox) ## the main job on a real image (REF=… names another than busybox)
	$(ROOT) $(BIN)/python examples/demo.py $(REF)

.PHONY: matrix
matrix: .make/tools .make/peers ## images between all kinds of places, by ocikit and skopeo (IMAGES=… adds real ones)
	$(if $(IMAGES),OCIKIT_IMAGES=$(abspath $(IMAGES))) $(PYTEST) tests/image/test_matrix.py $(ARGS)

.PHONY: bench
bench: .make/tools .make/peers ## the same work here and by the peers, alternating: medians and goals (ARGS="60 --markdown")
	$(ROOT) $(BIN)/python tests/bench/run_all.py $(ARGS)
	$(ROOT) $(BIN)/python tests/bench/unpack_image.py

.PHONY: fuzz
fuzz: .make/tools ## the helper against many more damaged plans (ROUNDS=…), images of all kinds (SECONDS=… each, SEED=…)
	OCIKIT_FUZZ_ROUNDS=$(or $(ROUNDS),50000) $(PYTEST) tests/test_helper_plans.py
	$(ROOT) $(BIN)/python tests/fuzz/fuzz_images.py --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

.PHONY: soak
soak: .make/tools .make/busybox ## thousands of containers, hunted and owned (COUNT=… SECONDS=… SEED=…), a pull killed (KILLS=… MIB=…)
	OCIKIT_FAULT_SCHEDULES=200 $(if $(SEED),OCIKIT_FAULT_SEED=$(SEED)) $(PYTEST) tests/image/test_docker_schedules.py
	$(ROOT) $(BIN)/python tests/soak/soak.py --count $(or $(COUNT),2000) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))
	$(BIN)/python tests/soak/soak_pulls.py --kills $(or $(KILLS),20) --mib $(or $(MIB),1024) $(if $(SEED),--seed $(SEED))

.PHONY: v2
v2: .make/tools ## runtime tests on a host with pure cgroup v2, entered by the command prefix in OCIKIT_V2_RUN
	@test -n "$$OCIKIT_V2_RUN" || { echo "error: set OCIKIT_V2_RUN to a command prefix that runs a command as root on a" \
	  "cgroup v2 host that sees this directory at the same path (OCIKIT_V2_RUN='ssh guest')" >&2; exit 2; }
	@# A file at a time: it is containers that are tested, and not how many of them one guest outlives.
	@failed=; for file in tests/runtime/test_*.py; do echo "$$file"; \
	  $$OCIKIT_V2_RUN env -C $(CURDIR) $(BIN)/python -m pytest -q $$file $(ARGS) || failed="$$failed $$file"; done; \
	  test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

.PHONY: conformance
conformance: .make/tools .make/peers ## the runtime-tools programs in OCIKIT_RUNTIME_TOOLS, by ocikit-runtime and peers
	$(ROOT) $(BIN)/python tests/conformance/run.py $(ARGS) $(BIN)/ocikit-runtime runc crun

.PHONY: face
face: .make/tools ## write the table of public names anew (then read the diff)
	$(BIN)/python tests/house/face.py

.PHONY: clean
clean: ## remove everything that make has made
	rm -rf $(VENV) .make build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f ocikit/_native/*.so
	find ocikit tests examples -name __pycache__ -type d -exec rm -rf {} +

.make/build .make/busybox .make/peers: .ci/debian
	.ci/debian $(@F)
	@mkdir -p .make && touch $@

.make/newer: .ci/newer
	.ci/newer $@

.make/venv: .make/build
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Once the tools are there the extension is rebuilt with them, without fetching them into an environment of its own.
.make/installed: .make/venv pyproject.toml setup.py $(NATIVE)
	$(BIN)/python -m pip install --quiet $(if $(shell find .make/tools -newer pyproject.toml 2>&-),--no-build-isolation) \
	  --editable .
	@touch $@

# pip older than 25.1 knows no dependency groups, so they are read here.
.make/tools: pyproject.toml | .make/installed
	$(BIN)/python -c 'import tomllib; groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]; \
	  print(*(line for group in groups.values() for line in group), sep="\n")' > .make/groups.txt
	$(BIN)/python -m pip install --quiet --requirement .make/groups.txt
	@touch $@
