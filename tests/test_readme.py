"""The README's Python runs as it stands, and what it names is there."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_run(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict = {}
    exec(compile(block, "README.md", "exec"), scope)
    assert scope["logits"].shape == (8, 10)
    assert list(scope["maps"]) == ["stem", "stage1", "stage2", "stage3"]
    assert "cifar_resnet110" in capsys.readouterr().out


def test_scripts_configs_and_pages_that_it_names_exist():
    for path in re.findall(r"scripts/\w+\.py|docs/\w+\.md", README):
        assert (ROOT / path).is_file(), path
    recipes = {p.stem for p in (ROOT / "configs").glob("*.py")}
    assert recipes - set(re.findall(r"`(\w+)`", README)) == set()


def test_every_public_name_is_listed_and_has_a_docstring():
    import jaxcnn

    assert set(jaxcnn.__all__) <= set(dir(jaxcnn))
    assert [name for name in jaxcnn.__all__ if not getattr(jaxcnn, name).__doc__] == []
