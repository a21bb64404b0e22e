// A photo's way: pick a photo, a layer, a channel, a unit.

import { PAGE, block, normalise } from "./data.js";
import { announce, byId, el, labelled, nice, number, percent, select, shapeText } from "./dom.js";
import { canvas, largest, paintHeat, paintPixels, paintSigned } from "./draw.js";
import { Run, sizeOf } from "./engine.js";
import { cardsOf } from "./profile.js";
import { explain, windowFrame } from "./sums.js";

const SHOWN = 24;
const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class PhotoView {
  constructor(section, weights) {
    this.weights = weights;
    this.at = { photo: 0, layer: this.firstLayer(), channel: 0, y: 0, x: 0 };
    this.page = 0;
    this.cam = "";
    section.append(
      el("p", { class: "lead" }, "Pick a photo, a layer and a channel, then a unit of the feature "
        + "map: its value is multiplied and added up on the right. "
        + (PAGE.network.whole
          ? "All values are computed here, in float32, from the network's own weights."
          : `Inputs of the layers were recorded in float16; ${PAGE.network.channels} channels of `
            + "each layer are in this page. The last digit shown may be off by one.")),
      this.strip = el("div", { class: "strip-photos", role: "group", "aria-label": "Photos" }),
      this.bar = el("div", { class: "controls" }),
      el("div", { class: "columns" },
        this.left = el("div", { class: "pane" }),
        this.middle = el("div", { class: "pane" }),
        this.panel = el("div", { class: "pane sums", id: "sums" })));
    this.buildStrip();
    this.buildBar();
    this.buildLeft();
    this.buildMiddle();
  }

  firstLayer() {
    return PAGE.nodes.findIndex((node) => node.kind === "conv" && node.open);
  }

  buildStrip() {
    PAGE.photos.forEach((photo, i) => {
      const view = canvas(1, 1, { "aria-hidden": "true" });
      const [height, width, depth] = PAGE.nodes[0].shape;
      block(photo.pixels).then((pixels) => paintPixels(view, pixels, height, width, depth));
      this.strip.append(el("button", {
        type: "button", class: "thumb", "aria-label": `Photo: ${photo.name}`, title: photo.name,
        on: { click: () => this.openPhoto(i) },
      }, view));
    });
  }

  buildBar() {
    const picker = el("select", { id: "layer", on: {
      change: () => this.openLayer(Number(picker.value)) } });
    for (const box of PAGE.diagram.children) {
      const nodes = cardsOf(box).flatMap((card) => card.nodes).filter((i) => PAGE.nodes[i].open);
      if (!nodes.length) continue;
      const group = el("optgroup", { label: nice(box.name) });
      for (const i of nodes) {
        const node = PAGE.nodes[i];
        group.append(el("option", { value: i },
          `${nice(node.name)} \u2013 ${node.text}, ${shapeText(node.shape)}`));
      }
      picker.append(group);
    }
    this.picker = picker;
    const step = (by) => {
      const values = [...picker.options].map((option) => Number(option.value));
      const next = values[values.indexOf(this.at.layer) + by];
      if (next !== undefined) this.openLayer(next);
    };
    this.bar.append(labelled("Layer", picker),
      el("button", { type: "button", on: { click: () => step(-1) } }, "Layer before"),
      el("button", { type: "button", on: { click: () => step(1) } }, "Next layer"));
  }

  buildLeft() {
    const [height, width] = PAGE.nodes[0].shape;
    this.photoView = canvas(width, height, { class: "map", role: "img" });
    this.field = el("div", { class: "frame field" });
    this.photoText = el("p", { class: "faint" });
    this.camBox = el("div");
    this.scores = el("div", { class: "scores" });
    this.left.append(el("h3", {}, "The photo"),
      el("div", { class: "over" }, this.photoView, this.field),
      this.fieldText = el("p", { class: "faint", id: "field-text" }),
      this.camBox, el("h3", {}, "Class scores"), this.photoText, this.scores);
  }

  buildMiddle() {
    this.mapView = canvas(1, 1, {
      class: "map", id: "map", tabindex: 0, role: "application",
      "aria-label": "Feature map. Arrow keys pick a unit.",
    });
    this.cursor = el("div");
    this.mapView.addEventListener("click", (event) => {
      const area = this.mapView.getBoundingClientRect();
      this.openUnit(
        Math.floor(((event.clientY - area.top) / area.height) * this.mapView.height),
        Math.floor(((event.clientX - area.left) / area.width) * this.mapView.width));
    });
    this.mapView.addEventListener("keydown", (event) => {
      if (!KEYS[event.key]) return;
      event.preventDefault();
      const [down, right] = KEYS[event.key];
      this.openUnit(this.at.y + down, this.at.x + right);
    });
    this.gallery = el("div", { class: "gallery", role: "group", "aria-label": "Channels" });
    this.pager = el("div", { class: "between" });
    this.middle.append(
      this.mapTitle = el("h3", {}),
      el("div", { class: "over" }, this.mapView, this.cursor),
      this.mapText = el("p", { class: "faint", id: "map-text" }),
      el("div", { class: "scale", "aria-hidden": "true" }),
      this.scaleText = el("div", { class: "between faint" }),
      el("h3", {}, "Channels"), this.pager, this.gallery);
  }

  async openPhoto(i) {
    const photo = PAGE.photos[i];
    const pixels = await block(photo.pixels);
    const recorded = [];
    if (photo.values) {
      const values = await block(photo.values);
      Object.entries(PAGE.values).forEach(([node, at], n) => {
        const size = PAGE.nodes[node].shape.reduce((a, b) => a * b, 1);
        const scale = photo.scales[n];
        const own = values.subarray(at, at + size);
        recorded.push([Number(node), scale === 1 ? own : own.map((v) => v * scale)]);
      });
    }
    this.at.photo = i;
    this.pixels = pixels;
    this.run = new Run(await block(this.weights), normalise(pixels), recorded);
    [...this.strip.children].forEach((button, k) => button.setAttribute("aria-pressed", k === i));
    this.showCams(photo);
    this.showScores(photo);
    await this.showPhoto();
    this.openLayer(this.at.layer);
    announce(`photo ${photo.name}`);
  }

  showCams(photo) {
    this.camBox.replaceChildren();
    if (!photo.cams || !photo.cams.length) return;
    const options = [["", "Photo alone"],
      ...photo.cams.map((cam, k) => [k, `Grad-CAM: ${PAGE.network.classes[cam.class]}`])];
    if (this.cam !== "" && !photo.cams[this.cam]) this.cam = "";
    const picker = select("cam", options, this.cam, (value) => {
      this.cam = value;
      this.showPhoto();
    });
    picker.setAttribute("aria-label", "What is laid over the photo");
    this.camBox.append(picker);
  }

  async showPhoto() {
    const [height, width, depth] = PAGE.nodes[0].shape;
    const photo = PAGE.photos[this.at.photo];
    const cam = this.cam === "" ? null : photo.cams[this.cam];
    if (cam) {
      const [rows, columns] = cam.map.shape;
      const map = (await block(cam.map)).map((v) => v);
      const heat = Float32Array.from(map, (v) => v / 255);
      paintHeat(this.photoView, this.pixels, height, width, depth, heat, rows, columns);
    } else {
      paintPixels(this.photoView, this.pixels, height, width, depth);
    }
    const what = cam ? `, Grad-CAM for ${PAGE.network.classes[cam.class]}` : "";
    this.photoView.setAttribute("aria-label", `${photo.name}${what}`);
  }

  showScores(photo) {
    const names = PAGE.network.classes;
    this.photoText.textContent = photo.truth === null ? photo.name : `Labelled ${photo.truth}.`;
    this.scores.replaceChildren(...photo.scores.slice(0, 5).map(([c, score]) =>
      scoreBar(names[c], score, names[c] === photo.truth)));
  }

  openLayer(i) {
    this.at.layer = i;
    const node = PAGE.nodes[i];
    this.picker.value = i;
    const known = node.units || [...Array(sizeOf(node)[2]).keys()];
    this.known = known;
    if (!known.includes(this.at.channel)) this.at.channel = known[0];
    this.page = Math.floor(known.indexOf(this.at.channel) / SHOWN);
    const [height, width] = sizeOf(node);
    this.at.y = Math.min(this.at.y || Math.floor(height / 2), height - 1);
    this.at.x = Math.min(this.at.x || Math.floor(width / 2), width - 1);
    this.showGallery();
    this.openChannel(this.at.channel);
  }

  showGallery() {
    const node = PAGE.nodes[this.at.layer];
    const [height, width, count] = sizeOf(node);
    const first = this.page * SHOWN;
    const shown = this.known.slice(first, first + SHOWN);
    this.gallery.replaceChildren(...shown.map((channel) => {
      const view = canvas(width, height, { "aria-hidden": "true" });
      paintSigned(view, this.run.channel(this.at.layer, channel), height, width, this.limit());
      const name = this.channelName(channel);
      return el("button", {
        type: "button", class: "thumb", "data-channel": channel, title: name,
        "aria-label": `Channel ${name}`, on: { click: () => this.openChannel(channel) },
      }, view, el("span", { class: "tag" }, name));
    }));
    const pages = Math.ceil(this.known.length / SHOWN);
    const turn = (by) => {
      this.page = (this.page + by + pages) % pages;
      this.showGallery();
      this.markChannel();
    };
    const left = known(this.known.length, count);
    this.pager.replaceChildren(el("span", { class: "faint" },
      pages > 1 ? `${first + 1} to ${first + shown.length} of ${left}` : `${left}`));
    if (pages > 1) {
      this.pager.append(el("span", {},
        el("button", { type: "button", class: "small", "aria-label": "Channels before",
          on: { click: () => turn(-1) } }, "\u2190"), " ",
        el("button", { type: "button", class: "small", "aria-label": "More channels",
          on: { click: () => turn(1) } }, "\u2192")));
    }
  }

  channelName(channel) {
    const last = this.at.layer === PAGE.nodes.length - 1;
    return last ? PAGE.network.classes[channel] : String(channel);
  }

  /** One colour scale for all channels of a layer. */
  limit() {
    const full = this.run.full(this.at.layer);
    if (full) return largest(full);
    return Math.max(...this.known.slice(0, SHOWN).map((c) =>
      largest(this.run.channel(this.at.layer, c))));
  }

  openChannel(channel) {
    this.at.channel = channel;
    const node = PAGE.nodes[this.at.layer];
    const [height, width] = sizeOf(node);
    const values = this.run.channel(this.at.layer, channel);
    const limit = largest(values);
    paintSigned(this.mapView, values, height, width, limit);
    this.mapTitle.textContent = `${nice(node.name)}, channel ${this.channelName(channel)}`;
    this.scaleText.replaceChildren(el("span", {}, number(-limit, 2)), el("span", {}, "0"),
      el("span", {}, number(limit, 2)));
    this.markChannel();
    this.openUnit(this.at.y, this.at.x);
  }

  markChannel() {
    for (const button of this.gallery.children) {
      button.setAttribute("aria-pressed", Number(button.dataset.channel) === this.at.channel);
    }
  }

  openUnit(y, x) {
    const node = PAGE.nodes[this.at.layer];
    const [height, width] = sizeOf(node);
    this.at.y = Math.max(0, Math.min(height - 1, y));
    this.at.x = Math.max(0, Math.min(width - 1, x));
    const { y: row, x: column } = this.at;
    const cursor = windowFrame(row, column, 1, 1, height, width);
    cursor.classList.add("cursor");
    this.cursor.replaceWith(cursor);
    this.cursor = cursor;
    this.mapText.textContent = height * width > 1
      ? `${height}\u00d7${width} units; row ${row}, column ${column} is picked.` : "One value.";
    this.showField(node, row, column);
    explain(this.panel, this.run, this.at);
  }

  /** The pixels that the unit can see, exactly as jaxcnn.analysis traced them. */
  showField(node, y, x) {
    const pick = (table, i) => {
      const k = 2 * Math.min(i, table.length / 2 - 1);
      return [table[k], table[k + 1]];
    };
    const [top, bottom] = pick(PAGE.intervals[node.rows], y);
    const [left, right] = pick(PAGE.intervals[node.columns], x);
    const [height, width] = PAGE.nodes[0].shape;
    const frame = windowFrame(top, left, bottom - top + 1, right - left + 1, height, width);
    frame.classList.add("field");
    frame.id = "field";
    this.field.replaceWith(frame);
    this.field = frame;
    this.fieldText.textContent = top < 0 ? "It sees no pixel."
      : `Receptive field: rows ${top} to ${bottom}, columns ${left} to ${right}`
        + (node.sees ? `; ${node.sees.join("\u00d7")} pixels away from the edges.` : ".");
  }
}

const known = (shown, all) => (shown === all ? `${all} channels` : `${shown} of ${all} channels`);

export function scoreBar(name, score, right = false) {
  return el("div", { class: `score${right ? " right" : ""}` },
    el("span", { class: "label" }, name, right ? el("span", { class: "hidden" }, " (the label)") : ""),
    el("span", { class: "track" }, el("i", { style: { width: `${100 * score}%` } })),
    el("span", { class: "value" }, percent(score)));
}

export function startPhoto() {
  const view = new PhotoView(byId("photo"), PAGE.weights);
  return view.openPhoto(0).then(() => view);
}
