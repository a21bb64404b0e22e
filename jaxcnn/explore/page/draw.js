// Arrays as pictures on a canvas, one unit a pixel; style sheets scale them without smoothing.

// From below zero to above it; zero is light in both themes, so that a map always reads the same.
const NEGATIVE = [37, 99, 176];
const ZERO = [246, 246, 243];
const POSITIVE = [205, 84, 22];

export function canvas(width, height, attributes = {}) {
  const node = document.createElement("canvas");
  node.width = width;
  node.height = height;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** Bytes [H, W, C] with one or three channels. */
export function paintPixels(node, pixels, height, width, channels) {
  paint(node, height, width, (i) => {
    const at = i * channels;
    return channels === 1
      ? [pixels[at], pixels[at], pixels[at]]
      : [pixels[at], pixels[at + 1], pixels[at + 2]];
  });
}

/** Signed values [H, W]: blue below zero, orange above; `limit` is full colour. */
export function paintSigned(node, values, height, width, limit = largest(values)) {
  paint(node, height, width, (i) => signed(values[i] / (limit || 1)));
}

/** Values in 0..255 as gray or colour, clipped; others scaled from their range. */
export function paint(node, height, width, colour) {
  if (node.width !== width || node.height !== height) {
    node.width = width;
    node.height = height;
  }
  const context = node.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const [r, g, b] = colour(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

export function largest(values) {
  let found = 0;
  for (const value of values) if (Math.abs(value) > found) found = Math.abs(value);
  return found;
}

/** The colour of a value in -1..1. */
export function signed(share) {
  const end = share < 0 ? NEGATIVE : POSITIVE;
  const t = Math.min(Math.abs(share), 1);
  return ZERO.map((zero, i) => Math.round(zero + (end[i] - zero) * t));
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/** Black or white, whichever is read better on the colour. */
export const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff");

/** A heat map [h, w] in 0..1 over bytes [H, W, C], bilinear as a resized image. */
export function paintHeat(node, pixels, height, width, channels, map, rows, columns) {
  paint(node, height, width, (i) => {
    const y = ((Math.floor(i / width) + 0.5) * rows) / height - 0.5;
    const x = (((i % width) + 0.5) * columns) / width - 0.5;
    const heat = bilinear(map, rows, columns, y, x);
    const at = i * channels;
    const colour = [255, Math.round(210 * heat), 40];
    const mix = 0.75 * heat;
    return colour.map((full, c) => {
      const pixel = channels === 1 ? pixels[at] : pixels[at + c];
      return Math.round(pixel * (1 - mix) * (0.45 + 0.55 * heat) + full * mix);
    });
  });
}

function bilinear(map, rows, columns, y, x) {
  const clip = (value, size) => Math.min(Math.max(value, 0), size - 1);
  const y0 = clip(Math.floor(y), rows), y1 = clip(Math.floor(y) + 1, rows);
  const x0 = clip(Math.floor(x), columns), x1 = clip(Math.floor(x) + 1, columns);
  const fy = clip(y, rows) - y0, fx = clip(x, columns) - x0;
  const top = map[y0 * columns + x0] * (1 - fx) + map[y0 * columns + x1] * fx;
  const low = map[y1 * columns + x0] * (1 - fx) + map[y1 * columns + x1] * fx;
  return top * (1 - fy) + low * fy;
}
