// The network at work on one photo: values of layers, computed from kernels or recorded.
//
// Arrays are as in jaxcnn: maps [H, W, C], kernels [h, w, C / groups, F]. A value without rows and
// columns is a map of one pixel.

import { PAGE } from "./data.js";

const NODES = PAGE.nodes;

export const sizeOf = (node) =>
  node.shape.length === 3 ? node.shape : [1, 1, node.shape[node.shape.length - 1]];

/** Where a parameter lies among all weights. */
export function parameter(weights, node, name) {
  const found = node.weights && node.weights[name];
  if (!found) return null;
  return weights.subarray(found.at, found.at + found.shape.reduce((a, b) => a * b, 1));
}

/** The numbers of a window: kernel, stride, padding before, dilation; as [rows, columns]. */
export function geometry(node) {
  const source = sizeOf(NODES[node.inputs[0]]);
  return {
    kernel: node.kernel || [source[0], source[1]],
    stride: node.stride || [1, 1],
    padding: (node.padding || [[0, 0], [0, 0]]).map((pair) => pair[0]),
    dilation: node.dilation || [1, 1],
  };
}

/** The position of a channel among those whose kernels are in the page. */
export const place = (node, channel) => (node.units ? node.units.indexOf(channel) : channel);

export class Run {
  /** `input` is the normalised photo; `recorded` the values that came with the page, by node. */
  constructor(weights, input, recorded) {
    this.weights = weights;
    this.whole = new Map([[0, input]]);
    for (const [number, values] of recorded) this.whole.set(number, values);
    this.channels = new Map();
  }

  /** All values [H, W, C] of a node, or null where only some channels are known. */
  full(number) {
    if (!this.whole.has(number) && PAGE.network.whole) {
      const node = NODES[number];
      this.whole.set(number, compute(node, node.inputs.map((i) => this.full(i)), this.weights));
    }
    return this.whole.get(number) || null;
  }

  /** One channel [H, W] of a node. */
  channel(number, channel) {
    const key = `${number}:${channel}`;
    if (!this.channels.has(key)) this.channels.set(key, this.findChannel(number, channel));
    return this.channels.get(key);
  }

  findChannel(number, channel) {
    const node = NODES[number];
    const [height, width, count] = sizeOf(node);
    const known = this.full(number);
    const out = new Float32Array(height * width);
    if (known) {
      for (let i = 0; i < out.length; i++) out[i] = known[i * count + channel];
      return out;
    }
    const first = node.inputs[0];
    switch (node.kind) {
      case "conv": case "dense": return oneChannel(node, this.full(first), channel, this.weights);
      case "add": {
        const [a, b] = node.inputs.map((i) => this.channel(i, channel));
        return out.map((_, i) => Math.fround(a[i] + b[i]));
      }
      case "concat": {
        const [source, inner] = concatPlace(node, channel);
        return this.channel(source, inner);
      }
      case "pad channels": {
        const inner = channel - node.facts.low;
        return inner < 0 || inner >= sizeOf(NODES[first])[2] ? out : this.channel(first, inner);
      }
      default: return pointwise(node, this.channel(first, channel), channel, this.weights, out);
    }
  }
}

/** Which input a channel of a concatenation comes from, and its number there. */
export function concatPlace(node, channel) {
  let left = channel;
  for (const number of node.inputs) {
    const count = sizeOf(NODES[number])[2];
    if (left < count) return [number, left];
    left -= count;
  }
  throw new RangeError(`channel ${channel}`);
}

/** Scale and shift of BatchNorm: y = (x - mean) * factor + bias, in float32 as jaxcnn. */
export function batchNorm(node, channel, weights) {
  const at = place(node, channel);
  const [scale, bias, mean, variance] = ["scale", "bias", "mean", "var"].map((name) => {
    const values = parameter(weights, node, name);
    return values ? values[at] : name === "scale" || name === "var" ? 1 : 0;
  });
  const root = Math.fround(1 / Math.sqrt(Math.fround(variance + Math.fround(node.facts.epsilon))));
  return { scale, bias, mean, variance, factor: Math.fround(root * scale) };
}

function pointwise(node, values, channel, weights, out) {
  if (node.kind === "relu") return values.map((v) => Math.max(v, 0));
  if (node.kind === "tanh") return values.map((v) => Math.tanh(v));
  if (node.kind === "batch norm") {
    const { mean, factor, bias } = batchNorm(node, channel, weights);
    return values.map((v) => Math.fround((v - mean) * factor) + bias);
  }
  if (node.kind === "subsample") {
    const [, width] = sizeOf(NODES[node.inputs[0]]);
    const [, columns] = sizeOf(node);
    const [down, right] = node.facts.stride;
    return out.map((_, i) =>
      values[Math.floor(i / columns) * down * width + (i % columns) * right]);
  }
  return pool(node, values, 1, out);
}

