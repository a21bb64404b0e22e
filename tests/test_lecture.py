"""docs/lecture.md: its Python gives the results that it prints, and its links lead somewhere."""

from __future__ import annotations

import doctest
import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "lecture.md").read_text()


def test_the_lectures_python_gives_the_results_that_it_prints():
    blocks = re.findall(r"```pycon\n(.*?)```", TEXT, re.DOTALL)
    lesson = doctest.DocTestParser().get_doctest("".join(blocks), {}, "lecture.md", None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    result = runner.run(lesson, out=said.append)
    assert result.attempted > 20 and result.failed == 0, "".join(said)


def test_what_it_links_and_calls_is_there():
    for path in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (DOCS / path).is_file(), path
    for path in re.findall(r"scripts/\w+\.py", TEXT):
        assert (DOCS.parent / path).is_file(), path
