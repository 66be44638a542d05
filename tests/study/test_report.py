from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from study_case import METHODS, build

from ecdm.data.coco import load_image
from ecdm.study.plan import Plan
from ecdm.study.report import report_study, track
from ecdm.study.shares import count_shares, wilson
from ecdm.study.votes import Vote, Votes
from ecdm.tracker import NullTracker


class Recorder(NullTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def params(self, values: Any) -> None:
        self.told["params"] = values

    def metrics(self, values: Any, step: int) -> None:
        self.told["metrics"] = values, step

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        self.told["image"] = key, image.shape, step

    def artifact(self, path: Path, folder: str | None = None) -> None:
        self.told.setdefault("artifacts", []).append((folder, path.name))


def vote(folder: Path, plan: Plan, people: int = 6) -> Votes:
    """Everyone chooses ours for the text where it is shown, and the first picture elsewhere."""
    votes = Votes(folder / "votes.sqlite", plan)
    for number in range(people):
        for question in plan.questions:
            ours = [option.id for option in question.options if option.method == "ours"]
            chosen = ours[0] if ours and question.kind == "text" else question.options[0].id
            votes.cast(Vote(f"person {number}", question.id, chosen))
    return votes


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("mode", ["choice", "pairwise"])
def test_the_files_say_what_was_counted(tmp_path: Path, mode: str) -> None:
    folder, plan = build(tmp_path, mode=mode, count=12)
    votes = vote(folder, plan)
    found = report_study(folder, tmp_path / "report").found
    assert found == count_shares(plan, votes.all())
    rows = {(row["question"], row["method"]): row for row in table(tmp_path / "report/shares.csv")}
    assert set(rows) == {(kind, method) for kind in ("text", "realism") for method in METHODS}
    ours = rows["text", "ours"]
    assert float(ours["share"]) == 1.0
    assert int(ours["answers"]) == (36 if mode == "choice" else 18)
    assert float(ours["low"]) == pytest.approx(found.shares["text", "ours"].low, abs=1e-6)
    text = (tmp_path / "report/study.md").read_text(encoding="utf-8")
    assert "6 participants, 6 of them with all 12 answers, 72 answers in all" in text
    assert f"By chance alone: {'25.0' if mode == 'choice' else '50.0'} %" in text
    assert "| Ours | 100.0 %<br>[" in text
    assert (tmp_path / "report/pairs.csv").exists() == (mode == "pairwise")
    assert ("| Baseline | w/ SAIL |" in text) == (mode == "pairwise")
    assert load_image(tmp_path / "report/figure7.png").shape[1] == 1600


def test_independent_choice_votes_have_the_closed_form(tmp_path: Path) -> None:
    folder, plan = build(tmp_path, count=2)
    votes, question = Votes(folder / "votes.sqlite", plan), plan.questions[0]
    ids = {option.method: option.id for option in question.options}
    for number, method in enumerate(["ours"] * 21 + ["sail"] * 7 + ["acda"] * 2):
        votes.cast(Vote(str(number), question.id, ids[method]))
    rows = {(r["question"], r["method"]): r for r in table(report_study(folder, tmp_path / "r").folder / "shares.csv")}
    for method, count in (("ours", 21), ("sail", 7), ("acda", 2), ("baseline", 0)):
        row = rows["text", method]
        # 30 people vary by 30/29 more than 30 independent answers.
        expected = (count / 30, *wilson(count / 30, 29))
        assert [float(row[end]) for end in ("share", "low", "high")] == pytest.approx(expected, abs=1e-6)
    assert rows["realism", "ours"]["share"] == "nan"
    assert "| – |" in (tmp_path / "r/study.md").read_text(encoding="utf-8")


def test_equal_votes_give_equal_files_and_edits_other_ones(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)
    votes, out = vote(folder, plan), tmp_path / "report"
    first = report_study(folder, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert report_study(folder, out).revision == first.revision == 36
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    question = plan.questions[0]
    votes.cast(Vote("person 0", question.id, next(o.id for o in question.options if o.method == "acda")))
    again = report_study(folder, out)
    assert (again.revision, again.found.votes) == (37, 36)
    assert (out / "figure7.png").read_bytes() != before["figure7.png"]
    assert (out / "shares.csv").read_bytes() != before["shares.csv"]


def test_the_tracker_gets_shares_intervals_figure_and_files(tmp_path: Path) -> None:
    folder, plan = build(tmp_path, mode="pairwise", count=12)
    vote(folder, plan)
    report, recorder = report_study(folder, tmp_path / "report"), Recorder()
    track(recorder, report)
    # Whoever reads the tracker must not be able to undo the blinding of a study that goes on.
    assert "seed" not in recorder.told["params"]["study"]
    assert recorder.told["params"]["study"]["methods"] == list(METHODS)
    values, step = recorder.told["metrics"]
    assert step == report.revision
    interval = report.found.shares["text", "ours"]
    assert [values[f"text/ours/{end}"] for end in ("share", "low", "high")] == [1.0, interval.low, 1.0]
    assert values["text/baseline_over_ours/share"] == 0.0
    assert values["participants"] == 6.0
    assert recorder.told["image"][0] == "figure_7"
    assert recorder.told["artifacts"] == [
        (f"study/revision-{step}", name) for name in ("figure7.png", "pairs.csv", "shares.csv", "study.md")
    ]


def test_what_cannot_be_reported_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        report_study(tmp_path, tmp_path / "report")
    folder, plan = build(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"votes\.sqlite.*ecdm study serve"):
        report_study(folder, tmp_path / "report")
    Votes(folder / "votes.sqlite", plan)
    with pytest.raises(ValueError, match="votes: found none"):
        report_study(folder, tmp_path / "report")
    vote(folder, plan)
    with pytest.raises(ValueError, match="data: found other files"):
        report_study(folder, tmp_path / "data")
    assert not (tmp_path / "report").exists()
    assert (tmp_path / "data/scenes/test").is_dir()
