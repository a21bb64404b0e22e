"""An evaluation as JSON and CSV: timm's keys and ours, the same on any number of devices.

Percentages (`top1`, `top1_err`, `macro_f1`, ...) run from 0 to 100 with four decimals, as timm
writes them; `loss`, `ece` and `mce` have five decimals, and the bins' shares four: fewer digits
than rounding on another number of devices could change.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxcnn.data.source import Source
from jaxcnn.evaluation.calibration import Calibration
from jaxcnn.evaluation.metrics import Evaluation, percent
from jaxcnn.evaluation.views import Views
from jaxcnn.preprocess import Preprocess

# A confusion matrix of more classes is left out of the JSON; the predictions hold it.
MOST_CONFUSION = 100


def make_record(
    result: Evaluation,
    source: Source,
    *,
    model: str,
    variables: Any,
    preprocess: Preprocess,
    views: Views = "none",
    **facts: Any,
) -> dict[str, Any]:
    """One network's result as JSON values.

    Args:
      result: the counts.
      source: the data.
      model: the network's name.
      variables: its weights, for their number.
      preprocess: how images became inputs.
      views: test-time augmentation.
      **facts: what else is known, such as the file, the step, and its SHA-256.
    """
    summary = result.summary()
    parameters = sum(x.size for x in jax.tree.leaves(variables.get("params", variables)))
    macro = {name: percent(value) for name, value in result.class_scores.macro().items()}
    bins = result.calibration
    return {
        "model": model,
        "top1": summary["top1"],
        "top1_err": summary["top1_err"],
        "top5": summary["top5"],
        "top5_err": summary["top5_err"],
        **macro,
        "param_count": round(parameters / 1e6, 2),
        "img_size": preprocess.image_size[1],
        "crop_pct": preprocess.crop_pct if preprocess.resize == "shorter" else 1.0,
        "interpolation": preprocess.interpolation,
        **facts,
        "dataset": source.name,
        "split": source.split,
        "fingerprint": source.fingerprint,
        "views": views,
        "count": result.count,
        "bad": result.bad,
        "excluded": getattr(source, "excluded", 0),
        "classes": len(result.class_names),
        "correct": result.correct,
        "correct5": result.correct5,
        "top1_interval95": summary["top1_interval95"],
        "loss": round(result.loss, 5),
        "ece": round(bins.ece, 5),
        "mce": round(bins.mce, 5),
        "parameters": parameters,
        "preprocess": _preprocess(preprocess),
        "reliability": _reliability(bins),
        "per_class": per_class(result),
    } | _confusion(result)


def _preprocess(preprocess: Preprocess) -> dict[str, Any]:
    """What timm's keys don't say of it."""
    return {
        "image_size": list(preprocess.image_size),
        "channels": preprocess.channels,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "resize": preprocess.resize,
    }


def _reliability(bins: Calibration) -> list[dict[str, Any]]:
    return [
        {
            "low": round(float(bins.edges[i]), 4),
            "high": round(float(bins.edges[i + 1]), 4),
            "count": int(bins.count[i]),
            "accuracy": round(float(bins.accuracy[i]), 4),
            "confidence": round(float(bins.confidence[i]), 4),
        }
        for i in range(len(bins.count))
    ]


def _confusion(result: Evaluation) -> dict[str, Any]:
    small = len(result.class_names) <= MOST_CONFUSION
    return {"confusion": result.confusion.tolist()} if small else {}


def per_class(result: Evaluation) -> list[dict[str, Any]]:
    """Counts, and precision, recall and F1 in percent, of each class."""
    scores = result.class_scores
    return [
        {
            "class": name,
            "support": int(scores.support[i]),
            "predicted": int(scores.predicted[i]),
            "correct": int(scores.correct[i]),
            "precision": percent(float(scores.precision[i])),
            "recall": percent(float(scores.recall[i])),
            "f1": percent(float(scores.f1[i])),
        }
        for i, name in enumerate(result.class_names)
    ]


def failed_record(source: str, error: BaseException, **facts: Any) -> dict[str, Any]:
    """The place of a network in a table that could not be evaluated."""
    text = " ".join(str(error).split())
    if not isinstance(error, ValueError | OSError | FloatingPointError):
        text = f"{type(error).__name__}: {text}"
    return {"model": source, "error": text, **facts}


def sorted_records(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The best first, as timm sorts; failed ones last, all else in the order given."""
    return sorted(records, key=lambda r: ("error" in r, -r.get("top1", 0.0)))


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """A table with one row for each network; what is no single value is left to the JSON."""
    names: dict[str, None] = {}
    rows = []
    for record in records:
        row = {k: v for k, v in record.items() if not isinstance(v, dict | list)}
        if "top1_interval95" in record:
            row["top1_low95"], row["top1_high95"] = record["top1_interval95"]
        names |= dict.fromkeys(row)
        rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
