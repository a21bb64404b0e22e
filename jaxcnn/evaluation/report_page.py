"""The look of an evaluation's page, and the script by which its mistakes are browsed."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --card: #f4f6f9; --text: #1c2128;
  --faint: #59636e; --line: #d8dee4; --blue: #2563b0; --orange: #c2540f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #15191f; --card: #1f252d; --text: #e6edf3;
  --faint: #9aa6b2; --line: #363e48; --blue: #6ea8ec; --orange: #f0985a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.6rem clamp(.8rem, 3vw, 2rem) 4rem; max-width: 76rem;
  background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .2rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .3rem; padding-top: 1rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1.02rem; margin: 1.7rem 0 .5rem; }
p { margin: .3rem 0 .8rem; } .faint { color: var(--faint); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem;
  margin: 1rem 0; }
dl div { background: var(--card); border-radius: 8px; padding: .5rem .8rem; }
dt { color: var(--faint); font-size: .82rem; }
dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dd small { display: block; color: var(--faint); font-size: .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .25rem .6rem; text-align: right; font-variant-numeric: tabular-nums;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
th button { all: unset; cursor: pointer; } th button:hover, th button:focus-visible {
  color: var(--text); text-decoration: underline; }
td.wrap { white-space: normal; text-align: left; min-width: 14rem; overflow-wrap: anywhere; }
th.left, td.left { text-align: left; }
button.link { all: unset; cursor: pointer; text-decoration: underline dotted; }
button.link:hover, button.link:focus-visible { color: var(--orange); }
.two { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 2rem; align-items: start; }
@media (min-width: 62rem) { .two { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); } }
table.grid td { text-align: center; padding: 0; border: 1px solid var(--back); min-width: 2.1rem;
  background: color-mix(in srgb, var(--blue) calc(var(--p) * 1%), var(--card)); }
table.grid td.high { color: var(--back); }
table.grid td.zero { color: transparent; }
table.grid button { all: unset; display: block; width: 100%; box-sizing: border-box;
  text-align: center; padding: .22rem .3rem; cursor: pointer; }
table.grid button:hover, table.grid button:focus-visible { outline: 2px solid var(--orange); }
table.grid span { display: block; padding: .22rem .3rem; }
table.grid th { border: 0; font-weight: 400; } table.grid thead th { vertical-align: bottom; }
.turn { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
svg { width: 100%; max-width: 26rem; height: auto; display: block; font: 11px system-ui; }
svg text { fill: var(--faint); } svg .axis { stroke: var(--line); }
svg .bar { fill: var(--blue); } svg .gap { stroke: var(--orange); stroke-width: 2; }
svg .ideal { stroke: var(--faint); stroke-dasharray: 4 4; } svg .count { fill: var(--faint); }
.controls { display: flex; flex-wrap: wrap; gap: .5rem .9rem; align-items: end; margin: .6rem 0; }
.controls label { font-size: .82rem; color: var(--faint); display: grid; gap: .15rem; }
select, .controls button, .more { font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: .35rem .6rem; max-width: 100%; }
button { cursor: pointer; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.2rem, 1fr)); gap: .7rem; }
.cards figure { margin: 0; background: var(--card); border-radius: 8px; overflow: hidden; }
.cards img { width: 100%; aspect-ratio: 1; object-fit: contain; display: block;
  background: color-mix(in srgb, var(--text) 8%, var(--card)); }
.cards img.small { image-rendering: pixelated; }
.cards figcaption { padding: .4rem .55rem .5rem; font-size: .82rem; line-height: 1.35;
  overflow-wrap: anywhere; }
.cards b { color: var(--bad); font-weight: 600; }
"""

SCRIPT = """
"use strict";
function make(tag, parent, text) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}
function browser(section) {
  const data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
  const cards = section.querySelector(".cards"), status = section.querySelector(".status");
  const more = section.querySelector(".more");
  const [label, predicted, order] = section.querySelectorAll(".controls select");
  const step = 48;
  let shown = step;
  function fill(select, column) {
    const counts = new Map();
    for (const row of data.rows) counts.set(row[column], (counts.get(row[column]) || 0) + 1);
    make("option", select, "any").value = "";
    for (const c of [...counts.keys()].sort((a, b) => a - b))
      make("option", select, `${data.names[c]} (${counts.get(c)})`).value = String(c);
  }
  fill(label, 1);
  fill(predicted, 2);
  function draw() {
    const rows = data.rows.filter(r => (!label.value || r[1] === Number(label.value)) &&
      (!predicted.value || r[2] === Number(predicted.value)));
    if (order.value === "index") rows.sort((a, b) => a[0] - b[0]);
    if (order.value === "least") rows.reverse();
    cards.replaceChildren();
    for (const [index, t, p, confidence, key, image] of rows.slice(0, shown)) {
      const figure = make("figure", cards), picture = make("img", figure);
      picture.src = image;
      picture.loading = "lazy";
      picture.alt = `${key}: ${data.names[t]}, taken for ${data.names[p]}`;
      picture.title = key;
      if (data.small) picture.className = "small";
      const caption = make("figcaption", figure);
      make("b", caption, data.names[p]);
      caption.append(` ${(100 * confidence).toFixed(0)}%`);
      make("br", caption);
      caption.append(`is ${data.names[t]}`);
      make("br", caption);
      make("span", caption, `#${index}`).className = "faint";
    }
    const left = rows.length - Math.min(shown, rows.length);
    status.textContent = rows.length ? `${rows.length - left} of ${rows.length} shown`
      : "No such mistake is on this page.";
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(step, left)} more`;
  }
  function restart() { shown = step; draw(); }
  for (const select of [label, predicted, order]) select.addEventListener("change", restart);
  more.addEventListener("click", () => { shown += step; draw(); });
  section.querySelector(".clear").addEventListener("click", () => {
    label.value = predicted.value = "";
    restart();
  });
  section.addEventListener("click", event => {
    const cell = event.target.closest("[data-cell]");
    if (!cell) return;
    [label.value, predicted.value] = cell.dataset.cell.split(" ");
    restart();
    section.querySelector(".controls").scrollIntoView({behavior: "smooth"});
  });
  draw();
}
function sortable(table) {
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("th");
    if (!head) return;
    const place = head.cellIndex, body = table.tBodies[0];
    const value = row => {
      const text = row.cells[place].textContent.replace(/[,%]/g, "");
      return text === "" || isNaN(text) ? text : Number(text);
    };
    const up = head.dataset.up !== "1";
    head.dataset.up = up ? "1" : "0";
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      return typeof x === "number" && typeof y === "number" ? x - y
        : String(x).localeCompare(String(y));
    });
    body.append(...(up ? rows : rows.reverse()));
  });
}
document.querySelectorAll("section.network").forEach(browser);
document.querySelectorAll("table.sortable").forEach(sortable);
"""
