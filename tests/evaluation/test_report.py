"""Records, tables and pages say what was counted; files appear whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxcnn.evaluation import Entry, Outputs, make_report
from jaxcnn.evaluation.record import failed_record, make_record, sorted_records, to_csv
from jaxcnn.evaluation.report import choose_mistakes, figures
from jaxcnn.preprocess import Preprocess

TIMM = ("model", "top1", "top1_err", "top5", "top5_err")
TIMM_AFTER = ("param_count", "img_size", "crop_pct", "interpolation")


@pytest.fixture
def entry(random_result, pictures):
    source = pictures(random_result.label, random_result.class_names)
    variables = {"params": {"w": np.zeros((1000, 1234))}, "batch_stats": {"m": np.zeros(77)}}
    record = make_record(
        random_result,
        source,
        model="mlp",
        variables=variables,
        preprocess=Preprocess((224, 192), crop_pct=0.9),
        network="runs/mlp",
        step=12,
    )
    return Entry(record, random_result, source)


def test_a_record_has_timms_keys_and_units(entry, random_result):
    record = entry.record
    assert tuple(record)[:5] == TIMM and set(TIMM_AFTER) < set(record)
    assert record["top1"] == round(100 * random_result.correct / 200, 4)
    assert record["top1_err"] == pytest.approx(100 - record["top1"], abs=1e-4)
    # timm's param_count is in millions and leaves statistics out.
    assert record["param_count"] == 1.23 and record["parameters"] == 1_234_000
    assert (record["img_size"], record["crop_pct"], record["interpolation"]) == (
        192,
        0.9,
        "bilinear",
    )
    assert record["count"] == sum(row["support"] for row in record["per_class"]) == 200
    assert np.trace(record["confusion"]) == record["correct"]
    assert sum(row["count"] for row in record["reliability"]) == 200
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_table_keeps_failed_networks_at_its_end(entry):
    failed = failed_record("b", KeyError("config"), network="b")
    better = entry.record | {"top1": 99.0, "model": "better"}
    records = sorted_records([failed, entry.record, better])
    assert [r["model"] for r in records] == ["better", "mlp", "b"]
    rows = list(csv.DictReader(io.StringIO(to_csv(records))))
    assert [row["model"] for row in rows] == ["better", "mlp", "b"]
    assert rows[2]["error"] == "KeyError: 'config'" and rows[2]["top1"] == ""
    assert float(rows[1]["top1_low95"]) < float(rows[1]["top1"]) < float(rows[1]["top1_high95"])


def _embedded(page):
    text = re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1]
    return json.loads(text)


def test_a_page_needs_nothing_else_and_holds_the_mistakes(entry, random_result):
    page = make_report([entry])
    assert not re.search(r'(src|href)="?(http|//|file)', page) and "@import" not in page
    assert "default-src 'none'" in page
    data = _embedded(page)
    wrong = np.flatnonzero(~random_result.hit)
    assert sorted(row[0] for row in data["rows"]) == wrong.tolist()
    confidences = [row[3] for row in data["rows"]]
    assert confidences == sorted(confidences, reverse=True)
    index, label, prediction, _, key, uri = data["rows"][0]
    assert (label, prediction) == (
        random_result.label[index],
        random_result.prediction[index],
    )
    assert key == f"picture {index}" and uri.startswith("data:image/png;base64,")


def test_names_from_the_data_are_text_on_a_page(make_result, pictures):
    names = ("</script><script>alert(1)</script>", "<b>x</b>", 'a"b')
    result = make_result([0, 1, 2, 0], np.eye(3)[[1, 1, 2, 0]] * 0.8 + 0.1, names)
    source = pictures(result.label, names)
    record = make_record(result, source, model="<m>", variables={}, preprocess=Preprocess((8, 8)))
    page = make_report([Entry(record, result, source)])
    assert "<script>alert" not in page and "<b>x" not in page and "<m>" not in page
    assert _embedded(page)["names"] == list(names)


def test_mistakes_of_every_kind_are_chosen_before_the_surest_of_one(make_result):
    label = np.array([0] * 50 + [1])
    p = np.full((51, 3), 0.0)
    p[:50, 1] = np.linspace(0.9, 0.99, 50)
    p[50, 2] = 0.5
    p[:50, 2] = 1 - p[:50, 1]
    p[50, 0] = 0.4
    p = p + 1e-3
    result = make_result(label, p)
    chosen = choose_mistakes(result, 10)
    assert len(chosen) == 10 and 50 in chosen and chosen[0] == 49
    assert set(chosen) == {50, *range(41, 50)}


def test_a_page_of_several_networks_shows_the_failed_one(entry):
    failed = Entry(failed_record("broken", ValueError("no such file"), network="broken"))
    page = make_report([failed, entry])
    assert "Failed: no such file" in page and page.count('<section class="network"') == 1


def test_the_figures_are_pictures(entry, tmp_path):
    for name, draw in figures(entry).items():
        draw(tmp_path / name)
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert min(pixels.shape) > 400 and pixels.std() > 5, name


def test_files_appear_together_or_not_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    outputs = Outputs()
    outputs.add(tmp_path / "a.txt", "after")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    outputs.add(tmp_path / "b.txt", fail)
    with pytest.raises(OSError, match="disk full"):
        outputs.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(OSError, match="there is no folder"):
        Outputs().check(tmp_path / "none" / "a.json")
    with pytest.raises(OSError, match="is a folder"):
        Outputs().check(tmp_path)
