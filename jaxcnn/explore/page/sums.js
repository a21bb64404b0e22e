// How one unit comes about: what it reads, what that is multiplied by, and the sum.

import { PAGE } from "./data.js";
import { announce, el, nice, number } from "./dom.js";
import { canvas, css, inkOn, largest, paint, signed } from "./draw.js";
import { batchNorm, concatPlace, patch, poolWindow, sizeOf, terms } from "./engine.js";

/** Decimals that are certain for a sum of products that are `size` together. */
function decimals(size, source) {
  const exact = PAGE.network.whole || source === 0;
  const error = size * 2 ** (exact ? -20 : -11);
  return Math.max(1, Math.min(4, Math.floor(-Math.log10(error || 1e-9))));
}

/** Values that come from recorded ones by way of a convolution carry its error with them. */
const spread = (run, number) => (PAGE.network.whole || run.full(number) ? 1 : 8);

/** Fills `panel` with the sum behind unit (y, x) of a channel. */
export function explain(panel, run, at) {
  const node = PAGE.nodes[at.layer];
  if (panel.timer) clearInterval(panel.timer);
  const unit = node.shape.length === 3
    ? `channel ${at.channel}, row ${at.y}, column ${at.x}` : `unit ${at.channel}`;
  panel.replaceChildren(el("h3", {}, "How this value comes about"),
    el("p", { class: "faint" }, `${nice(node.name)}, ${unit}`));
  const kinds = {
    conv: sumPanel, dense: sumPanel, "max pool": poolPanel, "average pool": poolPanel,
    "global average pool": poolPanel, "global max pool": poolPanel,
  };
  (kinds[node.kind] || plainPanel)(panel, run, node, at);
}

function result(text) {
  return el("output", { id: "sum-result", class: "result" }, text);
}

function sumPanel(panel, run, node, at) {
  const source = node.inputs[0];
  const values = run.full(source);
  const sum = terms(node, values, at.channel, at.y, at.x, run.weights);
  const digits = decimals(sum.size, source);
  const parts = Array.from(sum.parts);
  const strongest = parts.reduce((best, v, i) => (Math.abs(v) > Math.abs(parts[best]) ? i : best), 0);
  const place = el("div", { class: "workings" });
  const vector = node.kind === "dense";
  if (!vector) panel.append(el("p", {}, windowText(sum, at)));
  const show = (c) => {
    place.replaceChildren(...(vector
      ? vectorRow(node, run, values, at, sum, c, digits)
      : patchRow(panel, node, run, values, at, sum, c, digits)));
  };
  const strip = partStrip(parts);
  const label = el("span", {});
  const slider = el("input", {
    type: "range", min: 0, max: parts.length - 1, value: strongest, id: "sum-input",
    "aria-label": "Input channel",
    on: { input: () => pick(Number(slider.value)) },
  });
  const pick = (c) => {
    slider.value = c;
    label.textContent = `Input channel ${sum.from + c}: ${number(parts[c], digits)}`;
    strip.mark(c);
    show(c);
  };
  strip.node.addEventListener("click", (event) => {
    const area = strip.node.getBoundingClientRect();
    pick(Math.min(parts.length - 1,
      Math.floor(((event.clientX - area.left) / area.width) * parts.length)));
  });
  panel.append(place);
  if (parts.length > 1) {
    panel.append(el("div", { class: "parts" },
      el("div", { class: "between" }, label, el("span", { class: "faint" },
        `${parts.length} input channels, each with its share of the sum`)),
      strip.node, slider));
  }
  pick(strongest);
  const total = el("span", { id: "sum-total" }, number(sum.total, digits));
  const end = result(number(sum.result, digits));
  const line = el("p", { class: "equation" },
    `Sum over ${parts.length} input channel${parts.length === 1 ? "" : "s"} `, total);
  if (sum.hasBias) line.append(" + bias ", el("span", { id: "sum-bias" }, number(sum.bias, digits)));
  else line.append(" (no bias)");
  line.append(" = ", end);
  panel.append(line);
  announce(`value ${number(sum.result, digits)}`);
}

function windowText(sum, at) {
  const axis = (size, a, d) => {
    const first = a * sum.stride[d] - sum.padding[d];
    return `${first} to ${first + (size - 1) * sum.dilation[d]}`;
  };
  const [high, wide] = sum.kernel;
  return `The ${high}\u00d7${wide} kernel, at stride ${sum.stride[0]} with padding `
    + `${sum.padding[0]}, reads rows ${axis(high, at.y, 0)} and columns ${axis(wide, at.x, 1)}: `
    + `row ${at.y} \u00d7 stride ${sum.stride[0]} \u2212 padding ${sum.padding[0]} is where it starts.`;
}

