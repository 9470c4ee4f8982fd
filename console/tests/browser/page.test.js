// The page in Chromium, with everything that the shop's map has: see browser.js for the arguments.

import assert from "node:assert/strict";
import { context, please, run, url } from "./browser.js";

await run(look);

async function look(page, shot) {
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
  const cells = await page.locator("#operations tbody tr:first-child td").allTextContents();
  assert.deepEqual(cells.slice(0, 4), ["POST /payments", "shop-orders → shop-payments", "http", "clear text"]);

  await please("alert");
  await shows("#firing", "1 alert firing");
  await shows(".alert.firing-now .message", "shop-payments fails 25 %");
  await page.locator(".alert summary").click();
  await shows(".alert .evidence", "headwater.edges partition 0 offset 4711");
  await shows(".node.alert .name", "shop-payments");
  await shows(".agent", "healthy");
  await shows(".agent", "rate_limit");
  await shot("map");

  await checkTable(page);
  await checkSelection(page, shot);
  await checkSteadiness(page);
  await checkTimes(page);
  await checkTabs();
  await checkGrowth(page);
  await checkOutages(page);

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
  await checkAnnouncements(page);
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
  const tls = page.locator(".label[data-key='//unit/shop-shipping>//unit/postgres/tls']");
  assert.match(await tls.textContent(), /^\d+\.\d KB\/sTLS 1\.2$/, "the weakest of what it uses");
}

// All columns are to be seen at once, and what fails stands out in its own one.
async function checkTable(page) {
  const { height, width } = page.viewportSize();
  for (const narrower of [1365, 1240, 940]) {
    await page.setViewportSize({ width: narrower, height });
    const cut = await page.locator("#operations").evaluate((table) => table.parentElement.scrollWidth - table.parentElement.clientWidth);
    assert.equal(cut, 0, `on a page of ${narrower} the table is wider than its place`);
  }
  await page.setViewportSize({ width, height });
  const colors = await page.locator("#operations tr.bad").first().evaluate((row) => [...row.cells].map((cell) => getComputedStyle(cell).color));
  const heads = await page.locator("#operations th").allTextContents();
  const bad = await page.evaluate(() => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = "var(--bad)";
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  });
  assert.deepEqual(heads.filter((_, i) => colors[i] === bad), ["Errors"]);
}

// By keyboard and by mouse: details open, the table narrows, Escape ends it.
async function checkSelection(page, shot) {
  await page.locator(".edge[data-key='//unit/shop-orders>//unit/shop-payments/http']").focus();
  await page.keyboard.press("Enter");
  await page.locator("#details h2").filter({ hasText: "shop-orders → shop-payments" }).waitFor();
  await page.locator("#details .chart rect.volume").nth(5).waitFor();
  assert.deepEqual(await page.locator("#operations tbody td:first-child").allTextContents(), ["POST /payments"]);
  const figure = page.locator("#details .figures div").filter({ has: page.locator("dt", { hasText: /^asked for$/ }) });
  assert.equal(await figure.locator("dd").textContent(), "10.96.0.10:80, [fd00::10]:80, and more", "what was asked for, beside who answered");
  const encryption = page.locator("#details .figures div").filter({ has: page.locator("dt", { hasText: /^encryption$/ }) });
  assert.equal(await encryption.locator("dd").textContent(), "3 clear text");
  await shot("edge");
  await page.keyboard.press("Escape");
  await page.locator("#details").waitFor({ state: "hidden" });
  await page.locator(".edge[data-key='//unit/shop-catalog>//unit/postgres/tcp']").focus();
  await page.keyboard.press("Enter");
  await page.locator("#details h2").filter({ hasText: "shop-catalog → postgres" }).waitFor();
  assert.equal(await figure.count(), 0, "no client's side told");
  await page.keyboard.press("Escape");
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

// Date and zone stand beside every time, and they are those of the terminal.
async function checkTimes(page) {
  const { span } = await (await page.request.get(`${url}/api/map?minutes=0`)).json();
  const from = new Date(span.from_us / 1000).toISOString();
  const facts = await page.locator("#map-facts").textContent();
  assert.ok(facts.includes(`${from.slice(0, 10)} ${from.slice(11, 19)} – `) && facts.includes(" UTC"), facts);
}

// Browsers open six connections to a host, for all tabs together: none may be held.
async function checkTabs() {
  const tabs = [];
  for (let i = 0; i < 8; i += 1) {
    const tab = await context.newPage();
    tabs.push(tab);
    await tab.goto(url);
    await tab.locator(".node").nth(7).waitFor();
  }
  await Promise.all(tabs.map((tab) => tab.waitForResponse((response) => response.url().includes("/api/agents"))));
  await Promise.all(tabs.map((tab) => tab.close()));
}

// While Kafka is away each refresh tells the same of several topics: the page must not become longer with each.
async function checkGrowth(page) {
  const away = ["the brokers are away", "the brokers are away", "the registry is away"];
  await page.route("**/api/status", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), other_problems: away } });
  });
  const rows = page.locator("#notices .notice").filter({ hasText: "cannot be read" });
  await rows.nth(2).waitFor();
  for (let i = 0; i < 3; i += 1) await page.waitForResponse((response) => response.url().includes("/api/agents"));
  assert.equal(await rows.count(), away.length);
  await page.unroute("**/api/status");
  await rows.first().waitFor({ state: "detached" });
}

// What stands between, such as a proxy or an ingress, answers with errors for a while.
async function checkOutages(page) {
  const status = (text) => page.locator("#status").filter({ hasText: text }).waitFor();
  for (const code of [502, 503]) {
    await page.route("**/api/**", (route) => route.fulfill({ status: code, body: "nobody is behind this" }));
    await status("The console does not answer");
    await page.unroute("**/api/**");
    await status(/Live|Stale/);
  }
}

// A screen reader speaks whenever a live region changes: none may change because time goes by.
async function checkAnnouncements(page) {
  const changes = await page.evaluate(() => new Promise((resolve) => {
    const regions = document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log], [role=timer]");
    const spoken = [];
    const all = { subtree: true, childList: true, characterData: true };
    const listener = new MutationObserver((records) => spoken.push(...records.map((record) => record.target.textContent)));
    regions.forEach((region) => listener.observe(region, all));
    let ticks = 0;
    const clock = new MutationObserver(() => {
      ticks += 1;
      if (ticks === 4) resolve({ regions: [...regions].map((region) => region.textContent), spoken });
    });
    clock.observe(document.getElementById("status-age"), all);
  }));
  assert.equal(changes.regions.length, 1);
  assert.match(changes.regions[0], /^Stale/);
  assert.deepEqual(changes.spoken, []);
}
