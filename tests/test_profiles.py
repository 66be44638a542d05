"""Profiles change values in params.yaml and leave every other character alone; those there are, and their page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ecdm.cli import _parser
from ecdm.commands.settings import validate
from ecdm.config import read_yaml
from ecdm.profiles import difference, find_profile, overlay

ROOT = Path(__file__).parents[1]
PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
PAGE = (ROOT / "docs" / "real-setup.md").read_text(encoding="utf-8")

PARAMS = """\
# The default.
seed: 0  # of everything

variants:
  # without additions
  - baseline
  - sail   # soft loss
  # both
  - ours   # and tokens

# How it learns.
train:
  lr: 0.0001   # at the start
  sizes: [32, 64]  # channels
  precision: 'no'
  path: ''
  note:
  deep:
    steps: 240

last: true
"""


def _overlay(folder: Path, profile: str, params: str = PARAMS) -> str:
    (folder / "params.yaml").write_text(params)
    (folder / "small.yaml").write_text(profile)
    return overlay(folder / "params.yaml", folder / "small.yaml")


def test_values_change_and_nothing_else(tmp_path: Path) -> None:
    profile = "train:\n  deep: {steps: 3}\n  lr: 1e-3\n  precision: bf16  # half\nlast: no-more\nseed: 7\n"
    found = _overlay(tmp_path, profile)
    expected = (
        PARAMS.replace("steps: 240", "steps: 3")
        .replace("lr: 0.0001   #", "lr: 1e-3   #")
        .replace("'no'", "bf16")
        .replace("last: true", "last: no-more")
        .replace("seed: 0  #", "seed: 7  #")
    )
    assert found == expected


def test_list_items_that_stay_keep_their_comments(tmp_path: Path) -> None:
    found = _overlay(tmp_path, "variants:\n  - ours\n  - acda\n  - baseline\n")
    start, end = PARAMS.index("  - baseline"), PARAMS.index("\n\n# How")
    items = "  # both\n  - ours   # and tokens\n  - acda\n  - baseline"
    assert found == PARAMS[:start] + items + PARAMS[end:]
    assert YAML(typ="safe").load(found)["variants"] == ["ours", "acda", "baseline"]


def test_lists_in_brackets_and_empty_values(tmp_path: Path) -> None:
    found = _overlay(tmp_path, "train:\n  sizes:\n    - 8\n    - a, b\n  note: hello\n  path: null\nvariants: []\n")
    assert 'sizes: [8, "a, b"]  # channels' in found
    assert "  note: hello\n" in found
    loaded = YAML(typ="safe").load(found)
    assert (loaded["variants"], loaded["train"]["path"], loaded["train"]["sizes"]) == ([], None, [8, "a, b"])
    assert "# How it learns." in found


@pytest.mark.parametrize(
    "profile",
    [
        "seed: 0\n",
        "train:\n  note: null\n",
        "variants: [baseline, sail, ours]\n",
        'train:\n  precision: "no"\n  sizes:\n    - 32\n    - 64\n',
    ],
)
def test_equal_values_change_nothing(tmp_path: Path, profile: str) -> None:
    assert _overlay(tmp_path, profile) == PARAMS


def test_a_number_in_quotes_is_another_value(tmp_path: Path) -> None:
    assert "seed: '0'  #" in _overlay(tmp_path, "seed: '0'\n")


def test_applying_twice_is_applying_once(tmp_path: Path) -> None:
    profile = "variants:\n  - acda\n  - sail\ntrain:\n  lr: 0.5\n  note: x\n"
    once = _overlay(tmp_path, profile)
    assert once != PARAMS
    assert _overlay(tmp_path, profile, once) == once


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("train:\n  rate: 1\n", r"small\.yaml: train\.rate: no such key in params\.yaml"),
        ("train: 1\n", r"small\.yaml: train: found a value, expected a section as in params\.yaml"),
        ("train:\n  sizes: 1\n", r"train\.sizes: found a value, expected a list"),
        ("train:\n  lr:\n    a: 1\n", r"train\.lr: found a section, expected a value"),
        ("variants:\n  - [a]\n", r"small\.yaml: line 2: found more than one line, expected single values"),
        ("seed: |\n  a\n", r"small\.yaml: line 1: found more than one line"),
        ("- 1\n", r"small\.yaml: found a list, expected sections"),
        ("", r"small\.yaml: found nothing, expected sections"),
        ("a: [\n", r"small\.yaml: not valid YAML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, profile: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _overlay(tmp_path, profile)


def test_unknown_profiles_list_the_known(tmp_path: Path) -> None:
    for name in ("smoke", "gpu"):
        (tmp_path / f"{name}.yaml").write_text("seed: 1\n")
    assert find_profile("gpu", tmp_path) == tmp_path / "gpu.yaml"
    with pytest.raises(ValueError, match=r"profile '\.\./gpu': not found in .*; known: gpu, smoke$"):
        find_profile("../gpu", tmp_path)


def test_the_difference_is_a_unified_diff() -> None:
    lines = difference("a: 1\nb: 2\n", "a: 1\nb: 3\n", "params.yaml").splitlines()
    assert lines == ["--- a/params.yaml", "+++ b/params.yaml", "@@ -1,2 +1,2 @@", " a: 1", "-b: 2", "+b: 3"]
    assert difference("a: 1\n", "a: 1\n", "params.yaml") == ""


def _flat(values: Any, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Key with dots → value, lists as one value."""
    if not isinstance(values, dict):
        return {".".join(keys): values}
    return {name: found for key, value in values.items() for name, found in _flat(value, (*keys, key)).items()}


