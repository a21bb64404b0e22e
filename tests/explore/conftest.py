"""A real headless Chromium, and pages of trained networks for it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
from page_checks import Page, make_page

from jaxcnn import explore


class Browser:
    """Chromium with what the tests ask of it."""

    def __init__(self) -> None:
        webdriver = pytest.importorskip("selenium.webdriver")
        service = pytest.importorskip("selenium.webdriver.chrome.service")
        program = shutil.which("chromium") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if program is None or driver is None:
            pytest.skip("needs chromium and chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=service.Service(driver))
        self.driver.set_script_timeout(120)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, url: str) -> float:
        """Opens a page and gives the seconds of computing that its process took until ready.

        Not the seconds on the clock: others may use the processor too.
        """
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.execute_cdp_cmd("Performance.disable", {})
        self.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        before = self.computed()
        self.driver.get(url)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.run("return document.documentElement.dataset.ready") == "yes":
                after = self.computed()
                # A new process for the new page counts from zero.
                return after - before if after > before else after
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.errors()}")

    def computed(self) -> float:
        found = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(m["value"] for m in found if m["name"] == "ProcessTime")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that the page asked for since it was opened."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            e["params"]["request"]["url"]
            for e in events
            if e["method"] == "Network.requestWillBeSent"
        ]

    def show(self, part: str) -> None:
        self.run("location.hash = arguments[0]", part)
        end = time.monotonic() + 60
        state = (
            "const s = document.getElementById(arguments[0]); return !s.hidden && s.dataset.ready"
        )
        while self.run(state, part) != "yes":
            assert time.monotonic() < end, self.errors()
            time.sleep(0.01)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    opened = Browser()
    opened.size(1280, 800)
    yield opened
    opened.driver.quit()


def _trained(folder: pathlib.Path, recipe: str, steps: int) -> Any:
    import importlib.util

    from jaxcnn import load_network, train

    root = pathlib.Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(recipe, root / "configs" / f"{recipe}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = dataclasses.replace(
        module.config(), length=train.steps(steps), num_devices=1, figures=False
    )
    train.fit(config, folder)
    return load_network(folder)


@pytest.fixture(scope="session")
def digits_page(tmp_path_factory) -> Page:
    """The page of a small CNN, trained for seconds, with a perceptron beside it."""
    from jaxcnn.data import open_source

    folder = tmp_path_factory.mktemp("digits")
    network = _trained(folder / "cnn", "digits_cnn", 120)
    second = _trained(folder / "mlp", "digits_mlp", 120)
    source = open_source("digits", "test")
    photos = explore.source_photos(source, network.preprocess, 4)
    return make_page(folder / "page.html", network, photos, second)


@pytest.fixture(scope="session")
def cifar_page(shared, tmp_path_factory) -> Page:
    """The page of the published ResNet-20 with ten photos, one of each class."""
    from jaxcnn import load_network
    from jaxcnn.data import open_source

    network = load_network(shared / "weights" / "cifar_resnet20.safetensors", "cifar_resnet20")
    source = open_source("cifar10_jpeg", "test", data_dir=str(shared / "tfds"))
    network = dataclasses.replace(network, class_names=tuple(source.class_names))
    photos = explore.source_photos(source, network.preprocess, 10)
    return make_page(tmp_path_factory.mktemp("cifar") / "page.html", network, photos)
