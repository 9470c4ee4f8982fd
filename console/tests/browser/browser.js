// Chromium for a test of the page. Arguments of the program: the console's address and a folder for screenshots. Prints `do: WORD` when
// it wants something published and waits for a line on standard input.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

export const [url, screenshots] = process.argv.slice(2);
const PATIENCE_MS = 40_000;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export async function please(word) {
  console.log(`do: ${word}`);
  await answers.next();
}

const profile = mkdtempSync(join(tmpdir(), "headwater-browser-"));
export const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS, viewport: { width: 1440, height: 1000 }, colorScheme: "light",
  // Far from UTC, which the page shows everywhere.
  timezoneId: "Pacific/Auckland",
});
context.setDefaultTimeout(PATIENCE_MS);

// Ends the program: well, if `look` does and the page complained of nothing meanwhile.
export async function run(look) {
  let code = 0;
  try {
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !/ERR_CONNECTION_REFUSED|status of 50[23]/.test(message.text())) complaints.push(message.text());
    });
    await look(page, (name) => page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true }));
    assert.deepEqual(complaints, []);
    console.log("the page shows what it should");
  } catch (error) {
    // Before the browser is closed, which may take for ever if it is what failed.
    console.error(error);
    code = 1;
  }
  await Promise.race([context.close(), new Promise((resolve) => setTimeout(resolve, 10_000))]);
  rmSync(profile, { recursive: true, force: true });
  process.exit(code);
}
