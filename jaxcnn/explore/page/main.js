// Starts the parts of the page and shows the one that the address names.

import { PAGE } from "./data.js";
import { byId, el, shapeText, short } from "./dom.js";
import { Diagram } from "./diagram.js";
import { startPhoto } from "./photo.js";
import { startPlayground } from "./playground.js";
import { profile } from "./profile.js";
import { startShift } from "./shift.js";
import { startTheme } from "./theme.js";

const PARTS = ["network", "photo", "filters", "shift"];
// What is started when it is first shown.
const STARTS = { photo: startPhoto, filters: startPlayground, shift: startShift };
const started = new Map();

/** The part of that name, ready for use. */
function part(name) {
  if (!started.has(name)) {
    const ready = Promise.resolve(STARTS[name] ? STARTS[name]() : null);
    started.set(name, ready.then((view) => {
      byId(name).dataset.ready = "yes";
      return view;
    }));
  }
  return started.get(name);
}

function showPart() {
  const wanted = location.hash.slice(1);
  const shown = PARTS.includes(wanted) ? wanted : PARTS[0];
  for (const name of PARTS) byId(name).hidden = name !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  return part(shown);
}

function startNetwork(open) {
  const { name, source, step, depth, params, macs, bytes } = PAGE.network;
  byId("title").textContent = name;
  const facts = [
    ["from", `${source}${step === null ? "" : `, step ${step.toLocaleString("en")}`}`],
    ["input", shapeText(PAGE.nodes[0].shape)],
    ["layers with weights", depth],
    ["parameters", short(params)],
    ["multiply-adds", short(macs)],
    ["activations", short(bytes, "B")],
  ];
  const list = el("dl", { class: "facts" }, facts.map(([term, value]) =>
    el("div", {}, el("dt", {}, term), el("dd", {}, String(value)))));
  const diagram = new Diagram(PAGE.diagram, open);
  const buttons = el("div", { class: "controls" },
    el("button", { type: "button", id: "unfold", on: { click: () => diagram.foldAll(true) } },
      "Unfold all"),
    el("button", { type: "button", id: "fold", on: { click: () => diagram.foldAll(false) } },
      "Fold all"),
    el("p", { class: "key" },
      ...[["memory", "activations"], ["work", "multiply-adds"], ["weight", "parameters"]].map(
        ([kind, text]) => el("span", {}, el("i", { class: `dot ${kind}` }), text))));
  byId("network").append(list,
    profile(PAGE.diagram, (card) => {
      const node = card.nodes.find((i) => PAGE.nodes[i].open);
      if (node !== undefined) open(node);
    }), buttons, diagram.node);
}

async function start() {
  startTheme();
  startNetwork(async (node) => {
    location.hash = "#photo";
    (await part("photo")).openLayer(node);
    byId("layer").focus();
  });
  addEventListener("hashchange", showPart);
  await showPart();
  performance.mark("ready");
  document.documentElement.dataset.ready = "yes";
}

start();
