// The network as boxes and lines; stages and blocks fold.

import { PAGE } from "./data.js";
import { announce, el, nice, shapeText, short } from "./dom.js";

const ENTRY = -1, EXIT = -2;
const BARS = [["bytes", "memory", "B"], ["macs", "work", ""], ["params", "weight", ""]];
const WORDS = { bytes: "activations", macs: "multiply-adds", params: "parameters" };

export class Diagram {
  /** `pick` is called with the node that the reader wants to look into. */
  constructor(root, pick) {
    this.root = root;
    this.pick = pick;
    this.groups = [];
    this.node = el("div", { class: "diagram" });
    this.node.append(this.body(root));
    new ResizeObserver(() => this.drawLines()).observe(this.node);
    this.rescale();
  }

  body(box) {
    const grid = el("div", { class: "lanes" });
    const busy = busyRanks(box);
    const filled = new Set(box.children.map((child) => child.lane));
    const widths = Array.from({ length: box.lanes },
      (_, lane) => (filled.has(lane) || lane === 0 ? "minmax(0, 1fr)" : "var(--gutter)"));
    grid.style.setProperty("grid-template-columns", widths.join(" "));
    const places = box.children.map((child) => {
      const item = child.nodes.length ? this.card(child) : this.group(child);
      item.style.setProperty("grid-row", child.rank + 1);
      const wide = busy.get(child.rank) === 1;
      item.style.setProperty("grid-column", wide ? "1 / -1" : child.lane + 1);
      item.classList.toggle("narrow", !wide && filled.size > 1);
      grid.append(item);
      return { item, wide };
    });
    const lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    lines.setAttribute("class", "lines");
    lines.setAttribute("aria-hidden", "true");
    grid.prepend(lines);
    this.groups.push({ box, grid, lines, places });
    return grid;
  }

  card(box) {
    const nodes = box.nodes.map((i) => PAGE.nodes[i]);
    const last = nodes[nodes.length - 1];
    const open = box.nodes.filter((i) => PAGE.nodes[i].open);
    const text = nodes.map((node) => node.text).join(", ");
    const card = el("button", {
      type: "button",
      class: `card ${nodes[0].kind.replaceAll(" ", "-")}${open.length ? "" : " shut"}`,
      title: open.length ? "Look inside" : "The values of this layer are not in this page",
      on: { click: () => (open.length ? this.pick(open[0]) : announce("not in this page")) },
    });
    card.append(
      el("span", { class: "name" }, nice(tail(box.name))),
      el("span", { class: "what" }, text),
      el("span", { class: "shape" }, shapeText(last.shape)),
      this.bars(box));
    card.box = box;
    return card;
  }

  group(box) {
    const id = `box-${this.groups.length}-${box.name}`;
    const node = el("div", { class: "group" });
    const button = el("button", { type: "button", class: "fold", "aria-expanded": "false" });
    button.append(
      el("span", { class: "name" }, nice(box.name)),
      el("span", { class: "what" }, contents(box)),
      el("span", { class: "shape" }, shapeText(outShape(box))),
      this.bars(box));
    button.box = box;
    let body = null;
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", open);
      node.classList.toggle("open", open);
      if (open && !body) {
        body = this.body(box);
        body.id = id;
        button.setAttribute("aria-controls", id);
        node.append(body);
      }
      body.hidden = !open;
      this.rescale();
      this.drawLines();
    });
    node.append(button);
    return node;
  }

  bars(box) {
    const bars = el("span", { class: "trio" });
    for (const [key, kind, unit] of BARS) {
      const text = `${short(box[key], unit)} ${WORDS[key]}`;
      bars.append(el("i", { class: kind, title: text },
        el("b", {}), el("span", { class: "amount" }, short(box[key], unit)),
        el("span", { class: "hidden" }, ` ${WORDS[key]}`)));
    }
    return bars;
  }

  /** Bars are to one scale: that of the largest layer, or folded group, in sight. */
  rescale() {
    const shown = [...this.node.querySelectorAll(".card, .fold")].filter(
      (node) => !node.closest("[hidden]") && node.getAttribute("aria-expanded") !== "true");
    for (const [key, kind] of BARS) {
      const top = Math.max(...shown.map((node) => node.box[key]), 1);
      for (const node of shown) {
        const bar = node.querySelector(`.${kind} b`);
        bar.style.setProperty("width", `${(100 * node.box[key]) / top}%`);
      }
    }
  }

  foldAll(open) {
    const wanted = open ? "false" : "true";
    let left = [...this.node.querySelectorAll(`.fold[aria-expanded=${wanted}]`)];
    while (left.length) {
      for (const button of left) button.click();
      left = open ? [...this.node.querySelectorAll(".fold[aria-expanded=false]")] : [];
    }
    announce(open ? "all layers shown" : "stages folded");
  }

  drawLines() {
    for (const group of this.groups) {
      if (group.grid.offsetParent !== null) drawGroup(group);
    }
  }
}

