#!/usr/bin/env bash
# All checks for a machine with a GPU, in under 9 minutes: the tests marked gpu, then the benchmarks.
#
#     bash experiments/gpu/check.sh OUT [WHEELS]
#
# The machine has Python 3.11 or later with torch, torchvision, pytorch-lightning, timm, torchmetrics, numba and
# pytest (with pytest-xdist the tests run side by side), and needs no network. What it lacks lies as wheels in the
# folder WHEELS: fghash itself (pip wheel . --no-deps), jsonargparse, docstring-parser, typeshed-client,
# importlib-resources, rich, markdown-it-py, mdurl, pygments, filelock, hypothesis, sortedcontainers, tensorboard and
# wandb with what they need (pip download -d WHEELS ...). OUT gets report.md and tests.txt.
set -euo pipefail
out=${1:?usage: check.sh OUT [WHEELS]}
wheels=${2:-}
here=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$(command -v python3)}
mkdir -p "$out"
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps "$wheels"/*.whl
fi
cd "$here"
"$python" -c "import fghash, fghash_baselines"
side_by_side=()
if "$python" -c "import xdist" 2> /dev/null; then side_by_side=(--numprocesses 8 --dist loadgroup); fi
{
    timeout 300 "$python" -m pytest tests/gpu -q -rA -p no:cacheprovider "${side_by_side[@]}" 2>&1 || true
} | tee "$out/tests.txt" | tail -5
timeout 240 "$python" experiments/gpu/check.py --out "$out/report.md" || true
{
    echo
    echo "### Tests marked gpu"
    echo
    tail -1 "$out/tests.txt"
    grep -hE "differ$|^peak memory" "$out/tests.txt" | sed 's/^/- /' || true
} >> "$out/report.md"
