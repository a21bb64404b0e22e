"""Files of predictions, and the paired comparison of two of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from jaxcnn.evaluation import Predictions, compare, read_predictions, write_predictions
from jaxcnn.evaluation.intervals import mcnemar_exact


@pytest.fixture
def source(random_result, pictures):
    return pictures(random_result.label, random_result.class_names)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_gives_back_what_was_predicted(ending, tmp_path, random_result, source):
    path = tmp_path / f"p.{ending}"
    write_predictions(path, random_result, source)
    found = read_predictions(path)
    np.testing.assert_array_equal(found.index, random_result.index)
    np.testing.assert_array_equal(found.label, random_result.label)
    np.testing.assert_array_equal(found.prediction, random_result.prediction)
    np.testing.assert_array_equal(found.correct, random_result.hit)
    assert found.key[7] == "picture 7" and found.name_of(2) == "class2"


def test_scores_are_in_both_formats_as_the_docs_say(tmp_path, random_result, source):
    import pyarrow.parquet

    for ending in ("csv", "parquet"):
        write_predictions(tmp_path / f"p.{ending}", random_result, source)
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet")
    lists = np.array(table["scores"].to_pylist())
    np.testing.assert_array_equal(lists.astype(np.float32), random_result.scores)
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = np.array([row["scores"].split() for row in rows], float)
    np.testing.assert_allclose(values, random_result.scores, rtol=1e-6)
    assert list(rows[0]) == table.column_names
    assert rows[0]["confidence"] == f"{random_result.confidence[0]:.7g}"


def _file(tmp_path, text, name="p.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,label\n0,1\n", "no column prediction; it has index, label"),
        ("index,label,prediction\n", "has no rows"),
        ("", "no column index, label, prediction; it has none"),
        ("index,label,prediction\n0,1,1\n1,0,0\n1,0,0\n", "1 examples more than once, first ind"),
        ("index,label,prediction\n0,cat,1\n", "column label must hold whole numbers"),
        ("index,label,prediction\n0,1,1\n1,0", "line 3: 2 cells under 3 headings"),
        ("index,label,prediction,correct\n0,1,1,7\n", "correct holds other values than 0 and 1"),
    ],
)
def test_what_is_no_file_of_predictions_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_predictions(_file(tmp_path, text))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no Parquet file"):
        read_predictions(_file(tmp_path, "PAR1 and nothing more", "p.parquet"))


def _predictions(correct, **fields):
    correct = np.asarray(correct, bool)
    n = len(correct)
    values = {
        "path": "p.csv",
        "index": np.arange(n),
        "key": [str(i) for i in range(n)],
        "label": np.zeros(n, np.int64),
        "prediction": np.where(correct, 0, 1),
        "correct": correct,
        "names": {},
    }
    return Predictions(**(values | fields))


def test_counts_of_a_case_done_by_hand():
    a = _predictions([1, 1, 1, 0, 0, 1])
    b = _predictions([1, 0, 1, 1, 0, 0])
    result = compare(a, b)
    assert (result.both, result.only_first, result.only_second, result.neither) == (2, 2, 1, 1)
    assert result.difference == pytest.approx(-1 / 6)
    assert result.differing.tolist() == [1, 3, 5]
    assert [row["right"] for row in result.rows()] == ["first", "second", "first"]
    assert result.p_value == mcnemar_exact(2, 1) == 1.0


def _two(share_first, share_second, disagree, total=50_000):
    """Two models with given accuracies that part on so many examples."""
    gain = round((share_second - share_first) * total)
    only_second = (disagree + gain) // 2
    only_first = only_second - gain
    both = round(share_first * total) - only_first
    a = np.zeros(total, bool)
    b = np.zeros(total, bool)
    a[: both + only_first] = True
    b[:both] = True
    b[both + only_first : both + only_first + only_second] = True
    return compare(_predictions(a), _predictions(b))


def test_three_tenths_of_a_point_on_imagenet_may_be_noise():
    # 76.1 and 76.4%, if the two part on about an eighth of the images.
    result = _two(0.761, 0.764, disagree=6_500)
    assert result.to_json()["first_top1"] == 76.1 and result.to_json()["second_top1"] == 76.4
    assert result.p_value > 0.05 and result.to_json()["may_be_noise"]
    assert result.verdict().startswith("The difference may be noise")
    low, high = result.interval
    assert low < 0 < high


def test_the_same_difference_among_fewer_disagreements_is_real():
    result = _two(0.761, 0.764, disagree=1_000)
    assert result.p_value < 1e-5 and not result.to_json()["may_be_noise"]
    assert result.verdict().startswith("B is better")
    assert result.interval[0] > 0


def test_models_that_are_right_on_the_same_examples_are_not_told_apart():
    result = compare(_predictions([1, 0]), _predictions([1, 0]))
    assert result.p_value == 1.0 and "nothing tells them apart" in result.verdict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"index": np.array([0, 1, 5])}, "1 are only in the first .as index 2., 1 only in the sec"),
        ({"key": ["0", "1", "x"]}, "other keys, first index 2: '2' in a.csv and 'x' in p.csv"),
        ({"label": np.array([0, 1, 0])}, "1 examples have other labels, first index 1"),
    ],
)
def test_files_over_other_examples_are_refused(fields, message):
    a = _predictions([1, 1, 1], path="a.csv")
    with pytest.raises(ValueError, match=message):
        compare(a, _predictions([1, 1, 1], **fields))


def test_fewer_predictions_than_examples_are_refused():
    with pytest.raises(ValueError, match=r"has 3 examples and p\.csv 2"):
        compare(_predictions([1, 1, 1]), _predictions([1, 1]))
