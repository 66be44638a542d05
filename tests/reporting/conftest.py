"""A small project tree as the stages before the report leave it."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The tree with all score files written."""
    made = Project(tmp_path)
    made.write_all_scores()
    return made
