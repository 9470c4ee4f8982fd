// Whether what is shown can be believed: live or stale, complete or not, and what to do where there is nothing yet.

import { html, setText, setAttribute, keyed } from "./dom.js";
import * as format from "./format.js";

// Windows of ten seconds close within five of their end: so much more than both means that something stands still.
const STALE_MS = 30_000;

export function showStatus(state, nowMs) {
  const [kind, text, age = ""] = summary(state, nowMs);
  setAttribute(document.getElementById("status"), "class", `status ${kind}`);
  setText(document.getElementById("status-text"), text);
  setText(document.getElementById("status-age"), age);
  const shown = notices(state, nowMs);
  showNotices(shown);
  announce(text, shown, state.alerts);
  const { alerts, map } = state;
  const firing = document.getElementById("firing");
  firing.hidden = !alerts?.firing;
  setText(firing, `${alerts?.firing} alert${alerts?.firing === 1 ? "" : "s"} firing`);
  const complete = document.getElementById("complete");
  complete.hidden = !map?.span;
  setAttribute(complete, "class", `complete ${map?.completeness < 1 ? "warn" : ""}`);
  setText(complete, `${format.completeness(map?.completeness ?? 1)} complete`);
}

function summary({ status, failures, map }, nowMs) {
  if (failures > 0) return ["bad", "The console does not answer"];
  if (status === null) return ["wait", "Connecting"];
  if (status.problem !== null) return map?.span ? ["bad", "Not reading"] : ["wait", "Waiting for data"];
  if (!status.caught_up) return ["wait", "Reading the last minutes"];
  if (!map?.span) return ["wait", "Waiting for the first window"];
  const age = dataAge(status, nowMs);
  return [...(age > STALE_MS ? ["warn", "Stale"] : ["good", "Live"]), `, newest window ended ${format.age(age)} ago`];
}

// Read aloud by a screen reader whenever it changes, so there is nothing in it that moves by itself: no ages, no counts of data.
function announce(text, shown, alerts) {
  const firing = alerts?.firing ? [`${alerts.firing} alert${alerts.firing === 1 ? "" : "s"} firing`] : [];
  const titles = [...new Set(shown.map((notice) => notice.title.replace(/[.:]$/, "")))].filter((title) => !title.startsWith(text));
  setText(document.getElementById("announcement"), [text, ...firing, ...titles].join(". "));
}

function dataAge(status, nowMs) {
  return status.newest_window_end_us === null ? 0 : nowMs - status.newest_window_end_us / 1000;
}

// What a person must know before reading the numbers, most important first.
function notices({ status, failures, map }, nowMs) {
  const list = [];
  if (failures > 0) list.push({ kind: "bad", title: "The console does not answer.", text: "What you see is what it said last. Is `headwater console` or `headwater up` still running? This page connects again by itself." });
  if (status === null) return list;
  // Before the first window the steps in place of the map say it.
  if (map?.span) {
    if (status.problem !== null) list.push({ kind: "bad", title: "The console cannot read the topics; it tries again by itself.", text: status.problem });
    for (const problem of status.other_problems) list.push({ kind: "warn", title: "Something cannot be read:", text: problem });
  }
  const age = dataAge(status, nowMs);
  if (map?.span && status.caught_up && age > STALE_MS) {
    list.push({ kind: "warn", title: "Stale data:", text: `the newest complete window ended at ${format.time(status.newest_window_end_us)}. ${staleReason(status, map)}` });
  }
  for (const gap of (map?.missing ?? []).slice(0, 3)) list.push({ kind: "warn", title: "Incomplete data:", text: gapText(gap) });
  if (map?.missing.length > 3) list.push({ kind: "warn", title: "Incomplete data:", text: `${map.missing.length - 3} more gaps, see the agents.` });
  const cut = cutOffs(status);
  if (cut > 0) list.push({ kind: "warn", title: "Not everything is shown:", text: `${format.count(cut)} records went over the console's own limits (${cutOffText(status)}).` });
  return list;
}

