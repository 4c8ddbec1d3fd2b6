# Sourced by check.sh and quickstart.sh: makes .venv in the repository and installs this package there.
#
# install EXTRA: EXTRA is "" or an extra of setup.cfg in brackets, such as "[test]".

# The newest first; a PYTHON set by the user wins.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "No Python 3.11, 3.12 or 3.13 found; install one, or name it: PYTHON=/path/to/python $0" >&2
  return 1
}

install() {
  local python
  if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python="$(find_python)" || return 1
    if ! "$python" -m venv --clear .venv; then
      echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2
      return 1
    fi
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
}
