"""A project of a few seconds that DVC reproduces: data, a matrix of training, generation and scores, a report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYTHON = sys.executable
MATRIX = """\
    matrix:
      variant: ${variants}
      seed: ${seeds}
"""
PIPELINE = f"""\
stages:
  prepare:
    cmd: {PYTHON} make.py prepare
    deps: [make.py]
    params: [data]
    outs: [data/scenes, build/masks]
  variants:
    cmd: {PYTHON} make.py variants
    deps: [make.py]
    params: [variants, sail]
    outs: [build/variants]
  train:
{MATRIX}\
    cmd: {PYTHON} make.py train ${{item.variant}}-${{item.seed}}
    deps: [make.py, library, 'build/variants/${{item.variant}}.yaml']
    params: [train]
    outs: ['build/train/${{item.variant}}-${{item.seed}}']
  generate:
{MATRIX}\
    cmd: {PYTHON} make.py generate ${{item.variant}}-${{item.seed}}
    deps: [make.py, data/scenes, build/masks, 'build/train/${{item.variant}}-${{item.seed}}']
    params: [seed, generate]
    outs: ['build/generate/${{item.variant}}-${{item.seed}}']
  evaluate:
{MATRIX}\
    cmd: {PYTHON} make.py evaluate ${{item.variant}} ${{item.seed}}
    deps: [make.py, 'build/generate/${{item.variant}}-${{item.seed}}']
    outs: ['build/scores/${{item.variant}}-${{item.seed}}.csv']
  report:
    cmd: {PYTHON} make.py report
    deps: [make.py, build/train, build/scores]
    params: [variants, seeds]
    outs:
      - reports/ablation.csv: {{cache: false}}
      - reports/differences.csv: {{cache: false}}
      - reports/grids: {{cache: false}}
    metrics:
      - reports/metrics.json: {{cache: false}}
"""
PARAMS = """\
seed: 7
variants: [baseline, ours]
seeds: [0, 1]
data: {source: scenes}
sail: {lambda: 0.1}
generate: {steps: 31}
train: {lr: 1.0e-4, steps: 3, path: null, sizes: [1, 2], deep: {name: 'no'}}
"""
MAKE = """\
import json, pathlib, re, shutil, sys
what, PICTURE, NAME = sys.argv[1], "library/picture.png", "000000000007.png"
if what == "prepare":
    for folder in ("data/scenes/test", "build/masks/scenes/10-20"):
        pathlib.Path(folder).mkdir(parents=True)
        shutil.copy(PICTURE, folder + "/" + NAME)
    pathlib.Path("data/scenes/annotations").mkdir()
    content = {"images": [{"id": 7, "file_name": NAME}], "annotations": [{"id": 1, "image_id": 7, "caption": "a"}]}
    pathlib.Path("data/scenes/annotations/captions_test.json").write_text(json.dumps(content))
elif what == "variants":
    pathlib.Path("build/variants").mkdir(parents=True)
    weight = re.search("lambda: ([0-9.]+)", pathlib.Path("params.yaml").read_text())[1]
    pathlib.Path("build/variants/baseline.yaml").write_text("name: baseline\\nsail:\\n")
    pathlib.Path("build/variants/ours.yaml").write_text(f"name: ours\\nsail:\\n  lambda: {weight}\\n")
elif what == "train":
    folder = pathlib.Path("build/train", sys.argv[2])
    (folder / "samples").mkdir(parents=True)
    factor = 1 + int(sys.argv[2][-1])
    rows = [f"{step},{name},{factor / step}\\n" for step in (1, 2, 3) for name in ("loss", "lr")]
    (folder / "history.csv").write_text("step,name,value\\n" + "".join(rows))
    for step in (2, 3):
        shutil.copy(PICTURE, folder / "samples" / f"{step:06d}.png")
    note = pathlib.Path("watch", sys.argv[2])
    if note.exists():
        from ecdm.lineage import entry_key, live_entry
        note.write_text(entry_key(live_entry(f"train@{sys.argv[2]}", pathlib.Path.cwd())))
elif what == "generate":
    folder = pathlib.Path("build/generate", sys.argv[2], "scenes", "10-20")
    (folder / "pasted").mkdir(parents=True)
    steps = re.search("generate: {steps: ([0-9]+)", pathlib.Path("params.yaml").read_text())[1]
    (folder / "manifest.json").write_text(steps)
    shutil.copy(PICTURE, folder / "pasted" / NAME)
elif what == "evaluate":
    lines = ["dataset,variant,seed,image_id,bucket,metric,pasted,value"]
    run = f"{sys.argv[2]}-{sys.argv[3]}"
    steps = pathlib.Path("build/generate", run, "scenes", "10-20", "manifest.json").read_text()
    for end in (f"psnr,1,{steps}.5", "ssim,1,0.9"):
        lines.append(f"scenes,{sys.argv[2]},{sys.argv[3]},7,10-20,{end}")
    path = pathlib.Path("build/scores", f"{run}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\\n".join(lines) + "\\n")
else:
    pathlib.Path("reports/grids").mkdir(parents=True)
    head = "variant,seed,bucket,metric,pasted,mean,ci_low,ci_high,n"
    lines = [head]
    scores = sorted(pathlib.Path("build/scores").glob("*.csv"))[0].read_text()
    for pasted, mean in ((1, re.search("psnr,1,([0-9.]+)", scores)[1]), (0, "30.5")):
        for row in ("baseline,0", "baseline,1", "baseline,all", "ours,0", "ours,1", "ours,all", "telea,0"):
            lines.append(f"{row},10-20,psnr,{pasted},{mean},30,32,4")
    pathlib.Path("reports/ablation.csv").write_text("\\n".join(lines) + "\\n")
    pathlib.Path("reports/differences.csv").write_text(head + "\\nours,all,10-20,psnr,1,0.25,-0.5,1,4\\n")
    pathlib.Path("reports/metrics.json").write_text("{}")
    shutil.copy(PICTURE, "reports/grids/one.png")
"""


def dvc(root: Path, *arguments: str) -> None:
    """Run DVC in `root`; raises CalledProcessError."""
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "site")}
    subprocess.run([PYTHON, "-m", "dvc", *arguments], cwd=root, env=quiet, check=True, capture_output=True)


def git(root: Path, *arguments: str) -> None:
    """Run git in `root` as somebody; raises CalledProcessError."""
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def make_project(root: Path, params: str = PARAMS) -> None:
    """Write the project to `root` and reproduce it; two training stages note their own keys under watch/."""
    from PIL import Image

    (root / "library" / "__pycache__").mkdir(parents=True)
    (root / "library" / "__pycache__" / "x.pyc").write_text("ignored")
    (root / "library" / "inner").mkdir()
    (root / "library" / "inner" / "a.py").write_text("1")
    Image.new("RGB", (4, 3), (1, 2, 3)).save(root / "library" / "picture.png")
    (root / "watch").mkdir()
    for name in ("baseline-0", "ours-0"):
        (root / "watch" / name).touch()
    for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", params), ("make.py", MAKE)):
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    dvc(root, "init", "-q")
    (root / ".dvcignore").write_text("__pycache__\n")
    (root / ".gitignore").write_text("__pycache__\n/mlflow.db*\n/mlartifacts/\n/.dvc/site/\n")
    dvc(root, "repro", "-q")
