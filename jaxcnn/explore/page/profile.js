// The whole network in one look: for each layer its memory, work and parameters, to scale.

import { el, nice, short } from "./dom.js";

const ROWS = [
  ["bytes", "Activations", "B", "memory"],
  ["macs", "Multiply-adds", "", "work"],
  ["params", "Parameters", "", "weight"],
];

export const cardsOf = (box) => (box.nodes.length ? [box] : box.children.flatMap(cardsOf));

/** Three rows of bars over the depth of the network; `pick` opens a layer. */
export function profile(root, pick) {
  const cards = cardsOf(root).filter((card) => ROWS.some(([key]) => card[key]));
  const figure = el("figure", { class: "profile" });
  for (const [key, title, unit, kind] of ROWS) {
    const values = cards.map((card) => card[key]);
    const top = Math.max(...values);
    const first = values.indexOf(top);
    const bars = el("div", {
      class: `bars ${kind}`,
      role: "img",
      "aria-label": `${title}: ${short(root[key], unit)} in all; most in ${nice(cards[first].name)}, `
        + `${short(top, unit)}`,
    });
    cards.forEach((card, i) => {
      const bar = el("i", { title: `${nice(card.name)}: ${short(values[i], unit)}` });
      bar.append(el("b", { style: { height: `${top ? (100 * values[i]) / top : 0}%` } }));
      bar.addEventListener("click", () => pick(card));
      bars.append(bar);
    });
    figure.append(
      el("div", { class: "row" },
        el("div", { class: "legend" },
          el("strong", {}, title),
          el("span", {}, `${short(root[key], unit)} in all`)),
        bars));
  }
  figure.append(el("figcaption", {},
    "Each column is a layer, from the image on the left to the scores on the right. "
    + "Memory of the activations is for one image in float32."));
  return figure;
}