/** The input map with the window on it, then patch, kernel and products. */
function patchRow(panel, node, run, values, at, sum, c, digits) {
  const cells = patch(node, values, at.channel, at.y, at.x, run.weights, sum, c);
  const columns = sum.kernel[1];
  const fine = Math.min(digits, 2);
  const grids = [
    grid("patch", "Patch of the input", cells.map((k) => k.value), columns, fine),
    grid("kernel", "Kernel", cells.map((k) => k.factor), columns, fine),
    grid("products", "Products", cells.map((k) => k.product), columns, fine),
  ];
  const running = el("span", { class: "running" }, number(sum.parts[c], digits));
  const play = el("button", { type: "button", class: "small", id: "sum-play" }, "Play the sum");
  play.addEventListener("click", () => animate(panel, grids, cells, running, digits));
  return [
    inputMap(run, node, sum, at, c),
    grids[0].node, el("span", { class: "sign", "aria-hidden": "true" }, "\u00d7"),
    grids[1].node, el("span", { class: "sign", "aria-hidden": "true" }, "="),
    grids[2].node,
    el("div", { class: "sumline" }, "Sum of the products: ", running, " ", play),
  ];
}

function animate(panel, grids, cells, running, digits) {
  if (panel.timer) clearInterval(panel.timer);
  let step = 0, sum = 0;
  const mark = (i) => grids.forEach((g) => g.cells.forEach((cell, k) => {
    cell.classList.toggle("now", k === i);
    if (g === grids[2]) cell.classList.toggle("later", k > i);
  }));
  panel.timer = setInterval(() => {
    if (step === cells.length) {
      clearInterval(panel.timer);
      mark(Infinity);
      grids[2].cells.forEach((cell) => cell.classList.remove("later"));
      return;
    }
    sum += cells[step].product;
    mark(step++);
    running.textContent = number(sum, digits);
  }, Math.max(60, Math.min(500, 5000 / cells.length)));
}

/** A table of numbers, coloured by sign and size. */
function grid(id, title, values, columns, digits) {
  const limit = largest(values.filter((v) => v !== null)) || 1;
  // Where many cells stand side by side, .25 is as good as 0.25.
  const tight = (text) => (columns > 5 ? text.replace("0.", ".") : text);
  const cells = values.map((value) => {
    const colour = signed((value || 0) / limit);
    const cell = el("td", value === null ? { class: "outside", title: "padding" } : {},
      value === null ? "0" : tight(number(value, digits)));
    if (value !== null) {
      cell.style.setProperty("background", css(colour));
      cell.style.setProperty("color", inkOn(colour));
    }
    return cell;
  });
  const rows = [];
  for (let i = 0; i < cells.length; i += columns) rows.push(el("tr", {}, cells.slice(i, i + columns)));
  const node = el("figure", { class: `numbers${columns > 5 ? " dense" : ""}`, id: `sum-${id}` },
    el("figcaption", {}, title), el("table", { "aria-label": title }, el("tbody", {}, rows)));
  return { node, cells };
}

/** The input channel with its padding, and the window as a frame. */
function inputMap(run, node, sum, at, c) {
  const source = node.inputs[0];
  const [height, width] = sizeOf(PAGE.nodes[source]);
  const values = run.channel(source, sum.from + c);
  const [padY, padX] = sum.padding;
  const rows = height + 2 * padY, columns = width + 2 * padX;
  const view = canvas(columns, rows, { "aria-hidden": "true", class: "map" });
  const limit = largest(values) || 1;
  paint(view, rows, columns, (i) => {
    const y = Math.floor(i / columns) - padY, x = (i % columns) - padX;
    const outside = y < 0 || x < 0 || y >= height || x >= width;
    return outside ? [176, 176, 172] : signed(values[y * width + x] / limit);
  });
  const frame = windowFrame(at.y * sum.stride[0], at.x * sum.stride[1],
    (sum.kernel[0] - 1) * sum.dilation[0] + 1, (sum.kernel[1] - 1) * sum.dilation[1] + 1,
    rows, columns);
  return el("figure", { class: "input" },
    el("figcaption", {}, source === 0 ? "Photo, normalised" : `Input channel ${sum.from + c}`),
    el("div", { class: "over" }, view, frame));
}

export function windowFrame(top, left, high, wide, rows, columns) {
  return el("div", { class: "frame", style: {
    top: `${(100 * top) / rows}%`, left: `${(100 * left) / columns}%`,
    height: `${(100 * high) / rows}%`, width: `${(100 * wide) / columns}%`,
  } });
}

/** The share of each input channel as a bar up or down. */
function partStrip(parts) {
  const node = el("div", { class: "strip", "aria-hidden": "true" });
  const limit = largest(parts) || 1;
  const bars = parts.map((value) => {
    const bar = el("i", { style: {
      height: `${(50 * Math.abs(value)) / limit}%`,
      [value < 0 ? "top" : "bottom"]: "50%",
    }, class: value < 0 ? "below" : "above" });
    const slot = el("span", {}, bar);
    node.append(slot);
    return slot;
  });
  return { node, mark: (c) => bars.forEach((slot, i) => slot.classList.toggle("now", i === c)) };
}

