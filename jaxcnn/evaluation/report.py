"""An evaluation as one HTML page that needs nothing else: no file, no font, no network."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from jaxcnn.data.decode import decode, open_image
from jaxcnn.data.source import Source
from jaxcnn.evaluation.metrics import Evaluation
from jaxcnn.evaluation.report_page import SCRIPT, STYLE
from jaxcnn.evaluation.report_parts import (
    class_table,
    confused_pairs,
    confusion_grid,
    facts,
    reliability,
    results_table,
)

MISTAKES = 400
# Of each cell of the confusion matrix at least so many mistakes are on the page, while they fit.
_OF_EACH = 3
_THUMBNAIL, _SMALL = 160, 64


@dataclasses.dataclass(frozen=True)
class Entry:
    """One network of a report.

    Attributes:
      record: of `make_record` or `failed_record`.
      result: the counts; None where it failed.
      source: the data, for the pictures.
    """

    record: Mapping[str, Any]
    result: Evaluation | None = None
    source: Source | None = None


def make_report(entries: Sequence[Entry], *, mistakes: int = MISTAKES) -> str:
    """The whole page.

    Args:
      entries: the networks.
      mistakes: how many are shown of each network, the surest first, but some of every kind.
    """
    records = [entry.record for entry in entries]
    whole = [r for r in records if "error" not in r]
    data = sorted({f"{r['dataset']}, {r['split']}" for r in whole})
    title = f"Evaluation on {'; '.join(data)}" if data else "Evaluation"
    table = results_table(records) if len(records) > 1 else ""
    sections = "\n".join(_section(entry, number, mistakes) for number, entry in enumerate(entries))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
{table}
{sections}
<script>{SCRIPT}</script>
</body>
</html>
"""


def _section(entry: Entry, number: int, most: int) -> str:
    record, result = entry.record, entry.result
    name = html.escape(f"{record['model']}")
    where = html.escape(str(record.get("network", "")))
    if result is None or entry.source is None:
        error = html.escape(record.get("error", ""))
        return f'<section>\n<h2>{name}</h2>\n<p class="bad">Failed: {error}</p>\n</section>'
    step = f", step {record['step']:,}" if record.get("step") is not None else ""
    notes = _notes(record, result)
    return f"""<section class="network" id="network{number}">
<h2>{name}</h2>
<p class="faint">{where}{step}</p>
{facts(record)}
{notes}
<div class="two">
<div><h3>Which class was taken for which</h3>
{confusion_grid(result)}
<h3>Most frequent mistakes</h3>
{confused_pairs(result)}</div>
<div><h3>Is it as sure as it is right?</h3>
{reliability(result.calibration)}</div>
</div>
<h3>Classes</h3>
{class_table(record["per_class"])}
{_mistakes(result, entry.source, most)}
</section>"""


def _notes(record: Mapping[str, Any], result: Evaluation) -> str:
    notes = []
    if record.get("excluded"):
        notes.append(f"{record['excluded']:,} examples have no label and are left out.")
    if result.bad:
        notes.append(f"{result.bad:,} images could not be decoded and are left out.")
    if record.get("views", "none") != "none":
        notes.append(f"Test-time augmentation: {record['views'].replace('_', ' ')}.")
    return f'<p class="faint">{html.escape(" ".join(notes))}</p>' if notes else ""


def _mistakes(result: Evaluation, source: Source, most: int) -> str:
    chosen = choose_mistakes(result, most)
    wrong = result.count - result.correct
    key = getattr(source, "key", str)
    pictures = [_picture(source, int(result.index[i])) for i in chosen]
    rows = [
        [
            int(result.index[i]),
            int(result.label[i]),
            int(result.prediction[i]),
            round(float(result.confidence[i]), 4),
            key(int(result.index[i])),
            uri,
        ]
        for i, (uri, _) in zip(chosen, pictures, strict=True)
    ]
    small = any(is_small for _, is_small in pictures)
    data = {"names": result.class_names, "rows": rows, "small": small}
    # A name such as "</script>" must not end the element.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    if len(chosen) < wrong:
        heading = f"{len(chosen):,} of {wrong:,} mistakes, the surest first"
    else:
        heading = f"All {wrong:,} mistakes" if wrong else "No mistakes"
    return f"""<h3>{heading}</h3>
<div class="controls">
<label>true class <select></select></label>
<label>taken for <select></select></label>
<label>order <select><option value="most">surest first</option>
<option value="least">least sure first</option>
<option value="index">by index</option></select></label>
<button type="button" class="clear">show all</button>
<span class="status faint" aria-live="polite"></span>
</div>
<noscript><p>The mistakes are drawn by this page's script, which is switched off.</p></noscript>
<div class="cards"></div>
<p><button type="button" class="more" hidden></button></p>
<script type="application/json">{text}</script>"""


def choose_mistakes(result: Evaluation, most: int) -> np.ndarray:
    """Rows of at most `most` mistakes, the surest first: some of each kind, then the surest."""
    wrong = result.confident_mistakes(result.count)
    cells = result.label[wrong].astype(np.int64) * len(result.class_names)
    cells += result.prediction[wrong]
    # How many surer mistakes of the same kind there are.
    place, seen = np.empty(len(wrong), np.int64), dict[int, int]()
    for i, cell in enumerate(cells.tolist()):
        place[i] = seen.get(cell, 0)
        seen[cell] = place[i] + 1
    kind_first = np.argsort(np.minimum(place, _OF_EACH), kind="stable")
    return wrong[np.sort(kind_first[:most])]


def _picture(source: Source, index: int) -> tuple[str, bool]:
    """A data URI of one example as it is stored, scaled down, and whether it is tiny."""
    image = open_image(source[index].image, 3)
    small = max(image.size) <= _SMALL
    file = io.BytesIO()
    if small:
        image.save(file, "PNG", optimize=True)
    else:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BICUBIC)
        image.save(file, "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", small


def figures(entry: Entry) -> dict[str, Callable[[pathlib.Path], None]]:
    """The figures of one network by file name, each as a function that draws it to a path."""
    from jaxcnn.visualize import draw_confusion, draw_mistakes, draw_reliability

    result, source = entry.result, entry.source
    if result is None or source is None:
        return {}
    title = f"{entry.record['model']} on {source.name}, {source.split}"
    bins, names = result.calibration, result.class_names
    wrong = result.confident_mistakes(24)

    def mistakes(path: pathlib.Path) -> None:
        draw_mistakes(
            [decode(source[int(i)].image, 3) for i in result.index[wrong]],
            labels=[names[i] for i in result.label[wrong]],
            predictions=[names[i] for i in result.prediction[wrong]],
            confidences=result.confidence[wrong].tolist(),
            total=result.count - result.correct,
            path=path,
            title=title,
        )

    return {
        "confusion.png": lambda path: draw_confusion(result.confusion, names, path, title=title),
        "reliability.png": lambda path: draw_reliability(
            bins.edges, bins.count, bins.accuracy, bins.confidence, path, title=title
        ),
        "mistakes.png": mistakes,
    }
