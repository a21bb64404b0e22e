"""scripts/explore.py as a person calls it: a page, or one line that helps and code 2."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import jaxcnn
from jaxcnn import weights

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("explore_script", SCRIPTS / "explore.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def call(script, monkeypatch, capsys, tmp_path):
    """Runs the script in this process and gives its code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["explore.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            script.command_line.run(script.main)
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    """Weights of a LeNet and of a perceptron, photos, and one file that is no photo."""
    folder = tmp_path_factory.mktemp("explore")
    for name in ("lenet5", "mlp"):
        info, model = jaxcnn.model_info(name), jaxcnn.create_model(name)
        images = np.zeros((1, *info.image_size, info.channels), np.float32)
        variables = jax.jit(model.init, static_argnames="train")(
            jax.random.key(0), images, train=False
        )
        weights.save(folder / f"{name}.npz", variables, model, naming="jaxcnn")
    (folder / "photos").mkdir()
    for i in range(3):
        Image.effect_noise((40, 30), 60 + i).save(folder / "photos" / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    return folder


@pytest.mark.slow
def test_a_page_from_weights_and_a_folder_of_photos(call, files, tmp_path):
    code, out, err = call(
        files / "lenet5.npz", "--model", "lenet5", "--images", files / "photos", "-o", "page.html"
    )
    assert code == 0, err
    assert "page.html: lenet5, 3 photos" in out
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp.npz", "--model", "mlp", "--images", "photos/0.png"], "mlp has no convolution"),
        (["lenet5.npz", "--model", "lenet5", "--images", "broken.jpg"], "broken.jpg: "),
        (["lenet5.npz", "--model", "lenet5", "--images", "gone.png"], "gone.png"),
        (["lenet5.npz", "--model", "lenet5"], "Give --images FILE ..., or --dataset NAME"),
        (["lenet5.npz", "--model", "lenet5", "--images", "photos", "--photos", "0"], "--photos"),
        (["lenet5.npz", "--model", "lenet5", "--images", "photos", "--max-mb", "0.5"], "--max-mb"),
        (["lenet5.npz", "--model", "lenet5", "--images", "photos", "-o", "/no/page.html"], "-o"),
        (["lenet5.npz", "--model", "lenet5", "--images", "photos", "-o", "."], "is a folder"),
        (["lenet5.npz", "--images", "photos"], "--model"),
        (["nowhere", "--images", "photos"], "nowhere does not exist"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(
    call, files, tmp_path, arguments, message
):
    for name in ("lenet5.npz", "mlp.npz", "photos", "broken.jpg"):
        (tmp_path / name).symlink_to(files / name)
    before = sorted(p.name for p in tmp_path.iterdir())
    code, _, err = call(*arguments)
    assert code == 2
    assert message in err and err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_network_keeps_the_names_that_it_was_given(script, files, tmp_path):
    words = ["nought", *(f"digit {i}" for i in range(1, 10))]
    (tmp_path / "names.txt").write_text("\n".join(words))
    given = [str(files / "mlp.npz"), "--model", "mlp", "--dataset", "digits", "--photos", "2"]
    bare, named = [
        script.parser().parse_args([*given, *more])
        for more in ([], ["--class-names", str(tmp_path / "names.txt")])
    ]
    network, photos = script.read(script.command_line.load_network(bare), bare)
    assert network.class_names == tuple("0123456789")
    assert [photo.truth for photo in photos] == ["0", "1"]
    network, photos = script.read(script.command_line.load_network(named), named)
    assert network.class_names == tuple(words)
    assert [photo.truth for photo in photos] == [None, None]


@pytest.mark.slow
def test_an_unwritable_folder_is_named(call, files, tmp_path, monkeypatch):
    import tempfile

    def refuse(**_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "page.html"))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    code, _, err = call(
        files / "lenet5.npz", "--model", "lenet5", "--images", files / "photos", "-o", "page.html"
    )
    assert code == 2 and "Permission denied" in err and "page.html" in err
    assert not list(tmp_path.iterdir())
