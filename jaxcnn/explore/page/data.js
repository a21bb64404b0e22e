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
  const characters = atob(text);
  const packed = new Uint8Array(characters.length);
  for (let i = 0; i < packed.length; i++) packed[i] = characters.charCodeAt(i);
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

let singles = null;

/** IEEE half precision to single, by a table of all 65,536. */
function halves(words) {
  singles = singles || Float32Array.from({ length: 65536 }, (_, word) => single(word));
  const out = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) out[i] = singles[words[i]];
  return out;
}

function single(word) {
  const exponent = (word >> 10) & 31, fraction = word & 1023;
  let size = (1024 + fraction) * 2 ** (exponent - 25);
  if (exponent === 0) size = fraction * 2 ** -24;
  if (exponent === 31) size = fraction ? NaN : Infinity;
  return word & 0x8000 ? -size : size;
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
