# One word a chore. Everything runs in .venv, which the first chore makes.
PYTHON ?= python3
# nbgrader calls alembic by bare name, so the environment's bin must be on PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup demo test lint release grade feedback report bench screenshots clean

help: ## these words
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/installed ## make .venv and install everything in it

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' -c constraints.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --group dev -e '.[lab,dask]' -c constraints.txt
	@touch $@

demo: setup ## grade a demonstration class from start to finish
	@python -m demo

test: setup lint ## lint, types and all tests
	python -m pytest

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

clean: ## delete what was generated; asks before a gradebook with grades goes
	@$(PYTHON) tools/clean.py
