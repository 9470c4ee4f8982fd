// Numbers, times and durations as people read them. In: plain values. Out: short texts, always of the same form, so that
// a refresh changes digits and not widths.

const YEAR_9999_MS = 253_402_300_799_000;

export function rate(perSecond) {
  if (perSecond === 0) return "0/s";
  if (perSecond < 0.1) return "<0.1/s";
  if (perSecond < 1000) return `${perSecond.toFixed(1)}/s`;
  return `${scaled(perSecond, ["", "k", "M", "G"], 1000)}/s`;
}

export function share(part) {
  const percent = part * 100;
  if (percent > 0 && percent < 0.1) return "<0.1 %";
  if (percent > 99.9 && percent < 100) return ">99.9 %";
  return `${percent.toFixed(1)} %`;
}

// Completeness is rounded down: what is not complete must never read as 100 %.
export function completeness(part) {
  if (part >= 1) return "100 %";
  return `${(Math.floor(part * 1000) / 10).toFixed(1)} %`;
}

export function latency(us) {
  if (us <= 0) return "–";
  if (us < 1000) return `${us.toFixed(0)} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${(us / 1000).toFixed(0)} ms`;
  return `${(us / 1_000_000).toFixed(1)} s`;
}

// The duration that 95 of 100 answers do not exceed. Where nothing is answered, or all are asked to wait, nobody was slow or quick.
export function p95(us) {
  return us > 0 ? `p95 ${latency(us)}` : "nothing timed";
}

export function bytes(count) {
  return scaled(count, ["B", "KB", "MB", "GB", "TB"], 1000, " ");
}

export function bytesPerSecond(perSecond) {
  return `${bytes(perSecond)}/s`;
}

export function count(number) {
  return number.toLocaleString("en-US").replaceAll(",", "\u202f");
}

// A point in time, such as `2026-01-31 12:30:10 UTC`: as the terminal shows it, and the same for whoever looks from anywhere.
export function time(us) {
  return `${day(us)} ${clock(us)} UTC`;
}

// The time of the day in UTC, where its day stands beside it.
export function clock(us) {
  return iso(us).slice(11, 19);
}

// From one point in time to another, such as `2026-01-31 12:30:10 – 12:31:10 UTC`.
export function period(fromUs, toUs) {
  return day(fromUs) === day(toUs) ? `${day(fromUs)} ${clock(fromUs)} – ${clock(toUs)} UTC` : `${time(fromUs)} – ${time(toUs)}`;
}

function day(us) {
  return iso(us).slice(0, 10);
}

// A time that no calendar has must not keep the page from being drawn.
function iso(us) {
  return new Date(Math.min(Math.max(us / 1000, 0), YEAR_9999_MS)).toISOString();
}

export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 72 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

let namesClusters = false;

// Whether names begin with the cluster: only where there are several, since in one it would say nothing.
export function tellClustersApart(nodes) {
  namesClusters = new Set(nodes.filter((node) => node.namespace !== "").map((node) => node.cluster)).size > 1;
}

// A workload as a person would say it; its id is another matter, see live/workload.rs.
export function workload(who) {
  return who.namespace === "" ? who.name : `${namespace(who)}/${who.name}`;
}

// Where a workload is; nothing outside of namespaces.
export function namespace(who) {
  return namesClusters && who.namespace !== "" ? `${who.cluster}/${who.namespace}` : who.namespace;
}

// With its middle left out, if it is longer: names that differ at their beginnings or at their ends stay different.
export function shortened(name, lengthMax) {
  if (name.length <= lengthMax) return name;
  const end = Math.floor((lengthMax - 1) / 2);
  return `${name.slice(0, lengthMax - 1 - end)}…${name.slice(name.length - end)}`;
}

// How connections are encrypted, the weakest first, such as `3 clear text, 12 TLS 1.3`.
export function encryption(counts) {
  return counts.map(([word, connections]) => `${count(connections)} ${encryptionTitle(word)}`).join(", ");
}

// The same without numbers, such as `clear text, TLS 1.3`.
export function encryptionKinds(counts) {
  return counts.map(([word]) => encryptionTitle(word)).join(", ");
}

function encryptionTitle(word) {
  if (word === "none") return "clear text";
  const version = /^(tls|ssl)([0-9.]*)$/.exec(word);
  return version === null ? word : `${version[1].toUpperCase()} ${version[2]}`.trim();
}

// The weakest of what is encrypted; nothing for what is not, or not known.
function weakest(edge) {
  const [word] = edge.encryption[0] ?? ["unknown"];
  return edge.protocol === "tls" && word !== "unknown" ? encryptionTitle(word) : "";
}

// What stands on an edge of the map: above its line, and below it.
export function edgeLines(edge) {
  if (edge.requests.requests > 0) {
    const { requests_per_s, error_share, p95_us } = edge.requests;
    return [`${rate(requests_per_s)} · ${share(error_share)}`, p95(p95_us)];
  }
  const both = edge.to_server_bytes_per_s + edge.to_client_bytes_per_s;
  if (both === 0 && edge.connections_failed > 0) return [`${count(edge.connections_failed)} failed`, "to connect"];
  if (both === 0) return ["idle", ""];
  const roundTrip = edge.rtt_us === null ? "" : `RTT ${latency(edge.rtt_us)}`;
  // There is no room for both; the details have either.
  return [bytesPerSecond(both), weakest(edge) || roundTrip];
}

// The same as one text, such as `12.3/s · 0.0 % · p95 4.1 ms`.
export function edgeLabel(edge) {
  return edgeLines(edge).filter((line) => line !== "").join(" · ");
}

// Three digits and a unit.
function scaled(value, units, base, space = "") {
  let unit = 0;
  while (Math.abs(value) >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)}${space}${units[unit]}`;
}
