"""The page of a trained digits network in a real browser."""

from __future__ import annotations

import numpy as np
import page_checks as checks
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(browser, digits_page):
    browser.open(digits_page.url)
    return browser


def test_it_opens_at_once_without_errors_and_asks_the_network_for_nothing(browser, digits_page):
    # The best of three: other programs may use the machine.
    seconds = min(browser.open(digits_page.url) for _ in range(3))
    for part in checks.PARTS:
        browser.show(part)
    assert browser.errors() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "blob:"))] == []
    assert digits_page.path.stat().st_size < 4e6
    assert seconds < 2


def test_the_sums_are_what_jaxcnn_computes(opened, digits_page):
    rng = np.random.default_rng(0)
    opened.show("photo")
    for photo in (0, 3):
        layers = range(len(digits_page.graph.nodes))
        assert checks.check_sums(opened, digits_page, photo, layers, rng) == len(layers)
    conv = digits_page.names.index("stage2_conv1")
    checks.value_at(opened, conv, 5, 0, 0)
    assert opened.run("return document.querySelectorAll('#sum-patch .outside').length") == 5
    checks.check_parts_add_up(opened)
    assert opened.errors() == []


def test_the_receptive_field_on_the_photo_is_the_analysed_one(opened, digits_page):
    from jaxcnn.analysis import receptive_field

    fields = receptive_field(digits_page.network.model, (8, 8), channels=1)
    opened.show("photo")
    for name, row, column in (("stage1_conv2", 0, 7), ("stage2_conv1", 1, 3)):
        checks.value_at(opened, digits_page.names.index(name), 0, row, column)
        box = fields.box(name, (row, column))
        shown = opened.run("return document.getElementById('field-text').textContent")
        assert f"rows {box.top} to {box.bottom - 1}, columns {box.left} to {box.right - 1}" in shown
        style = opened.run("return document.getElementById('field').style.cssText")
        assert f"top: {100 * box.top / 8:g}%" in style
        assert f"width: {100 * (box.right - box.left) / 8:g}%" in style


def test_an_edited_kernel_gives_what_jaxcnn_filters_give(opened, digits_page):
    opened.show("filters")
    checks.check_filters(
        opened, digits_page.photos[0].picture.astype(np.float32), np.random.default_rng(1)
    )
    assert opened.errors() == []


def test_stages_fold_and_unfold_and_a_layer_opens_the_photo(opened):
    opened.show("network")
    count = "return [...document.querySelectorAll('.card')].filter((c) => c.offsetParent).length"
    folded = opened.run(count)
    opened.run("document.getElementById('unfold').click()")
    assert opened.run(count) == folded + 6
    opened.run("document.getElementById('fold').click()")
    assert opened.run(count) == folded
    opened.run("document.querySelector('.fold').click()")
    assert opened.run("return document.querySelector('.fold').ariaExpanded") == "true"
    opened.run("document.querySelector('.group .card').click()")
    checks.wait(opened, "return document.activeElement.id === 'layer'")
    assert not opened.run("return document.getElementById('photo').hidden")


def test_shifts_show_both_networks_scores(opened, digits_page):
    import jax
    import jax.numpy as jnp

    from jaxcnn.data.augment import normalize
    from jaxcnn.evaluation.corruptions import shift

    opened.show("shift")
    opened.run(
        "for (const [id, v] of [['shift-down', 5], ['shift-right', 2]]) {"
        " const s = document.getElementById(id); s.value = v;"
        " s.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    grid = digits_page.content.record["shift"]["grid"]
    moved = shift(digits_page.photos[0].pixels, grid[5], grid[2])
    classes = digits_page.content.record["shift"]["photos"][0]["classes"]
    for number, network in enumerate((digits_page.network, digits_page.second)):
        record = network.preprocess
        inputs = normalize(jnp.asarray(moved)[None], record.mean, record.std)
        logits = network.model.apply(network.variables, inputs, train=False)
        expected = np.asarray(jax.nn.softmax(logits[0]))[classes]
        shown = opened.run(
            "return [...document.querySelectorAll('.columns.shift .scores')[arguments[0]]"
            ".querySelectorAll('.track i')].map((i) => parseFloat(i.style.width) / 100)",
            number,
        )
        np.testing.assert_allclose(shown, expected, atol=1e-3)


@pytest.mark.parametrize("part", checks.PARTS)
def test_every_control_is_reached_by_tab_with_a_name_and_a_visible_focus(opened, part):
    assert checks.check_keyboard(opened, part) > 8


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen(browser, digits_page, width, height, dark):
    browser.size(width, height, dark=dark)
    browser.open(digits_page.url)
    for part in checks.PARTS:
        browser.show(part)
        wide = browser.run("return document.documentElement.scrollWidth")
        assert wide <= width, part
    light = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, light[4:-1].split(","))) < 60) == dark
    browser.size(1280, 800)
