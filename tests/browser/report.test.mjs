// The report in a real browser, used as an auditor would: on a desk, on a phone, on paper, in the dark, with a keyboard.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { textsBelow } from './contrast.mjs';

const { OUTCROP_REPORT, OUTCROP_CHROMIUM, OUTCROP_SCREENSHOTS } = process.env;
const address = pathToFileURL(OUTCROP_REPORT).href;
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 900 };
// Width of the text area of A4 with the page's own margins, at 96 dots per inch.
const PAPER = { width: 688, height: 1000 };

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: OUTCROP_CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
});
after(() => browser.close());

// Opens the report; fails the test when the page asks for anything or complains.
async function opened(t, viewport, options = {}) {
  const context = await browser.newContext({ viewport, ...options });
  const page = await context.newPage();
  const asked = [];
  const complaints = [];
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(address);
  t.after(async () => {
    await context.close();
    const strangers = asked.filter((url) => !url.startsWith(address) && url !== 'data:,');
    assert.deepEqual(strangers, [], 'the page asks for nothing but itself');
    assert.deepEqual(complaints, [], 'the page breaks none of its own rules');
  });
  return page;
}

const unfold = (page) =>
  page.evaluate(() => document.querySelectorAll('details').forEach((fold) => (fold.open = true)));

const overflow = (page) =>
  page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const scrolls = document.documentElement.scrollWidth > width;
    const outside = [...document.querySelectorAll('body *')].filter((element) => {
      if (element.closest('.scroll, pre, .unseen, .skip, thead') || !element.checkVisibility()) return false;
      return element.getBoundingClientRect().right > width + 1;
    });
    return { scrolls, outside: outside.map((element) => `${element.tagName}.${element.getAttribute('class')}`) };
  });

test('what is wrong is on the first screen, before any plot', async (t) => {
  for (const viewport of [DESK, PHONE]) {
    const page = await opened(t, viewport);
    assert.match(await page.getByRole('heading', { level: 1 }).innerText(), /failed/i);
    const alert = await page.locator('.alert.broken').boundingBox();
    const plot = await page.locator('svg.plot').first().boundingBox();
    assert.ok(alert.y < viewport.height, `the broken promises begin at ${alert.y}`);
    assert.ok(alert.y < plot.y);
  }
});

test('every link leads to what it names', async (t) => {
  const page = await opened(t, DESK);
  const links = page.locator('main a[href^="#"]');
  const count = await links.count();
  assert.ok(count >= 12, `${count} links`);
  for (let at = 0; at < count; at += 1) {
    await links.nth(at).click();
    const id = decodeURIComponent(new URL(page.url()).hash.slice(1));
    const target = page.locator(`[id="${id}"]`);
    assert.equal(await target.count(), 1, id);
    const box = await target.boundingBox();
    assert.ok(box.y >= -1 && box.y < DESK.height, `${id} is at ${box.y}`);
  }
});

test('folds open and close, by mouse and by keyboard', async (t) => {
  const page = await opened(t, DESK);
  const fold = page.locator('.scenario details', { hasText: 'Full configuration' }).first();
  const inside = fold.locator('pre');
  assert.equal(await inside.isVisible(), false);
  await fold.locator('summary').click();
  assert.equal(await inside.isVisible(), true);
  assert.match(await inside.innerText(), /\[scenario\]/);
  await fold.locator('summary').focus();
  await page.keyboard.press('Enter');
  assert.equal(await inside.isVisible(), false);
});

test('nothing is wider than a phone, folded or not, down to 320 pixels', async (t) => {
  for (const width of [320, 360, 414]) {
    const page = await opened(t, { width, height: 740 });
    assert.deepEqual(await overflow(page), { scrolls: false, outside: [] }, `${width}, folded`);
    await unfold(page);
    assert.deepEqual(await overflow(page), { scrolls: false, outside: [] }, `${width}, open`);
  }
});

