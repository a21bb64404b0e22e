"""The model of scaling, by hand, and the page that it made."""

from __future__ import annotations

import pathlib

import pytest

from jaxcnn.analysis.scaling import Load, known_load, scale, scaling_table

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


def test_a_ring_by_hand():
    load = Load("x", parameters=1_000_000, step_flops=3e9, small_collectives=10, state_bytes=0)
    row = scale(load, 4, bandwidth=1e9, flops=1e12, latency=1e-5)
    assert row.sent_bytes == 2 * 3 / 4 * 4e6
    assert row.compute_seconds == pytest.approx(3e-3)
    assert row.gradient_seconds == pytest.approx(6e-3 + 4e-5)
    assert row.small_seconds == pytest.approx(10 * 4e-5)
    assert row.efficiency == pytest.approx(3 / (3 + 6.04 + 0.4))
    assert row.overlapped == pytest.approx(3 / (3 + 4.04 + 0.4))
    alone = scale(load, 1, bandwidth=1e9, flops=1e12)
    assert alone.efficiency == alone.overlapped == 1.0
    with pytest.raises(ValueError, match="must be positive"):
        scale(load, 0, bandwidth=1e9, flops=1e12)


@pytest.mark.slow
def test_the_page_holds_what_the_model_says():
    loads = [known_load("resnet50"), known_load("vgg16")]
    assert [load.state_bytes for load in loads] == [204_456_256, 1_106_860_352]
    table = scaling_table(loads, [8, 64, 256, 1024], [3.125e9, 12.5e9, 50e9], flops=100e12)
    assert table in DOCS.read_text()
