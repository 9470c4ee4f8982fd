// The page in Chromium. Arguments: the console's address and a folder for screenshots. Prints `do: WORD` when it wants
// something published and waits for a line on standard input.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [url, screenshots] = process.argv.slice(2);
const PATIENCE_MS = 40_000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function please(word) {
  console.log(`do: ${word}`);
  await answers.next();
}

const profile = mkdtempSync(join(tmpdir(), "headwater-browser-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS, viewport: { width: 1440, height: 1000 }, colorScheme: "light",
});
try {
  await look(await context.newPage());
  console.log("the page shows what it should");
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
process.exit(0);

async function look(page) {
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("ERR_CONNECTION_REFUSED")) complaints.push(message.text());
  });
  page.setDefaultTimeout(PATIENCE_MS);
  const shot = (name) => page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  const shows = (selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor({ state: "visible" });

  await page.goto(url);
  await shows("#empty", "Nothing to show yet");
  await shows("#empty li.done", "Kafka answers");
  await shows("#empty", "headwater up --demo");
  await shot("empty");

  await please("shop");
  await page.locator(".node").nth(7).waitFor();
  const names = await page.locator(".node .name").allTextContents();
  assert.deepEqual(names.sort(), ["nginx", "postgres", "redis-server", "shop-catalog", "shop-load", "shop-orders", "shop-payments", "shop-shipping"]);
  assert.equal(await page.locator(".edge").count(), 14);
  await page.locator("input[value='0']").check({ force: true });
  await checkLabels(page);
  await shows("#status", "Live");
  await shows("#operations tbody tr:first-child", "POST /payments");

  await please("alert");
  await shows("#firing", "1 alert firing");
  await shows(".alert.firing-now .message", "shop-payments fails 25 %");
  await page.locator(".alert summary").click();
  await shows(".alert .evidence", "headwater.edges partition 0 offset 4711");
  await shows(".node.alert .name", "shop-payments");
  await shows(".agent", "healthy");
  await shows(".agent", "rate_limit");
  await shot("map");

  await checkSelection(page, shot);
  await checkSteadiness(page);

  await please("gap");
  await shows("#notices", "node node-3 sent no data");
  await shows("#complete", "75.0 % complete");
  await please("resolve");
  await shows(".alert.resolved", "Resolved");
  assert.ok(await page.locator("#firing").isHidden());

  await please("markup");
  await page.locator(".node").nth(9).waitFor();
  assert.equal(await page.title(), "Headwater");
  assert.equal(await page.locator(".node img, .node b").count(), 0, "data never becomes markup");

  await shows("#status", "Stale");
  await shows("#notices", "is headwater-agent running?");
  await shot("stale");
  assert.deepEqual(complaints, []);
}

// Every label says what the JSON says of its edge.
async function checkLabels(page) {
  await page.waitForFunction(async () => {
    const format = await import("/format.js");
    const map = await (await fetch("/api/map?minutes=0")).json();
    const edges = [...document.querySelectorAll(".edge")];
    return map.edges.length === edges.length && map.edges.every((edge) => {
      const drawn = edges.find((group) => group.dataset.key === edge.id);
      return drawn?.getAttribute("aria-label") === `${format.workload(edge.client)} to ${format.workload(edge.server)}, ${edge.protocol}: ${format.edgeLabel(edge)}`;
    });
  });
  const label = page.locator(".label[data-key='//unit/shop-orders>//unit/shop-payments/http']");
  const map = await (await page.request.get(`${url}/api/map?minutes=0`)).json();
  const { requests } = map.edges.find((edge) => edge.id === "//unit/shop-orders>//unit/shop-payments/http");
  assert.match(await label.textContent(), new RegExp(`^${requests.requests_per_s.toFixed(1)}/s · ${(requests.error_share * 100).toFixed(1)} %p95 \\d+ ms$`));
  const tcp = page.locator(".label[data-key='//unit/shop-catalog>//unit/postgres/tcp']");
  assert.match(await tcp.textContent(), /^\d+\.\d KB\/sRTT 31 µs$/);
}

// By keyboard and by mouse: details open, the table narrows, Escape ends it.
async function checkSelection(page, shot) {
  await page.locator(".edge[data-key='//unit/shop-orders>//unit/shop-payments/http']").focus();
  await page.keyboard.press("Enter");
  await page.locator("#details h2").filter({ hasText: "shop-orders → shop-payments" }).waitFor();
  await page.locator("#details .chart rect.volume").nth(5).waitFor();
  assert.deepEqual(await page.locator("#operations tbody td:first-child").allTextContents(), ["POST /payments"]);
  await shot("edge");
  await page.keyboard.press("Escape");
  await page.locator("#details").waitFor({ state: "hidden" });
  await page.locator(".node[data-key='//unit/shop-catalog']").click();
  await page.locator("#details h2").filter({ hasText: "shop-catalog" }).waitFor();
  assert.equal(await page.locator("#operations tbody tr").count(), 2);
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.keyboard.press("Escape");
}

// A refresh moves nothing and keeps the focus.
async function checkSteadiness(page) {
  const node = page.locator(".node[data-key='//unit/shop-orders']");
  await node.focus();
  const before = await node.boundingBox();
  await page.waitForResponse((response) => response.url().includes("/api/map"));
  await page.waitForResponse((response) => response.url().includes("/api/agents"));
  assert.deepEqual(await node.boundingBox(), before);
  assert.equal(await page.evaluate(() => document.activeElement?.dataset.key), "//unit/shop-orders");
}
