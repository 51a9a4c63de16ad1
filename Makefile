# make setup    a virtual environment in .venv with everything that follows needs (once)
# make setup-all  the same, and every extra (over 300 MB), and what the page in examples/browser takes from npm: with it,
#                 make test skips less
# make demo     embed made-up recordings with the bundled weights and show which are nearest to which
# make test     lint, types and tests
# make lowest   the tests with the lowest versions that setup.cfg allows, in .venv-lowest (brings a torch with CUDA)
# make newest   the tests with the newest versions, in .venv-newest (the same)
# make docs     the documentation site in build/site/index.html; warnings and dead links are errors (after make setup-all)
# make format   put the code into the project's format
# make dist     sdist and wheel in dist/
# make viewer   the page of mamp view from viewer/ (needs npm); what it builds is committed
# make clean    remove .venv and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete

.PHONY: viewer setup setup-all demo test lint types pytest lowest newest docs format dist clean

setup: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

setup-all: $(STAMP) $(VENV)/.complete-all

$(VENV)/.complete-all: setup.cfg pyproject.toml constraints.txt examples/browser/package-lock.json
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,all]'
	if command -v npm > /dev/null; then npm ci --prefix examples/browser --silent; \
	else echo 'npm is not installed: the tests of examples/browser are left out'; fi
	touch $@

demo: $(STAMP)
	$(BIN)/mamp demo

test: lint types pytest

lint: $(STAMP)
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

pytest: $(STAMP)
	$(BIN)/python -m pytest

lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[dev]'
	.venv-lowest/bin/python -m pytest

newest:
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade --editable '.[dev]'
	.venv-newest/bin/python -m pytest

docs: setup-all
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/site
	$(BIN)/python docs/check_links.py build/site

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(STAMP)
	$(BIN)/python -m build --outdir dist .

viewer:
	cd viewer && npm ci && npm run check && npm run build

clean:
	rm -rf $(VENV) build dist mamp.egg-info docs/_examples docs/api docs/gallery
