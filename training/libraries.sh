#!/bin/sh
# Pack what training/ and benchmarks/gpu.py need beyond PyTorch, transformers, accelerate, safetensors, NumPy, OpenCV,
# Pillow, rich, matplotlib, jinja2 and PyYAML, for a machine that has these and no network:
#   training/libraries.sh FILE.tar.xz [PYTHON]      PYTHON is the version there, 3.12 if it is not said
# There: mkdir site && tar xf FILE.tar.xz -C site && export PYTHONPATH=site:src
# Wheels are packed as one, of which their own compression leaves twice as much.
set -eu
file=$1 version=${2:-3.12}
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fetch() {
    "${PYTHON:-python}" -m pip install --quiet --disable-pip-version-check --target "$folder" --no-compile "$@" \
        --only-binary=:all: --implementation cp --python-version "$version" --platform manylinux2014_x86_64 \
        --platform manylinux_2_17_x86_64 --constraint "$here/../constraints.txt"
}
fetch pydantic
fetch --no-deps diffusers
tar cJf "$file" -C "$folder" .
tracked=$(git -C "$here/.." ls-files -z | (cd "$here/.." && xargs -0 cat) | wc -c)
packed=$(wc -c <"$file")
echo "$((packed / 1000)) kB in $file; with all tracked files $(((tracked + packed) / 1000)) kB"
[ $((tracked + packed)) -lt 60000000 ] || { echo "that is more than 60 MB to carry" >&2; exit 1; }