function staleReason(status, map) {
  if (map.pending_windows > 0) return `${map.pending_windows} newer windows are published in part: does every instance of the service-map processor run?`;
  const beats = status.agents_beating;
  if (beats === 0) return "No agent sends heartbeats: is headwater-agent running?";
  return `${beats} agent${beats === 1 ? " sends" : "s send"} heartbeats: is headwater-processor running?`;
}

export function gapText(gap) {
  const what = gap.reason === "no-data" ? "sent no data" : `dropped ${gap.count > 0 ? format.count(gap.count) : "some"} records (${gap.reason})`;
  return `node ${gap.node} ${what}, ${format.period(gap.from_us, gap.to_us)}.`;
}

function cutOffs({ cut_offs: cut, unreadable }) {
  return cut.edges.over_limit + cut.latencies.over_limit + cut.edges.from_the_future + cut.latencies.from_the_future + cut.alerts + cut.agents + unreadable;
}

function cutOffText({ cut_offs: cut, unreadable }) {
  const parts = [
    [cut.edges.over_limit, "edges"], [cut.latencies.over_limit, "latencies"], [cut.alerts, "alerts"], [cut.agents, "agents"],
    [cut.edges.from_the_future + cut.latencies.from_the_future, "of a time to come, check the clocks"], [unreadable, "unreadable"],
  ];
  return parts.filter(([count]) => count > 0).map(([count, name]) => `${format.count(count)} ${name}`).join(", ");
}

function showNotices(list) {
  const make = () => html("p", {}, html("strong"), html("span"));
  keyed(document.getElementById("notices"), list, (notice) => notice.kind + notice.title, make, (row, notice) => {
    setAttribute(row, "class", `notice ${notice.kind}`);
    setText(row.firstChild, notice.title);
    setText(row.lastChild, ` ${notice.text}`);
  });
}

export function showFacts(map) {
  const { span } = map;
  const gap = span && span.windows < span.windows_expected ? ` · ${span.windows} of ${span.windows_expected} windows` : "";
  const calls = map.edges.length === 1 ? "1 edge" : `${map.edges.length} edges`;
  const services = map.nodes.length === 1 ? "1 service" : `${map.nodes.length} services`;
  setText(document.getElementById("map-facts"), span ? `${services}, ${calls} · ${format.period(span.from_us, span.to_us)}${gap}` : "");
}

// In place of the map: how far the data has come, and what to do where it stops.
export function showEmpty(element, state) {
  element.hidden = state === null;
  if (state === null) return;
  const { status, map } = state;
  const reads = status !== null && status.broker_answers;
  const beats = (status?.agents_beating ?? 0) > 0;
  const computes = Boolean(map?.span);
  const steps = [
    [reads, "Kafka answers", reads ? `on ${status.brokers}; the topics' names start with ${status.prefix}` : status?.problem ?? "start Kafka, or give its address with --kafka-brokers; `headwater doctor` tells what is missing"],
    [beats, "An agent captures", beats ? `${status.agents_beating} agent${status.agents_beating === 1 ? "" : "s"} beating` : "start headwater-agent (as root) on the machine to look at, or `headwater up --demo` for a sample system"],
    [computes, "The processors compute windows", computes ? "they do" : beats ? "the first window closes about 15 seconds after the first heartbeat; else start `headwater-processor all`" : "they follow the agent"],
    [false, "Something calls something", computes ? "no captured process has sent a request yet: is the capture limited to the right cgroup or process?" : "then the map appears here by itself"],
  ];
  element.replaceChildren(
    html("h3", {}, "Nothing to show yet"),
    html("ol", {}, ...steps.map(([done, title, text]) => html("li", { class: done ? "done" : "open" }, html("strong", {}, title), html("span", {}, text)))),
  );
}

// Where the same data is for other programs.
export function showFooter({ brokers, prefix }) {
  const text = `All of this is in Kafka: the topics ${prefix}edges, ${prefix}latencies, ${prefix}alerts and ${prefix}agents on ${brokers}. In a terminal: headwater tail edges.`;
  setText(document.getElementById("footer"), text);
}
