# Every command a person needs; `make help` prints them.
# Environments live in .venv/<name>; their stamps follow the pins, so a second run installs nothing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
ENCODER ?= design-vit
TARGET ?= auto
PRECISION ?= auto
# Photos and drawings for calibration and the gate; without any, export draws its own.
IMAGES ?= $(firstword $(wildcard $(VITRINE_TEST_DATA) ../shared/data))
# CPU builds of torch: a tenth of the download. Used when there is no NVIDIA driver.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

EXPORT := .venv/export
SERVE := .venv/serve
TRITON := .venv/triton
DEV := .venv/dev
PACKAGES := server client training export

# An NVIDIA driver's device: TensorRT is installed and used where it is wanted.
WANTS_GPU := $(filter gpu,$(TARGET))$(if $(filter auto,$(TARGET)),$(wildcard /dev/nvidiactl))
GPU_MODELS := $(patsubst %/image_encoder/1/manifest.json,%,\
    $(wildcard model_repository/gpu_python/image_encoder/1/manifest.json))

##@ Use

.PHONY: export
export: $(EXPORT)/.installed $(if $(WANTS_GPU),$(EXPORT)/.gpu) ## Build, gate and publish the engine (ENCODER, TARGET, PRECISION, IMAGES)
	@$(EXPORT)/bin/vitrine-export --encoder '$(ENCODER)' --target $(TARGET) \
	    --precision $(PRECISION) $(if $(IMAGES),--images '$(IMAGES)')

.PHONY: serve
serve: $(SERVE)/.installed $(TRITON)/.installed $(if $(GPU_MODELS),$(TRITON)/.gpu) ## Start Triton and the sidecar; Ctrl-C stops both
	@$(if $(GPU_MODELS),VITRINE_MODEL_REPOSITORY="$${VITRINE_MODEL_REPOSITORY:-$(GPU_MODELS)}") \
	    $(SERVE)/bin/vitrine-serve

.PHONY: demo
demo: $(EXPORT)/.installed $(SERVE)/.installed $(TRITON)/.installed ## Export, serve, ingest the samples, search, stop
	@[ -f model_repository/cpu/image_encoder/1/manifest.json ] || $(MAKE) --no-print-directory export
	@deploy/demo.sh $(EXPORT) $(SERVE)

##@ Measure

# A running server's addresses, for load and load-report; START=1 makes load-report start its own.
# OPTIONS: more options of the tool, such as OPTIONS='--repeats 2'.
URL ?= http://127.0.0.1:8080
TRITON_GRPC ?= 127.0.0.1:8001
SLO ?= p99<100ms
MIX ?= image
BENCH_IMAGES = $(if $(IMAGES),$(IMAGES),build/bench-images)

.PHONY: load
load: $(DEV)/.installed $(BENCH_IMAGES) ## Locust with its web page against a running server (URL, MIX, IMAGES)
	@$(DEV)/bin/locust -f benchmarks/locustfile.py --host $(URL) --images '$(BENCH_IMAGES)' \
	    --mix '$(MIX)' --triton $(TRITON_GRPC) --class-picker --web-host 127.0.0.1

.PHONY: load-report
load-report: $(DEV)/.installed $(BENCH_IMAGES) ## Find what a server holds and write a report (SLO, MIX, URL or START=1)
	@$(DEV)/bin/python benchmarks/load_report.py --images '$(BENCH_IMAGES)' --mix '$(MIX)' \
	    --slo '$(SLO)' $(if $(START),--start,--url $(URL) --triton $(TRITON_GRPC)) $(OPTIONS)

.PHONY: load-compare
load-compare: $(DEV)/.installed ## Compare two load reports; fails on a regression (BASE, NEW)
	@$(DEV)/bin/python benchmarks/load_compare.py '$(BASE)' '$(NEW)'

.PHONY: load-batching
load-batching: $(DEV)/.installed $(TRITON)/.installed $(BENCH_IMAGES) ## Sweep Triton's batching; writes a config for SLO
	@$(DEV)/bin/python benchmarks/batching.py --images '$(BENCH_IMAGES)' --slo '$(SLO)' $(OPTIONS)

.PHONY: load-peers
load-peers: $(DEV)/.installed $(TRITON)/.installed $(BENCH_IMAGES) ## Measure Vitrine beside the servers that people write
	@$(DEV)/bin/python benchmarks/peers/run.py --images '$(BENCH_IMAGES)' $(OPTIONS)

