// Which height everything of the map has. In: the layers of layout.js, in their order, and the group of each node. Out: `top` of each
// point, and a frame around each group. Pure, and the same for the same names.
//
// Promises: the frame of a group holds its nodes and no others, and frames do not overlap. Groups lie below each other in one order (their
// `rank`), which keeps those that call each other near; a group moves up beside another one where both have layers to themselves.
// Without groups there is one lane, and no frame.

// Rounds in which neighbours pull at each other: points within a lane, and lanes as a whole.
const ROUNDS = 12;
const LANE_ROUNDS = 6;
// Of exchanging neighbours in the order of groups.
const PASSES_MAX = 40;
// What nothing joins stands side by side in so many layers, or as many as the longest chain has.
const LAYERS_MIN = 4;

// The place of each group, from top to bottom: callers above whom they call at first; then neighbours change places as long as that
// makes the calls between groups shorter. Most calls lead downwards.
export function rankGroups(names, links, groupOf) {
  const groups = [...new Set(names.map(groupOf))].sort(compare);
  const calls = new Map();
  for (const { from, to } of links) {
    const [a, b] = [groupOf(from), groupOf(to)];
    if (a === b) continue;
    for (const [one, other] of [[a, b], [b, a]]) {
      if (!calls.has(one)) calls.set(one, new Map());
      calls.get(one).set(other, (calls.get(one).get(other) ?? 0) + 1);
    }
  }
  const order = callersFirst(groups, links, groupOf);
  const place = new Map(order.map((group, i) => [group, i]));
  const length = (group) => {
    let sum = 0;
    for (const [other, count] of calls.get(group) ?? []) sum += count * Math.abs(place.get(group) - place.get(other));
    return sum;
  };
  const exchange = (i) => {
    [order[i], order[i + 1]] = [order[i + 1], order[i]];
    place.set(order[i], i).set(order[i + 1], i + 1);
  };
  for (let pass = 0, better = true; better && pass < PASSES_MAX; pass += 1) {
    better = false;
    for (let i = 0; i + 1 < order.length; i += 1) {
      const before = length(order[i]) + length(order[i + 1]);
      exchange(i);
      if (length(order[i]) + length(order[i + 1]) < before) better = true;
      else exchange(i);
    }
  }
  const downwards = links.reduce((sum, { from, to }) => sum + Math.sign(place.get(groupOf(to)) - place.get(groupOf(from))), 0);
  if (downwards < 0) order.reverse();
  return new Map(order.map((group, i) => [group, i]));
}

// Depth first from the groups that are called by the fewest others.
function callersFirst(groups, links, groupOf) {
  const called = new Map(groups.map((group) => [group, 0]));
  const callees = new Map(groups.map((group) => [group, new Set()]));
  for (const { from, to } of links) {
    const [a, b] = [groupOf(from), groupOf(to)];
    if (a === b || callees.get(a).has(b)) continue;
    callees.get(a).add(b);
    called.set(b, called.get(b) + 1);
  }
  const byCallers = (a, b) => called.get(a) - called.get(b) || compare(a, b);
  const found = new Set();
  const stack = [...groups].sort(byCallers).reverse();
  while (stack.length > 0) {
    const group = stack.pop();
    if (found.has(group)) continue;
    found.add(group);
    stack.push(...[...callees.get(group)].filter((next) => !found.has(next)).sort(byCallers).reverse());
  }
  return [...found];
}

// A lane is what has one rank: {name, cells: its points of each layer, top to bottom, frame: {first, last, top, bottom} or null}.
export function makeLanes(graph, ranks) {
  const names = [...ranks.keys()].sort((a, b) => ranks.get(a) - ranks.get(b));
  const lanes = names.map((name) => ({ name, cells: new Map(), frame: null }));
  for (const layer of graph.layers) {
    for (const point of layer) {
      const { cells } = lanes[point.rank];
      if (!cells.has(point.layer)) cells.set(point.layer, []);
      cells.get(point.layer).push(point);
    }
  }
  return lanes;
}

// How far a frame stands off from its nodes at its sides; nothing where there are no frames.
export function frameGap(lanes, sizes) {
  return lanes.some((lane) => lane.name !== "") ? sizes.framePadding : 0;
}

export function setTops(lanes, sizes) {
  for (const lane of lanes) {
    setTopsWithin(lane, sizes);
    if (lane.name !== "") lane.frame = frameOf(lane, sizes);
  }
  placeLanes(lanes, sizes);
}

// Each point wants the mean height of its neighbours in the lane; the order and the gaps hold. The highest is at 0.
function setTopsWithin(lane, sizes) {
  const gap = (a, b) => (a.edge !== null && b.edge !== null ? 2 : sizes.nodeGap);
  const cells = [...lane.cells.values()];
  for (const cell of cells) {
    let top = 0;
    cell.forEach((point, i) => {
      if (i > 0) top += gap(cell[i - 1], point);
      point.top = top;
      top += point.height;
    });
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const cell of round % 2 === 0 ? cells : [...cells].reverse()) {
      const wishes = cell.map((point) => {
        const others = neighbours(point).filter((other) => other.rank === point.rank);
        const wish = others.length === 0 ? middle(point) : mean(others.map(middle));
        return wish - point.height / 2;
      });
      spread(cell, wishes, gap);
    }
  }
  const points = cells.flat();
  const highest = points.reduce((top, point) => Math.min(top, point.top), Infinity);
  for (const point of points) point.top -= highest;
}

