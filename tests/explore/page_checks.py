"""What is tried on every page, and compared with what jaxcnn computes."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn import explore, filters
from jaxcnn.data.augment import normalize
from jaxcnn.explore.values import node_values
from jaxcnn.nn.conv import conv2d

PARTS = ("network", "photo", "filters", "shift")
_CHOOSE = """
const box = document.getElementById(arguments[0]);
box.value = arguments[1];
box.dispatchEvent(new Event("change", {bubbles: true}));
"""


@dataclasses.dataclass
class Page:
    """A written page, what it was made of, and jaxcnn's own values for comparison."""

    path: pathlib.Path
    network: Any
    photos: list[explore.Photo]
    content: Any
    second: Any = None

    def __post_init__(self) -> None:
        record = self.network.preprocess
        self.graph = explore.build_graph(self.network.model, record.image_size, record.channels)
        self.names = [node.name for node in self.graph.nodes]
        run = node_values(self.graph, self.network.variables, list(range(len(self.graph.nodes))))
        self.values = [
            run(normalize(jnp.asarray(photo.pixels)[None], record.mean, record.std))
            for photo in self.photos
        ]

    @property
    def url(self) -> str:
        return self.path.as_uri()


def make_page(
    path: pathlib.Path, network: Any, photos: list[explore.Photo], second: Any = None, **limits: Any
) -> Page:
    bounds = explore.Limits(**limits)
    content = explore.build_content(network, photos, second=second, limits=bounds)
    explore.write_page(content, path, bounds)
    return Page(path, network, photos, content, second)


def shown_number(text: str) -> tuple[float, int]:
    """A number on the page and its decimals."""
    text = text.replace("\u2212", "-")
    return float(text), len(text.partition(".")[2])


def open_photo(browser, index: int) -> None:
    browser.run("document.querySelectorAll('.strip-photos .thumb')[arguments[0]].click()", index)
    wait(
        browser,
        "return document.querySelectorAll('.strip-photos .thumb')[arguments[0]]"
        ".getAttribute('aria-pressed') === 'true' "
        "&& document.getElementById('sum-result') !== null",
        index,
    )


def wait(browser, script: str, *arguments) -> None:
    end = time.monotonic() + 20
    while not browser.run(script, *arguments):
        assert time.monotonic() < end, script
        time.sleep(0.02)


def value_at(browser, layer: int, channel: int, row: int, column: int) -> tuple[float, int]:
    """Picks layer and channel, clicks the unit, and reads the sum."""
    browser.run(_CHOOSE, "layer", str(layer))
    browser.run(
        """
        const [channel, row, column] = arguments;
        const pick = () => document.querySelector(`.gallery [data-channel="${channel}"]`);
        for (let i = 0; i < 99 && !pick(); i++) {
          document.querySelector("[aria-label='More channels']").click();
        }
        pick().click();
        const map = document.getElementById("map");
        const area = map.getBoundingClientRect();
        map.dispatchEvent(new MouseEvent("click", {
          clientX: area.left + (column + 0.5) * area.width / map.width,
          clientY: area.top + (row + 0.5) * area.height / map.height, bubbles: true}));
        """,
        channel,
        row,
        column,
    )
    return shown_number(browser.run("return document.getElementById('sum-result').textContent"))


def check_sums(browser, page, photo: int, layers, rng, channels: int | None = None) -> int:
    """Random units of each layer: what is shown is jaxcnn's value, rounded. Gives how many.

    Of a recorded network the last digit may be one off.
    """
    open_photo(browser, photo)
    count = 0
    for layer in layers:
        node, value = page.graph.nodes[layer], page.values[photo][layer]
        if value.ndim == 1:
            value = value[None, None]
        known = page.content.record["nodes"][layer]["units"] or range(value.shape[-1])
        channel = int(rng.choice(list(known)[:channels]))
        row, column = (int(rng.integers(n)) for n in value.shape[:2])
        shown, digits = value_at(browser, layer, channel, row, column)
        exact = float(value[row, column, channel])
        unit = 0.5 if page.content.record["network"]["whole"] else 1.0
        slack = unit * 10**-digits + 2e-5 * max(1.0, float(np.abs(value).max()))
        where = f"{node.name} photo {photo} channel {channel} at {row}, {column}"
        assert abs(shown - exact) <= slack, f"{where}: {shown} and {exact}"
        count += 1
    return count


