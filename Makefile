# make venv | demo | docs | networks | test | test-nightly | test-hostile | test-oldest | test-newest | lint | bench
# The environment is .venv; nothing is installed outside it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.resanalysis-installed

MODEL := bundled:resnet56-fashion-mnist
VGG := bundled:vgg16-fashion-mnist
DATA := bundled:fashion-mnist-test
FASHION := fashion-mnist:/usr/share/datasets/fashion-mnist
RUN := $(BIN)/resanalysis

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: venv networks demo docs test test-nightly test-hostile test-oldest test-newest lint format bench clean FORCE

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "resanalysis needs Python 3.11 or newer; name one with make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "== making the environment .venv with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "== installing resanalysis and what it needs (torch is large: this takes minutes, once)"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[detection,dev,docs,keras,timm,transformers]'
	@touch $@
	@echo "== .venv is ready"

demo: venv
	@echo "== unit by unit, $(MODEL) on $(DATA)"
	@$(RUN) inspect $(MODEL) --out demo
	@echo "== lesion: each unit deleted alone"
	@$(RUN) lesion $(MODEL) --data $(DATA) --out demo
	@echo "== lesion: the same of a VGG, which has one path: Veit et al. 2016, Figure 3"
	@$(RUN) lesion residual=$(MODEL) vgg=$(VGG) --plain --data $(DATA) --limit 400 --out demo/beside-vgg
	@echo "== lesion: 1 to 20 random units deleted together"
	@$(RUN) lesion $(MODEL) --data $(DATA) --remove 1..20 --draws 30 --transitions both --limit 200 --out demo
	@echo "== reorder: units of equal shape swapped"
	@$(RUN) reorder $(MODEL) --data $(DATA) --draws 100 --limit 300 --out demo
	@echo "== gradients: which path lengths carry the gradient, summed exactly over all paths"
	@$(RUN) gradients $(MODEL) --data $(DATA) --limit 16 --method exact --out demo
	@echo "== response: how strongly each layer responds"
	@$(RUN) response $(MODEL) --data $(DATA) --limit 400 --out demo
	@echo "== stream: what each unit adds, and which cheap measure tells what can go"
	@$(RUN) stream $(MODEL) --data $(DATA) --limit 400 --out demo
	@echo "== rearrange: the middle reversed, shuffled, repeated, in parallel"
	@$(RUN) rearrange $(MODEL) --data $(DATA) --limit 100 --out demo
	@echo "== prune: in which order units can go"
	@$(RUN) prune $(MODEL) --data $(DATA) --limit 200 --until 8 --timing 10 --out demo
	@echo "== paths: how long the 2^54 paths of a 110-layer network are"
	@$(RUN) paths --depth 110 --out demo
	@echo "== done: the figures and tables are in demo/"

# The site of docs/, with a page for each public name; a link that leads nowhere is an error.
docs: venv
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "== done: open build/docs/index.html"

# Hours on a CPU; interrupted, it goes on: make networks FASHION=fashion-mnist:DIR
networks: venv
	@PATH="$(CURDIR)/$(BIN):$$PATH" studies/networks.sh $(FASHION) results/networks

test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# What takes much longer than the smaller test beside it in the ordinary suite.
test-nightly: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m nightly

# 1,000 damaged or hostile checkpoints, 200 files of Keras and 500 data sets, each from its seed; 50 kills, full
# disks, odd models, one of 4 GiB in 2 GiB of memory; counts at the end.
test-hostile: venv
	RESANALYSIS_HOSTILE_CHECKPOINTS=1000 RESANALYSIS_HOSTILE_DATA=500 RESANALYSIS_HOSTILE_KERAS=200 \
	  RESANALYSIS_HOSTILE_KILLS=50 RESANALYSIS_HOSTILE_GIB=4.1 $(BIN)/python -m pytest tests/hostile -s

# Every dependency at the lower bound that pyproject.toml declares, and at the newest that the registry has;
# each in an environment of its own, in which the main commands and a part of the suite run.
.venv-oldest/.resanalysis-installed: pyproject.toml
	@echo "== making .venv-oldest: the oldest versions pyproject.toml allows (torch is large: minutes, once)"
	@test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python tests/oldest.py > .venv-oldest/oldest.txt
	@.venv-oldest/bin/python -m pip install -qq --no-compile --constraint .venv-oldest/oldest.txt \
	  --editable . pytest pytest-timeout hypothesis
	@touch $@

.venv-newest/.resanalysis-installed: FORCE
	@echo "== making .venv-newest: the newest versions of the registry (torch is large: minutes)"
	@test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	@.venv-newest/bin/python -m pip install -qq --no-compile --upgrade --upgrade-strategy eager \
	  --editable '.[detection,keras,timm,transformers]' pytest pytest-timeout hypothesis
	@touch $@

test-oldest: .venv-oldest/.resanalysis-installed
	tests/versions.sh .venv-oldest

test-newest: .venv-newest/.resanalysis-installed
	tests/versions.sh .venv-newest

FORCE:

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv
	$(BIN)/python benchmarks/table.py

clean:
	rm -rf .venv .venv-oldest .venv-newest demo build *.egg-info .pytest_cache .ruff_cache .hypothesis
