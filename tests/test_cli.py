"""The `ecdm` command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from ecdm.cli import main

COMMANDS = (
    "profile", "check", "sync", "ui", "timing", "report", "register", "promote", "inpaint", "app", "study",
)  # fmt: skip
HARDWARE = {"cpu": "a processor", "cores": 2, "torch": "2.11"}
PARAMS = (Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny.yaml").write_text("train:\n  steps: 7\n")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    return tmp_path


def test_help_is_quick_and_complete() -> None:
    script = (
        "import sys, ecdm.cli\n"
        "try: ecdm.cli.main(['--help'])\n"
        "finally: print({'torch', 'mlflow', 'dvc', 'numpy', 'pydantic', 'ruamel'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(re.search(rf"^    {name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert done.stdout.endswith("set()\n")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints before it ends by itself, on one line."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("ui",), "Show the runs in MLflow's user interface."),
        (("inpaint",), "Fill the hole of a picture, or of a folder's pictures, by a model."),
        (("tune", "status"), "How far the search is."),
        (("study", "build"), "Make the blinded page from generated images."),
    ],
)
def test_the_help_of_a_command_says_what_it_does(
    command: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in shown(capsys, *command, "--help")


def test_the_help_lists_the_profiles(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "without .yaml: tiny" in shown(capsys, "profile", "--help")
    (project / "params.yaml").unlink()
    assert "without .yaml: none here" in shown(capsys, "profile", "--help")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--version") == f"ecdm {version('ecdm')}"


def test_a_profile_is_written_with_its_difference(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "params.yaml"
    for flags, code in ((["--dry-run"], 0), (["--check"], 1)):
        assert main(["profile", "tiny", *flags]) == code
        assert path.read_text(encoding="utf-8") == PARAMS
        assert re.search(r"^\+  steps: 7\b", capsys.readouterr().out, re.MULTILINE)
    assert main(["profile", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("--- a/params.yaml\n+++ b/params.yaml\n@@")
    old, new = [line for line in shown.splitlines() if re.match(r"[-+] ", line)]
    assert re.fullmatch(r"-  steps: \d+( .*)?", old)
    assert re.sub(r"\d+", "7", old, count=1).replace("-", "+", 1) == new
    assert main(["profile", "tiny", "--check"]) == 0
    assert "already" in capsys.readouterr().out
    changed = [line for line in path.read_text(encoding="utf-8").splitlines() if line not in PARAMS.splitlines()]
    assert changed == [new[1:]]


@pytest.mark.parametrize(
    ("profile", "name", "message"),
    [
        (None, "huge", r"profile 'huge': not found in .*; known: bad, tiny"),
        ("train:\n  stepps: 7\n", "bad", r"bad\.yaml: train\.stepps: no such key in params\.yaml"),
        ("train:\n  steps: many\n", "bad", r"bad\.yaml: train\.steps: found 'many', expected"),
    ],
)
def test_a_bad_profile_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], profile: str | None, name: str, message: str
) -> None:
    (project / "profiles" / "bad.yaml").write_text(profile or "seed: 1\n")
    assert main(["profile", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"error: .*{message}", line)
    assert (project / "params.yaml").read_text(encoding="utf-8") == PARAMS
    assert sorted(path.name for path in project.iterdir()) == ["deeper", "params.yaml", "profiles"]


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["timing"]) == 2
    assert capsys.readouterr().err.startswith("error: params.yaml: found neither in ")


def test_files_that_cannot_be_read_are_told_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "file").touch()
    assert main(["timing", "--since", str(project / "file" / "mark")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {project / 'file' / 'mark'}: Not a directory"


def test_an_interrupted_command_says_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecdm.search.settings.load_tune", interrupted)
    assert main(["check"]) == 130
    assert capsys.readouterr() == ("", "")


def test_timing_lists_the_stages_in_order(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "runs").mkdir()
    for name, started, seconds, memory, completed in (
        ("train@baseline-0", "2030-01-02T03:04:05+00:00", 65.25, 1200, True),
        ("prepare", "2030-01-02T03:00:00+00:00", 10.0, 300, True),
        ("gates", "2030-01-02T04:00:00+00:00", 1.0, 200, False),
    ):
        record = {"stage": name, "started": started, "seconds": seconds, "peak_memory_mb": memory}
        record |= {"hardware": HARDWARE, "commit": None, "completed": completed}
        (project / "runs" / f"{name}.json").write_text(json.dumps(record))
    assert main(["timing"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["stage", "started", "(UTC)", "seconds", "peak", "MiB"],
        ["prepare", "2030-01-02", "03:00", "10.0", "300"],
        ["train@baseline-0", "2030-01-02", "03:04", "65.2", "1200"],
        ["gates", "2030-01-02", "04:00", "1.0", "200", "failed"],
        ["-" * len(lines[0])],
        ["total", "76.2", "1200"],
        ["elapsed", "3601.0"],
    ]
    assert max(map(len, lines)) <= 80

    (project / "runs" / "bad.json").write_text("{}")
    assert main(["timing"]) == 2
    assert "bad.json: not a record of a stage run" in capsys.readouterr().err


def test_timing_since_a_file_leaves_out_older_stages(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"started": "2030-01-02T03:00:00+00:00", "seconds": 10.0, "peak_memory_mb": 300, "completed": True}
    record |= {"hardware": HARDWARE, "commit": None}
    mark, folder = project / "mark", project / "runs"
    folder.mkdir()
    mark.touch()
    os.utime(mark, ns=(0, 1_000))
    for name, changed in (("prepare", 999), ("masks", 1_000), ("report", 1_001)):
        (folder / f"{name}.json").write_text(json.dumps(record | {"stage": name}))
        os.utime(folder / f"{name}.json", ns=(0, changed))
    assert main(["timing", "--since", str(mark)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["report", "-" * len(lines[0])]
    assert [line.split() for line in lines[-2:]] == [["total", "10.0", "300"], ["elapsed", "10.0"]]

    os.utime(mark, ns=(0, 1_001))
    assert main(["timing", "--since", str(mark)]) == 0
    assert capsys.readouterr().out == "no stage had to run: what changed came from DVC's cache\n"
    assert main(["timing", "--since", "nowhere"]) == 2
    assert capsys.readouterr().err == "error: nowhere: no such file\n"


def test_check_tells_the_first_fault_in_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr().out == "params.yaml is valid\n"
    path = project / "params.yaml"
    path.write_text(f"{PARAMS}\nsurprise: 1\n", encoding="utf-8")
    assert main(["check"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"error: {path}: surprise: unknown key\n")


def test_check_tells_what_an_hour_of_training_would_end_at(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores come last, and what LPIPS needs is not fetched unasked."""
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    path = project / "params.yaml"
    path.write_text(PARAMS.replace("lpips_random", "lpips"), encoding="utf-8")
    assert main(["check"]) == 2
    assert "evaluate.perceptual: lpips needs torchvision's AlexNet, found no " in capsys.readouterr().err


def test_check_does_not_import_torch(project: Path) -> None:
    script = "import sys, ecdm.cli\necdm.cli.main(['check'])\nprint({'torch', 'mlflow', 'dvc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "params.yaml is valid\nset()\n"


def test_timing_without_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timing"]) == 2
    message = f"{project / 'runs'}: found no record of a stage run; run `make repro` first"
    assert capsys.readouterr().err == f"error: {message}\n"