function vectorRow(node, run, values, at, sum, c, digits) {
  const [cell] = patch(node, values, at.channel, at.y, at.x, run.weights, sum, c);
  const name = at.layer === PAGE.nodes.length - 1 ? PAGE.network.classes[at.channel] : null;
  return [el("p", { class: "equation" },
    name ? `${name}: ` : "",
    `input ${sum.from + c} \u00d7 weight = ${number(cell.value, digits)} \u00d7 `
    + `${number(cell.factor, digits)} = ${number(cell.product, digits)}`)];
}

function poolPanel(panel, run, node, at) {
  const values = run.channel(node.inputs[0], at.channel);
  const found = poolWindow(node, values, at.y, at.x);
  const inside = found.cells.filter((cell) => cell.value !== null);
  const digits = decimals(spread(run, node.inputs[0]) * largest(inside.map((cell) => cell.value)),
    node.inputs[0]);
  const shown = found.kernel[1] <= 8;
  const isMax = node.kind.endsWith("max pool");
  const total = inside.reduce((sum, cell) => sum + cell.value, 0);
  const value = isMax ? Math.max(...inside.map((cell) => cell.value)) : total / node.facts.divisor;
  panel.append(el("p", {}, `The window of ${found.kernel.join("\u00d7")} at stride ${found.stride[0]} `
    + (isMax ? "keeps its largest value." : `gives the mean of its ${node.facts.divisor} values.`)));
  const window = el("div", { class: "workings" });
  const view = { ...found, dilation: [1, 1], from: at.channel };
  window.append(inputMap(run, node, view, at, 0));
  if (shown) {
    const table = grid("patch", "Window", found.cells.map((cell) => cell.value), found.kernel[1],
      Math.min(digits, 2));
    if (isMax) {
      const best = found.cells.findIndex((cell) => cell.value === value);
      table.cells[best].classList.add("winner");
    }
    window.append(table.node);
  }
  panel.append(window);
  const where = isMax ? found.cells.find((cell) => cell.value === value) : null;
  panel.append(el("p", { class: "equation" },
    isMax ? `Largest, at row ${where.row}, column ${where.column}: `
      : `Sum ${number(total, digits)} / ${node.facts.divisor} = `,
    result(number(value, digits))));
  announce(`value ${number(value, digits)}`);
}

/** What works value by value: one line says it. */
function plainPanel(panel, run, node, at) {
  const [, width] = sizeOf(node);
  const i = at.y * width + at.x;
  const value = run.channel(at.layer, at.channel)[i];
  const digits = decimals(spread(run, at.layer) * (Math.abs(value) + 1),
    node.inputs.length ? node.inputs[0] : 0);
  const show = (v) => number(v, digits);
  const one = (n, channel = at.channel) => run.channel(node.inputs[n], channel)[i];
  const lines = {
    input: () => ["Pixel, normalised: (pixel / 255 \u2212 mean) / deviation = "],
    relu: () => [`max(0, ${show(one(0))}) = `],
    tanh: () => [`tanh(${show(one(0))}) = `],
    add: () => [`${show(one(0))} + ${show(one(1))} = `],
    "batch norm": () => {
      const { scale, bias, mean, variance } = batchNorm(node, at.channel, run.weights);
      return [`(x \u2212 mean) / \u221a(variance + ${node.facts.epsilon}) \u00d7 scale + bias`,
        `(${show(one(0))} \u2212 ${show(mean)}) / \u221a(${number(variance, 4)} + \u03b5) \u00d7 `
        + `${show(scale)} + ${show(bias)} = `];
    },
    concat: () => {
      const [source, channel] = concatPlace(node, at.channel);
      return [`Channel ${at.channel} here is channel ${channel} of `
        + `${nice(PAGE.nodes[source].name)}: `];
    },
    subsample: () => [`Row ${at.y * node.facts.stride[0]}, column ${at.x * node.facts.stride[1]} `
      + "of the input, as it is: "],
    "pad channels": () => {
      const channel = at.channel - node.facts.low;
      const inside = channel >= 0 && channel < sizeOf(PAGE.nodes[node.inputs[0]])[2];
      return [inside ? `Channel ${channel} of the input, as it is: ` : "A new channel of zeros: "];
    },
  };
  const texts = (lines[node.kind] || (() => [`${node.text}: `]))();
  texts.slice(0, -1).forEach((text) => panel.append(el("p", {}, text)));
  panel.append(el("p", { class: "equation" }, texts[texts.length - 1], result(show(value))));
  announce(`value ${show(value)}`);
}
