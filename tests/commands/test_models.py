"""`ecdm register` and `ecdm promote` as one types them: what they print and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from registry_project import commit, make_registry_project, write_scores

from ecdm.cli import main


@pytest.fixture
def root(
    parts: Any, foundation_folder: Path, tmp_path: Path, write_params: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project whose `ours-0` is worse than its `baseline-0`, as the working directory."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "project"
    make_registry_project(root, foundation_folder, parts, write_params)
    write_scores(root, "ours-0", [-1.0] * 20)
    commit(root)
    monkeypatch.chdir(root / "data")
    return root


def test_a_worse_challenger_is_refused_and_a_better_one_promoted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: str, code: int) -> list[str]:
        assert main([*arguments]) == code
        shown = capsys.readouterr()
        return shown.out.splitlines() or shown.err.splitlines()

    assert told("promote", code=2) == [
        "error: models:/ecdm-inpainting@champion: Registered Model with name=ecdm-inpainting not found; "
        "`ecdm register` puts trained models there"
    ]
    assert told("register", code=0) == [
        "ecdm-inpainting:",
        "  version 1  baseline-0  new    champion",
        "  version 2  ours-0      new    challenger",
    ]
    assert told("promote", code=1) == [
        "psnr on scenes, holes of 50–60 %, pasted (higher is better)",
        "  champion      version 1 (baseline-0)   29.50000",
        "  challenger    version 2 (ours-0)       28.50000",
        "  difference                             -1.00000",
        "  95% interval                           -1.00000 to -1.00000 (20 images)",
        "refused: the whole interval lies on the worse side of 0",
    ]
    assert told("promote", "--raw", code=2) == ["error: output: found raw, expected one that the champion has: pasted"]
    write_scores(root, "ours-0", [1.0] * 20)
    commit(root)
    (root / "build" / "generate" / "baseline-0" / "manifest.json").write_text("moved")
    assert told("register", code=0) == [
        "ecdm-inpainting:",
        "  version 2  ours-0  known  challenger",
        "champion is version 1",
        "not registered: baseline-0: the stage generate@baseline-0 is not as in dvc.lock; run `dvc repro`",
    ]
    assert told("promote", "--metric", "l1", code=0)[-1] == "promoted: the whole interval lies on the better side of 0"
    Image.new("RGB", (32, 32), "white").save("picture.png")
    model = ["--model", "models:/ecdm-inpainting@champion", "--device", "cpu"]
    filled = ["inpaint", "picture.png", "picture.png", "--prompt", "a cat", "--out", "filled.png", *model]
    assert told(*filled, code=0) == ["wrote filled.png"]
    assert Image.open("filled.png").size == (32, 32)
    assert told("promote", code=2) == [
        "error: ecdm-inpainting: version 2 (ours-0) is champion and challenger; nothing to promote"
    ]
