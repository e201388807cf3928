// A real browser for the tests: each line on standard input is an order, as JSON, and is answered by one line.
//
// node drive.mjs MODULES CHROMIUM OURS: the folder with what package.json names, the browser's program, and the address under test.

import fs from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";

const [modules, program, began] = process.argv.slice(2);
let ours = began;
const require = createRequire(`${modules}/package.json`);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: program,
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"],
});
let context;
let page;
let said = [];
let loaded = [];

// Longer than anything takes: an order that hangs is an error.
const PATIENCE = 60_000;

// What a keyboard reaches, in the order in which it stands on the page.
const REACHABLE = "a[href], button, input:not([type=hidden]), select, textarea, [tabindex='0']";

// What differs with each run, and what is on pictures in its place.
const STEADY = [
  ["\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d UTC", "2027-01-15 09:30 UTC"],
  ["\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC", "2027-01-15 09:30:00 UTC"],
  ["^\\d{4}-\\d\\d-\\d\\d$", "2027-04-15"],
  ["loaded \\d+ (s|min) ago", "loaded 26 h ago"],
  ["(dw[pr]_)[0-9A-Za-z]{20,}", "$1N0tArealPasswordOnlyApicture2027"],
  ["^[0-9a-f]{16}$", "4f1c09d27ab3e856"],
  ["^(([A-Z2-7]{4}:){11})[A-Z2-7]{4}$", "PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6"],
  ["^[B-Z]{4}-[B-Z]{4}$", "BCDF-GHJK"],
  ["(localhost|127\\.0\\.0\\.1):\\d+", "registry.example.org"],
];

const orders = {
  // Another window, with the cookies of the one before.
  async window({ scheme, width, script }) {
    const storageState = await context?.storageState();
    await context?.close();
    context = await browser.newContext({
      colorScheme: scheme,
      javaScriptEnabled: script,
      storageState,
      viewport: { width, height: 720 },
    });
    context.setDefaultTimeout(30_000);
    page = await context.newPage();
    said = [];
    page.on("console", (message) => {
      if (message.location().url.startsWith(ours)) said.push(`${message.type()}: ${message.text()}`);
    });
    page.on("response", (response) => loaded.push(response));
  },
  // From now on, addresses are of this place.
  async at({ url }) {
    ours = url;
  },
  // What the browser sends along to this place, as a request has it.
  async cookies() {
    const kept = await context.cookies(ours);
    return kept.map(({ name, value }) => `${name}=${value}`).join("; ");
  },
  // The status, and how many bytes the page and all that it loads have.
  async open({ url }) {
    loaded = [];
    const response = await page.goto(`${ours}${url}`);
    let bytes = 0;
    for (const one of loaded) bytes += (await one.body().catch(() => "")).length;
    return { status: response.status(), bytes };
  },
  async fill({ at, text }) {
    await page.locator(at).fill(text);
  },
  async press({ at }) {
    await page.locator(at).click();
  },
  // Goes on with the key until something has the focus.
  async reach({ at }) {
    for (let pressed = 0; pressed < 100; pressed += 1) {
      await page.keyboard.press("Tab");
      if (await page.locator(at).evaluate((element) => element === document.activeElement)) return;
    }
    throw new Error(`the key never comes to ${at}`);
  },
  async type({ text }) {
    await page.keyboard.type(text);
  },
  async key({ key }) {
    await page.keyboard.press(key);
  },
  // Waits until the browser is at this address of ours.
  async arrive({ url }) {
    await page.waitForURL(`${ours}${url}`);
  },
  async text({ at }) {
    return await page.locator(at).innerText();
  },
  async count({ at }) {
    return await page.locator(at).count();
  },
  // What axe finds, with where it stands.
  async axe() {
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run({ preload: false, resultTypes: ["violations"] }));
    return found.violations.flatMap((rule) =>
      rule.nodes.map((node) => `${rule.id}: ${node.html}: ${node.failureSummary}`),
    );
  },
  // How far the page is wider than its window, in pixels.
  async overhang() {
    return await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  },
  // Goes over the whole page with the key, and tells what is wrong with the way. It begins where a page begins that was just opened.
  async tab() {
    const wrong = [];
    const wanted = await page.locator(REACHABLE).count();
    for (let at = 0; at < wanted; at += 1) {
      await page.keyboard.press("Tab");
      const now = await page.evaluate((reachable) => {
        const element = document.activeElement;
        const style = getComputedStyle(element);
        const box = element.getBoundingClientRect();
        return {
          at: [...document.querySelectorAll(reachable)].indexOf(element),
          html: element.outerHTML.slice(0, 120),
          ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
          inside: box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight,
        };
      }, REACHABLE);
      if (now.at !== at) wrong.push(`${at}: the key comes to ${now.at}, ${now.html}`);
      if (!now.ring) wrong.push(`${at}: nothing shows where one is: ${now.html}`);
      if (!now.inside) wrong.push(`${at}: it is outside of the window: ${now.html}`);
    }
    return wrong;
  },
  // What the browser has said since the last time: what the page's policy forbids is among it.
  async said() {
    const now = said;
    said = [];
    return now;
  },
  // Does to the page what it must never have: an image from elsewhere and without words, what is too wide, and another order.
  async spoil() {
    await page.evaluate(() => {
      const image = document.createElement("img");
      image.src = "http://localhost:9/x.png";
      document.querySelector("main").append(image);
      document.querySelector("main").style.minWidth = "9999px";
      document.querySelector("main a, main button").tabIndex = 1;
    });
  },
  // A picture of the page, as wide as is said, and not endless. What differs each time has words of its own there: a moment, an id, a
  // secret, a port.
  async shot({ file, width, highest }) {
    const before = page.viewportSize();
    await page.setViewportSize({ width, height: 100 });
    const height = await page.evaluate((steady) => {
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        for (const [found, shown] of steady) {
          texts.currentNode.data = texts.currentNode.data.replace(new RegExp(found, "g"), shown);
        }
        // The end of a secret, and its last day.
        const place = texts.currentNode.parentElement;
        const fact = place.matches("dd") && place.previousElementSibling.textContent;
        if ((place.matches("td > code") && texts.currentNode.length === 4) || fact === "Ends with") texts.currentNode.data = "2027";
        if (fact === "Good until") texts.currentNode.data = "2027-04-15 09:30 UTC";
      }
      // As a page is that was just opened.
      document.activeElement.blur();
      scrollTo(0, 0);
      return document.documentElement.scrollHeight;
    }, STEADY);
    await page.setViewportSize({ width, height: Math.min(height, highest) });
    await page.screenshot({ path: file });
    await page.setViewportSize(before);
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { order, ...rest } = JSON.parse(line);
  let answer;
  try {
    const late = new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error("it takes too long")).unref());
    answer = { value: (await Promise.race([orders[order](rest), late])) ?? null };
  } catch (error) {
    const shown = await page?.locator("body").innerText({ timeout: 1000 }).catch(() => "");
    answer = { error: `${error}\n${page?.url()}\n${shown}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
