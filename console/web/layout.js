// Where everything of the map stands. In: names of nodes and edges between them. Out: boxes and paths. Pure: it touches no
// page, so that it is tested on its own. The same names give the same picture, whatever the numbers on them.
//
// Steps, after Sugiyama: edges that close a cycle are turned round; a node stands one layer to the right of the last of those
// that call it; an edge over several layers gets a waypoint in each; the order within the layers is chosen by barycentre
// with the fewest crossings; heights follow the neighbours. Each end of an edge has a line of its own at its node, and
// the label lies on the straight run into the right-hand node, so labels never overlap. Nodes of a group stand together in a
// frame, into which nothing of another group comes: see lanes.js. What nothing joins is arranged by itself.

import { frameGap, makeLanes, pack, rankGroups, setTops } from "./lanes.js";

export const SIZES = {
  nodeWidth: 164,
  nodeHeightMin: 68,
  portSpacing: 38,
  portMargin: 16,
  nodeGap: 26,
  waypointHeight: 22,
  bend: 58,
  label: 104,
  margin: 16,
  framePadding: 14,
  frameHeader: 24,
  frameGap: 18,
  partGap: 26,
};

// Rounds in which the order within the layers may become better. Each compares every pair of lines between two layers, so a map
// with so many lines that the rounds would hold the page up gets fewer of them, and has more crossings.
const SWEEPS = 24;
export const COMPARISONS_MAX = 20_000_000;

// `edges` are {id, from, to}; `groupOf` gives a node's group, and "" for one in none. Returns {width, height, nodes: Map name -> box,
// edges: Map id -> {path, label, loop}, frames: Map group -> box, comparisons}.
export function layout(names, edges, groupOf = () => "", sizes = SIZES) {
  let comparisons = 0;
  const parts = components(names, edges, groupOf).map((part) => {
    const graph = arrange(part, groupOf, COMPARISONS_MAX - comparisons);
    comparisons += graph.comparisons;
    setHeights(graph, sizes);
    setTops(graph.lanes, sizes);
    return graph;
  });
  pack(parts.map((graph) => graph.lanes), sizes);
  return { ...draw(parts, sizes), comparisons };
}

// What nothing joins, the largest first: each is arranged by itself.
function components(names, edges, groupOf) {
  const parent = new Map();
  const find = (key) => {
    let root = key;
    while (parent.has(root)) root = parent.get(root);
    if (root !== key) parent.set(key, root);
    return root;
  };
  const join = (a, b) => {
    const [one, other] = [find(a), find(b)];
    if (one !== other) parent.set(one, other);
  };
  for (const name of names) if (groupOf(name) !== "") join(`node ${name}`, `group ${groupOf(name)}`);
  for (const { from, to } of edges) join(`node ${from}`, `node ${to}`);
  const edgesOf = group(edges, ({ from }) => find(`node ${from}`));
  const parts = [...group([...names].sort(compare), (name) => find(`node ${name}`))];
  return parts.map(([root, names]) => ({ names, edges: edgesOf.get(root) ?? [] })).sort((a, b) => b.names.length - a.names.length);
}

// Gives every node its layer, its lane and its place in the order of both.
function arrange({ names, edges }, groupOf, comparisonsMax) {
  const links = edges.filter((edge) => edge.from !== edge.to);
  const turned = findBackEdges(names, links);
  const forward = links.map((edge) => {
    const back = turned.has(edge.id);
    return { id: edge.id, back, left: back ? edge.to : edge.from, right: back ? edge.from : edge.to };
  });
  const layerOf = longestPaths(names, forward);
  const ranks = rankGroups(names, links, groupOf);
  const graph = addWaypoints(names, forward, layerOf, (name) => ranks.get(groupOf(name)));
  orderLayers(graph, comparisonsMax);
  return { ...graph, forward, loops: edges.filter((edge) => edge.from === edge.to), lanes: makeLanes(graph, ranks) };
}

// Edges that lead back to a node of the path that depth-first search is on. Search starts where nobody calls.
function findBackEdges(names, edges) {
  const outgoing = group(edges, (edge) => edge.from);
  const called = new Set(edges.map((edge) => edge.to));
  const starts = [...names].sort((a, b) => Number(called.has(a)) - Number(called.has(b)) || compare(a, b));
  const state = new Map();
  const back = new Set();
  for (const start of starts) {
    if (state.has(start)) continue;
    const stack = [{ name: start, next: 0 }];
    state.set(start, "open");
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const edge = (outgoing.get(top.name) ?? [])[top.next];
      if (edge === undefined) {
        state.set(top.name, "done");
        stack.pop();
        continue;
      }
      top.next += 1;
      if (state.get(edge.to) === "open") back.add(edge.id);
      else if (!state.has(edge.to)) {
        state.set(edge.to, "open");
        stack.push({ name: edge.to, next: 0 });
      }
    }
  }
  return back;
}

