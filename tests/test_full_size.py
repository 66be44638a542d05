"""The full-size run, `make full-size`, with small networks: the real profile from weights and COCO files to scores."""

from __future__ import annotations

import runpy
from pathlib import Path

from warm_python import WarmPython

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[1] / "bench" / "full_size.py"))
STAGES = ["prepare", "masks", "canny", "foundation", "latents", "variants", "train@ours-0", "generate@ours-0",
          "evaluate@ours-0"]  # fmt: skip


def test_the_stages_run_under_the_real_profile(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with WarmPython(tmp_path / "python") as warm:
        records = SCRIPT["measure"](work, "tiny", python=warm.folder)
    assert [record["stage"] for record in records] == STAGES
    lines = SCRIPT["table"](records, "tiny").splitlines()
    assert lines[0].startswith("Scale `tiny`, profile `coco-sd15`, on ")
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]] == STAGES
    raw = work / "tree" / "build" / "generate" / "ours-0" / "coco" / "50-60" / "raw"
    assert len(list(raw.glob("*.png"))) == 2
