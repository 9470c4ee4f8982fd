// The map as SVG. In: a map of /api/map, what is selected, which services have an alert. Out: the drawing, updated in place,
// with a frame around each namespace. Positions change only when services or edges come or go.

import { setAttribute, setText, svg, keyed } from "./dom.js";
import { layout, SIZES } from "./layout.js";
import * as format from "./format.js";

// Below this the text cannot be read: a wider map scrolls instead.
const SCALE_MIN = 0.72;
// With more edges than this, labels show only for what is selected or pointed at.
const LABELS_MAX = 60;
const KIND_LENGTH_MAX = 12;
// Texts whose length is known; a map has as many as it has services.
const FITS_MAX = 5000;
// By so much a text may be too wide and is squeezed.
const NARROWER_MAX = 1.2;
// As style.css has them, for what must fit into its box.
const FONTS = { name: "650 13.5px", frame: "600 12px" };
// Of the container, left and right together.
const PADDING = 12;

export function createGraph(container, onSelect) {
  const frameLayer = svg("g", { class: "frames", "aria-hidden": "true" });
  const edgeLayer = svg("g", { class: "edges" });
  const nodeLayer = svg("g", { class: "nodes" });
  const labelLayer = svg("g", { class: "labels", "aria-hidden": "true" });
  const drawing = svg("svg", { role: "group", "aria-label": "Service map" }, frameLayer, edgeLayer, labelLayer, nodeLayer);
  container.append(drawing);
  drawing.addEventListener("click", (event) => {
    if (event.target === drawing) onSelect(null);
  });
  let shape = "";
  let placed = null;

  const scale = () => {
    if (placed === null) return;
    const available = container.clientWidth - PADDING;
    const factor = Math.min(1.15, Math.max(SCALE_MIN, available / placed.width));
    setAttribute(drawing, "width", Math.round(placed.width * factor));
    setAttribute(drawing, "height", Math.round(placed.height * factor));
  };
  new ResizeObserver(scale).observe(container);

  return function update(map, selection, alerting) {
    const wanted = JSON.stringify([map.nodes.map((node) => node.id), map.edges.map((edge) => edge.id)]);
    if (wanted !== shape) {
      shape = wanted;
      const edges = map.edges.map((edge) => ({ id: edge.id, from: edge.client.id, to: edge.server.id }));
      const groups = new Map(map.nodes.map((node) => [node.id, groupOf(node)]));
      placed = layout(map.nodes.map((node) => node.id), edges, (id) => groups.get(id));
      setAttribute(drawing, "viewBox", `0 0 ${placed.width} ${placed.height}`);
      scale();
    }
    const related = relatedTo(map, selection);
    const context = { placed, selection, related, alerting, onSelect };
    setAttribute(drawing, "class", `${selection === null ? "" : "has-selection"} ${map.edges.length > LABELS_MAX ? "few-labels" : ""}`);
    const frames = new Map(map.nodes.map((node) => [groupOf(node), node]));
    frames.delete("");
    keyed(frameLayer, frames, ([group]) => group, makeFrame, (frame, [group, node]) => updateFrame(frame, placed.frames.get(group), node));
    const edges = [...map.edges].sort((a, b) => weight(a) - weight(b));
    keyed(edgeLayer, edges, (edge) => edge.id, (edge) => makeEdge(edge, context), (group, edge) => updateEdge(group, edge, context));
    keyed(labelLayer, map.edges, (edge) => edge.id, makeLabel, (group, edge) => updateLabel(group, edge, context));
    keyed(nodeLayer, map.nodes, (node) => node.id, (node) => makeNode(node, context), (group, node) => updateNode(group, node, context));
  };
}

// The namespace in its cluster, as node ids begin; nothing for what is in none.
function groupOf(node) {
  return node.namespace === "" ? "" : node.id.split("/").slice(0, 2).join("/");
}

function makeFrame() {
  return svg("g", { class: "frame" }, svg("rect", { rx: 12 }), svg("text"));
}

function updateFrame(group, box, node) {
  const [rect, name] = group.children;
  for (const [key, value] of Object.entries(box)) setAttribute(rect, key, Math.round(value));
  setAttribute(name, "x", Math.round(box.x + 14));
  setAttribute(name, "y", Math.round(box.y + 21));
  fit(name, format.namespace(node), "frame", box.width - 28);
}

