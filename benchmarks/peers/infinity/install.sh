#!/usr/bin/env bash
# Install infinity-emb for benchmarks/peers/run.py, with a model that it can load.
# Usage: benchmarks/peers/infinity/install.sh [FOLDER, by default build/infinity]
#
# Without its dependencies: its pins (fastapi, typer, huggingface_hub, numpy<2) exclude each other
# and a current torch. These are versions with which it runs.
set -euo pipefail
folder=${1:-build/infinity}
python3 -m venv "$folder"
pip=("$folder/bin/pip" install -q --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 transformers==4.56.2 'numpy<2.3' protobuf sentencepiece pillow \
    'fastapi<0.120' 'uvicorn[standard]<0.35' typer 'click<8.2' rich orjson aiohttp python-multipart \
    prometheus-fastapi-instrumentator posthog hf_transfer 'huggingface_hub<1'
"${pip[@]}" --no-deps infinity-emb==0.0.78
"$folder/bin/python" "$(dirname "$0")/make_model.py" "$folder/model"
