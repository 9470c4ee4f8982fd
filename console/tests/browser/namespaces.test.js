// The map of workloads in namespaces: the sample of Kubernetes, then a second cluster, then dozens. See browser.js for the arguments.

import assert from "node:assert/strict";
import { please, run, url } from "./browser.js";

await run(async (page, shot) => {
  await page.goto(url);
  await please("sample");
  await page.locator(".node").nth(9).waitFor();
  assert.deepEqual(await framed(page), {
    "sample-front": ["monitor DaemonSet", "storefront Deployment"],
    "sample-shop": ["catalog Deployment", "orders Deployment", "payments Deployment", "stock-check CronJob"],
    "sample-data": ["cache Deployment", "ledger StatefulSet", "search Deployment"],
    "": ["203.0.113.10:8080 address"],
  });
  await checkLegible(page);
  await shot("namespaces");

  // A name that is there already, in another namespace.
  await please("twin");
  await page.locator(".node").nth(11).waitFor();
  const catalogs = page.locator(".node").filter({ has: page.locator(".name", { hasText: "catalog" }) });
  assert.equal(await catalogs.count(), 2);
  const boxes = await framed(page);
  assert.ok(boxes["sample-shop"].includes("catalog Deployment") && boxes["staging"].includes("catalog Deployment"));
  await catalogs.nth(1).click();
  await page.locator("#details h2").filter({ hasText: /^staging\/catalog$/ }).waitFor();
  await page.keyboard.press("Escape");

  await please("cluster");
  await page.locator(".frame text").filter({ hasText: "west/sample-shop" }).waitFor();
  const names = Object.keys(await framed(page)).sort();
  assert.deepEqual(names, ["", "kubernetes/sample-data", "kubernetes/sample-front", "kubernetes/sample-shop", "kubernetes/staging", "west/sample-data", "west/sample-front", "west/sample-shop"]);
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("clusters");
  await page.emulateMedia({ colorScheme: "light" });

  await please("dozens");
  await page.locator(".frame").nth(46).waitFor();
  const many = await framed(page);
  for (let i = 0; i < 40; i += 1) assert.deepEqual(many[`kubernetes/team-${i}`], ["api Deployment", "postgres StatefulSet"]);
  await checkLegible(page);
  await shot("dozens");
});

// What stands within each frame, as the browser draws it; under "" what stands in none.
function framed(page) {
  return page.evaluate(() => {
    const frames = [...document.querySelectorAll(".frame")].map((frame) => [frame.lastElementChild.textContent, frame.firstElementChild.getBoundingClientRect()]);
    const found = {};
    for (const node of document.querySelectorAll(".node")) {
      const box = node.querySelector(".card").getBoundingClientRect();
      const around = frames.filter(([, frame]) => frame.left < box.left && frame.right > box.right && frame.top < box.top && frame.bottom > box.bottom);
      const name = `${node.querySelector(".name").textContent} ${node.querySelector(".kind").textContent}`;
      (found[around.map(([name]) => name).join(" and ")] ??= []).push(name);
    }
    for (const names of Object.values(found)) names.sort();
    return found;
  });
}

// No text runs out of its card or its frame, or over another one there, and none is too small.
async function checkLegible(page) {
  const bad = await page.evaluate(() => {
    const found = [];
    for (const group of document.querySelectorAll(".node, .frame")) {
      const box = group.querySelector("rect").getBoundingClientRect();
      const texts = [...group.querySelectorAll(":scope > text")].filter((text) => text.textContent !== "").map((text) => [text.textContent, text.getBoundingClientRect()]);
      for (const [text, at] of texts) if (at.left < box.left || at.right > box.right || at.top < box.top || at.bottom > box.bottom) found.push(`${text} runs out of its box`);
      texts.forEach(([a, one], i) => texts.slice(i + 1).forEach(([b, other]) => {
        // Lines of text stand closer than the boxes around their letters.
        const [across, down] = [Math.min(one.right, other.right) - Math.max(one.left, other.left), Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top)];
        if (across > 0 && down > 4) found.push(`${a} lies on ${b}`);
      }));
      for (const [text, at] of texts) if (at.height < 8) found.push(`${text} is ${at.height} high`);
    }
    return found;
  });
  assert.deepEqual(bad, []);
}