// The layer of a node is the length of the longest path to it. Without cycles this ends after as many rounds as layers.
function longestPaths(names, forward) {
  const layerOf = new Map(names.map((name) => [name, 0]));
  const incoming = new Map(names.map((name) => [name, 0]));
  for (const edge of forward) incoming.set(edge.right, incoming.get(edge.right) + 1);
  const outgoing = group(forward, (edge) => edge.left);
  const ready = names.filter((name) => incoming.get(name) === 0);
  while (ready.length > 0) {
    const name = ready.pop();
    for (const edge of outgoing.get(name) ?? []) {
      layerOf.set(edge.right, Math.max(layerOf.get(edge.right), layerOf.get(name) + 1));
      incoming.set(edge.right, incoming.get(edge.right) - 1);
      if (incoming.get(edge.right) === 0) ready.push(edge.right);
    }
  }
  return layerOf;
}

// Points are nodes and waypoints; segments join points of neighbouring layers. `rank` is the place of a group among the others, from
// top to bottom; a line runs on beside the group that it comes from.
function addWaypoints(names, forward, layerOf, rankOf) {
  const layers = [];
  const points = new Map();
  const segments = [];
  const put = (key, layer, edge, rank) => {
    const point = { key, layer, edge, rank, ins: [], outs: [] };
    points.set(key, point);
    (layers[layer] ??= []).push(point);
    return point;
  };
  for (const name of [...names].sort(compare)) put(`node ${name}`, layerOf.get(name), null, rankOf(name));
  for (const edge of forward) {
    let from = points.get(`node ${edge.left}`);
    for (let layer = layerOf.get(edge.left) + 1; layer <= layerOf.get(edge.right); layer += 1) {
      const last = layer === layerOf.get(edge.right);
      const to = last ? points.get(`node ${edge.right}`) : put(`way ${layer} ${edge.id}`, layer, edge.id, rankOf(edge.left));
      const segment = { edge: edge.id, from, to };
      from.outs.push(segment);
      to.ins.push(segment);
      segments.push(segment);
      from = to;
    }
  }
  return { layers, points, segments, comparisons: 0 };
}

function orderLayers(graph, comparisonsMax) {
  const remember = () => graph.layers.map((layer) => [...layer]);
  for (const layer of graph.layers) layer.sort((a, b) => a.rank - b.rank);
  number(graph);
  const rounds = Math.min(SWEEPS + 1, Math.floor(comparisonsMax / pairs(graph)));
  if (rounds === 0) return;
  let best = remember();
  let fewest = crossings(graph);
  for (let sweep = 0; sweep < rounds - 1 && fewest > 0; sweep += 1) {
    const rightwards = sweep % 2 === 0;
    const layers = rightwards ? graph.layers : [...graph.layers].reverse();
    for (const layer of layers) {
      const centre = new Map(layer.map((point) => [point, barycentre(point, rightwards)]));
      layer.sort((a, b) => a.rank - b.rank || centre.get(a) - centre.get(b) || a.index - b.index);
      number(graph);
    }
    const found = crossings(graph);
    if (found < fewest) {
      fewest = found;
      best = remember();
    }
  }
  graph.layers = best;
  number(graph);
}

function number(graph) {
  for (const layer of graph.layers) layer.forEach((point, index) => (point.index = index));
}

function barycentre(point, rightwards) {
  const neighbours = rightwards ? point.ins.map((s) => s.from) : point.outs.map((s) => s.to);
  return neighbours.length === 0 ? point.index : mean(neighbours.map((neighbour) => neighbour.index));
}

// How many comparisons it takes to count the crossings once.
function pairs(graph) {
  const between = [...group(graph.segments, (segment) => segment.from.layer).values()];
  return between.reduce((sum, { length }) => sum + (length * (length - 1)) / 2, 0);
}

