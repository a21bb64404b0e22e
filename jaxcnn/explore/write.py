"""One HTML file that needs nothing else: its parts inlined, written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import pathlib
import re
import tempfile
from importlib import resources
from typing import Any

from jaxcnn.explore.budget import Limits, PageError
from jaxcnn.explore.content import Content

# In the order in which one needs another.
MODULES = (
    "dom.js",
    "data.js",
    "draw.js",
    "engine.js",
    "filters.js",
    "theme.js",
    "profile.js",
    "diagram.js",
    "sums.js",
    "photo.js",
    "playground.js",
    "shift.js",
    "main.js",
)
_IMPORT = re.compile(r'^import\s[^;]*?from\s"\./[\w.]+";\n', re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?:async )?(?:const|function|class) (\w+)", re.MULTILINE)


def page_html(content: Content) -> str:
    """The page. Its policy lets the browser run nothing but what is in it, and fetch nothing."""
    parts = resources.files("jaxcnn.explore") / "page"
    script = "\n".join(_joined((parts / name).read_text("utf-8"), name) for name in MODULES)
    style = (parts / "style.css").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data: blob:; media-src blob: mediastream:; base-uri 'none'; form-action 'none'"
    )
    name = content.record["network"]["name"]
    data = json.dumps(content.record, separators=(",", ":"), allow_nan=False, default=_item)
    slots = {
        "POLICY": html.escape(policy, quote=False),
        "TITLE": html.escape(f"{name} at work"),
        "STYLE": style,
        "DATA": data.replace("<", "\\u003c"),
        "BLOCKS": content.blocks.html(),
        "SCRIPT": script,
    }
    template = (parts / "index.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: slots[found[1]], template)


def write_page(content: Content, path: pathlib.Path, limits: Limits = Limits()) -> int:  # noqa: B008
    """Writes the page and gives its size in bytes.

    Raises:
      PageError: the page is larger than the limit.
      OSError: the file cannot be written; what was there before stays.
    """
    data = page_html(content).encode("utf-8")
    if len(data) > limits.bytes:
        raise PageError(
            f"The page would take {len(data) / 1e6:.1f} MB, more than the limit of "
            f"{limits.max_mb:g} MB; give fewer photos (--photos) or channels (--channels), or a "
            "larger --max-mb."
        )
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
    return len(data)


def _item(value: Any) -> Any:
    """A numpy number as Python's."""
    return value.item()


def _joined(text: str, name: str) -> str:
    """A module as a scope of its own in the one script, which gives what the module exports."""
    names = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub(lambda found: found[0].removeprefix("export "), _IMPORT.sub("", text))
    if not names:
        return f"// {name}\n{{\n{body}}}"
    return f"// {name}\nconst {{ {names} }} = (() => {{\n{body}return {{ {names} }};\n}})();"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
