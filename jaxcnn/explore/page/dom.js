// Elements, numbers and messages.

/** An element; `on` has listeners, `style` CSS properties, the rest are attributes. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A labelled control: the label's text, then the control. */
export function labelled(text, control, ...after) {
  return el("label", { class: "field" }, el("span", {}, text), control, ...after);
}

export function select(id, options, chosen, change) {
  const node = el("select", { id, on: { change: () => change(node.value) } });
  for (const [value, text] of options) {
    node.append(el("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return node;
}

/** Tells screen readers; sighted readers see it where it happens. */
let pending = 0;
export function announce(text) {
  clearTimeout(pending);
  pending = setTimeout(() => { byId("live").textContent = text; }, 150);
}

const UNITS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
/** 11173962 as 11.2 M. */
export function short(value, unit = "") {
  for (const [size, letter] of UNITS) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${letter}${unit}`;
  }
  return `${Math.round(value)}${unit ? " " + unit : ""}`;
}

/** A number with so many decimals and a real minus sign. */
export function number(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "\u2212" : "") + text;
}

export const percent = (value) => `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)}%`;

export const shapeText = (shape) => shape.join("\u202f\u00d7\u202f");

export const nice = (name) => name.replaceAll("/", " / ").replaceAll("_", " ");
