"""dvc.yaml against the code: what a stage imports are its deps, what it reads of params.yaml are its params."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ecdm"
STAGES: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
# What changes no byte of a stage's outputs.
NEUTRAL = ("data.workers", "data.download", "data.second.download", "foundation.download", "networks.download")
NAMES = ("prepare", "masks", "canny", "foundation", "latents", "train", "generate", "evaluate", "report")


def imported(path: Path) -> set[Path]:
    """Files of the package that a file names in its imports."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in modules:
            if module.split(".")[0] == "ecdm":
                parts = module.split(".")[1:]
                candidates = [PACKAGE.joinpath(*parts, f"{name}.py"), PACKAGE.joinpath(*parts).with_suffix(".py")]
                found |= {c for c in candidates[: 2 if parts else 1] if c.is_file()}
    return found


def closure(script: Path) -> set[Path]:
    """Everything of the package that a script imports, directly or through others."""
    seen: set[Path] = set()
    todo = [script]
    while todo:
        for path in imported(todo.pop()) - seen:
            seen.add(path)
            todo.append(path)
    return seen


def read_params(script: Path) -> set[str]:
    """Dotted parameters that a stage reads: the longest chain of attributes after `params`."""
    keys: set[str] = set()
    tree = ast.parse(script.read_text(encoding="utf-8"))
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            chain: list[str] = []
            value: ast.expr = node
            while isinstance(value, ast.Attribute):
                chain.insert(0, value.attr)
                value = value.value
            if isinstance(value, ast.Name) and value.id == "params":
                keys.add(".".join(chain))
    return keys


def script_of(stage: dict[str, Any]) -> Path:
    return ROOT / stage["cmd"].partition("stages/")[1] / stage["cmd"].partition("stages/")[2].split()[0]


def leaves(key: str) -> list[str]:
    """The parameters of a section that is read as a whole, those left out that change nothing; else the key itself."""
    value: Any = PARAMS
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return [] if key in NEUTRAL else [key]
    return [leaf for name in value for leaf in leaves(f"{key}.{name}")]


def covered(key: str, declared: list[str]) -> bool:
    return any(key == entry or key.startswith(f"{entry}.") for entry in declared)


def test_the_pipeline_has_the_promised_stages() -> None:
    assert set(NAMES) <= set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_what_the_stage_imports(name: str) -> None:
    deps, script = STAGES[name]["deps"], script_of(STAGES[name])
    assert str(script.relative_to(ROOT)) in deps
    missing = [str(p.relative_to(ROOT)) for p in closure(script)]
    missing = [p for p in missing if not any(p == d or p.startswith(f"{d}/") for d in deps)]
    assert not missing


def uses_torch(script: Path) -> bool:
    """Whether a script or what it imports of the package imports torch."""
    texts = [path.read_text(encoding="utf-8") for path in (script, *closure(script))]
    return any(re.search(r"^(?:import|from) torch\b", text, re.MULTILINE) for text in texts)


