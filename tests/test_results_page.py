"""docs/results.md says what the files in benchmarks/results/ say."""

from __future__ import annotations

import pytest

from benchmarks import results_page
from benchmarks.kept import Row


def test_the_page_is_what_its_files_say() -> None:
    assert results_page.PAGE.read_text() == results_page.page()


def test_another_figure_makes_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = results_page.rows_of

    def other(name: str) -> list[Row]:
        return [{**row, "file": row["file"] + 1000} if "file" in row else row for row in rows(name)]

    monkeypatch.setattr(results_page, "rows_of", other)
    assert results_page.PAGE.read_text() != results_page.page()