test('text of plots stays readable on a phone', async (t) => {
  const page = await opened(t, PHONE);
  const smallest = await page.evaluate(() => {
    const sizes = [...document.querySelectorAll('svg.plot text')].map((text) => {
      const scale = text.ownerSVGElement.getScreenCTM().a;
      return parseFloat(getComputedStyle(text).fontSize) * scale;
    });
    return { count: sizes.length, size: Math.min(...sizes) };
  });
  assert.ok(smallest.count > 100 && smallest.size >= 9, JSON.stringify(smallest));
});

test('no text of a plot leaves it', async (t) => {
  for (const viewport of [DESK, PHONE]) {
    const page = await opened(t, viewport);
    const outside = await page.evaluate(() =>
      [...document.querySelectorAll('svg.plot text')]
        .filter((text) => {
          const [own, sheet] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
          return own.left < sheet.left - 1 || own.right > sheet.right + 1 || own.bottom > sheet.bottom + 1;
        })
        .map((text) => text.textContent),
    );
    assert.deepEqual(outside, []);
  }
});

for (const colorScheme of ['light', 'dark']) {
  test(`every text has contrast, ${colorScheme}`, async (t) => {
    const page = await opened(t, DESK, { colorScheme });
    await unfold(page);
    const { seen, found } = await page.evaluate(textsBelow, 4.5);
    assert.ok(seen > 400, `${seen} texts`);
    assert.deepEqual(found, []);
  });
}

test('who cannot see it is told the same', async (t) => {
  for (const viewport of [DESK, PHONE]) {
    const page = await opened(t, viewport);
    const tables = page.getByRole('table', { name: /Verdicts of/ });
    const count = await tables.count();
    assert.equal(count, 7, 'tables stay tables, however they look');
    assert.ok((await tables.first().getByRole('row').count()) >= 4);
    assert.ok((await tables.first().getByRole('rowheader').count()) >= 3);
    const plots = await page.getByRole('img').all();
    assert.ok(plots.length >= 6);
    for (const plot of plots) {
      const said = await plot.evaluate((svg) =>
        svg.getAttribute('aria-labelledby').split(' ').map((id) => document.getElementById(id).textContent.length));
      assert.ok(said.every((length) => length > 3), 'a plot has a title and a description');
    }
    const levels = await page.locator('h1, h2, h3').evaluateAll((all) => all.map((h) => Number(h.tagName[1])));
    assert.equal(levels.filter((level) => level === 1).length, 1);
    levels.reduce((last, level) => (assert.ok(level <= last + 1, 'a heading skips a level'), level));
  }
});

test('the keyboard reaches the content first', async (t) => {
  const page = await opened(t, DESK);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'content');
});

test('on paper it is dark on white, whatever the screen was, and fits', async (t) => {
  const page = await opened(t, PAPER, { colorScheme: 'dark' });
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  await unfold(page);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(255, 255, 255)');
  assert.deepEqual((await page.evaluate(textsBelow, 4.5)).found, []);
  assert.deepEqual(await overflow(page), { scrolls: false, outside: [] });
  const paper = await page.pdf({ format: 'A4', preferCSSPageSize: true });
  assert.equal(paper.subarray(0, 5).toString(), '%PDF-');
});

test('without a network and without scripts nothing is lost', async (t) => {
  const page = await opened(t, DESK, { javaScriptEnabled: false, offline: true });
  assert.equal(await page.locator('script').count(), 0);
  const fold = page.locator('.scenario details').first();
  await fold.locator('summary').click();
  assert.equal(await fold.getAttribute('open'), '');
});

test('screenshots, when they are asked for', { skip: !OUTCROP_SCREENSHOTS }, async (t) => {
  await mkdir(OUTCROP_SCREENSHOTS, { recursive: true });
  for (const [name, viewport] of [['narrow', PHONE], ['wide', DESK]]) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await opened(t, viewport, { colorScheme });
      await page.screenshot({ path: join(OUTCROP_SCREENSHOTS, `${name}-${colorScheme}.png`), fullPage: true });
    }
  }
  const page = await opened(t, PAPER);
  await page.pdf({ path: join(OUTCROP_SCREENSHOTS, 'paper.pdf'), format: 'A4', preferCSSPageSize: true });
});
