// The alerts, firing ones first, each with the records that show it.

import { html, keyed, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";

const SHOWN = 20;

export function showAlerts(view, nowMs, onSelect) {
  const list = document.getElementById("alerts-list");
  const resolved = view.alerts.length - view.firing;
  setText(document.getElementById("alerts-facts"), view.alerts.length === 0 ? "" : `${view.firing} firing, ${resolved} resolved`);
  if (view.alerts.length === 0) {
    list.replaceChildren(html("p", { class: "quiet" }, "None. An alert is raised when an edge's errors, latency or failed connects leave its own past, or its requests stop."));
    return;
  }
  list.querySelector("p.quiet")?.remove();
  keyed(list, view.alerts.slice(0, SHOWN), (alert) => alert.alert_id, (alert) => make(alert, onSelect), (item, alert) => update(item, alert, nowMs));
}

function make(alert, onSelect) {
  // An objective is of all that call the service.
  const select = () => onSelect(alert.kind === "burn_rate" ? { node: alert.service_id } : { edge: alert.edge });
  return html("article", {},
    html("div", { class: "row" }, html("span", { class: "state" }), html("button", { type: "button", class: "link service", onclick: select }), html("span", { class: "when" })),
    html("p", { class: "message" }),
    html("p", { class: "measure" }),
    html("details", {}, html("summary"), html("ul", { class: "evidence" })));
}

// How each kind of alert measures.
const measures = {
  error_rate: ["errors", format.share],
  latency_p50: ["median", format.latency],
  latency_p95: ["p95", format.latency],
  latency_p99: ["p99", format.latency],
  failed_connects: ["failed connections", format.share],
  retransmits: ["segments sent again", format.share],
  unanswered: ["unanswered", format.share],
  traffic_stopped: ["requests in a window", String],
};

function measured(alert) {
  if (alert.kind === "burn_rate") {
    const [severity, owner] = [alert.severity, alert.owner].map((word) => (word === "" ? "" : ` · ${word}`));
    return `budget used ${alert.value.toFixed(1)} times as fast as allowed, limit ${alert.threshold}${severity}${owner}`;
  }
  const [name, value] = measures[alert.kind] ?? [alert.kind, String];
  return `${name} ${value(alert.value)}, own past ${value(alert.baseline)}, limit ${value(alert.threshold)}`;
}

function update(item, alert, nowMs) {
  setAttribute(item, "class", `alert ${alert.firing ? "firing-now" : "resolved"}`);
  const [row, message, measure, details] = item.children;
  const [state, service, when] = row.children;
  setText(state, alert.firing ? "Firing" : "Resolved");
  setText(service, format.workload(alert.service));
  const startedMs = alert.started_at_us / 1000;
  setText(when, alert.firing ? `for ${format.age(nowMs - startedMs)}` : `lasted ${format.age(alert.observed_at_us / 1000 - startedMs)}`);
  setAttribute(when, "title", format.period(alert.started_at_us, alert.observed_at_us));
  setText(message, alert.message);
  setText(measure, measured(alert));
  details.hidden = alert.evidence.length === 0;
  setText(details.firstChild, `Evidence: ${alert.evidence.length} record${alert.evidence.length === 1 ? "" : "s"}`);
  keyed(details.lastChild, alert.evidence, (e) => `${e.topic}/${e.partition}/${e.offset}`, () => html("li", {}, html("code"), html("span")), (line, e) => {
    setText(line.firstChild, `${e.topic} partition ${e.partition} offset ${e.offset}`);
    setText(line.lastChild, ` window of ${format.time(e.window_start_us)}`);
  });
}
