"""The full-size run, `make full-size`, with small networks: the real profile from weights and COCO files to scores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_stages_run_under_the_real_profile(tmp_path: Path) -> None:
    command = [sys.executable, "bench/full_size.py", str(tmp_path / "work"), "--scale", "tiny"]
    command += ["--out", str(tmp_path / "table.md")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Scale `tiny`, profile `coco-sd15`, on ")
    stages = [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]]
    assert stages == ["prepare", "masks", "canny", "foundation", "latents", "variants", "train@ours-0",
                      "generate@ours-0", "evaluate@ours-0"]  # fmt: skip
    tree = tmp_path / "work" / "tree"
    assert len(list((tree / "build/generate/ours-0/coco/50-60/raw").glob("*.png"))) == 2
