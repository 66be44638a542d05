"""Reading of score files: the values at their place, and every kind of incompleteness refused."""

from typing import Any

import numpy as np
import pytest

from ecdm.reporting.scores import Cell, read_scores


def test_puts_values_by_seed_and_ascending_image(project: Any) -> None:
    scores = read_scores(project.scores, project.VARIANTS, [1, 0], project.BUCKETS)
    found = scores.values[Cell("scenes", "acda", "50-60", "ssim", False)]
    expected = [[project.value("acda", seed, image, "50-60", "ssim", 0) for image in (1, 2, 3, 4)] for seed in (0, 1)]
    np.testing.assert_array_equal(found, expected)
    assert scores.images["scenes", "50-60"] == (1, 2, 3, 4)
    assert scores.seeds == {**dict.fromkeys(project.VARIANTS, (0, 1)), "mean_fill": (0,), "vae": (0,)}
    assert scores.references == ("mean_fill", "vae")
    assert scores.buckets_of("photos") == project.BUCKETS


def test_passes_over_removed_variants_and_buckets(project: Any) -> None:
    scores = read_scores(project.scores, ["ours", "baseline"], [1], ["wide", "10-20"])
    assert scores.variants == ("ours", "baseline")
    assert {cell.variant for cell in scores.values} == {"ours", "baseline", "mean_fill", "vae"}
    assert scores.buckets_of("scenes") == ("wide", "10-20")
    assert scores.values[Cell("scenes", "ours", "wide", "psnr", True)].shape == (1, 4)


def test_names_a_missing_file(project: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"ours-2\.csv: no such file"):
        read_scores(project.scores, ["ours"], [2], project.BUCKETS)
    (project.scores / "reference.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"reference\.csv"):
        read_scores(project.scores, ["ours"], [0], project.BUCKETS)


def test_names_a_missing_column(project: Any) -> None:
    rows = [row[:-1] for row in project.rows("sail", 0)]
    project.write_csv(project.scores / "sail-0.csv", project.HEADER[:-1], rows)
    with pytest.raises(ValueError, match=r"sail-0\.csv: no column value, expected dataset"):
        read_scores(project.scores, project.VARIANTS, [0], project.BUCKETS)


def test_refuses_unequal_images(project: Any) -> None:
    project.write_scores("sail-0.csv", project.rows("sail", 0, images=(1, 2, 3)))
    with pytest.raises(ValueError, match=r"sail-0: scenes 10-20 psnr pasted: found 3 images.* 4 .*image 4"):
        read_scores(project.scores, project.VARIANTS, [0], project.BUCKETS)


def test_refuses_a_reference_on_other_images(project: Any) -> None:
    project.write_scores("reference.csv", project.rows("vae", 0, images=(1, 2, 3, 5)))
    with pytest.raises(ValueError, match=r"scores of vae-0: .*image 4 is on one side only"):
        read_scores(project.scores, project.VARIANTS, [0], project.BUCKETS)


def test_refuses_a_metric_that_one_variant_lacks(project: Any) -> None:
    rows = [row for row in project.rows("acda", 0) if row[4:7] != ["wide", "l1", 0]]
    project.write_scores("acda-0.csv", rows)
    with pytest.raises(ValueError, match=r"baseline-0 and acda-0: only one of them has photos wide l1 raw"):
        read_scores(project.scores, project.VARIANTS, [0], project.BUCKETS)


def test_refuses_a_bucket_without_scores(project: Any) -> None:
    with pytest.raises(ValueError, match="no scores for bucket 30-40"):
        read_scores(project.scores, project.VARIANTS, [0], ["10-20", "30-40"])


def test_refuses_rows_of_another_run(project: Any) -> None:
    project.write_scores("ours-0.csv", project.rows("ours", 1))
    with pytest.raises(ValueError, match=r"ours-0\.csv: found scores of ours-1, expected ours-0 alone"):
        read_scores(project.scores, project.VARIANTS, [0], project.BUCKETS)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (7, "nan", "line 2: found pasted 1 and value nan"),
        (7, "inf", "line 2: found pasted 1 and value inf"),
        (7, "many", "line 2: expected numbers"),
        (6, 2, "line 2: found pasted 2"),
        (3, 1, "line 3: a second value for scenes 10-20 psnr pasted, image 1"),
    ],
)
def test_names_the_line_of_a_bad_value(project: Any, column: int, value: object, message: str) -> None:
    rows = project.rows("baseline", 0)
    rows[0][column] = value
    project.write_scores("baseline-0.csv", rows)
    with pytest.raises(ValueError, match=rf"baseline-0\.csv: {message}"):
        read_scores(project.scores, project.VARIANTS, [0], project.BUCKETS)