/** Max or mean over windows of [H, W, C] values. */
function pool(node, values, count, out) {
  const [height, width] = sizeOf(NODES[node.inputs[0]]);
  const [rows, columns] = sizeOf(node);
  const { kernel, stride, padding } = geometry(node);
  const largest = node.kind.endsWith("max pool");
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    for (let c = 0; c < count; c++) {
      let found = largest ? -Infinity : 0;
      for (let i = 0; i < kernel[0]; i++) for (let j = 0; j < kernel[1]; j++) {
        const row = y * stride[0] - padding[0] + i, column = x * stride[1] - padding[1] + j;
        if (row < 0 || column < 0 || row >= height || column >= width) continue;
        const value = values[(row * width + column) * count + c];
        found = largest ? Math.max(found, value) : found + value;
      }
      out[(y * columns + x) * count + c] = largest ? found : found / node.facts.divisor;
    }
  }
  return out;
}

/** All channels of a node from all channels of its inputs. */
function compute(node, inputs, weights) {
  const [height, width, count] = sizeOf(node);
  const out = new Float32Array(height * width * count);
  const [first, second] = inputs;
  switch (node.kind) {
    case "conv": return convolve(node, first, weights, out);
    case "dense": {
      const kernel = parameter(weights, node, "kernel"), bias = parameter(weights, node, "bias");
      for (let f = 0; f < count; f++) {
        let sum = 0;
        for (let c = 0; c < first.length; c++) sum += first[c] * kernel[c * count + f];
        out[f] = sum + (bias ? bias[f] : 0);
      }
      return out;
    }
    case "relu": return first.map((v) => Math.max(v, 0));
    case "tanh": return first.map((v) => Math.tanh(v));
    case "flatten": return first;
    case "add": return first.map((v, i) => v + second[i]);
    case "batch norm": {
      for (let c = 0; c < count; c++) {
        const { mean, factor, bias } = batchNorm(node, c, weights);
        for (let i = c; i < out.length; i += count) {
          out[i] = Math.fround((first[i] - mean) * factor) + bias;
        }
      }
      return out;
    }
    case "concat": {
      let at = 0;
      inputs.forEach((values, n) => {
        const own = sizeOf(NODES[node.inputs[n]])[2];
        for (let i = 0; i < height * width; i++) {
          for (let c = 0; c < own; c++) out[i * count + at + c] = values[i * own + c];
        }
        at += own;
      });
      return out;
    }
    case "pad channels": {
      const own = sizeOf(NODES[node.inputs[0]])[2];
      for (let i = 0; i < height * width; i++) {
        for (let c = 0; c < own; c++) out[i * count + node.facts.low + c] = first[i * own + c];
      }
      return out;
    }
    case "subsample": {
      const [, wide] = sizeOf(NODES[node.inputs[0]]);
      const [down, right] = node.facts.stride;
      for (let i = 0; i < height * width; i++) {
        const from = Math.floor(i / width) * down * wide + (i % width) * right;
        for (let c = 0; c < count; c++) out[i * count + c] = first[from * count + c];
      }
      return out;
    }
    default: return pool(node, first, count, out);
  }
}

function convolve(node, values, weights, out) {
  const [height, width, depth] = sizeOf(NODES[node.inputs[0]]);
  const [rows, columns, count] = sizeOf(node);
  const { kernel, stride, padding, dilation } = geometry(node);
  const weight = parameter(weights, node, "kernel"), bias = parameter(weights, node, "bias");
  const inside = depth / node.groups, each = count / node.groups;
  const sums = new Float64Array(count);
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    sums.fill(0);
    for (let i = 0; i < kernel[0]; i++) for (let j = 0; j < kernel[1]; j++) {
      const row = y * stride[0] - padding[0] + i * dilation[0];
      const column = x * stride[1] - padding[1] + j * dilation[1];
      if (row < 0 || column < 0 || row >= height || column >= width) continue;
      for (let c = 0; c < depth; c++) {
        const value = values[(row * width + column) * depth + c];
        if (value === 0) continue;
        const at = ((i * kernel[1] + j) * inside + (c % inside)) * count;
        const from = Math.floor(c / inside) * each;
        for (let f = from; f < from + each; f++) sums[f] += value * weight[at + f];
      }
    }
    const at = (y * columns + x) * count;
    for (let f = 0; f < count; f++) out[at + f] = sums[f] + (bias ? bias[f] : 0);
  }
  return out;
}