@pytest.mark.parametrize("name", STAGES)
def test_params_are_those_that_the_stage_reads(name: str) -> None:
    declared = [p for p in STAGES[name].get("params", [])]
    read = read_params(script_of(STAGES[name]))
    # ecdm.stage reads them, for the stages that have torch.
    read |= {"threads", "deterministic", "tf32"} if uses_torch(script_of(STAGES[name])) else set()
    # The settings of one run: of the matrix's method, or of the variant beside them.
    if "compare.of" in read:
        read = read - {"compare.of"} | {"compare.variant" if "own" in name else "compare.${item.method}"}
    assert all(covered(leaf, declared) for key in read for leaf in leaves(key)), read
    unread = [entry for entry in declared if not any(k == entry or k.startswith(f"{entry}.") or
                                                     entry.startswith(f"{k}.") for k in read)]  # fmt: skip
    assert not unread
    assert not any(covered(key, declared) for key in NEUTRAL)


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda p: p.stem)
def test_stages_are_thin(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 60


def test_a_stage_reads_no_parameter_of_another_variant() -> None:
    """λ and the radius reach training through build/variants alone, so that only their users are rerun."""
    for name, stage in STAGES.items():
        if name != "variants":
            assert not any(entry.startswith(("sail", "acda")) for entry in stage.get("params", []))


def test_what_networks_run_in_several_processes_is_started_by_the_launcher() -> None:
    commands = {name: stage["cmd"].partition(" stages/")[0] for name, stage in STAGES.items()}
    assert {name: command for name, command in commands.items() if command != "python"} == {
        "train": "${launch.train}",
        **dict.fromkeys(("generate", "compare", "compare_own"), "${launch.generate}"),
    }
    assert PARAMS["launch"] == {"train": "python", "generate": "python"}


def test_the_foundation_depends_on_the_folder_that_is_read() -> None:
    assert "${foundation.path}" in STAGES["foundation"]["deps"]
    assert (ROOT / PARAMS["foundation"]["path"] / "vae").is_dir()


def test_variants_clear_away_what_params_no_longer_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_stage: Callable[[str], ModuleType],
    write_params: Callable[..., None],
) -> None:
    """Gates, comparison and report hash whole folders, so that leftovers would change dvc.lock."""
    monkeypatch.chdir(tmp_path)
    rivals = ("glide-scenes", "glide-shifted", "glide-folder", "copaint-scenes", "ours-shifted", "baseline-scenes")
    for name in rivals:
        (tmp_path / "build" / "compare" / name / "objects").mkdir(parents=True)
        (tmp_path / "build" / "compared").mkdir(exist_ok=True)
        (tmp_path / "build" / "compared" / f"{name}.csv").write_text(name)
    for name in ("ours-0", "ours-1", "sail-0", ".ours-0.partial"):
        for kind in ("train", "generate"):
            (tmp_path / "build" / kind / name / "deeper").mkdir(parents=True)
        for path in (f"train/{name}/history.csv", f"probe/{name}.json", f"scores/{name}.csv", f"other/{name}.csv"):
            (tmp_path / "build" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "build" / path).write_text(name)
    (tmp_path / "build" / "scores" / "reference.csv").write_text("all")
    compare = {"methods": ["glide", "unipaint"]}
    write_params(tmp_path, variants=["baseline", "ours"], seeds=[0, 2], compare=compare)
    load_stage("variants").main()
    left = {folder.name: {path.name for path in folder.iterdir()} for folder in (tmp_path / "build").iterdir()}
    others = {f"{name}.csv" for name in ("ours-0", "ours-1", "sail-0", ".ours-0.partial")}
    assert left == {
        "train": {"ours-0"},
        "generate": {"ours-0"},
        "probe": {"ours-0.json"},
        "scores": {"ours-0.csv", "reference.csv"},
        "compare": {"glide-scenes", "glide-shifted", "ours-shifted"},
        "compared": {"glide-scenes.csv", "glide-shifted.csv", "ours-shifted.csv"},
        "variants": {"baseline.yaml", "ours.yaml"},
        "other": others,
    }
    assert (tmp_path / "build" / "train" / "ours-0" / "history.csv").read_text() == "ours-0"


def test_variants_clear_nothing_on_bad_parameters(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_stage: Callable[[str], ModuleType],
    write_params: Callable[..., None],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build" / "train" / "sail-0").mkdir(parents=True)
    write_params(tmp_path, variants=["ours", "ours"])
    with pytest.raises(ValueError, match="variants: found"):
        load_stage("variants").main()
    assert (tmp_path / "build" / "train" / "sail-0").is_dir()


def test_stages_that_clear_are_never_restored_without_being_run() -> None:
    """DVC's run cache skips no stage with an output that it is told to leave in place."""
    assert STAGES["variants"]["outs"] == [{"build/variants": {"persist": True}}]
    named = {"seeds", "variants", "data.source", "data.second.source", "compare.methods", "compare.variant.name"}
    assert named <= set(STAGES["variants"]["params"])
    assert STAGES["networks"]["outs"] == [{"build/networks/${item.name}": {"persist": True}}]
    assert "networks.names" in STAGES["networks"]["params"]
