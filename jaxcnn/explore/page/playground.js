// Classical filters on a picture, and the network's own first kernels on the same one.

import { PAGE, block, normalise } from "./data.js";
import { announce, byId, el, labelled, nice, number, select } from "./dom.js";
import { canvas, largest, paint, paintPixels, paintSigned, signed } from "./draw.js";
import { geometry, parameter } from "./engine.js";
import { MODES, correlate, edges, outputSize, threshold, toGray } from "./filters.js";

const NAMES = {
  identity: "Identity", box: "Blur (box)", gaussian: "Blur (Gaussian)", sharpen: "Sharpen",
  sobel_x: "Edges left to right (Sobel x)", sobel_y: "Edges top to bottom (Sobel y)",
  laplacian: "Edges of all directions (Laplacian)", line_45: "Lines that rise",
};
const SHOWN = 8, SIDE = 192;

class Playground {
  constructor(section, weights) {
    this.weights = weights;
    this.size = 3;
    this.kind = "sobel_x";
    this.first = 0;
    this.build(section);
  }

  build(section) {
    const photos = PAGE.photos.map((photo, i) => [i, photo.name]);
    this.source = select("picture", photos, 0, (value) => this.openPhoto(Number(value)));
    const file = el("input", { type: "file", accept: "image/*", id: "own-picture", class: "hidden",
      on: { change: () => file.files[0] && this.openFile(file.files[0]) } });
    this.camera = el("button", { type: "button", id: "camera",
      on: { click: () => this.toggleCamera() } }, "Camera");
    this.note = el("p", { class: "faint", role: "status" },
      "Own pictures and the camera stay in this page: it has no connection to anywhere.");
    const kinds = [...Object.entries(NAMES), ["edges", "Strength of edges (Sobel)"],
      ["threshold", "Threshold"], ["own", "Own kernel"]];
    this.kindBox = select("filter", kinds, this.kind, (value) => this.choose(value));
    this.sizeBox = select("kernel-size", [[3, "3\u00d73"], [5, "5\u00d75"]], 3, (value) => {
      this.size = Number(value);
      this.padding.value = (this.size - 1) / 2;
      this.choose(this.kind === "own" ? "identity" : this.kind);
    });
    const range = (id, min, max, value) => el("input", { type: "range", id, min, max, value, step: 1,
      on: { input: () => this.draw() } });
    this.stride = range("stride", 1, 4, 1);
    this.padding = range("padding", 0, 4, 1);
    this.level = range("level", 0, 255, 128);
    this.mode = select("boundary", MODES.map((m) => [m, m]), "reflect", () => this.draw());
    this.gray = el("input", { type: "checkbox", id: "gray", checked: true,
      on: { change: () => this.draw() } });
    this.kernelBox = el("div", { class: "kernel-edit", role: "group", "aria-label": "Kernel" });
    this.before = canvas(1, 1, { class: "map", role: "img", "aria-label": "The picture" });
    this.after = canvas(1, 1, { class: "map", id: "filter-output", role: "img" });
    this.formula = el("p", { class: "equation", id: "formula" });
    this.legend = el("p", { class: "faint" });
    this.learned = el("div", { class: "learned" });
    this.pager = el("div", { class: "between" });
    section.append(
      el("p", { class: "lead" }, "Every filter here is a kernel that slides over the picture, as in "
        + "the network's first layer. Change a number of the kernel and see what it does."),
      el("div", { class: "controls" }, labelled("Picture", this.source),
        el("label", { class: "button", for: "own-picture" }, "Own picture"), file, this.camera),
      this.note,
      el("div", { class: "columns play" },
        el("div", { class: "pane" }, el("h3", {}, "Kernel"),
          labelled("Filter", this.kindBox), labelled("Size", this.sizeBox), this.kernelBox,
          this.levelBox = labelled("Threshold", this.level, this.levelText = el("output")),
          labelled("Stride", this.stride, this.strideText = el("output")),
          labelled("Padding", this.padding, this.paddingText = el("output")),
          labelled("Beyond the edge", this.mode),
          this.grayBox = labelled("In gray", this.gray)),
        el("div", { class: "pane" }, el("h3", {}, "Picture"), this.before,
          this.beforeText = el("p", { class: "faint" })),
        el("div", { class: "pane" }, el("h3", {}, "Filtered"), this.after, this.legend)),
      this.formula,
      el("h3", {}, `What ${PAGE.network.name} has learned`),
      el("p", { class: "lead" }, `Kernels of its first layer, ${nice(this.layer().name)}, on the `
        + "same picture; below each the classical filter that it is most like, with their "
        + "correlation: 1 is the same, \u22121 the same with signs exchanged, 0 unlike."),
      this.pager, this.learned);
  }

  layer() {
    return PAGE.nodes[PAGE.filters.layer];
  }

  bank() {
    return PAGE.filters.banks[this.size];
  }

