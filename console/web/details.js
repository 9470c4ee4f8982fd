// What is known of the selected edge or service, and how it went over the last minutes.

import { html, setText, svg } from "./dom.js";
import * as format from "./format.js";

const CHART = { width: 320, height: 92, bottom: 16, top: 12 };

export function showDetails({ selection, map, history }, onClose) {
  const panel = document.getElementById("details");
  const edge = map?.edges.find((edge) => edge.id === selection?.edge);
  const node = map?.nodes.find((node) => node.id === selection?.node);
  panel.hidden = edge === undefined && node === undefined;
  if (panel.hidden) return;
  if (panel.childElementCount === 0) {
    const close = html("button", { type: "button", class: "close", "aria-label": "Close the details", onclick: onClose }, "✕");
    panel.append(html("div", { class: "title" }, html("h2"), html("span", { class: "facts" }), close), html("div", { class: "chart" }), html("dl", { class: "figures wide" }));
  }
  const [title, chart, figures] = panel.children;
  setText(title.children[0], edge ? `${format.workload(edge.client)} → ${format.workload(edge.server)}` : format.workload(node));
  setText(title.children[1], edge ? edge.protocol : node.kind);
  chart.replaceChildren(...(history === null ? [] : drawHistory(history.points)));
  const pairs = edge ? edgeFigures(edge) : nodeFigures(node, map);
  figures.replaceChildren(...pairs.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
}

function edgeFigures(edge) {
  const { requests } = edge;
  const calls = requests.requests === 0 ? [] : [
    ...requestFigures(requests),
    ["p95 at the server", format.latency(requests.server_p95_us)],
    ["seen from both sides", format.share(edge.both_sides_share)],
  ];
  // Who answered stands above; a Service's address, for example, is what its clients asked for instead.
  const asked = edge.asked.length === 0 ? [] : [["asked for", edge.asked.map((address) => (address === "{more}" ? "and more" : address)).join(", ")]];
  return [
    ...calls,
    ...asked,
    ...(edge.encryption.length === 0 ? [] : [["encryption", format.encryption(edge.encryption)]]),
    ["bytes to server", format.bytesPerSecond(edge.to_server_bytes_per_s)],
    ["bytes to client", format.bytesPerSecond(edge.to_client_bytes_per_s)],
    ["round-trip time", edge.rtt_us === null ? "–" : format.latency(edge.rtt_us)],
    ["connections", `${format.count(edge.connections_opened)} opened, ${format.count(edge.connections_closed)} closed`],
    ["failed to connect", format.count(edge.connections_failed)],
    ["retransmits", format.count(edge.retransmits)],
    ["complete", format.completeness(edge.completeness)],
  ];
}

function nodeFigures(node, map) {
  const asked = map.edges.filter((edge) => edge.client.id === node.id).map((edge) => format.workload(edge.server));
  const askers = map.edges.filter((edge) => edge.server.id === node.id).map((edge) => format.workload(edge.client));
  const answers = node.incoming.requests > 0 ? requestFigures(node.incoming) : [];
  const asks = node.outgoing.requests > 0 ? [
    ["requests it makes", format.rate(node.outgoing.requests_per_s)],
    ["of these failed", format.share(node.outgoing.error_share)],
    ["p95 of these", format.latency(node.outgoing.p95_us)],
  ] : [];
  return [
    ...answers,
    ...asks,
    ["bytes", format.bytesPerSecond(node.bytes_per_s)],
    ["called by", names(askers)],
    ["calls", names(asked)],
  ];
}

function requestFigures(requests) {
  const durations = requests.p95_us > 0
    ? [["p50", requests.p50_us], ["p95", requests.p95_us], ["p99", requests.p99_us]].map(([name, us]) => [name, format.latency(us)])
    : [["durations", "none: nothing answers these, or they are asked to wait"]];
  return [
    ["requests", `${format.rate(requests.requests_per_s)} (${format.count(requests.requests)})`],
    ["errors", `${format.share(requests.error_share)} (${format.count(requests.errors)})`],
    ...durations,
  ];
}

function names(list) {
  return list.length === 0 ? "nobody" : [...new Set(list)].join(", ");
}

// A bar a window: requests (or bytes, where there are no requests) with the errors in them, and a line for the p95.
function drawHistory(points) {
  if (points.length === 0) return [];
  const counted = points.some((point) => point.requests.requests > 0);
  const volume = (point) => (counted ? point.requests.requests_per_s : point.bytes_per_s);
  const volumeMax = Math.max(...points.map(volume), 1e-9);
  const p95Max = Math.max(...points.map((point) => point.requests.p95_us), 1);
  const [first, last] = [points[0], points.at(-1)];
  const fromUs = Math.min(first.window_start_us, last.window_start_us - 17 * last.window_ms * 1000);
  const spanUs = last.window_start_us + last.window_ms * 1000 - fromUs;
  const floor = CHART.height - CHART.bottom;
  const x = (us) => ((us - fromUs) / spanUs) * CHART.width;
  const y = (part) => floor - part * (floor - CHART.top);
  const bars = points.map((point) => {
    const width = Math.max(1, x(fromUs + point.window_ms * 1000) - 1);
    const bar = (part, kind) => svg("rect", { class: kind, x: x(point.window_start_us).toFixed(1), width: width.toFixed(1), y: y(part).toFixed(1), height: (floor - y(part)).toFixed(1) });
    const part = volume(point) / volumeMax;
    const text = counted
      ? `${format.rate(point.requests.requests_per_s)}, ${format.share(point.requests.error_share)} errors, p95 ${format.latency(point.requests.p95_us)}`
      : format.bytesPerSecond(point.bytes_per_s);
    return svg("g", {}, svg("title", {}, `${format.time(point.window_start_us)}  ${text}`), bar(part, point.completeness < 1 ? "volume incomplete" : "volume"), bar(part * point.requests.error_share, "failed"));
  });
  const line = points.filter((point) => point.requests.requests > 0)
    .map((point, i) => `${i === 0 ? "M" : "L"}${x(point.window_start_us + point.window_ms * 500).toFixed(1)} ${y(point.requests.p95_us / p95Max).toFixed(1)}`).join("");
  const label = (text, attributes) => svg("text", attributes, text);
  const drawing = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": "The last minutes, a bar a window" },
    ...bars,
    svg("path", { class: "p95", d: line }),
    label(format.time(first.window_start_us), { x: x(first.window_start_us), y: CHART.height - 3 }),
    label(`${format.clock(last.window_start_us + last.window_ms * 1000)} UTC`, { x: CHART.width, y: CHART.height - 3, "text-anchor": "end" }));
  const peak = counted ? format.rate(volumeMax) : format.bytesPerSecond(volumeMax);
  const key = html("p", { class: "key" }, html("i", { class: "swatch volume" }), `up to ${peak}`);
  if (counted) key.append(html("i", { class: "swatch bad" }), "errors", html("i", { class: "swatch p95" }), `p95 up to ${format.latency(p95Max)}`);
  return [drawing, key];
}
