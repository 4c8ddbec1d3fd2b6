#!/usr/bin/env bash
# From a fresh clone to a first picture: makes .venv, installs, draws the sample pictures, paints one
# like the other, says where the result is. Options are passed on: bash tools/quickstart.sh --size=256
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh

echo "Installing into .venv (a download of about 600 MB the first time) ..."
install ""
.venv/bin/python tools/draw_samples.py --output=samples --overwrite
echo "Painting samples/photograph.jpg like samples/strokes.jpg; one to three minutes on two cores ..."
.venv/bin/python -m nst_tf --content=samples/photograph.jpg --style=samples/strokes.jpg \
  "$@" --output=samples/picture.png --overwrite
echo "Done. The picture: $PWD/samples/picture.png"
