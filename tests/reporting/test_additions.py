"""Parts of other stages: absent without their files, shown with them, refused in another form."""

from pathlib import Path

import numpy as np
import pytest
from report_project import Project, run_report

from ecdm.reporting.additions import COMPARISON_COLUMNS, Additions, read_additions

ROWS = [
    ("scenes", "ours", "10-20", "psnr", "21.123456", 20, 22, 16, 1),
    ("scenes", "ours", "10-20", "psnr", "11.5", 10, 12, 16, 0),
    ("scenes", "<i>uni</i>", "10-20", "psnr", "19.5", 18, 20, 16, 1),
    ("shifted", "ours", "50-60", "ssim", "0.5", 0.4, 0.6, 16, 1),
]


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """Files of the comparison and the search."""
    folder = tmp_path / "reports"
    Project.write_csv(folder / "comparison.csv", COMPARISON_COLUMNS, ROWS)
    trials = [(0, 12.5, "2026-01-02 03:04:05", 0.1, "COMPLETE"), (1, "", "2026-01-02 03:05:05", 0.01, "PRUNED")]
    Project.write_csv(
        folder / "search" / "trials.csv", ("number", "value", "datetime_start", "params_lambda", "state"), trials
    )
    picture = np.full((40, 3200, 3), 200, np.uint8)
    for name in ("search/landscape.png", "comparison/figure_4.png"):
        Project.write_image(folder / name, picture)
    return folder


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert read_additions(tmp_path) == Additions((), (), (), ())


def test_table_1_by_data_set_and_bucket_with_pasted_values(reports: Path) -> None:
    first, second = read_additions(reports).comparison
    assert (first.heading, second.heading) == ("scenes, holes of 10–20 %", "shifted, holes of 50–60 %")
    assert [[cell.text for cell in line] for line in first.rows] == [["ours", "21.1235"], ["<i>uni</i>", "19.5000"]]
    assert first.rows[0][1].href == "comparison.csv#scenes,ours,10-20,psnr"
    assert second.header == ("Method", "SSIM ↑")


def test_trials_without_their_times(reports: Path) -> None:
    (sheet,) = read_additions(reports).trials
    assert sheet.header == ("number", "value", "lambda", "state")
    assert [[cell.text for cell in line] for line in sheet.rows] == [
        ["0", "12.5", "0.1", "COMPLETE"],
        ["1", "–", "0.01", "PRUNED"],
    ]
    assert sheet.rows[0][1].href == "search/trials.csv#0,value"


def test_figures_are_reduced_and_embedded(reports: Path) -> None:
    found = read_additions(reports)
    (figure,), (landscape,) = found.figures, found.landscapes
    assert figure.title.startswith("Figure 4")
    assert (landscape.tile.width, landscape.tile.height) == (1600, 20)
    assert landscape.tile.source.startswith("data:image/webp;base64,")


def test_they_appear_on_the_page_escaped(reports: Path, project: Project) -> None:
    root = project.write_tree()
    assert reports == root / "reports"
    done = run_report(root)
    assert done.returncode == 0, done.stderr
    text = (root / "reports" / "report.html").read_text(encoding="utf-8")
    for part in ('id="comparison"', 'id="search"', "&lt;i&gt;uni&lt;/i&gt;", "All trials (2)", "Figure 4"):
        assert part in text
    assert "<i>uni" not in text
    assert "2026" not in text


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("comparison.csv", "ci_low", "low", r"comparison\.csv: no column ci_low"),
        ("comparison.csv", "21.123456", "much", r"comparison\.csv: line 2: expected a number in mean"),
        ("search/trials.csv", "state", "status", r"trials\.csv: no column state"),
    ],
)
def test_another_form_is_refused(reports: Path, name: str, old: str, new: str, message: str) -> None:
    path = reports / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_additions(reports)
