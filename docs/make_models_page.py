"""Rewrites the tables of docs/models.md from the networks themselves.

    python docs/make_models_page.py

A test compares the page with what this gives.
"""

from __future__ import annotations

import json
import pathlib

import jax
import jax.numpy as jnp

from jaxcnn.models import create_model, list_models, model_info

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results"
PAGE = pathlib.Path(__file__).parent / "models.md"
START, END = "<!-- {} -->", "<!-- end -->"


def parameters(name: str) -> int:
    """Trainable values, by shapes alone."""
    info, model = model_info(name), create_model(name)
    images = jax.ShapeDtypeStruct((1, *info.image_size, info.channels), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def networks() -> str:
    """Every network: parameters, sizes, classes."""
    lines = [
        "| network | parameters | image | smallest | channels | classes |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in list_models():
        info = model_info(name)
        lines.append(
            f"| `{name}` | {parameters(name):,} | {info.image_size[0]} | {info.min_size} | "
            f"{info.channels} | {info.num_classes} |"
        )
    return "\n".join(lines)


def taps() -> str:
    """The taps of all networks, those with the same in one row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name in list_models():
        info = model_info(name)
        text = ", ".join(f"`{t.name}` {t.stride}/{t.channels}" for t in info.taps)
        rows.setdefault((text, info.paper), []).append(f"`{name}`")
    lines = ["| networks | taps: stride/channels | paper |", "|---|---|---|"]
    lines += [f"| {', '.join(names)} | {text} | {paper} |" for (text, paper), names in rows.items()]
    return "\n".join(lines)


def compile_times() -> str:
    """What benchmarks/compile_time.py measured."""
    record = json.loads((RESULTS / "compile_time.json").read_text())
    lines = ["| network | seconds | tracing alone | processor seconds |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name if ' ' in name else f'`{name}`'} | {found['seconds']} | "
        f"{found['trace_seconds']} | {found['cpu_seconds']} |"
        for name, found in record["networks"].items()
    ]
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its tables made anew."""
    tables = {"networks": networks(), "taps": taps(), "compile times": compile_times()}
    for name, table in tables.items():
        before, rest = text.split(START.format(name))
        text = f"{before}{START.format(name)}\n{table}\n{END}{rest.split(END, 1)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
