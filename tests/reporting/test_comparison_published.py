"""The paper's Table 1: spot checks against the print, marks, and the rows that are doubtful."""

from __future__ import annotations

from ecdm.reporting.comparison_published import published_table_1
from ecdm.reporting.labels import METHODS, shown_metrics
from ecdm.reporting.marks import ranks
from ecdm.reporting.published import TABLE_1, TABLE_1_DOUBTS, TABLE_1_METRICS, TABLE_2


def entry(bucket: int, row: int, column: int) -> tuple[str, str, str]:
    found = published_table_1().blocks[bucket].rows[row].entries[column]
    return found.value.text, found.rank, found.sign


def test_every_row_has_eight_values_in_the_papers_order() -> None:
    assert list(TABLE_1) == ["10-20", "30-40", "50-60"]
    for lines in TABLE_1.values():
        assert list(lines) == [*METHODS, "ours"]
        assert {len(line.split()) for line in lines.values()} == {8}


def test_values_are_as_printed() -> None:
    assert entry(0, 0, 0) == ("27.4670", "", "")
    assert entry(0, 4, 7) == ("0.0925", "", "")
    assert entry(1, 1, 0) == ("23.6027", "second", "")
    assert entry(1, 2, 0) == ("23.5053", "third", "")
    assert entry(1, 5, 4) == ("22.9441", "", "")
    assert entry(2, 3, 7) == ("0.1165", "third", "")
    assert entry(2, 4, 2) == ("0.1182", "", "")
    assert entry(2, 6, 3) == ("0.1039", "best", "")


def test_columns_are_two_data_sets_with_true_lpips() -> None:
    table = published_table_1()
    assert [group.heading for group in table.groups] == ["MS-COCO", "Open Images"]
    assert [column.title for column in table.columns] == 2 * ["PSNR", "SSIM", "Mean ℓ1", "LPIPS"]


def test_ours_is_best_everywhere_and_equals_table_2() -> None:
    for lines in TABLE_1.values():
        assert all(text.startswith("b") for text in lines["ours"].split())
    assert tuple(text[1:] for text in TABLE_1["50-60"]["ours"].split()[:4]) == TABLE_2["ours"]


def test_marks_are_the_ranks_but_for_the_column_that_the_notes_name() -> None:
    marks = {"b": 0, "u": 1, "i": 2}
    odd = set()
    for bucket, lines in TABLE_1.items():
        cells = [line.split() for line in lines.values()]
        for column, metric in enumerate((*TABLE_1_METRICS, *TABLE_1_METRICS)):
            printed = [marks.get(row[column][0], 3) for row in cells]
            (found,) = shown_metrics([metric])
            ranked = ranks([float(row[column].lstrip("bui")) for row in cells], found.higher)
            if printed != [min(rank, 3) for rank in ranked]:
                odd.add((bucket, metric))
    assert odd == {("10-20", "ssim")}
    assert any("SSIM under 10–20 %" in note for note in published_table_1().notes)


def test_the_doubtful_rows_are_marked_with_why() -> None:
    assert [entry(0, 1, column)[2] for column in range(8)] == ["", "", "", "", "", "†", "†", "†"]
    assert [entry(1, 0, column)[2] for column in range(8)] == ["‡", "‡", "‡", "‡", "", "", "", ""]
    signs = [one.sign for one in published_table_1().entries if one.sign]
    assert len(signs) == 7
    notes = published_table_1().notes
    assert notes[0].startswith("† Probably a copying error")
    assert notes[1].startswith("‡ Probably a copying error")


def test_the_reasons_of_doubt_hold() -> None:
    acda, blended = TABLE_2["acda"], TABLE_1["10-20"]["blended"].split()[4:]
    assert blended[1:3] == list(acda[1:3])
    assert round(float(acda[3]) - float(blended[3]), 4) == 0.0001
    pairs = zip(TABLE_1["30-40"]["glide"].split()[:4], TABLE_1["50-60"]["glide"].split()[:4], strict=True)
    assert all(abs(float(one) / float(two) - 1) < 0.003 for one, two in pairs)
    assert {doubt.method for doubt in TABLE_1_DOUBTS} == {"blended", "glide"}


def test_the_papers_own_note_is_kept() -> None:
    titles = [row.title for row in published_table_1().blocks[2].rows]
    assert titles[4] == "Uni-paint ∗"
    assert any(note.startswith("∗ The paper's own mark") for note in published_table_1().notes)