  async openPhoto(i) {
    this.stopCamera();
    const record = PAGE.photos[i].picture;
    const [height, width, channels] = record.shape;
    this.open({ data: await block(record), height, width, channels });
  }

  open(image) {
    this.image = image;
    paintPixels(this.before, image.data, image.height, image.width, image.channels);
    this.beforeText.textContent = `${image.height}\u00d7${image.width} pixels`;
    this.grayBox.hidden = image.channels === 1;
    this.draw();
    this.drawLearned();
  }

  /** Takes what a bitmap or a video shows, at most SIDE pixels a side. */
  grab(picture, width, height) {
    const scale = Math.min(1, SIDE / Math.max(width, height));
    const view = canvas(Math.max(1, Math.round(width * scale)),
      Math.max(1, Math.round(height * scale)));
    const context = view.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0, view.width, view.height);
    const rgba = context.getImageData(0, 0, view.width, view.height).data;
    const channels = PAGE.nodes[0].shape[2];
    const data = new Uint8Array(view.width * view.height * channels);
    for (let i = 0; i < view.width * view.height; i++) {
      const [r, g, b] = rgba.subarray(4 * i, 4 * i + 3);
      if (channels === 1) data[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
      else data.set([r, g, b], 3 * i);
    }
    this.open({ data, height: view.height, width: view.width, channels });
  }

  async openFile(file) {
    this.stopCamera();
    try {
      const bitmap = await createImageBitmap(file);
      this.grab(bitmap, bitmap.width, bitmap.height);
      this.say(`${file.name} is shown; it stays in this page.`);
    } catch {
      this.say(`${file.name} cannot be decoded as a picture; take a JPEG, PNG or WebP file.`);
    }
  }

  say(text) {
    this.note.textContent = text;
  }

  async toggleCamera() {
    if (this.stream) return this.stopCamera();
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320 } });
    } catch (error) {
      return this.say(`The camera cannot be used here (${error.message || error.name}).`);
    }
    this.camera.textContent = "Stop the camera";
    const video = el("video", { muted: true, playsinline: true });
    video.srcObject = this.stream;
    await video.play();
    const frame = () => {
      if (!this.stream) return;
      this.grab(video, video.videoWidth, video.videoHeight);
      setTimeout(frame, 120);
    };
    return frame();
  }

  stopCamera() {
    if (!this.stream) return;
    for (const track of this.stream.getTracks()) track.stop();
    this.stream = null;
    this.camera.textContent = "Camera";
  }

  choose(kind) {
    this.kind = kind;
    this.kindBox.value = kind;
    if (this.bank()[kind]) this.kernel = this.bank()[kind].map((row) => [...row]);
    this.kernelBox.hidden = kind === "threshold" || kind === "edges";
    this.levelBox.hidden = kind !== "threshold";
    this.showKernel();
    this.draw();
    announce(`${this.kindBox.selectedOptions[0].textContent} applied`);
  }

  showKernel() {
    this.kernelBox.style.setProperty("grid-template-columns", `repeat(${this.size}, 1fr)`);
    this.kernelBox.replaceChildren(...this.kernel.flatMap((row, i) => row.map((value, j) => {
      const field = el("input", {
        type: "number", step: "any", value: Number(value.toFixed(4)),
        "aria-label": `Kernel, row ${i + 1}, column ${j + 1}`,
        on: { input: () => {
          const typed = Number(field.value);
          if (field.value === "" || !Number.isFinite(typed)) return;
          this.kernel[i][j] = typed;
          this.kind = "own";
          this.kindBox.value = "own";
          this.draw();
        } },
      });
      return field;
    })));
  }

  draw() {
    if (!this.image) return;
    const stride = Number(this.stride.value), padding = Number(this.padding.value);
    this.strideText.textContent = stride;
    this.paddingText.textContent = padding;
    this.levelText.textContent = this.level.value;
    const image = this.gray.checked ? toGray(this.image, PAGE.filters.gray) : this.image;
    const fits = Math.min(image.height, image.width) + 2 * padding >= this.size;
    if (!fits) {
      this.formula.textContent = "The kernel does not fit the picture; more padding helps.";
      return;
    }
    const options = { stride, padding, mode: this.mode.value };
    const result = this.kind === "threshold" ? threshold(image, Number(this.level.value))
      : this.kind === "edges" ? edges(image, this.bank(), options)
        : correlate(image, this.kernel, options);
    this.show(result);
    this.showFormula(image, stride, padding);
  }

  show(result) {
    const { data, height, width, channels } = result;
    this.after.values = data;
    this.after.shape = [height, width, channels];
    const sum = this.kernel.flat().reduce((a, b) => a + b, 0);
    const bright = this.kind === "threshold" || this.kind === "edges" || sum > 0.5;
    const limit = largest(data) || 1;
    if (channels === 1 && !bright) paintSigned(this.after, data, height, width, limit);
    else {
      const shade = bright ? (v) => v : (v) => 128 + (127 * v) / limit;
      paint(this.after, height, width, (i) => [0, 1, 2].map((c) =>
        Math.max(0, Math.min(255, Math.round(shade(data[i * channels + (c % channels)]))))));
    }
    const name = this.kindBox.selectedOptions[0].textContent;
    this.after.setAttribute("aria-label", `Filtered by ${name}, ${height} by ${width}`);
    this.legend.textContent = bright ? `${height}\u00d7${width}; values are cut to 0..255.`
      : channels === 1 ? `${height}\u00d7${width}; blue is below zero, orange above, up to `
        + `${number(limit, 0)}.` : `${height}\u00d7${width}; gray is zero.`;
  }

  showFormula(image, stride, padding) {
    if (this.kind === "threshold") {
      this.formula.textContent = `White where a pixel is above ${this.level.value}, black elsewhere.`;
      return;
    }
    const one = (name, size) => `${name} = \u230a(${size} + 2\u00b7${padding} \u2212 ${this.size}) / `
      + `${stride}\u230b + 1 = ${outputSize(size, this.size, stride, padding)}`;
    this.formula.textContent = "Output size = \u230a(input + 2\u00b7padding \u2212 kernel) / stride"
      + `\u230b + 1:  ${one("height", image.height)},  ${one("width", image.width)}`;
  }

  async drawLearned() {
    const node = this.layer();
    const weights = await block(this.weights);
    const values = normalise(this.image.data);
    const kernels = parameter(weights, node, "kernel");
    const stored = node.units ? node.units.length : node.shape[2];
    const shown = [...Array(Math.min(SHOWN, stored - this.first)).keys()].map((i) => i + this.first);
    this.learned.replaceChildren(...shown.map((k) => {
      const { map, rows, columns } = respond(node, kernels, stored, k, values, this.image);
      const picture = canvas(1, 1, { class: "map", "aria-hidden": "true" });
      paintSigned(picture, map, rows, columns);
      const match = PAGE.filters.matches[k];
      const like = match.name === "none" ? "zero" : match.name.replaceAll("_", " ");
      return el("figure", { class: "kernel-card" },
        el("div", { class: "between" }, kernelPicture(node, kernels, stored, k),
          el("figcaption", {}, el("strong", {}, `channel ${k}`), el("br"),
            `like ${like}`, el("br"), `correlation ${number(match.correlation, 2)}`)),
        picture);
    }));
    const turn = (by) => {
      this.first = (this.first + by + stored) % stored;
      this.first -= this.first % SHOWN;
      this.drawLearned();
    };
    this.pager.replaceChildren(el("span", { class: "faint" },
      `Kernels ${this.first} to ${this.first + shown.length - 1} of ${node.shape[2]}`));
    if (stored > SHOWN) {
      this.pager.append(el("span", {},
        el("button", { type: "button", class: "small", "aria-label": "Kernels before",
          on: { click: () => turn(-SHOWN) } }, "\u2190"), " ",
        el("button", { type: "button", class: "small", "aria-label": "More kernels",
          on: { click: () => turn(SHOWN) } }, "\u2192")));
    }
  }
}

