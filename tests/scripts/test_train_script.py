"""What train.py, scaling.py and verify_resume.py say and check before any work is done."""

from __future__ import annotations

import re

import pytest

OPTIONS = """--workdir --profile --dry-run --plan-json --plan-data --plan-memory --no-compile
--coordinator --num-processes --process-id --bind --heartbeat-seconds""".split()


@pytest.mark.parametrize("config", [[], ["digits_cnn"]])
def test_help_names_every_option_and_says_what_it_is(call, config):
    code, out, err = call("train", *config, "--help")
    assert (code, err) == (0, "")
    for option in OPTIONS:
        assert re.search(rf"^  {option}\b.*\n? +[a-z(]", out, re.MULTILINE), option
    assert ("--optimizer.learning-rate FLOAT" in out) is bool(config)


@pytest.mark.parametrize("script", ["train", "scaling", "verify_resume"])
def test_an_unknown_field_is_answered_by_the_command_that_lists_the_fields(call, script):
    code, _, err = call(script, "digits_cnn", "--bogus", 1)
    assert code == 2 and "train.py digits_cnn --help shows all fields." in err


@pytest.mark.parametrize(
    ("module", "script", "arguments"),
    [
        ("jaxcnn.train", "train", ["--dry-run", "--plan-json"]),
        ("jaxcnn.benchmark.scaling", "scaling", ["--json"]),
    ],
)
def test_a_missing_folder_is_named_before_anything_is_measured(
    call, tmp_path, monkeypatch, module, script, arguments
):
    def measured(*_, **__):
        raise AssertionError("measured first")

    name = {"train": "plan", "scaling": "measure_scaling"}[script]
    monkeypatch.setattr(f"{module}.{name}", measured)
    code, _, err = call(script, "digits_cnn", *arguments, tmp_path / "none" / "x.json")
    assert code == 2 and f"there is no folder {tmp_path / 'none'}; make it first" in err


def test_a_dry_run_says_what_the_folder_would_do(call, tmp_path):
    def dry(*arguments):
        return call(
            *("train", "digits_mlp", "--dry-run", "--no-compile", "--workdir", tmp_path / "run"),
            *("--length", "5steps", "--optimizer.warmup", "0steps", *arguments),
        )

    code, out, err = dry()
    assert code == 0 and out.endswith("run: a new run\n"), err
    code, _, err = call(
        *("train", "digits_mlp", "--length", "5steps", "--optimizer.warmup", "0steps"),
        *("--workdir", tmp_path / "run", "--no-figures"),
    )
    assert code == 0, err
    assert "the run in it is finished, 5 steps; nothing would be trained" in dry()[1]
    code, _, err = dry("--batch-size", 32)
    assert code == 2 and "holds a run of another config (batch_size" in err
    # As Ctrl-C leaves it after the third step.
    (tmp_path / "run/checkpoints/5").rename(tmp_path / "run/checkpoints/3")
    assert dry()[1].endswith("the run in it resumes at step 3 of 5\n")