.PHONY: bench
bench: $(DEV)/.installed $(TRITON)/.installed $(BENCH_IMAGES) ## The generators, and HTTP against the engine alone
	@$(DEV)/bin/python benchmarks/check_generator.py
	@$(DEV)/bin/python benchmarks/engine_limit.py
	@$(DEV)/bin/python benchmarks/triton_ratio.py
	@$(DEV)/bin/python benchmarks/http_saturation.py --images '$(BENCH_IMAGES)'
	@$(DEV)/bin/python benchmarks/hot_path.py --images '$(BENCH_IMAGES)'

# Folders of real drawings below IMAGES take part where they are; the corpus is drawn once.
WEIGHTS ?= training/weights/design-vit
REAL = $(wildcard $(addprefix $(IMAGES)/,us_designs uspto_drawings))

.PHONY: evaluate
evaluate: $(EXPORT)/.installed build/evaluation-corpus/manifest.json ## Retrieval quality of an encoder: table and page (WEIGHTS, IMAGES)
	@$(EXPORT)/bin/python -m vitrine_training.evaluate --weights '$(WEIGHTS)' \
	    $(if $(IMAGES),$(foreach folder,$(REAL),--real '$(folder)')) \
	    --corpus build/evaluation-corpus --out build/evaluation

build/evaluation-corpus/manifest.json: | $(EXPORT)/.installed
	@$(EXPORT)/bin/python -m vitrine_training.corpus build/evaluation-corpus \
	    --designs 384 --views 12 --seed 77

build/bench-images: | $(DEV)/.installed
	@$(DEV)/bin/python -m vitrine_training.samples $@

##@ Work on it

.PHONY: test
test: $(DEV)/.installed $(TRITON)/.installed ## Run the whole suite, the real Triton included
	@VITRINE_REQUIRE=triton $(DEV)/bin/pytest

.PHONY: verify-gpu
verify-gpu: $(DEV)/.installed $(TRITON)/.installed $(DEV)/.gpu $(TRITON)/.gpu ## On a GPU: build, gate, time, serve and query all precisions
	@$(DEV)/bin/python tests/gpu/verify.py --encoder '$(ENCODER)' $(if $(IMAGES),--images '$(IMAGES)')

.PHONY: test-fast
test-fast: $(DEV)/.installed ## Run the tests that need no Triton and take seconds
	@$(DEV)/bin/pytest -m 'not triton and not slow'

.PHONY: faults
faults: $(DEV)/.installed $(TRITON)/.installed ## Run the fault and attack suite at full length (hours)
	@VITRINE_REQUIRE=triton VITRINE_FAULTS=full $(DEV)/bin/pytest -s tests/faults

# pip-audit asks pypi.org about each pin; where that cannot be reached it names what was not looked up
# and fails. The SBOM needs no network.
.PHONY: audit
audit: .venv/audit/.installed ## Write an SBOM of each environment, look the pins up for known vulnerabilities
	@mkdir -p build/sbom
	@for part in server model_repository export; do \
	    .venv/audit/bin/cyclonedx-py requirements $$part/requirements.txt --output-reproducible \
	        --of JSON -o build/sbom/$$part.json && echo "build/sbom/$$part.json"; done
	@status=0; for part in server model_repository export; do echo "$$part:"; \
	    .venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r $$part/requirements.txt || status=1; \
	    done; exit $$status

