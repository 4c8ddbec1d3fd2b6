#!/usr/bin/env bash
# The one gate, for people and for CI: makes .venv if needed, then lint, format, types, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh

install "[test]"
python=.venv/bin/python
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest --cov --cov-report=term "$@"
