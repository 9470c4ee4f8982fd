// The layout by itself: run by `node --test`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
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

// Boxes and labels as the page draws them; `groupOf` tells where each node belongs.
function checkFrames(pairs, groupOf) {
  const names = [...new Set(pairs.flat())];
  const map = layout(names, pairs.map(([from, to]) => ({ id: `${from}>${to}`, from, to })), groupOf);
  const groups = new Set(names.map(groupOf).filter((group) => group !== ""));
  assert.deepEqual([...map.frames.keys()].sort(), [...groups].sort(), "each group has one frame, and nothing else has");
  const frames = [...map.frames];
  for (const [group, frame] of frames) {
    for (const name of names) {
      const box = map.nodes.get(name);
      const inside = box.x > frame.x && box.y > frame.y && box.x + box.width < frame.x + frame.width && box.y + box.height < frame.y + frame.height;
      assert.equal(inside, groupOf(name) === group, `${name} and the frame of ${group}`);
      if (groupOf(name) !== group) assert.ok(!overlap(box, frame), `${name} lies on the frame of ${group}`);
    }
    assert.ok(frame.x >= 0 && frame.y >= 0 && frame.x + frame.width <= map.width && frame.y + frame.height <= map.height, group);
  }
  frames.forEach(([a, one], i) => frames.slice(i + 1).forEach(([b, other]) => assert.ok(!overlap(one, other), `${a} and ${b} overlap`)));
  const boxes = [...map.nodes.values()];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => assert.ok(!overlap(a, b))));
  // A call to oneself has its label at its own box.
  const labels = [...map.edges.values()].filter((edge) => !edge.loop).map(({ label }) => ({ x: label.x - SIZES.label / 2, y: label.y - 14, width: SIZES.label, height: 28 }));
  labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => assert.ok(!overlap(a, b))));
  labels.forEach((label) => boxes.forEach((box) => assert.ok(!overlap(label, box))));
  return map;
}

const namespaceOf = (name) => name.split("/").slice(0, -1).join("/");

test("each namespace of the sample has a frame of its own, and callers stand above whom they call", () => {
  const file = new URL("../../../k8s/overlays/dev/sample/expected-edges.json", import.meta.url);
  const name = (end) => end.external ?? `${end.namespace}/${end.name}`;
  const pairs = JSON.parse(readFileSync(file)).map(({ client, server }) => [name(client), name(server)]);
  const { frames } = checkFrames(pairs, namespaceOf);
  assert.deepEqual([...frames].sort(([, a], [, b]) => a.y - b.y).map(([group]) => group), ["sample-front", "sample-shop", "sample-data"]);
});

test("dozens of namespaces, with calls in all directions, stay apart", () => {
  const random = seeded(7);
  for (let round = 0; round < 40; round += 1) {
    const service = () => (random(9) === 0 ? `outside-${random(5)}` : `team-${random(4 + round)}/${["api", "db", "worker"][random(3)]}`);
    const pairs = new Map();
    for (let i = 0; i < 30 + 2 * round; i += 1) {
      const pair = [service(), service()];
      pairs.set(pair.join(">"), pair);
    }
    checkFrames([...pairs.values()], namespaceOf);
  }
});

test("namespaces that have nothing to do with each other stand side by side", () => {
  const teams = Array.from({ length: 36 }, (_, i) => [`team-${i}/api`, `team-${i}/db`]);
  const { width, height } = checkFrames(teams, namespaceOf);
  const { height: alone } = checkFrames(teams.slice(0, 1), namespaceOf);
  assert.ok(height < 36 * alone * 0.6, `${width} x ${height}, one of them is ${alone} high`);
});

test("the same names in two namespaces are two, and in none there is no frame", () => {
  const { nodes, frames } = checkFrames([["a/web", "a/db"], ["b/web", "b/db"]], namespaceOf);
  assert.deepEqual([nodes.size, frames.size], [4, 2]);
  assert.equal(place(SHOP).frames.size, 0);
});

// Numbers below a bound, the same in every run.
function seeded(seed) {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

test("times have a date and a zone, and are the same wherever the page is looked at", () => {
  const at = 1_769_860_810_000_000;
  assert.equal(format.time(at), "2026-01-31 12:00:10 UTC");
  assert.equal(format.period(at, at + 10_000_000), "2026-01-31 12:00:10 – 12:00:20 UTC");
  assert.equal(format.period(at, at + 86_400_000_000), "2026-01-31 12:00:10 UTC – 2026-02-01 12:00:10 UTC");
  assert.equal(format.time(Number.MAX_SAFE_INTEGER * 1000).slice(0, 4), "9999", "a time that no calendar has breaks nothing");
});

test("names that are too long stay different at both ends", () => {
  assert.equal(format.shortened("orders", 6), "orders");
  assert.deepEqual(["orders-service-blue", "orders-service-green", "billing-service-blue"].map((name) => format.shortened(name, 12)), ["orders…-blue", "orders…green", "billin…-blue"]);
});

test("the cluster is named where there are several", () => {
  const [east, west, plain] = [{ cluster: "east", namespace: "shop", name: "orders" }, { cluster: "west", namespace: "shop", name: "orders" }, { cluster: "", namespace: "", name: "nginx" }];
  format.tellClustersApart([east, plain]);
  assert.deepEqual([east, plain].map(format.workload), ["shop/orders", "nginx"]);
  format.tellClustersApart([east, west, plain]);
  assert.deepEqual([east, west, plain].map(format.workload), ["east/shop/orders", "west/shop/orders", "nginx"]);
  format.tellClustersApart([]);
});

test("numbers read well", () => {
  assert.deepEqual([format.rate(0), format.rate(12.34), format.rate(12345)], ["0/s", "12.3/s", "12.3k/s"]);
  assert.deepEqual([format.share(0.0004), format.completeness(0.99999), format.latency(4123)], ["<0.1 %", "99.9 %", "4.1 ms"]);
});

test("an edge whose requests nothing answers says that nothing is timed", () => {
  const edge = (p95_us) => ({ requests: { requests: 30, requests_per_s: 3, error_share: 0, p95_us } });
  assert.equal(format.edgeLabel(edge(4100)), "3.0/s · 0.0 % · p95 4.1 ms");
  assert.equal(format.edgeLabel(edge(0)), "3.0/s · 0.0 % · nothing timed");
});