/** One kernel of the first layer over the whole picture, with the layer's stride and padding. */
function respond(node, kernels, stored, k, values, image) {
  const { kernel, stride, padding } = geometry(node);
  const { height, width, channels } = image;
  const rows = outputSize(height, kernel[0], stride[0], padding[0]);
  const columns = outputSize(width, kernel[1], stride[1], padding[1]);
  const map = new Float32Array(Math.max(rows * columns, 0));
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    let sum = 0;
    for (let i = 0; i < kernel[0]; i++) for (let j = 0; j < kernel[1]; j++) {
      const row = y * stride[0] - padding[0] + i, column = x * stride[1] - padding[1] + j;
      if (row < 0 || column < 0 || row >= height || column >= width) continue;
      for (let c = 0; c < channels; c++) {
        sum += values[(row * width + column) * channels + c]
          * kernels[((i * kernel[1] + j) * channels + c) * stored + k];
      }
    }
    map[y * columns + x] = sum;
  }
  return { map, rows, columns };
}

/** A kernel of three channels in colour around gray; others by sign. */
function kernelPicture(node, kernels, stored, k) {
  const [high, wide] = node.kernel;
  const depth = PAGE.nodes[0].shape[2];
  const own = Float32Array.from({ length: high * wide * depth }, (_, i) => kernels[i * stored + k]);
  const limit = largest(own) || 1;
  const view = canvas(wide, high, { class: "kernel-picture", "aria-hidden": "true" });
  paint(view, high, wide, (i) => (depth === 1 ? signed(own[i] / limit)
    : [0, 1, 2].map((c) => Math.round(128 + (127 * own[i * depth + c]) / limit))));
  return view;
}

export async function startPlayground() {
  const view = new Playground(byId("filters"), PAGE.weights);
  view.choose(view.kind);
  await view.openPhoto(0);
}