/** How many cards and lines share each rank. */
function busyRanks(box) {
  const busy = new Map();
  const add = (rank) => busy.set(rank, (busy.get(rank) || 0) + 1);
  for (const child of box.children) add(child.rank);
  const last = Math.max(...box.children.map((child) => child.rank)) + 1;
  for (const [from, to] of box.edges) {
    const [start, stop] = ranks(box, from, to, last);
    for (let rank = start + 1; rank < stop; rank++) add(rank);
  }
  return busy;
}

function ranks(box, from, to, last) {
  return [from === ENTRY ? -1 : box.children[from].rank, to === EXIT ? last : box.children[to].rank];
}

function drawGroup({ box, grid, lines, places }) {
  const frame = grid.getBoundingClientRect();
  if (!frame.width) return;
  lines.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").map(parseFloat);
  const gap = parseFloat(getComputedStyle(grid).columnGap) || 0;
  const centre = (lane) =>
    columns.slice(0, lane).reduce((sum, width) => sum + width + gap, 0) + columns[lane] / 2;
  const broad = (number) => number < 0 || places[number].wide;
  const end = (number, side, lane) => {
    if (number < 0) return { x: frame.width / 2, y: side === "bottom" ? 0 : frame.height };
    const { item, wide } = places[number];
    const area = (item.firstElementChild.matches(".fold") && side === "top"
      ? item.firstElementChild : item).getBoundingClientRect();
    const x = wide && lane !== null ? centre(lane) : (area.left + area.right) / 2 - frame.left;
    return { x, y: area[side] - frame.top };
  };
  lines.replaceChildren();
  for (const [from, to, lane] of box.edges) {
    const [start, stop] = ranks(box, from, to, Math.max(...box.children.map((c) => c.rank)) + 1);
    const middle = broad(from) && broad(to) && stop - start === 1;
    const a = end(from, "bottom", middle ? null : lane), b = end(to, "top", middle ? null : lane);
    const x = stop - start > 1 ? centre(lane) : b.x;
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const bend = Math.min(14, (b.y - a.y) / 2);
    path.setAttribute("d", `M${a.x} ${a.y}C${a.x} ${a.y + bend} ${x} ${a.y} ${x} ${a.y + bend}`
      + `V${b.y - bend}C${x} ${b.y} ${b.x} ${b.y - bend} ${b.x} ${b.y}`);
    if (from === ENTRY && to !== EXIT && stop - start > 1) path.setAttribute("class", "shortcut");
    lines.append(path);
  }
}

/** The name inside of its block; that a convolution is one is said beside it. */
const tail = (name) => (name.split("/").slice(1).join("/") || name).replace(/\/conv$/, "");

function outShape(box) {
  const last = box.nodes.length ? box : box.children[box.children.length - 1];
  return last === box ? PAGE.nodes[box.nodes[box.nodes.length - 1]].shape : outShape(last);
}

function contents(box) {
  const blocks = box.children.filter((child) => child.children.length).length;
  const depth = `${box.depth} layer${box.depth === 1 ? "" : "s"} with weights`;
  return blocks ? `${blocks} block${blocks === 1 ? "" : "s"}, ${depth}` : depth;
}
