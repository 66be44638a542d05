"""Reading of the counted cost."""

import json
from typing import Any

import pytest

from ecdm.reporting.cost import count_text, read_costs


def test_counts_of_every_variant(project: Any) -> None:
    for scale, name in enumerate(("baseline", "ours"), start=1):
        project.write_cost(name, scale)
    baseline, ours = read_costs(project.root / "build" / "cost", ["baseline", "ours"])
    assert (baseline.variant, ours.variant) == ("baseline", "ours")
    assert ours.counts["weights/trained"] == 2 * baseline.counts["weights/trained"] == 2 * 1_234_567
    assert len(ours.counts) == 7


def test_counts_as_text() -> None:
    assert count_text("GFLOPs per image", 51_877_380_096) == "51.88"
    assert count_text("Weights trained", 2_255_200) == "2\u202f255\u202f200"


@pytest.mark.parametrize("value", [None, 1.5, -1, True, "many"])
def test_another_count_is_refused(project: Any, value: object) -> None:
    project.write_cost("ours")
    path = project.root / "build" / "cost" / "ours.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["sampling"]["flops"] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"ours\.json: sampling\.flops: found .*, expected a count"):
        read_costs(path.parent, ["ours"])


def test_missing_and_broken_files_are_named(project: Any) -> None:
    folder = project.root / "build" / "cost"
    with pytest.raises(FileNotFoundError, match=r"ours\.json: no such file"):
        read_costs(folder, ["ours"])
    folder.mkdir(parents=True)
    (folder / "ours.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ours\.json: not valid JSON"):
        read_costs(folder, ["ours"])