def _values(name: str) -> dict[str, Any]:
    return _flat(read_yaml(ROOT / "profiles" / f"{name}.yaml"))


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_leads_to_valid_settings(name: str) -> None:
    profile = ROOT / "profiles" / f"{name}.yaml"
    text = overlay(ROOT / "params.yaml", profile)
    validate(text, profile)
    assert _values(name).items() <= _flat(YAML(typ="safe").load(text)).items()


def test_both_real_data_sets_are_trained_alike() -> None:
    coco, openimages = _values("coco-sd15"), _values("openimages-sd15")
    assert coco.keys() == openimages.keys()
    different = {key for key, value in coco.items() if openimages[key] != value}
    other = {"data.second.source", "data.second.path", "data.second.test"}
    assert different == {"data.source", "data.path", "data.train", "data.test", "tune.study"} | other


def test_the_page_has_the_weights_and_keys_of_the_profile() -> None:
    coco = _values("coco-sd15")
    for part in ("base", "controlnet_canny", "controlnet_inpaint"):
        key = f"foundation.pretrained.{part}"
        assert re.fullmatch("[0-9a-f]{40}", coco[f"{key}.revision"])
        row = f"| `{key}` | `{coco[f'{key}.from']}` | `{coco[f'{key}.revision']}` |"
        assert row in PAGE
        assert f"hf download {coco[f'{key}.from']} --revision {coco[f'{key}.revision']} " in PAGE
    known = _flat(read_yaml(ROOT / "params.yaml"))
    sections = "|".join(sorted({key.partition(".")[0] for key in known if "." in key}))
    named = set(re.findall(rf"`((?:{sections})\.[\w.]+)[:`]", PAGE))
    assert len(named) > 15
    assert {key for key in named if key not in known and not any(one.startswith(f"{key}.") for one in known)} == set()


@pytest.mark.parametrize("command", re.findall(r"^\$ (ecdm .+?)(?: +#.*)?$", PAGE, re.MULTILINE))
def test_every_command_of_ours_on_the_page_is_one(command: str) -> None:
    options = _parser().parse_args(command.split()[1:])
    assert getattr(options, "name", PROFILES[0]) in PROFILES
