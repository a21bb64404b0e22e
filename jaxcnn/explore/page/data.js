// The page's record and its arrays, which are unpacked when they are first asked for.

export const PAGE = JSON.parse(document.getElementById("data").textContent);
const unpacked = new Map();

/** The numbers of a block: bytes, or floats in a Float32Array. */
export function block(record) {
  if (!unpacked.has(record.block)) unpacked.set(record.block, unpack(record));
  return unpacked.get(record.block);
}

async function unpack(record) {
  const text = document.getElementById(`block${record.block}`).textContent;
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (record.type === "u8") return planes;
  const size = record.type === "f16" ? 2 : 4;
  const count = planes.length / size;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < size; plane++) {
    for (let i = 0; i < count; i++) bytes[i * size + plane] = planes[plane * count + i];
  }
  return size === 4 ? new Float32Array(bytes.buffer) : halves(new Uint16Array(bytes.buffer));
}

/** IEEE half precision to single. */
function halves(words) {
  const out = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const exponent = (word >> 10) & 31;
    const fraction = word & 1023;
    const size = exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity) : (1024 + fraction) * 2 ** (exponent - 25);
    out[i] = word & 0x8000 ? -size : size;
  }
  return out;
}

/** Pixels of 0..255 as the network takes them, in float32 as jaxcnn does. */
export function normalise(pixels) {
  const { mean, std } = PAGE.network;
  const out = new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    const c = i % mean.length;
    const centred = Math.fround(Math.fround(pixels[i] / 255) - Math.fround(mean[c]));
    out[i] = centred / Math.fround(std[c]);
  }
  return out;
}