// Around the nodes, and whatever of the group's own lines runs between them.
function frameOf(lane, sizes) {
  const withNodes = [...lane.cells].filter(([, cell]) => cell.some((point) => point.edge === null)).map(([layer]) => layer);
  const [first, last] = [Math.min(...withNodes), Math.max(...withNodes)];
  const inside = [...lane.cells].filter(([layer]) => layer >= first && layer <= last).flatMap(([, cell]) => cell);
  const top = Math.min(...inside.map((point) => point.top)) - sizes.framePadding - sizes.frameHeader;
  const bottom = Math.max(...inside.map((point) => point.top + point.height)) + sizes.framePadding;
  return { first, last, top, bottom };
}

// As high as the lanes above allow in the layers that they share; then each towards those that it calls and that call it, as far as the
// whole becomes no taller.
function placeLanes(lanes, sizes) {
  const extents = lanes.map(extentOf);
  const starts = stack(extents, sizes, () => -Infinity);
  const bottom = Math.max(...extents.map((extent, i) => starts[i] + Math.max(...[...extent.values()].map(([, low]) => low))));
  const upsideDown = [...extents].reverse().map((extent) => new Map([...extent].map(([layer, [high, low]]) => [layer, [-low, -high]])));
  const latest = stack(upsideDown, sizes, () => -Infinity).reverse().map((start) => bottom + sizes.margin - start);
  let now = starts;
  lanes.forEach((lane, i) => move(lane, now[i], 0));
  for (let round = 0; round < LANE_ROUNDS && lanes.length > 1; round += 1) {
    const wishes = lanes.map((lane, i) => Math.min(now[i] + pull(lane), latest[i]));
    const next = stack(extents, sizes, (i) => wishes[i]);
    lanes.forEach((lane, i) => move(lane, next[i] - now[i], 0));
    now = next;
  }
}

// Where each begins: at its wish, or below those before it, at least at the margin.
function stack(extents, sizes, wishOf) {
  const taken = new Map();
  return extents.map((extent, i) => {
    let start = wishOf(i);
    for (const [layer, [high]] of extent) start = Math.max(start, (taken.has(layer) ? taken.get(layer) + sizes.frameGap : sizes.margin) - high);
    for (const [layer, [, low]] of extent) taken.set(layer, start + low);
    return start;
  });
}

// Moves parts that nothing joins, each a list of lanes, to where they make the whole no taller than they must.
export function pack(parts, sizes) {
  const shapes = parts.map((lanes) => {
    const shape = new Map();
    for (const [layer, [high, low]] of lanes.flatMap((lane) => [...extentOf(lane)])) {
      const [highest, lowest] = shape.get(layer) ?? [high, low];
      shape.set(layer, [Math.min(high, highest), Math.max(low, lowest)]);
    }
    return shape;
  });
  const layers = Math.max(LAYERS_MIN, ...shapes.map((shape) => shape.size));
  const taken = new Array(layers).fill(sizes.margin - sizes.partGap);
  parts.forEach((lanes, i) => {
    const shape = [...shapes[i]];
    let best = null;
    for (let shift = 0; shift + shape.length <= layers; shift += 1) {
      const start = shape.reduce((start, [layer, [high]]) => Math.max(start, taken[layer + shift] + sizes.partGap - high), -Infinity);
      const bottom = shape.reduce((bottom, [, [, low]]) => Math.max(bottom, start + low), -Infinity);
      if (best === null || bottom < best.bottom) best = { shift, start, bottom };
    }
    for (const [layer, [, low]] of shape) taken[layer + best.shift] = best.start + low;
    for (const lane of lanes) move(lane, best.start, best.shift);
  });
}

function move(lane, down, right) {
  for (const point of [...lane.cells.values()].flat()) {
    point.top += down;
    point.layer += right;
  }
  if (lane.frame === null) return;
  const { first, last, top, bottom } = lane.frame;
  lane.frame = { first: first + right, last: last + right, top: top + down, bottom: bottom + down };
}

// From where to where a lane reaches in each layer, before it is placed.
function extentOf({ cells, frame }) {
  const extent = new Map();
  for (const [layer, cell] of cells) extent.set(layer, [cell[0].top, cell.at(-1).top + cell.at(-1).height]);
  for (let layer = frame?.first; layer <= frame?.last; layer += 1) extent.set(layer, [frame.top, frame.bottom]);
  return extent;
}

// How far the neighbours in other lanes are away, downwards, in the mean.
function pull(lane) {
  const ways = [...lane.cells.values()].flat().flatMap((point) => neighbours(point).filter((other) => other.rank !== point.rank).map((other) => middle(other) - middle(point)));
  return ways.length === 0 ? 0 : mean(ways);
}

// The tops nearest to the wishes (least squares) that keep order and gaps: neighbours that would overlap move as one block.
function spread(layer, wishes, gap) {
  const offsets = [];
  layer.forEach((point, i) => {
    offsets.push(i === 0 ? 0 : offsets[i - 1] + layer[i - 1].height + gap(layer[i - 1], point));
  });
  const blocks = [];
  layer.forEach((_, i) => {
    let block = { sum: wishes[i] - offsets[i], count: 1 };
    while (blocks.length > 0) {
      const previous = blocks[blocks.length - 1];
      if (previous.sum / previous.count < block.sum / block.count) break;
      blocks.pop();
      block = { sum: previous.sum + block.sum, count: previous.count + block.count };
    }
    blocks.push(block);
  });
  let i = 0;
  for (const block of blocks) {
    for (let k = 0; k < block.count; k += 1, i += 1) layer[i].top = block.sum / block.count + offsets[i];
  }
}

function neighbours(point) {
  return [...point.ins.map((segment) => segment.from), ...point.outs.map((segment) => segment.to)];
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
