// The agents: whether they live, what they caught, what they lost and why.

import { html, keyed, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { gapText } from "./status.js";

const HEALTH = {
  ok: ["good", "healthy"],
  dropping: ["warn", "dropping"],
  late: ["warn", "late"],
  lost: ["bad", "lost"],
  stopped: ["idle", "stopped"],
};

export function showAgents(view, map) {
  const list = document.getElementById("agents-list");
  const healthy = view.agents.filter((agent) => agent.health === "ok").length;
  setText(document.getElementById("agents-facts"), view.agents.length === 0 ? "" : `${healthy} of ${view.agents.length} healthy`);
  if (view.agents.length === 0) {
    list.replaceChildren(html("p", { class: "quiet" }, "No heartbeat in the last minutes. Start headwater-agent on the machine to look at; it needs root or CAP_BPF and CAP_PERFMON."));
    return;
  }
  list.querySelector("p.quiet")?.remove();
  keyed(list, view.agents, (agent) => agent.node, make, (item, agent) => update(item, agent, map?.missing ?? []));
}

function make() {
  return html("article", { class: "agent" },
    html("div", { class: "row" }, html("span", { class: "dot" }), html("strong"), html("span", { class: "health" }), html("span", { class: "when" })),
    html("dl", { class: "figures" }),
    html("ul", { class: "gaps" }));
}

function update(item, agent, missing) {
  const [row, figures, gaps] = item.children;
  const [dot, name, health, when] = row.children;
  const [kind, word] = HEALTH[agent.health];
  setAttribute(dot, "class", `dot ${kind}`);
  setText(name, agent.node);
  setText(health, word);
  setText(when, agent.health === "stopped" ? `${format.age(agent.heartbeat_age_ms)} ago` : `heartbeat ${format.age(agent.heartbeat_age_ms)} ago`);
  const pairs = [
    ["complete", format.completeness(agent.completeness)],
    ["captured", `${format.rate(agent.recent_captured_per_s)}`],
    ["published", format.count(sum(agent.published))],
    ["dropped", format.count(sum(agent.dropped))],
    ["CPU", format.share(agent.recent_cpu_share)],
    ["memory", format.bytes(agent.rss_bytes)],
  ];
  keyed(figures, pairs, ([key]) => key, ([key]) => html("div", {}, html("dt", {}, key), html("dd")), (pair, [, value]) => setText(pair.lastChild, value));
  const ahead = agent.clock_ahead_ms > 0 ? [`its clock is ${format.age(agent.clock_ahead_ms)} ahead of the console's: is its time set by the network?`] : [];
  const dropped = Object.entries(agent.dropped).filter(([, count]) => count > 0).map(([reason, count]) => `dropped ${format.count(count)}: ${reason}`);
  const lines = [...ahead, ...dropped, ...missing.filter((gap) => gap.node === agent.node).map(gapText)];
  keyed(gaps, lines, (line) => line, () => html("li"), setText);
  setAttribute(item, "title", `Headwater ${agent.version} on Linux ${agent.kernel}, capture by ${agent.capture_path}`);
}

function sum(counts) {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}