function crossings(graph) {
  let sum = 0;
  for (const [, segments] of group(graph.segments, (segment) => segment.from.layer)) {
    for (let i = 0; i < segments.length; i += 1) {
      for (let j = i + 1; j < segments.length; j += 1) {
        const [a, b] = [segments[i], segments[j]];
        graph.comparisons += 1;
        if ((a.from.index - b.from.index) * (a.to.index - b.to.index) < 0) sum += 1;
      }
    }
  }
  return sum;
}

function setHeights(graph, sizes) {
  for (const point of graph.points.values()) {
    const ports = Math.max(point.ins.length, point.outs.length);
    const needed = (ports - 1) * sizes.portSpacing + 2 * sizes.portMargin;
    point.height = point.edge === null ? Math.max(sizes.nodeHeightMin, needed) : sizes.waypointHeight;
  }
}

function draw(parts, sizes) {
  const lanes = parts.flatMap((graph) => graph.lanes);
  // The label of a line ends before the frame that the line goes into.
  const inset = frameGap(lanes, sizes);
  const pitch = sizes.nodeWidth + sizes.bend + sizes.label + inset;
  const margin = sizes.margin + inset;
  const left = (point) => margin + point.layer * pitch;
  const points = parts.flatMap((graph) => [...graph.points.values()]);
  for (const point of points) setPorts(point, sizes);

  const nodes = new Map();
  for (const point of points.filter((point) => point.edge === null)) {
    nodes.set(point.key.slice("node ".length), { x: left(point), y: point.top, width: sizes.nodeWidth, height: point.height });
  }
  const paths = new Map();
  for (const graph of parts) {
    drawLines(graph, left, inset, sizes, paths);
    for (const edge of graph.loops) {
      const box = nodes.get(edge.from);
      const x = box.x + box.width - 34;
      const path = `M${x} ${box.y} c -4 -24 28 -24 24 0`;
      paths.set(edge.id, { path, label: { x: x - 74, y: box.y - 2 }, back: false, loop: true });
    }
  }
  const frames = new Map();
  for (const { name, frame } of lanes.filter((lane) => lane.frame !== null)) {
    const x = left({ layer: frame.first }) - inset;
    frames.set(name, { x, y: frame.top, width: (frame.last - frame.first) * pitch + sizes.nodeWidth + 2 * inset, height: frame.bottom - frame.top });
  }
  const bottom = [...nodes.values(), ...frames.values()].reduce((bottom, box) => Math.max(bottom, box.y + box.height), 0);
  const last = points.reduce((last, point) => Math.max(last, point.layer), 0);
  return { width: 2 * margin + last * pitch + sizes.nodeWidth, height: bottom + sizes.margin, nodes, edges: paths, frames };
}

function drawLines(graph, left, inset, sizes, paths) {
  const right = (point) => left(point) + sizes.nodeWidth;
  const segmentsOf = group(graph.segments, (segment) => segment.edge);
  for (const { id, back } of graph.forward) {
    const segments = segmentsOf.get(id);
    const steps = [];
    let label = null;
    segments.forEach((segment, i) => {
      const [x1, y1] = [right(segment.from), segment.fromY];
      const [x2, y2] = [left(segment.to), segment.toY];
      const bendEnd = x1 + sizes.bend;
      const half = sizes.bend / 2;
      if (i === 0) steps.push(["M", x1, y1]);
      steps.push(["C", x1 + half, y1, bendEnd - half, y2, bendEnd, y2]);
      steps.push(["L", i < segments.length - 1 ? x2 + sizes.nodeWidth : x2, y2]);
      if (i === segments.length - 1) label = { x: (bendEnd + x2 - inset) / 2, y: y2 };
    });
    paths.set(id, { path: pathText(steps), label, back, loop: false });
  }
}

// Where the lines leave and enter a point, top to bottom in the order of what they lead to.
function setPorts(point, sizes) {
  const spacing = point.edge === null ? sizes.portSpacing : 0;
  const place = (segments, other, key) => {
    segments.sort((a, b) => other(a).index - other(b).index || compare(a.edge, b.edge));
    segments.forEach((segment, i) => (segment[key] = middle(point) + (i - (segments.length - 1) / 2) * spacing));
  };
  place(point.ins, (segment) => segment.from, "toY");
  place(point.outs, (segment) => segment.to, "fromY");
}

function pathText(steps) {
  return steps.map(([letter, ...numbers]) => letter + numbers.map((n) => Math.round(n * 10) / 10).join(" ")).join("");
}

function middle(point) {
  return point.top + point.height / 2;
}

function mean(numbers) {
  return numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

function group(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}
