# make demo   from nothing to spacy.load("es_cantemist_ner"), offline but for pip: trains on the bundled sample, and
#             installs the pipeline of assets/pipelines beside what it trained
# make test   the test suite
# make browser   the tests of pages in headless Chromium (Debian's chromium and chromium-driver), with axe-core from npm
# make lint   style, types, and the arrows between the folders
# make test-oldest   the tests with the oldest versions that setup.cfg allows (constraints-oldest.txt)
# make test-newest   the tests with the newest versions that setup.cfg allows
# make docs   the documentation, as a site in site/; warnings are errors
#
# Everything happens in .venv, which is made with $(PYTHON) when it is missing. Steps that are done leave a stamp in
# .venv and are skipped until what they depend on changes; `make clean` forgets them.

PYTHON ?= python3
# The matrices are small, and torch's threads wait for each other where others keep the cores busy.
export OMP_NUM_THREADS ?= 1
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The version pinned in constraints.txt; torch stands first, as other packages would choose a build of their own.
TORCH := $(shell sed -n 's/^\(torch==.*\)$$/\1/p' constraints.txt)

.PHONY: demo test browser test-oldest test-newest lint docs clean

demo: $(VENV)/.demo
	$(BIN)/python -m spacy project run all .
	$(BIN)/python -m spacy_clinical_ner project smoke es_cantemist_sample_ner --corpus cantemist
	$(PIP) --no-index --no-deps --force-reinstall assets/pipelines/es_cantemist_ner-*.whl
	$(BIN)/python -m spacy_clinical_ner project smoke es_cantemist_ner --corpus cantemist
	@echo "What the pipelines find, and where they err: $$(echo training/*/report.html)"

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

browser: $(VENV)/.dev
	test -d $(VENV)/node_modules/axe-core || npm install --silent --prefix $(VENV) axe-core@4
	$(BIN)/python -m pytest -m browser

# Environments of their own: pip chooses other versions there than constraints.txt.
test-oldest test-newest: test-%: $(VENV)-%/.dev
	$(VENV)-$*/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest

$(VENV)-oldest/.dev: constraints-oldest.txt setup.cfg pyproject.toml
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --constraint $< 'setuptools>=70.1,<81' wheel numpy torch
	$(@D)/bin/python -m pip install --quiet --constraint $< --no-build-isolation --editable '.[dev]'
	touch $@

$(VENV)-newest/.dev: setup.cfg pyproject.toml
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'setuptools>=70.1' wheel pybind11 torch
	$(@D)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --no-build-isolation --editable '.[dev]'
	touch $@

# setuptools and wheel are for builds without isolation: of this package, and of the trained pipeline's, offline.
$(VENV)/.base: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) 'setuptools>=70.1' wheel
	touch $@

$(VENV)/.demo: $(VENV)/.base setup.cfg pyproject.toml
	$(PIP) --no-build-isolation --editable '.[plots,report,vectors]'
	touch $@

$(VENV)/.docs: $(VENV)/.base setup.cfg pyproject.toml
	$(PIP) --no-build-isolation --editable '.[docs]'
	touch $@

$(VENV)/.dev: $(VENV)/.base setup.cfg pyproject.toml
	$(PIP) --no-build-isolation --editable '.[dev]'
	touch $@