def check_parts_add_up(browser) -> None:
    """Patch times kernel is products, and the numbers of the equation add up."""
    numbers = browser.run(
        """
        const read = (id) => [...document.querySelectorAll(`#sum-${id} td`)].map(
          (cell) => Number(cell.textContent.replace("\\u2212", "-")));
        const text = (id) => document.getElementById(id)?.textContent.replace("\\u2212", "-");
        return {patch: read("patch"), kernel: read("kernel"), products: read("products"),
          running: text("sum-total"), bias: text("sum-bias"), result: text("sum-result")};
        """
    )
    patch, kernel, products = (np.array(numbers[n]) for n in ("patch", "kernel", "products"))
    assert len(patch) == len(kernel) == len(products) > 0
    slack = 0.005 * (np.abs(patch) + np.abs(kernel) + 1.01) + 0.05 * (len(patch) > 25)
    assert (np.abs(patch * kernel - products) <= slack).all()
    total = float(numbers["running"]) + float(numbers["bias"] or 0)
    assert abs(total - float(numbers["result"])) <= 0.0021


def edit_kernel(browser, kernel: np.ndarray, *, mode: str, stride: int = 1, padding: int = 1):
    """Types a kernel and gives what the page makes of the picture, [H, W, C]."""
    for name, value in (("kernel-size", len(kernel)), ("boundary", mode)):
        browser.run(_CHOOSE, name, str(value))
    browser.run(
        """
        const [kernel, stride, padding] = arguments;
        const fields = [...document.querySelectorAll(".kernel-edit input")];
        kernel.flat().forEach((value, i) => {
          fields[i].value = value;
          fields[i].dispatchEvent(new Event("input", {bubbles: true}));
        });
        for (const [id, value] of [["stride", stride], ["padding", padding]]) {
          const slider = document.getElementById(id);
          slider.value = value;
          slider.dispatchEvent(new Event("input", {bubbles: true}));
        }
        """,
        kernel.tolist(),
        stride,
        padding,
    )
    return output(browser)


def output(browser) -> np.ndarray:
    values, shape = browser.run(
        "const c = document.getElementById('filter-output'); return [[...c.values], c.shape]"
    )
    return np.array(values).reshape(shape)


def check_filters(browser, image: np.ndarray, rng) -> None:
    """Own kernels, boundaries, strides and the named filters: all are jaxcnn.filters'."""
    gray = filters.to_gray(image) if image.shape[-1] == 3 else jnp.asarray(image)
    for size in (3, 5):
        kernel = rng.normal(size=(size, size)).round(2)
        for mode in filters.MODES:
            found = edit_kernel(browser, kernel, mode=mode, padding=size // 2)
            np.testing.assert_allclose(
                found, filters.correlate(gray, kernel, mode=mode), atol=2e-3, err_msg=mode
            )
        for stride, padding in ((2, 0), (3, 1), (2, 2)):
            found = edit_kernel(browser, kernel, mode="constant", stride=stride, padding=padding)
            weights = jnp.asarray(kernel, jnp.float32)[..., None, None]
            expected = conv2d(gray[None], weights, stride=stride, padding=padding)[0]
            np.testing.assert_allclose(found, expected, atol=2e-3)
            formula = browser.run("return document.getElementById('formula').textContent")
            assert f"\u230b + 1 = {expected.shape[0]}," in formula
    edit_kernel(browser, np.eye(3), mode="reflect")
    bank = filters.classical_kernels(3)
    expected = {
        "sharpen": filters.sharpen(gray),
        "box": filters.box_blur(gray, 3),
        "sobel_x": filters.sobel(gray, 1),
        "laplacian": filters.laplacian(gray),
        "gaussian": filters.correlate(gray, bank["gaussian"]),
        "edges": filters.sobel(gray),
        "threshold": 255.0 * filters.threshold(gray, 128.0),
    }
    for name, image_ in expected.items():
        browser.run(_CHOOSE, "filter", name)
        np.testing.assert_allclose(output(browser), image_, atol=2e-3, err_msg=name)


def check_keyboard(browser, part: str) -> int:
    """Tab reaches every control that is in sight, each with a name and a visible focus."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.show(part)
    browser.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    wanted = browser.run(
        """
        const all = document.querySelectorAll("a, button, input, select, [tabindex='0']");
        const seen = [...all].filter((node) => !node.closest("[hidden]")
          && node.getClientRects().length);
        seen.forEach((node, i) => { node.dataset.order = i; });
        return seen.length;
        """
    )
    reached: set[str] = set()
    keys = ActionChains(browser.driver)
    for _ in range(wanted + 3):
        keys.send_keys(Keys.TAB).perform()
        found = browser.run(
            """
            const node = document.activeElement;
            const ring = node.type === "file" ? node.previousElementSibling : node;
            const style = getComputedStyle(ring);
            return {order: node.dataset?.order, tag: node.outerHTML.slice(0, 120),
              ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2};
            """
        )
        if found["order"] is None:
            continue
        reached.add(found["order"])
        assert found["ring"], f"no visible focus: {found['tag']}"
        assert browser.driver.switch_to.active_element.accessible_name, found["tag"]
    missing = {str(i) for i in range(wanted)} - reached
    assert not missing, browser.run(
        "return arguments[0].map((i) => document.querySelector(`[data-order='${i}']`).outerHTML)",
        sorted(missing),
    )
    return wanted
