#!/usr/bin/env bash
# Makes a runner of one's own ready: the environment, then DVC's remote and cache as secrets and variables name them.
set -euo pipefail
: "${ECDM_DVC_REMOTE:?found nothing, expected the secret ECDM_DVC_REMOTE; see docs/gpu-runners.md}"
make setup
echo "$PWD/.venv/bin" >>"$GITHUB_PATH"
export PATH="$PWD/.venv/bin:$PATH"
if [ -n "${ECDM_DVC_PLUGIN:-}" ]; then
    python -m pip install --quiet --disable-pip-version-check "$ECDM_DVC_PLUGIN"
fi
# In .dvc/config.local, which git ignores: the address never reaches a commit.
dvc remote add --quiet --local --default --force runners "$ECDM_DVC_REMOTE"
if [ -n "${ECDM_DVC_CACHE:-}" ]; then
    dvc cache dir --local "$ECDM_DVC_CACHE"
fi
