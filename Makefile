# One word a chore. Everything runs in .venv, which the first chore makes.
PYTHON ?= python3
VENV ?= .venv
# cpu: PyTorch's own CPU build where its index answers; any: what pip chooses.
TORCH ?= cpu
# Two processes, a file in one of them; conftest.py says which begin.
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
PART := worker autograd_off sandbox doctor judge check selfcheck
# nbgrader calls alembic by bare name, so the environment's bin must be on PATH.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: help setup demo test part lint release grade feedback report bench screenshots clean

help: ## these words
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/installed ## make .venv and install everything in it

$(VENV)/installed: pyproject.toml constraints.txt tools/environment.py
	@$(PYTHON) tools/environment.py $(VENV) $(TORCH)
	@touch $@

demo: setup ## grade a demonstration class from start to finish
	@python -m demo

test: setup lint ## lint, types and all tests, in two processes
	$(PYTEST)

part: setup demo ## what may depend on the Python and on torch's build: for each further one
	$(PYTEST) $(PART:%=tests/test_%.py)

lint: setup ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

release: setup ## the students' notebooks from the instructor's
	nbgrader generate_assignment backprop --force

grade: setup ## grade what is due
	handgrad grade backprop

feedback: setup ## a page for every student
	nbgrader generate_feedback backprop --force

report: setup ## the class at a glance
	handgrad report backprop

bench: setup ## speed and memory, against stock nbgrader
	python benchmarks/throughput.py

screenshots: demo ## pictures of the pages for the documentation, from the demonstration
	python docs/images/shoot.py build/demo
	python docs/images/shoot_jupyter.py build/demo
	python docs/images/shoot_watch.py

clean: ## delete what was generated; asks before a gradebook with grades goes
	@$(PYTHON) tools/clean.py