.PHONY: lint
lint: $(DEV)/.installed ## Check format, lint and types
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/mypy $(foreach package,$(PACKAGES),-p vitrine_$(package))
	@MYPYPATH=benchmarks $(DEV)/bin/mypy benchmarks/*.py

.PHONY: format
format: $(DEV)/.installed ## Format the code and apply the linter's safe fixes
	@$(DEV)/bin/ruff check --fix-only --quiet .
	@$(DEV)/bin/ruff format .

.PHONY: proto
proto: $(DEV)/.installed ## Write the gRPC messages of server and client from proto/
	@for package in server/vitrine_server client/vitrine_client; do \
	    $(DEV)/bin/python -m grpc_tools.protoc -I proto --python_out=$$package \
	        --pyi_out=$$package vitrine_search.proto; done

.PHONY: lock
lock: .venv/lock/.installed ## Pin what the pyproject files ask for (UPGRADE=--upgrade: the newest)
	@cd model_repository && ../$(LOCK) --generate-hashes pyproject.toml -o requirements.txt
	@$(LOCK) --generate-hashes server/pyproject.toml client/pyproject.toml -o server/requirements.txt
	@$(LOCK) export/pyproject.toml server/pyproject.toml training/pyproject.toml -o export/requirements.txt
	@$(LOCK) $(PACKAGES:%=%/pyproject.toml) tests/requirements.in -o tests/requirements.txt

.PHONY: clean
clean: ## Remove caches and build outputs (environments, engines and data stay)
	@rm -rf build .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} \
	    /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Environments ------------------------------------------------------------------------------------

# $(call create,name): an empty virtual environment, or one sentence that says what is missing.
define create
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	    echo "$(PYTHON) is not a Python 3.10 to 3.13: name one with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	@echo "Installing .venv/$(1) (once; minutes on a slow line)"
	@$(PYTHON) -m venv .venv/$(1)
endef

# $(call torch,name): torch's CPU build where there is no NVIDIA driver and its index answers.
define torch
	@if ! command -v nvidia-smi >/dev/null \
	    && $(PYTHON) -c 'import urllib.request as u; u.urlopen("$(TORCH_INDEX)/torch/", timeout=5)' 2>/dev/null; then \
	    .venv/$(1)/bin/pip install -q --extra-index-url $(TORCH_INDEX) "$$(grep -o '^torch==[0-9.]*' $(2))"; fi
endef

PIP_INSTALL = .venv/$(1)/bin/pip install -q --disable-pip-version-check

$(SERVE)/.installed: server/requirements.txt server/pyproject.toml client/pyproject.toml
	$(call create,serve)
	@$(call PIP_INSTALL,serve) --require-hashes -r $<
	@$(call PIP_INSTALL,serve) --no-deps -e server -e client
	@touch $@

# nvidia-pytriton is used for the server binary alone, so its Python dependencies stay away.
$(TRITON)/.installed: model_repository/requirements.txt
	$(call create,triton)
	@$(call PIP_INSTALL,triton) --require-hashes --no-deps -r $<
	@touch $@

$(EXPORT)/.installed: export/requirements.txt $(foreach package,export server training,$(package)/pyproject.toml)
	$(call create,export)
	$(call torch,export,$<)
	@$(call PIP_INSTALL,export) -r $<
	@$(call PIP_INSTALL,export) --no-deps -e server -e training -e export
	@touch $@

# TensorRT's libraries come from NVIDIA's own index; docs/gpu.md says what must be there before.
TENSORRT_INDEX ?= https://pypi.nvidia.com
define tensorrt
	@echo "Installing TensorRT and pycuda into .venv/$(1) (once)"
	@$(call PIP_INSTALL,$(1)) --no-deps --extra-index-url $(TENSORRT_INDEX) -r $(2) || { \
	    echo "TensorRT or pycuda cannot be installed: see docs/gpu.md, or use TARGET=cpu" >&2; exit 1; }
	@touch $@
endef

$(EXPORT)/.gpu: export/requirements-gpu.txt $(EXPORT)/.installed
	$(call tensorrt,export,$<)

$(DEV)/.gpu: export/requirements-gpu.txt $(DEV)/.installed
	$(call tensorrt,dev,$<)

$(TRITON)/.gpu: model_repository/requirements-gpu.txt $(TRITON)/.installed
	$(call tensorrt,triton,$<)

$(DEV)/.installed: tests/requirements.txt $(foreach package,$(PACKAGES),$(package)/pyproject.toml)
	$(call create,dev)
	$(call torch,dev,$<)
	@$(call PIP_INSTALL,dev) -r $<
	@$(call PIP_INSTALL,dev) --no-deps $(foreach package,$(PACKAGES),-e $(package))
	@touch $@

.venv/audit/.installed: Makefile
	$(call create,audit)
	@$(call PIP_INSTALL,audit) pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

# Pins hold for every supported Python: uv resolves them for 3.10 and newer in one file.
LOCK = .venv/lock/bin/uv pip compile --quiet --universal --python-version 3.10 $(UPGRADE) \
    --custom-compile-command 'make lock'

.venv/lock/.installed: Makefile
	$(call create,lock)
	@$(call PIP_INSTALL,lock) uv==0.13.8
	@touch $@
