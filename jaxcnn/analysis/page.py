"""A table as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import html

from jaxcnn.analysis.render import Column, Table

_STYLE = """
:root { color-scheme: light dark; --line: #d8dee4; --faint: #6a737d; --bar: #bfd7f5;
  --back: #ffffff; --text: #1c2128; --card: #f4f6f9; }
@media (prefers-color-scheme: dark) { :root { --line: #373e47; --faint: #909dab; --bar: #2c4f78;
  --back: #1c2128; --text: #e6edf3; --card: #262c36; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 90rem; background: var(--back);
  color: var(--text); font: 15px/1.45 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1.2rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .7rem;
  margin: 0 0 1.6rem; }
dl div { background: var(--card); border-radius: 8px; padding: .6rem .9rem; }
dt { color: var(--faint); font-size: .82rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--back); color: var(--faint); font-weight: 600; }
.right { text-align: right; }
td.sub { padding-left: 1.8rem; }
td.bar { min-width: 7.5rem;
  background: linear-gradient(to right, var(--bar) var(--part), transparent var(--part)); }
tr.faint td { color: var(--faint); }
.notes { color: var(--faint); font-size: .85rem; padding-left: 1.1rem; }
"""


def page(table: Table) -> str:
    """The whole page."""
    title = html.escape(table.title)
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>\n"
        for name, value in table.facts
    )
    facts = f"<dl>\n{facts}</dl>" if facts else ""
    heads = "".join(f"<th{_side(c)}>{html.escape(c.head)}</th>" for c in table.columns)
    rows = []
    for index in range(len(table.columns[0].cells)):
        faint = ' class="faint"' if index in table.faint else ""
        cells = "".join(_cell(column, index) for column in table.columns)
        rows.append(f"<tr{faint}>{cells}</tr>")
    notes = "".join(f"<li>{html.escape(note)}</li>\n" for note in table.notes)
    body = "\n".join(rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
{facts}
<div class="wide"><table>
<thead><tr>{heads}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
<ul class="notes">
{notes}</ul>
</body>
</html>"""


def _side(column: Column) -> str:
    return ' class="right"' if column.right else ""


def _cell(column: Column, index: int) -> str:
    value = html.escape(column.cells[index])
    if value.startswith(" "):
        return f'<td class="sub">{value.strip()}</td>'
    part = column.parts[index] if column.parts else 0.0
    if part >= 0.0005:
        return f'<td class="right bar" style="--part: {100 * part:.1f}%">{value}</td>'
    return f"<td{_side(column)}>{value}</td>"