function oneChannel(node, values, channel, weights) {
  const [height, width, depth] = sizeOf(NODES[node.inputs[0]]);
  const [rows, columns, count] = sizeOf(node);
  const { kernel, stride, padding, dilation } = windowOf(node);
  const own = kernelOf(node, channel, weights), bias = parameter(weights, node, "bias");
  const inside = depth / node.groups;
  const from = Math.floor(channel / (count / node.groups)) * inside;
  const shift = bias ? bias[place(node, channel)] : 0;
  const out = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    let sum = 0;
    for (let i = 0; i < kernel[0]; i++) {
      const row = y * stride[0] - padding[0] + i * dilation[0];
      if (row < 0 || row >= height) continue;
      for (let j = 0; j < kernel[1]; j++) {
        const column = x * stride[1] - padding[1] + j * dilation[1];
        if (column < 0 || column >= width) continue;
        const at = (row * width + column) * depth + from;
        const k = (i * kernel[1] + j) * inside;
        for (let c = 0; c < inside; c++) sum += values[at + c] * own[k + c];
      }
    }
    out[y * columns + x] = sum + shift;
  }
  return out;
}

/** The window of a convolution; a dense layer's is one pixel. */
function windowOf(node) {
  return node.kind === "dense"
    ? { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1] } : geometry(node);
}

/** The kernel of one channel, [h, w, C / groups]. */
function kernelOf(node, channel, weights) {
  const weight = parameter(weights, node, "kernel");
  const stored = node.units ? node.units.length : sizeOf(node)[2];
  const at = place(node, channel);
  return Float32Array.from({ length: weight.length / stored }, (_, i) => weight[i * stored + at]);
}

/**
 * The sum behind one unit of a convolution or a dense layer: the share of each input channel of
 * its group (`parts`, the first being channel `from`), and how large all products are together.
 */
export function terms(node, values, channel, y, x, weights) {
  const [height, width, depth] = sizeOf(NODES[node.inputs[0]]);
  const { kernel, stride, padding, dilation } = windowOf(node);
  const own = kernelOf(node, channel, weights), bias = parameter(weights, node, "bias");
  const inside = depth / node.groups;
  const from = Math.floor(channel / (sizeOf(node)[2] / node.groups)) * inside;
  const parts = new Float64Array(inside);
  let size = 0;
  for (let i = 0; i < kernel[0]; i++) for (let j = 0; j < kernel[1]; j++) {
    const row = y * stride[0] - padding[0] + i * dilation[0];
    const column = x * stride[1] - padding[1] + j * dilation[1];
    if (row < 0 || column < 0 || row >= height || column >= width) continue;
    for (let c = 0; c < inside; c++) {
      const product = values[(row * width + column) * depth + from + c]
        * own[(i * kernel[1] + j) * inside + c];
      parts[c] += product;
      size += Math.abs(product);
    }
  }
  const total = parts.reduce((a, b) => a + b, 0);
  const shift = bias ? bias[place(node, channel)] : 0;
  return { result: total + shift, total, bias: shift, hasBias: bias !== null, parts, size, from,
    kernel, stride, padding, dilation };
}

/** One input channel of `terms`: patch (null: padding), kernel and products, row by row. */
export function patch(node, values, channel, y, x, weights, sum, c) {
  const [height, width, depth] = sizeOf(NODES[node.inputs[0]]);
  const own = kernelOf(node, channel, weights);
  const cells = [];
  for (let i = 0; i < sum.kernel[0]; i++) for (let j = 0; j < sum.kernel[1]; j++) {
    const row = y * sum.stride[0] - sum.padding[0] + i * sum.dilation[0];
    const column = x * sum.stride[1] - sum.padding[1] + j * sum.dilation[1];
    const outside = row < 0 || column < 0 || row >= height || column >= width;
    const value = outside ? null : values[(row * width + column) * depth + sum.from + c];
    const factor = own[(i * sum.kernel[1] + j) * sum.parts.length + c];
    cells.push({ row, column, value, factor, product: (value || 0) * factor });
  }
  return cells;
}

/** The window of a pooling unit, row by row; null is padding. */
export function poolWindow(node, values, y, x) {
  const [height, width] = sizeOf(NODES[node.inputs[0]]);
  const { kernel, stride, padding } = geometry(node);
  const cells = [];
  for (let i = 0; i < kernel[0]; i++) for (let j = 0; j < kernel[1]; j++) {
    const row = y * stride[0] - padding[0] + i, column = x * stride[1] - padding[1] + j;
    const outside = row < 0 || column < 0 || row >= height || column >= width;
    cells.push({ row, column, value: outside ? null : values[row * width + column] });
  }
  return { cells, kernel, stride, padding };
}
