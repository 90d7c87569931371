#!/bin/sh
# Writes requirements/run.txt (what a user runs) and requirements/test.txt (what developers add), every wheel by hash.
# torch stays out: requirements/torch.txt pins its version. Releases younger than a week are left alone.
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 2; }
before=$(date -u -d '7 days ago' +%Y-%m-%d)

lock() {
    target=$1
    shift
    uv pip compile pyproject.toml requirements/build.in "$@" -c requirements/torch.txt --quiet \
        --universal --python-version 3.11 --generate-hashes --exclude-newer "$before" \
        --no-emit-package torch --no-emit-package bottega --no-header --no-annotate --output-file "$target"
}

lock requirements/run.txt --extra studio
lock requirements/test.txt --extra test -c requirements/run.txt
