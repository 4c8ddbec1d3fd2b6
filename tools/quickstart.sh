#!/usr/bin/env bash
# From a fresh clone to a first picture: makes .venv, installs, paints one of the sample pictures like
# another, says where the result is. Options are passed on: bash tools/quickstart.sh --size=256
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh

echo "Installing into .venv (a download of about 620 MB the first time) ..."
install ""
install_weights
mkdir -p pictures
echo "Painting sample:town like sample:strokes; one to three minutes on two cores ..."
.venv/bin/python -m nst_tf --content=sample:town --style=sample:strokes \
  "$@" --output=pictures/picture.png --overwrite
echo "Done. The picture: $PWD/pictures/picture.png"
