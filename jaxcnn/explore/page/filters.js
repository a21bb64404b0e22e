// Classical filters, as jaxcnn.filters has them. Images are { data, height, width, channels } with
// values of 0..255 in data [H, W, C], not rescaled.

/** Which pixel stands at position i of a line of n; -1 is the constant 0. */
const BOUNDARY = {
  reflect: (i, n) => fold(i, 2 * n, n),
  mirror: (i, n) => (n === 1 ? 0 : fold(i + 0, 2 * n - 2, n, 1)),
  nearest: (i, n) => Math.min(Math.max(i, 0), n - 1),
  wrap: (i, n) => ((i % n) + n) % n,
  constant: (i, n) => (i < 0 || i >= n ? -1 : i),
};
export const MODES = Object.keys(BOUNDARY);

/** Back and forth: d c b a | a b c d with period 2 n, or d c b | a b c d with 2 n - 2. */
function fold(i, period, n, skipped = 0) {
  const k = ((i % period) + period) % period;
  return k < n ? k : period - 1 - k + skipped;
}

/** (size + 2 padding - kernel) / stride, rounded down, + 1. */
export const outputSize = (size, kernel, stride, padding) =>
  Math.floor((size + 2 * padding - kernel) / stride) + 1;

/** Cross-correlation of each channel by a kernel [size][size]; what a layer computes. */
export function correlate(image, kernel, { stride = 1, padding, mode = "reflect" }) {
  const { data, height, width, channels } = image;
  const size = kernel.length;
  const rows = outputSize(height, size, stride, padding);
  const columns = outputSize(width, size, stride, padding);
  const out = new Float32Array(rows * columns * channels);
  const at = BOUNDARY[mode];
  const ys = Array.from({ length: height + 2 * padding }, (_, i) => at(i - padding, height));
  const xs = Array.from({ length: width + 2 * padding }, (_, i) => at(i - padding, width));
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    for (let c = 0; c < channels; c++) {
      let sum = 0;
      for (let i = 0; i < size; i++) {
        const row = ys[y * stride + i];
        if (row < 0) continue;
        for (let j = 0; j < size; j++) {
          const column = xs[x * stride + j];
          if (column >= 0) sum += kernel[i][j] * data[(row * width + column) * channels + c];
        }
      }
      out[(y * columns + x) * channels + c] = sum;
    }
  }
  return { data: out, height: rows, width: columns, channels };
}

/** Luminance of RGB. */
export function toGray(image, weights) {
  if (image.channels === 1) return image;
  const data = new Float32Array(image.height * image.width);
  for (let i = 0; i < data.length; i++) {
    data[i] = weights.reduce((sum, weight, c) => sum + weight * image.data[3 * i + c], 0);
  }
  return { ...image, data, channels: 1 };
}

/** 255 where the image is brighter than the value, else 0. */
export const threshold = (image, value) =>
  ({ ...image, data: Float32Array.from(image.data, (v) => (v > value ? 255 : 0)) });

/** Strength of the edges: sqrt((down^2 + right^2) / 2) of the two Sobel derivatives. */
export function edges(image, bank, options) {
  const down = correlate(image, bank.sobel_y, options);
  const right = correlate(image, bank.sobel_x, options);
  return { ...down, data: down.data.map((v, i) => Math.sqrt((v * v + right.data[i] ** 2) / 2)) };
}
