"""A project of a few seconds that DVC reproduces: settings, a matrix of training stages, a report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYTHON = sys.executable
PIPELINE = f"""\
stages:
  variants:
    cmd: {PYTHON} make.py variants
    deps: [make.py]
    params: [variants, sail]
    outs: [build/variants]
  train:
    matrix:
      variant: ${{variants}}
      seed: ${{seeds}}
    cmd: {PYTHON} make.py train ${{item.variant}}-${{item.seed}}
    deps: [make.py, library, 'build/variants/${{item.variant}}.yaml']
    params: [train]
    outs: ['build/train/${{item.variant}}-${{item.seed}}']
  report:
    cmd: {PYTHON} make.py report
    deps: [make.py, build/train]
    params: [variants, seeds]
    outs:
      - reports/ablation.csv: {{cache: false}}
      - reports/grids: {{cache: false}}
    metrics:
      - reports/metrics.json: {{cache: false}}
"""
PARAMS = """\
variants: [baseline, ours]
seeds: [0]
sail: {lambda: 0.1}
train: {lr: 1.0e-4, steps: 3, path: null, sizes: [1, 2], deep: {name: 'no'}}
"""
MAKE = """\
import pathlib, re, shutil, sys
if sys.argv[1] == "variants":
    pathlib.Path("build/variants").mkdir(parents=True)
    weight = re.search("lambda: ([0-9.]+)", pathlib.Path("params.yaml").read_text())[1]
    pathlib.Path("build/variants/baseline.yaml").write_text("name: baseline\\nsail:\\n")
    pathlib.Path("build/variants/ours.yaml").write_text(f"name: ours\\nsail:\\n  lambda: {weight}\\n")
elif sys.argv[1] == "train":
    folder = pathlib.Path("build/train", sys.argv[2])
    (folder / "samples").mkdir(parents=True)
    rows = [f"{step},{name},{1 / step}\\n" for step in (1, 2, 3) for name in ("loss", "lr")]
    (folder / "history.csv").write_text("step,name,value\\n" + "".join(rows))
    for step in (2, 3):
        shutil.copy("library/picture.png", folder / "samples" / f"{step:06d}.png")
    if pathlib.Path("watch").exists():
        from ecdm.lineage import entry_key, live_entry
        key = entry_key(live_entry(f"train@{sys.argv[2]}", pathlib.Path.cwd()))
        pathlib.Path("watch", sys.argv[2]).write_text(key)
else:
    pathlib.Path("reports/grids").mkdir(parents=True)
    lines = ["variant,seed,bucket,metric,pasted,mean,ci_low,ci_high,n"]
    for pasted in (1, 0):
        for variant in ("baseline", "ours", "telea"):
            lines.append(f"{variant},0,10-20,psnr,{pasted},3{pasted}.5,30,32,4")
    pathlib.Path("reports/ablation.csv").write_text("\\n".join(lines) + "\\n")
    pathlib.Path("reports/metrics.json").write_text("{}")
    shutil.copy("library/picture.png", "reports/grids/one.png")
"""


def dvc(root: Path, *arguments: str) -> None:
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "site")}
    subprocess.run([PYTHON, "-m", "dvc", *arguments], cwd=root, env=quiet, check=True, capture_output=True)


def make_project(root: Path) -> None:
    """Write the project to `root` and reproduce it; its training stages note their own keys under watch/."""
    from PIL import Image

    (root / "library" / "__pycache__").mkdir(parents=True)
    (root / "library" / "__pycache__" / "x.pyc").write_text("ignored")
    (root / "library" / "inner").mkdir()
    (root / "library" / "inner" / "a.py").write_text("1")
    Image.new("RGB", (4, 3), (1, 2, 3)).save(root / "library" / "picture.png")
    (root / "watch").mkdir()
    for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", PARAMS), ("make.py", MAKE)):
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    dvc(root, "init", "-q")
    (root / ".dvcignore").write_text("__pycache__\n")
    dvc(root, "repro", "-q")
