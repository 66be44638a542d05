"""Training histories: reading, smoothing, plain files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecdm.reporting.histories import Run, Series, curve_csv, history_paths, read_histories, smooth


def test_reads_series_by_name_and_run(project: Any, tmp_path: Path) -> None:
    paths = history_paths(tmp_path, ["baseline", "ours"], [0])
    project.write_history(paths[Run("baseline", 0)], {"loss_simple": 1.0}, steps=(10, 5))
    project.write_history(paths[Run("ours", 0)], {"loss_simple": 2.0, "rms_frequency": 0.0})
    histories = read_histories(paths)
    assert set(histories["rms_frequency"]) == {Run("ours", 0)}
    series = histories["loss_simple"][Run("baseline", 0)]
    assert series.steps.tolist() == [5, 10]
    assert series.values.tolist() == [2.0, 1.0]


def test_smoothing_is_a_moving_mean_without_lag() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=12)
    found = smooth(values, 5)
    assert found[6] == pytest.approx(values[4:9].mean())
    assert found[0] == pytest.approx(values[:3].mean())
    assert found[-1] == pytest.approx(values[-3:].mean())
    np.testing.assert_allclose(smooth(values, 1), values)
    line = np.arange(9.0)
    np.testing.assert_allclose(smooth(line, 3)[1:-1], line[1:-1])


def test_curve_files_tell_seeds_apart_where_there_are_several() -> None:
    series = Series(np.array([5, 10]), np.array([0.5, 1 / 3]))
    one = curve_csv({Run("ours", 3): series})
    assert one == "step,variant,value\n5,ours,0.5\n10,ours,0.33333333\n"
    several = curve_csv({Run("ours", 0): series, Run("ours", 1): series})
    assert [line.split(",")[1] for line in several.splitlines()[1:]] == [
        "ours-0",
        "ours-0",
        "ours-1",
        "ours-1",
    ]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (("step", "value"), [(1, 2)], "no column name"),
        (("step", "name", "value"), [(1, "loss", "nan")], "line 2: found nan"),
        (("step", "name", "value"), [(1, "loss", "x")], "line 2: expected numbers"),
        (
            ("step", "name", "value"),
            [(1, "loss", 1), (1, "loss", 2)],
            "line 3: a second value of loss at step 1",
        ),
        (("step", "name", "value"), [(1, "../loss", 1)], "name '../loss'"),
    ],
)
def test_bad_files_are_named(
    project: Any, tmp_path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]], message: str
) -> None:
    project.write_csv(tmp_path / "history.csv", header, rows)
    with pytest.raises(ValueError, match=rf"history\.csv: {message}"):
        read_histories({Run("ours", 0): tmp_path / "history.csv"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ours-0.history\.csv: no such file"):
        read_histories(history_paths(tmp_path, ["ours"], [0]))
