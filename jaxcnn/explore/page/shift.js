// The photo moved by hand, and what one or two networks then say.

import { PAGE, block } from "./data.js";
import { announce, byId, el, labelled, percent, select } from "./dom.js";
import { canvas, paint, paintPixels, signed } from "./draw.js";
import { scoreBar } from "./photo.js";
import { windowFrame } from "./sums.js";

const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

class Shift {
  constructor(section) {
    this.grid = PAGE.shift.grid;
    this.middle = (this.grid.length - 1) / 2;
    this.at = [this.middle, this.middle];
    const names = PAGE.shift.networks;
    const [height, width] = PAGE.nodes[0].shape;
    this.view = canvas(width, height, { class: "map", id: "shifted", tabindex: 0,
      role: "application", "aria-label": "The photo. Arrow keys or dragging move it." });
    this.text = el("p", { class: "faint" });
    const slider = (id, axis) => el("input", { type: "range", id, min: 0, value: this.middle,
      max: this.grid.length - 1, on: { input: (event) => this.move(axis, event.target.value) } });
    this.down = slider("shift-down", 0);
    this.right = slider("shift-right", 1);
    this.results = names.map((name) => ({
      name, bars: el("div", { class: "scores" }), map: canvas(1, 1, { class: "map", role: "img" }),
      frame: el("div"), note: el("p", { class: "faint" }),
    }));
    const photos = PAGE.photos.map((photo, i) => [i, photo.name]);
    section.append(
      el("p", { class: "lead" }, "Drag the photo. A convolution gives the same answers at another "
        + "place, so a network of convolutions and a mean over space keeps its class for longer; "
        + "a network of dense layers alone has learned each place by itself. What moves in is black."),
      el("div", { class: "controls" },
        labelled("Photo", select("shift-photo", photos, 0, (value) => this.openPhoto(Number(value)))),
        el("button", { type: "button", on: { click: () => this.moveTo(this.middle, this.middle) } },
          "Back to the middle")),
      el("div", { class: "columns shift" },
        el("div", { class: "pane" }, el("h3", {}, "The photo"),
          el("div", { class: "over drag" }, this.view), this.text,
          labelled("Down", this.down), labelled("Right", this.right)),
        ...this.results.map((result) => el("div", { class: "pane" },
          el("h3", {}, result.name), result.bars, el("h3", {}, "At every shift"),
          el("div", { class: "over field-map" }, result.map, result.frame), result.note))));
    this.listen();
  }

  listen() {
    this.view.addEventListener("keydown", (event) => {
      if (!KEYS[event.key]) return;
      event.preventDefault();
      this.moveTo(this.at[0] + KEYS[event.key][0], this.at[1] + KEYS[event.key][1]);
    });
    this.view.addEventListener("pointerdown", (event) => {
      this.view.setPointerCapture(event.pointerId);
      this.from = { x: event.clientX, y: event.clientY, at: [...this.at] };
    });
    this.view.addEventListener("pointermove", (event) => {
      if (!this.from) return;
      const scale = this.view.getBoundingClientRect().width / this.view.width;
      const step = (this.grid[1] - this.grid[0]) * scale;
      this.moveTo(this.from.at[0] + Math.round((event.clientY - this.from.y) / step),
        this.from.at[1] + Math.round((event.clientX - this.from.x) / step));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.view.addEventListener(end, () => { this.from = null; });
    }
    for (const { map } of this.results) {
      map.addEventListener("click", (event) => {
        const area = map.getBoundingClientRect();
        this.moveTo(Math.floor(((event.clientY - area.top) / area.height) * this.grid.length),
          Math.floor(((event.clientX - area.left) / area.width) * this.grid.length));
      });
    }
  }

  async openPhoto(i) {
    const entry = PAGE.shift.photos[i];
    this.photo = PAGE.photos[i];
    this.pixels = await block(this.photo.pixels);
    this.entry = entry;
    this.scores = await Promise.all(entry.scores.map(block));
    this.best = await Promise.all(entry.best.map(block));
    this.results.forEach((result, n) => this.drawMap(result, n));
    this.moveTo(this.middle, this.middle);
  }

  /** Orange where the class still wins, the more the surer; blue where another one does. */
  drawMap(result, n) {
    const count = this.grid.length, { classes, target } = this.entry;
    const place = classes.indexOf(target);
    const name = PAGE.network.classes[target];
    let kept = 0;
    paint(result.map, count, count, (i) => {
      const wins = this.best[n][i] === target;
      kept += wins;
      const share = place < 0 ? 0 : this.scores[n][i * classes.length + place];
      return signed(wins ? share : share - 1);
    });
    const part = percent(kept / count ** 2);
    result.note.textContent = `Orange: it says ${name}; blue: something else. It says ${name} at `
      + `${part} of all shifts.`;
    result.map.setAttribute("aria-label", `${result.name} says ${name} at ${part} of all shifts`);
  }

  move(axis, value) {
    const next = [...this.at];
    next[axis] = Number(value);
    this.moveTo(...next);
  }

  moveTo(down, right) {
    const last = this.grid.length - 1;
    this.at = [down, right].map((i) => Math.max(0, Math.min(last, i)));
    const [dy, dx] = this.at.map((i) => this.grid[i]);
    [this.down.value, this.right.value] = this.at;
    const [height, width, depth] = PAGE.nodes[0].shape;
    const moved = new Uint8Array(this.pixels.length);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const row = y - dy, column = x - dx;
      if (row < 0 || column < 0 || row >= height || column >= width) continue;
      for (let c = 0; c < depth; c++) {
        moved[(y * width + x) * depth + c] = this.pixels[(row * width + column) * depth + c];
      }
    }
    paintPixels(this.view, moved, height, width, depth);
    const words = `${Math.abs(dy)} ${dy < 0 ? "up" : "down"}, ${Math.abs(dx)} ${dx < 0 ? "left" : "right"}`;
    this.text.textContent = `Moved by ${words} (pixels).`;
    this.down.setAttribute("aria-valuetext", `${dy} pixels`);
    this.right.setAttribute("aria-valuetext", `${dx} pixels`);
    this.showScores();
  }

  showScores() {
    const [row, column] = this.at, count = this.grid.length;
    const { classes, target } = this.entry;
    const names = PAGE.network.classes;
    const said = this.results.map((result, n) => {
      const at = (row * count + column) * classes.length;
      result.bars.replaceChildren(...classes.map((c, k) =>
        scoreBar(names[c], this.scores[n][at + k], c === target)));
      const frame = windowFrame(row, column, 1, 1, count, count);
      result.frame.replaceWith(frame);
      result.frame = frame;
      return `${result.name}: ${names[this.best[n][row * count + column]]}`;
    });
    announce(said.join("; "));
  }
}

export async function startShift() {
  await new Shift(byId("shift")).openPhoto(0);
}
