#!/usr/bin/env bash
# The one gate, for people and for CI: makes .venv if needed, then lint, format, imports, types, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh

install "[test]"
install_weights
python=.venv/bin/python
"$python" -m ruff check .
"$python" -m ruff format --check .
.venv/bin/lint-imports
"$python" -m mypy
# Two files at a time: half of a test's time is Python's, which builds graphs on one core. By file, since the
# tests of one share what they export and serve.
# Coverage, which slows Python by a third, on demand: tools/check.sh --cov
# What takes long and rarely breaks, too: tools/check.sh --slow
# In the order that tests/conftest.py gives them, the longest first.
# A process that crashes ends the tests: xdist 3.8 starts another and then waits for ever.
# One thread each for arithmetic, which is little: two times two on two cores wait for each other.
if [ "${1:-}" = --slow ]; then
  shift
  set -- -m "slow or not slow" "$@"
fi
TF_NUM_INTRAOP_THREADS=1 "$python" -m pytest --numprocesses=2 --max-worker-restart=0 --dist=loadfile \
  --no-loadscope-reorder "$@"
