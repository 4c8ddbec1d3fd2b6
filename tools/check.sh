#!/usr/bin/env bash
# The one gate, for people and for CI: makes .venv if needed, then lint, format, types, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh

install "[test]"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest --cov --cov-report=term "$@"
