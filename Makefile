# Every target sets up what it needs: a virtual environment in .venv, from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train test test-slow gallery lint clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); sys.exit(None if ok else f"jaxcnn needs Python 3.11 to 3.13, not {sys.version.split()[0]}; set it by PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

train: $(VENV)/ready  ## train the small CNN on handwritten digits: about half a minute on 2 cores
	$(BIN)/python scripts/train.py digits_cnn

test: $(VENV)/ready  ## the fast tests
	$(BIN)/python -m pytest -q -m 'not slow'

test-slow: $(VENV)/ready  ## the tests that take longer
	$(BIN)/python -m pytest -q -m slow

# SHARED holds weights/cifar_resnet20.safetensors and tfds/; without it digits and learning curves alone.
SHARED ?=
gallery: $(VENV)/ready  ## the pictures of docs/gallery (which need what: docs/gallery.md)
	$(BIN)/python scripts/gallery.py $(if $(SHARED),--weights $(SHARED)/weights/cifar_resnet20.safetensors --data-dir $(SHARED)/tfds)
	$(if $(SHARED),TFDS_DATA_DIR=$(SHARED)/tfds $(BIN)/python benchmarks/gradient_flow.py)

lint: $(VENV)/ready  ## formatting, lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove the environment and caches, keep runs/
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
