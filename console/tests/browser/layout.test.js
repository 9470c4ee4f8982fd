// The layout by itself: run by `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COMPARISONS_MAX, layout, SIZES } from "../../web/layout.js";
import * as format from "../../web/format.js";

function place(pairs) {
  const names = [...new Set(pairs.flat())];
  const edges = pairs.map(([from, to]) => ({ id: `${from}>${to}`, from, to }));
  return layout(names, edges);
}

function overlap(a, b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

const SHOP = [
  ["load", "nginx"], ["nginx", "catalog"], ["nginx", "orders"], ["nginx", "shipping"], ["orders", "catalog"], ["orders", "payments"],
  ["shipping", "catalog"], ["catalog", "postgres"], ["orders", "postgres"], ["payments", "postgres"], ["catalog", "redis"], ["orders", "redis"],
];

test("whoever calls stands left of whom it calls", () => {
  const { nodes } = place(SHOP);
  for (const [from, to] of SHOP) assert.ok(nodes.get(from).x + SIZES.nodeWidth < nodes.get(to).x, `${from} ${to}`);
});

test("nothing lies on anything else, and all of it is inside", () => {
  const { nodes, edges, width, height } = place(SHOP);
  const boxes = [...nodes.values()];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => assert.ok(!overlap(a, b))));
  for (const box of boxes) assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height);
  const labels = [...edges.values()].map(({ label }) => ({ x: label.x - SIZES.label / 2, y: label.y - 14, width: SIZES.label, height: 28 }));
  labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => assert.ok(!overlap(a, b))));
  labels.forEach((label) => boxes.forEach((box) => assert.ok(!overlap(label, box))));
});

test("cycles and calls to oneself are drawn, too", () => {
  const { nodes, edges } = place([["a", "b"], ["b", "c"], ["c", "a"], ["b", "b"]]);
  assert.equal(nodes.size, 3);
  assert.equal([...edges.values()].filter((edge) => edge.back).length, 1);
  assert.ok(edges.get("b>b").loop);
  for (const { path } of edges.values()) assert.ok(!path.includes("NaN"), path);
});

test("the same names give the same picture in whatever order they come", () => {
  assert.deepEqual(place(SHOP).nodes.get("catalog"), place([...SHOP].reverse()).nodes.get("catalog"));
});

// `edges` calls among `services`, none of them twice.
function random(services, edges) {
  const pairs = new Map();
  for (let i = 0; pairs.size < edges; i += 1) {
    const pair = [`s${i % services}`, `s${(i * 7 + 13 * Math.floor(i / services) + 5) % services}`];
    pairs.set(pair.join(">"), pair);
  }
  return [...pairs.values()];
}

test("a large map takes a bounded number of steps, and all of it is drawn", () => {
  const steps = [[50, 100], [100, 300], [100, 600]].map(([services, edges]) => {
    const map = place(random(services, edges));
    assert.deepEqual([map.nodes.size, map.edges.size], [services, edges]);
    for (const { path } of map.edges.values()) assert.ok(!path.includes("NaN"), path);
    return map.comparisons;
  });
  assert.ok(steps.every((count) => count <= COMPARISONS_MAX), `${steps}`);
  assert.ok(steps[0] > 0 && steps[1] > steps[0] && steps[2] > COMPARISONS_MAX / 2, `the order is still looked for: ${steps}`);
});

test("times have a date and a zone, and are the same wherever the page is looked at", () => {
  const at = 1_769_860_810_000_000;
  assert.equal(format.time(at), "2026-01-31 12:00:10 UTC");
  assert.equal(format.period(at, at + 10_000_000), "2026-01-31 12:00:10 – 12:00:20 UTC");
  assert.equal(format.period(at, at + 86_400_000_000), "2026-01-31 12:00:10 UTC – 2026-02-01 12:00:10 UTC");
  assert.equal(format.time(Number.MAX_SAFE_INTEGER * 1000).slice(0, 4), "9999", "a time that no calendar has breaks nothing");
});

test("numbers read well", () => {
  assert.deepEqual([format.rate(0), format.rate(12.34), format.rate(12345)], ["0/s", "12.3/s", "12.3k/s"]);
  assert.deepEqual([format.share(0.0004), format.completeness(0.99999), format.latency(4123)], ["<0.1 %", "99.9 %", "4.1 ms"]);
});