// What stays bright when something is selected: an edge with its ends, or a node with its edges and neighbours.
function relatedTo(map, selection) {
  const edges = new Set();
  const nodes = new Set();
  for (const edge of map.edges) {
    const chosen = selection?.edge === edge.id || (selection?.node !== undefined && [edge.client.id, edge.server.id].includes(selection.node));
    if (!chosen) continue;
    edges.add(edge.id);
    nodes.add(edge.client.id).add(edge.server.id);
  }
  if (selection?.node !== undefined) nodes.add(selection.node);
  return { edges, nodes };
}

function makeEdge(edge, { onSelect }) {
  const select = () => onSelect({ edge: edge.id });
  const group = svg("g", { tabindex: 0, role: "button", onclick: select, onkeydown: onEnter(select) },
    svg("title"), svg("path", { class: "hit" }), svg("path", { class: "line" }), svg("path", { class: "arrow" }));
  return group;
}

function updateEdge(group, edge, { placed, selection, related }) {
  const [title, hit, line, arrow] = group.children;
  const place = placed.edges.get(edge.id);
  const width = lineWidth(edge);
  setAttribute(group, "class", classes("edge", level(edge), {
    idle: isIdle(edge), tcp: edge.requests.requests === 0, selected: selection?.edge === edge.id, related: related.edges.has(edge.id),
  }));
  setAttribute(group, "aria-label", `${format.workload(edge.client)} to ${format.workload(edge.server)}, ${edge.protocol}: ${format.edgeLabel(edge)}`);
  setText(title, `${format.workload(edge.client)} → ${format.workload(edge.server)} (${edge.protocol})\n${format.edgeLabel(edge)}`);
  setAttribute(hit, "d", place.path);
  setAttribute(line, "d", place.path);
  setAttribute(line, "stroke-width", width.toFixed(1));
  setAttribute(arrow, "d", arrowHead(place, width));
}

// A head of its own instead of a marker: markers grow with the line and cannot take its colour everywhere.
function arrowHead(place, width) {
  const size = 6 + width * 0.7;
  const numbers = place.path.match(/-?\d+(\.\d+)?/g).map(Number);
  if (place.loop) return `M${numbers[0] + 24} ${numbers[1]} l -4 -8 l 8 0 z`;
  const [x, y, way] = place.back ? [numbers[0], numbers[1], 1] : [numbers.at(-2), numbers.at(-1), -1];
  return `M${x} ${y} l ${way * size} ${-size * 0.55} l 0 ${size * 1.1} z`;
}

function makeLabel() {
  return svg("g", {}, svg("text", { "text-anchor": "middle" }), svg("text", { "text-anchor": "middle" }));
}

function updateLabel(group, edge, { placed, selection, related }) {
  const { label } = placed.edges.get(edge.id);
  const [above, below] = group.children;
  const half = lineWidth(edge) / 2;
  setAttribute(group, "class", classes("label", level(edge), {
    idle: isIdle(edge), selected: selection?.edge === edge.id, related: related.edges.has(edge.id),
  }));
  const [first, second] = format.edgeLines(edge);
  setAttribute(above, "x", Math.round(label.x));
  setAttribute(above, "y", Math.round(label.y - 3.5 - half));
  setText(above, first);
  setAttribute(below, "x", Math.round(label.x));
  setAttribute(below, "y", Math.round(label.y + 11.5 + half));
  setText(below, second);
}

function makeNode(node, { onSelect }) {
  const select = () => onSelect({ node: node.id });
  return svg("g", { tabindex: 0, role: "button", onclick: select, onkeydown: onEnter(select) },
    svg("title"),
    svg("rect", { class: "card", rx: 9 }),
    svg("rect", { class: "stripe", width: 4, rx: 2 }),
    svg("text", { class: "name" }),
    svg("text", { class: "figures" }),
    svg("text", { class: "figures" }),
    svg("text", { class: "kind", "text-anchor": "end" }),
    svg("g", { class: "badge" }, svg("circle", { r: 9 }), svg("text", { "text-anchor": "middle", y: 4 }, "!")));
}

