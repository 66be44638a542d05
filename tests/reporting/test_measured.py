"""The page of measured times: what the records say, in their order, and a failure in red."""

import json
from pathlib import Path
from typing import Any

import pytest

from ecdm.commands import report
from ecdm.reporting.measured import write_measured_page


def record(root: Path, stage: str, **changes: Any) -> None:
    content = {
        "stage": stage,
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 61.25,
        "peak_memory_mb": 512,
        "hardware": {"cpu": "A <fast> CPU", "cores": 2, "torch": "2.14"},
        "commit": "0123456789abcdef",
        "completed": True,
    }
    (root / "runs").mkdir(exist_ok=True)
    (root / "runs" / f"{stage}.json").write_text(json.dumps(content | changes), encoding="utf-8")


def test_says_what_the_records_do(tmp_path: Path) -> None:
    record(tmp_path, "train@ours-0", started="2026-01-02T04:00:00+00:00", seconds=200.0, peak_memory_mb=1847)
    record(tmp_path, "prepare", hardware={"cpu": "A <fast> CPU", "cores": 2}, commit=None)
    path = write_measured_page(tmp_path)
    assert path == tmp_path / "runs" / "report.html"
    text = path.read_text(encoding="utf-8")
    for part in (
        "2 stages, 261 s in all, at most 1847 MiB",
        "61.2",
        "2026-01-02 04:00",
        "0123456789ab",
        "width: 100.0%",
    ):
        assert part in text
    assert text.index(">prepare<") < text.index(">train@ours-0<")
    assert "A &lt;fast&gt; CPU, 2 cores" in text
    assert 'href="train%40ours-0.json"' in text
    assert 'role="alert"' not in text


def test_a_failed_stage_is_told_at_the_top(tmp_path: Path) -> None:
    record(tmp_path, "gates", completed=False)
    text = write_measured_page(tmp_path).read_text(encoding="utf-8")
    assert 'class="failed"' in text
    assert "Failed:</strong> gates" in text


def test_without_records_or_with_a_broken_one_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found no record of a stage run"):
        write_measured_page(tmp_path)
    record(tmp_path, "gates", seconds="long")
    with pytest.raises(ValueError, match=r"gates\.json: not a record of a stage run"):
        write_measured_page(tmp_path)
    assert not list(tmp_path.rglob("*.html"))


def test_the_command_writes_the_page_and_prints_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    record(tmp_path, "prepare")
    (tmp_path / "params.yaml").write_text("", encoding="utf-8")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    parser = argparse.ArgumentParser()
    report.register(parser.add_subparsers())
    options = parser.parse_args(["report"])
    assert options.command(options) == 0
    assert capsys.readouterr().out == "runs/report.html\n"
    assert (tmp_path / "runs" / "report.html").is_file()
