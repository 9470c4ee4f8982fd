// Joins the page: asks for what changed, hands it to the parts that draw.
//
// Every few seconds, while somebody can see it, it asks /api/status how old the data is, and /api/map, /api/operations, /api/alerts and
// /api/agents for what changed. No connection stays open: browsers allow six to a host, for all tabs together. The selection and
// the range live in the address after `#`, so that a view can be sent to someone.

import { createGraph } from "./graph.js";
import { createOperations } from "./operations.js";
import { showAlerts } from "./alerts.js";
import { showAgents } from "./agents.js";
import { showDetails } from "./details.js";
import { get } from "./fetch.js";
import { tellClustersApart } from "./format.js";
import { showStatus, showEmpty, showFacts, showFooter } from "./status.js";

const POLL_MS = 2000;
// After so many failures in a row it asks no more seldom than now.
const FAILURES_COUNTED = 4;

const state = { minutes: 1, selection: null, status: null, heardAt: 0, failures: 0, map: null, operations: null, alerts: null, agents: null, history: null };

const drawGraph = createGraph(document.getElementById("graph"), select);
const drawOperations = createOperations(document.getElementById("operations"), select);

function draw() {
  const { map, operations, alerts, agents } = state;
  const found = map !== null && map.nodes.length > 0;
  const firing = (alerts?.alerts ?? []).filter((alert) => alert.firing);
  tellClustersApart(map?.nodes ?? []);
  document.getElementById("graph").hidden = !found;
  showEmpty(document.getElementById("empty"), found ? null : state);
  if (found) drawGraph(map, state.selection, new Set(firing.map((alert) => alert.service_id)));
  if (map !== null) showFacts(map);
  if (operations !== null) drawOperations(operations, state.selection, map);
  if (alerts !== null) showAlerts(alerts, serverNowMs(), select);
  if (agents !== null) showAgents(agents, map);
  showDetails(state, () => select(null));
  drawStatus();
}

function drawStatus() {
  showStatus(state, serverNowMs());
}

// The console's clock, so that ages do not depend on this machine's.
function serverNowMs() {
  return state.status === null ? Date.now() : state.status.now_us / 1000 + (performance.now() - state.heardAt);
}

// One refresh at a time; what happens meanwhile is caught by one more after it.
let refreshing = false;
let again = false;
async function refresh() {
  again = refreshing;
  if (refreshing) return;
  refreshing = true;
  try {
    state.status = await get("/api/status");
    state.heardAt = performance.now();
    showFooter(state.status);
    const range = `minutes=${state.minutes}`;
    const [map, operations, alerts, agents, history] = await Promise.all([
      get(`/api/map?${range}`), get(`/api/operations?${range}`), get("/api/alerts"), get("/api/agents"), getHistory(),
    ]);
    state.failures = 0;
    Object.assign(state, { map, operations, alerts, agents, history });
    draw();
  } catch (error) {
    console.warn(error);
    state.failures = Math.min(state.failures + 1, FAILURES_COUNTED);
    drawStatus();
  } finally {
    refreshing = false;
    if (again) refresh();
  }
}

// A page that nobody sees asks for nothing.
let timer;
async function poll() {
  clearTimeout(timer);
  if (!document.hidden) await refresh();
  clearTimeout(timer);
  timer = setTimeout(poll, POLL_MS * (1 + state.failures));
}

function getHistory() {
  const { selection } = state;
  if (selection === null) return null;
  const of = selection.edge !== undefined ? `edge=${encodeURIComponent(selection.edge)}` : `node=${encodeURIComponent(selection.node)}`;
  return get(`/api/history?${of}`);
}

function select(selection) {
  state.selection = selection;
  state.history = null;
  writeAddress();
  draw();
  refresh();
}

function writeAddress() {
  const parameters = new URLSearchParams({ minutes: state.minutes, ...(state.selection ?? {}) });
  history.replaceState(null, "", `#${parameters}`);
}

function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const minutes = document.querySelector(`input[name=minutes][value="${CSS.escape(parameters.get("minutes") ?? "")}"]`);
  if (minutes !== null) minutes.checked = true;
  state.minutes = Number(document.querySelector("input[name=minutes]:checked").value);
  if (parameters.has("edge")) state.selection = { edge: parameters.get("edge") };
  else if (parameters.has("node")) state.selection = { node: parameters.get("node") };
}

document.getElementById("range").addEventListener("change", (event) => {
  state.minutes = Number(event.target.value);
  writeAddress();
  refresh();
});
document.getElementById("clear").addEventListener("click", () => select(null));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.selection !== null) select(null);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});

readAddress();
poll();
setInterval(drawStatus, 1000);
