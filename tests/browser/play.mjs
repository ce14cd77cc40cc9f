// Opens a page in headless Chromium, lets its player play, and says in one JSON line what happened. The page is the demo's,
// or another whose `window.demo` tells as much (`tests/players/page.html`).
//
// Usage: node tests/browser/play.mjs PAGE_URL [--seconds N] [--limit N] [--screenshot FILE] [--dark] [--any-origin]
// --any-origin lets the page read what servers of other origins do not open to it (CORS).
// PAGE_URL may choose the stream: http://127.0.0.1:8080/?stream=low_latency&viewers=10
// Exit status 0: N seconds of media were shown (default 15) within the limit (default N + 45 s), with no error of the
// player, no stall after the start, and no script error on the page. Otherwise 1, and `problems` says why; `slow` tells
// that nothing but waiting was a problem: stalls and time-outs, which a machine that stands still for a moment makes.
// The browser is CHROMIUM, or /usr/bin/chromium.

import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '15' },
    limit: { type: 'string' },
    screenshot: { type: 'string' },
    dark: { type: 'boolean', default: false },
    'any-origin': { type: 'boolean', default: false },
  },
});
const seconds = Number(options.seconds);
const limit = Number(options.limit ?? seconds + 45);
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
];

if (options['any-origin']) FLAGS.push('--disable-web-security');

function refuse(text) {
  console.error(`play.mjs: ${text}`);
  process.exit(2);
}

if (positionals.length !== 1 || !(seconds > 0) || !(limit > 0)) refuse('usage: play.mjs PAGE_URL [--seconds N] [--limit N] [--screenshot FILE] [--dark] [--any-origin]');
if (!existsSync(executablePath)) refuse(`no browser at ${executablePath}: run "make setup", or set CHROMIUM`);
const { chromium } = await import('playwright-core').catch(() => refuse('playwright-core is not there: run "make setup"'));

/** What the page knows of its player. */
function state() {
  const { demo } = window, video = document.querySelector('video');
  if (!demo) return null;
  return {
    stream: demo.stream, started: demo.started, played: demo.played(), stalls: demo.stalls, errors: demo.errors,
    levels: demo.levels, fragments: demo.fragments, parts: demo.parts, discontinuities: demo.discontinuities,
    latency: demo.hls?.latency ?? null, width: video.videoWidth, height: video.videoHeight,
    frames: video.getVideoPlaybackQuality().totalVideoFrames, dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
    stats: demo.stats, asked: demo.asked, players: demo.players,
  };
}

const pageErrors = [];
const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
let result = null;
let outOfTime = false;
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, colorScheme: options.dark ? 'dark' : 'light' });
  page.on('pageerror', error => pageErrors.push(String(error)));
  page.on('console', message => { if (message.type() === 'error') pageErrors.push(message.text()); });
  await page.goto(positionals[0], { waitUntil: 'load', timeout: limit * 1000 });
  // It is over when enough has been shown or when the player gave up.
  await page.waitForFunction(
    wanted => window.demo && (window.demo.played() >= wanted || window.demo.errors.some(error => error.fatal)),
    seconds, { timeout: limit * 1000, polling: 200 },
  ).catch(error => { if (error.name !== 'TimeoutError') throw error; outOfTime = true; });
  result = await page.evaluate(state);
  if (options.screenshot) await page.screenshot({ path: options.screenshot, fullPage: true });
} catch (error) {
  pageErrors.push(String(error));
} finally {
  await browser.close();
}

/** What a player meets when it has waited for too long, whoever is to blame. */
const LATE = /^(bufferStalledError|bufferNudgeOnStall|\w+LoadTimeOut)$/;

const waits = [];
const problems = [...pageErrors];
if (!result) problems.push('the page has no player');
if (result) {
  if (outOfTime) waits.push(`only ${result.played.toFixed(1)} s of media were shown in ${limit} s`);
  for (const error of result.errors) (!error.fatal && LATE.test(error.details) ? waits : problems).push(`hls.js: ${error.fatal ? 'fatal ' : ''}${error.details} ${error.reason} ${error.url}`.trim());
  if (result.stalls > 0) waits.push(`${result.stalls} stalls`);
  if (!result.width && !outOfTime) problems.push('no picture');
}
const slow = problems.length === 0 && waits.length > 0;
problems.push(...waits);
console.log(JSON.stringify({ ok: problems.length === 0, slow, problems, ...result }));
process.exitCode = problems.length === 0 ? 0 : 1;
