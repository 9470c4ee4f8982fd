// The table of operations: sortable, narrowed to the selected edge or service. How its connections are encrypted says the map's edge.

import { html, keyed, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { level } from "./graph.js";

const ROWS_SHOWN = 40;

// Why an edge has no requests.
const UNREAD = { tcp: "The protocol of this edge is not taken apart", tls: "What is said on this edge is encrypted" };

const COLUMNS = [
  { name: "Operation", text: (o) => o.operation },
  { name: "Call", text: (o) => `${format.workload(o.client)} → ${format.workload(o.server)}` },
  { name: "Protocol", text: (o) => o.protocol },
  { name: "Encryption", text: (o, edge) => format.encryptionKinds(edge?.encryption ?? []) },
  { name: "Rate", number: (o) => o.requests.requests_per_s, text: (o) => format.rate(o.requests.requests_per_s) },
  { name: "Errors", kind: "errors", number: (o) => o.requests.error_share, text: (o) => format.share(o.requests.error_share) },
  { name: "p50", number: (o) => o.requests.p50_us, text: (o) => format.latency(o.requests.p50_us) },
  { name: "p95", kind: "slowness", number: (o) => o.requests.p95_us, text: (o) => format.latency(o.requests.p95_us) },
  { name: "p99", number: (o) => o.requests.p99_us, text: (o) => format.latency(o.requests.p99_us) },
];

export function createOperations(table, onSelect) {
  const [head, body] = [table.tHead.rows[0], table.tBodies[0]];
  let sorted = COLUMNS.findIndex((column) => column.name === "p95");
  let last = null;

  for (const [index, column] of COLUMNS.entries()) {
    const sort = () => {
      sorted = index;
      if (last !== null) update(...last);
    };
    const label = column.number ? html("button", { type: "button", onclick: sort }, column.name) : column.name;
    head.append(html("th", { scope: "col", class: column.number ? "number" : "" }, label));
  }

  function update(view, selection, map) {
    last = [view, selection, map];
    [...head.cells].forEach((cell, i) => setAttribute(cell, "aria-sort", i === sorted ? "descending" : null));
    const chosen = view.operations.filter((operation) => matches(operation, selection));
    chosen.sort((a, b) => COLUMNS[sorted].number(b) - COLUMNS[sorted].number(a));
    const rows = chosen.slice(0, ROWS_SHOWN);
    const slowest = Math.max(...rows.map((row) => row.requests.p95_us), 1);
    const edges = new Map(map?.edges.map((edge) => [edge.id, edge]));
    const fill = (row, operation) => updateRow(row, operation, edges.get(operation.edge), slowest);
    keyed(body, rows, operationKey, (row) => makeRow(row, onSelect), fill);
    table.hidden = rows.length === 0;
    showFacts(view, chosen.length, rows.length, selection, map);
  }
  return update;
}

function matches(operation, selection) {
  if (selection === null) return true;
  if (selection.edge !== undefined) return operation.edge === selection.edge;
  return operation.client.id === selection.node || operation.server.id === selection.node;
}

function operationKey(operation) {
  return `${operation.edge} ${operation.operation}`;
}

function makeRow(operation, onSelect) {
  const select = () => onSelect({ edge: operation.edge });
  const name = html("button", { type: "button", class: "link", onclick: select });
  const cells = COLUMNS.slice(1).map((column) => html("td", { class: `${column.number ? "number" : ""} ${column.kind ?? ""}`.trim() }));
  const bar = html("span", { class: "bar" });
  cells[COLUMNS.findIndex((column) => column.name === "p95") - 1].append(bar, html("span"));
  return html("tr", {}, html("td", {}, name), ...cells);
}

function updateRow(row, operation, edge, slowest) {
  setAttribute(row, "class", level(operation));
  COLUMNS.forEach((column, i) => {
    const cell = row.cells[i];
    setText(cell.lastElementChild ?? cell, column.text(operation, edge));
  });
  row.querySelector(".bar").style.width = `${(100 * operation.requests.p95_us) / slowest}%`;
  const statuses = Object.entries(operation.statuses).map(([status, count]) => `${status}: ${format.count(count)}`);
  setAttribute(row, "title", statuses.join(", "));
}

function showFacts(view, found, shown, selection, map) {
  const facts = found > shown ? `${shown} of ${found}` : "";
  setText(document.getElementById("operations-facts"), view.total > view.operations.length ? `${facts} (the slowest ${view.operations.length} of ${view.total})` : facts);
  const clear = document.getElementById("clear");
  clear.hidden = selection === null;
  const node = map?.nodes.find((node) => node.id === selection?.node);
  const chosen = map?.edges.find((edge) => edge.id === selection?.edge);
  const what = node ? format.workload(node) : chosen ? `${format.workload(chosen.client)} → ${format.workload(chosen.server)}` : "selection";
  setText(clear, `${what} ✕`);
  setAttribute(clear, "aria-label", "Show the operations of all edges");
  const empty = document.getElementById("operations-empty");
  empty.hidden = shown > 0;
  if (selection === null) setText(empty, "No requests in this time.");
  else if (UNREAD[chosen?.protocol]) setText(empty, `${UNREAD[chosen.protocol]}: it shows bytes, round-trip time and connections, but no requests.`);
  else setText(empty, "No requests of this selection in this time.");
}