function updateNode(group, node, { placed, selection, related, alerting }) {
  const [title, card, stripe, name, first, second, kind, badge] = group.children;
  const box = placed.nodes.get(node.id);
  const [line1, line2] = figures(node);
  const alert = alerting.has(node.id);
  setAttribute(group, "transform", `translate(${Math.round(box.x)} ${Math.round(box.y)})`);
  setAttribute(group, "class", classes("node", level({ requests: node.incoming }), {
    alert, unknown: node.kind === "unknown", selected: selection?.node === node.id, related: related.nodes.has(node.id),
  }));
  setAttribute(group, "aria-label", `${format.workload(node)}: ${line1} ${line2}${alert ? ", alert firing" : ""}`);
  setText(title, [node.cluster, node.namespace, node.kind, node.name].filter((part) => part !== "").join(" / "));
  setAttribute(card, "width", box.width);
  setAttribute(card, "height", box.height);
  setAttribute(stripe, "x", 0.5);
  setAttribute(stripe, "y", 9);
  setAttribute(stripe, "height", box.height - 18);
  const top = box.height / 2 - 14;
  [name, first, second].forEach((text, i) => {
    setAttribute(text, "x", 16);
    setAttribute(text, "y", Math.round(top + i * 17));
  });
  setAttribute(kind, "x", box.width - 10);
  setAttribute(kind, "y", Math.round(top + 2 * 17));
  // Its namespace is told by the frame.
  fit(name, node.name, "name", box.width - 24);
  setText(kind, format.shortened(node.kind, KIND_LENGTH_MAX));
  setText(first, line1);
  setText(second, line2);
  setAttribute(badge, "transform", `translate(${SIZES.nodeWidth - 4} 4)`);
}

// What a service says of itself: what it answers; else what it asks; else what flows.
function figures(node) {
  const { incoming, outgoing } = node;
  if (incoming.requests > 0) {
    return [`${format.rate(incoming.requests_per_s)} · ${format.share(incoming.error_share)}`, format.p95(incoming.p95_us)];
  }
  if (node.bytes_per_s > 0 && outgoing.requests === 0) return [format.bytesPerSecond(node.bytes_per_s), "bytes only"];
  if (outgoing.requests > 0) return [`asks ${format.rate(outgoing.requests_per_s)} · ${format.share(outgoing.error_share)}`, format.p95(outgoing.p95_us)];
  return ["idle", ""];
}

export function level(thing) {
  const { requests, error_share: share } = thing.requests;
  if (requests === 0) return "plain";
  if (share >= 0.05) return "bad";
  return share >= 0.01 ? "warn" : "good";
}

function isIdle(edge) {
  return weight(edge) === 0;
}

function weight(edge) {
  return edge.requests.requests_per_s + edge.to_server_bytes_per_s + edge.to_client_bytes_per_s;
}

function lineWidth(edge) {
  const perSecond = edge.requests.requests_per_s;
  if (perSecond > 0) return Math.min(7, 1.4 + 1.3 * Math.log10(1 + perSecond));
  return Math.min(5, 1.2 + 0.35 * Math.log10(1 + edge.to_server_bytes_per_s + edge.to_client_bytes_per_s));
}

function classes(...parts) {
  const names = parts.map((part) => (typeof part === "string" ? part : Object.keys(part).filter((name) => part[name]).join(" ")));
  return names.join(" ").trim();
}

function onEnter(act) {
  return (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  };
}

const measure = document.createElement("canvas").getContext("2d");
const fits = new Map();

// A text as its box has room for it: as it is, else a little narrower, else with its middle left out.
function fit(element, text, font, width) {
  const key = `${font} ${width} ${text}`;
  if (fits.size > FITS_MAX) fits.clear();
  if (!fits.has(key)) {
    measure.font = `${FONTS[font]} ${getComputedStyle(document.body).fontFamily}`;
    let length = text.length;
    let wide = measure.measureText(text).width;
    while (length > 1 && wide > width * NARROWER_MAX) {
      length -= 1;
      wide = measure.measureText(format.shortened(text, length)).width;
    }
    fits.set(key, { text: format.shortened(text, length), width: wide > width ? width : null });
  }
  const fitted = fits.get(key);
  setText(element, fitted.text);
  setAttribute(element, "textLength", fitted.width);
  setAttribute(element, "lengthAdjust", fitted.width && "spacingAndGlyphs");
}
