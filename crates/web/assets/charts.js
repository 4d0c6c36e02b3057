// The charts of a target: its ledger stacked against the limit, goroutines, collections.

import { bytes, colour, count, onTheme } from "./figures.js";

/** @typedef {{name: string, label: string, values: (number | null)[]}} Line */
/** @typedef {{times: number[], step_s: number, components: Line[], rss_bytes: (number|null)[] | null, goroutines: (number|null)[] | null, collections_per_minute: (number|null)[] | null, limit_bytes: number | null, onset_s: number | null, marks: {at_s: number, mark: string, revision: string | null}[]}} History */

const uPlot = /** @type {any} */ (globalThis).uPlot;
const section = document.querySelector("[data-history]");
/** @type {Map<string, any>} */
const drawn = new Map();
/** Read by the charts whenever they draw. @type {Map<string, {high: number, onset: number | null}>} */
const bounds = new Map();
/** @type {History | null} */
let latest = null;
let minutes = 60;

async function load() {
  const url = `${section.dataset.history}?minutes=${minutes}`;
  const answer = await fetch(url).catch(() => null);
  if (!answer || !answer.ok) return note("chart-ledger", "The stored history does not answer now.");
  latest = await answer.json();
  draw();
}

function draw() {
  if (!latest) return;
  ledger(latest);
  plain("chart-goroutines", latest.times, latest.goroutines, "goroutines", "--c5");
  plain("chart-collections", latest.times, latest.collections_per_minute, "a minute", "--c1");
}

/** @param {string} id @param {string} text */
function note(id, text) {
  drawn.get(id)?.destroy();
  drawn.delete(id);
  const at = document.getElementById(id);
  const p = document.createElement("p");
  p.className = "quiet";
  p.textContent = text;
  at.replaceChildren(p);
}

/** The colour of a ledger's line, as the table's swatch has it. @param {string} name */
function lineColour(name) {
  const probe = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `swatch c-${name.replaceAll(".", "-")}`);
  svg.append(probe);
  document.body.append(svg);
  const fill = getComputedStyle(svg).fill;
  svg.remove();
  return fill;
}

/** A line's own size, not its edge in the stack; the latest where the cursor is nowhere.
 * @param {string} name @param {number | null} index */
function lineValue(name, index) {
  const values = latest?.components.find((line) => line.name === name)?.values ?? [];
  const value = values[index ?? values.findLastIndex((one) => one != null)];
  return value == null ? "–" : bytes(value);
}

/** @param {History} of */
function ledger(of) {
  const lines = of.components.filter((line) => line.values.some((value) => value));
  if (lines.length === 0 && !of.rss_bytes) return note("chart-ledger", "There is no history yet.");
  // Stacked: each line's upper edge is the sum up to it. A value below zero, which only
  // `unexplained` has, takes from the sum instead of growing downwards.
  const sums = new Array(of.times.length).fill(0);
  const edges = lines.map((line) =>
    line.values.map((value, at) => (value == null ? null : (sums[at] += value))),
  );
  const series = lines.map((line, at) => ({
    label: line.label,
    stroke: lineColour(line.name),
    fill: lineColour(line.name),
    width: 0.5,
    points: { show: false },
    value: (/** @type {any} */ _, /** @type {any} */ __, /** @type {number} */ ___, /** @type {number | null} */ index) => lineValue(line.name, index),
  }));
  const data = [of.times, ...edges].slice(0);
  // Drawn from the top edge down, so that each area covers the ones beneath it.
  series.reverse();
  const columns = [data[0], ...data.slice(1).reverse()];
  const rss = of.rss_bytes ?? sums.map(() => null);
  columns.push(rss);
  series.push({
    label: "In memory (RSS)",
    stroke: colour("--ink"),
    width: 1.5,
    points: { show: false },
    value: (/** @type {any} */ _, /** @type {number | null} */ value) => {
      const shown = value ?? latest?.rss_bytes?.findLast((one) => one != null);
      return shown == null ? "–" : bytes(shown);
    },
  });
  if (of.limit_bytes) {
    columns.push(of.times.map(() => of.limit_bytes));
    series.push({
      label: "Limit",
      stroke: colour("--leak"),
      width: 1.5,
      dash: [6, 4],
      points: { show: false },
      value: () => bytes(latest?.limit_bytes ?? 0),
    });
  }
  const top = Math.max(...rss.map((value) => value ?? 0), ...sums);
  // The limit is in the picture when it is near enough that the areas stay readable.
  const high = of.limit_bytes && of.limit_bytes < top * 4 ? Math.max(top, of.limit_bytes) : top;
  chart("chart-ledger", columns, series, 320, bytes, high * 1.06, of.onset_s);
}

/** @param {string} id @param {number[]} times @param {(number|null)[] | null} values @param {string} unit @param {string} tone */
function plain(id, times, values, unit, tone) {
  if (!values || !values.some((value) => value != null)) return note(id, "Not known for this target.");
  const series = [{
    label: unit,
    stroke: colour(tone),
    width: 1.5,
    fill: `color-mix(in srgb, ${colour(tone)} 14%, transparent)`,
    points: { show: false },
  }];
  chart(id, [times, values], series, 130, count, Math.max(...values.map((value) => value ?? 0)) * 1.1 || 1, null);
}

/**
 * Draws, or moves an existing chart on. A cursor or a zoom that somebody set stays.
 * @param {string} id @param {any[]} data @param {any[]} series @param {number} height
 * @param {(value: number) => string} format @param {number} high @param {number | null} onset
 */
function chart(id, data, series, height, format, high, onset) {
  const at = document.getElementById(id);
  const shape = series.map((one) => one.label + one.stroke).join();
  bounds.set(id, { high, onset });
  const old = drawn.get(id);
  if (old && old.shape === shape) {
    old.setData(data, !old.zoomed);
    return;
  }
  old?.destroy();
  at.replaceChildren();
  const grid = { stroke: colour("--line"), width: 1 };
  const font = "12px system-ui, sans-serif";
  const axis = { stroke: colour("--ink-2"), grid, ticks: { show: false }, font };
  const made = new uPlot({
    width: at.clientWidth,
    height,
    tzDate: (/** @type {number} */ seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    series: [{ label: "Time", value: (/** @type {any} */ _, /** @type {number | null} */ at) => clock(at ?? latest.times[latest.times.length - 1], 1) }, ...series],
    scales: { y: { range: () => [0, bounds.get(id).high] } },
    axes: [
      { ...axis, grid: { show: false }, values: (/** @type {any} */ _, /** @type {number[]} */ marks, /** @type {number} */ __, /** @type {number} */ ___, /** @type {number} */ step) => marks.map((mark) => clock(mark, step)) },
      { ...axis, size: 68, values: (/** @type {any} */ _, /** @type {number[]} */ marks) => marks.map(format),
        ...(format === bytes ? { splits: binarySplits } : {}) },
    ],
    legend: { live: true },
    cursor: { points: { show: false } },
    hooks: {
      setSelect: [(/** @type {any} */ u) => { u.zoomed = u.select.width > 0; }],
      draw: [(/** @type {any} */ u) => markMoments(u, bounds.get(id).onset)],
    },
  }, data, at);
  made.shape = shape;
  made.over.addEventListener("dblclick", () => { made.zoomed = false; });
  drawn.set(id, made);
}

/** A time in UTC, as exact as the distance of two marks asks. @param {number} at @param {number} step */
function clock(at, step) {
  const text = new Date(at * 1000).toISOString();
  if (step >= 86400) return text.slice(5, 10);
  return step < 60 ? text.slice(11, 19) : text.slice(11, 16);
}

/** Marks at powers of two: 256 MiB, not 268.4. */
function binarySplits(/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ low, /** @type {number} */ high) {
  let step = 1;
  while ((high - low) / step > 6) step *= 2;
  const marks = [];
  for (let mark = 0; mark <= high; mark += step) marks.push(mark);
  return marks;
}

/** Lines where the growth began, and where something happened to the workload.
 * @param {any} u @param {number | null} onset */
function markMoments(u, onset) {
  const moments = (latest?.marks ?? []).map((one) => ({ at: one.at_s, text: markText(one), tone: "--ink-2" }));
  if (onset) moments.push({ at: onset, text: "growth began", tone: "--ink" });
  // The small charts have room for lines only.
  const named = u.height > 200;
  let row = 0;
  for (const moment of moments) {
    if (moment.at < u.scales.x.min || moment.at > u.scales.x.max) continue;
    mark(u, moment, named ? row++ % 4 : null);
  }
}

/** @param {{mark: string, revision: string | null}} one */
function markText(one) {
  if (one.mark === "deploy") return `deploy ${(one.revision ?? "").slice(0, 12)}`;
  return one.mark === "oom" ? "OOM kill" : one.mark;
}

/** @param {any} u @param {{at: number, text: string, tone: string}} moment @param {number | null} row */
function mark(u, moment, row) {
  const x = Math.round(u.valToPos(moment.at, "x", true));
  const { left, top, width, height } = u.bbox;
  const pen = u.ctx;
  pen.save();
  pen.strokeStyle = colour(moment.tone);
  pen.fillStyle = colour(moment.tone);
  pen.setLineDash([3, 3]);
  pen.beginPath();
  pen.moveTo(x, top);
  pen.lineTo(x, top + height);
  pen.stroke();
  if (row != null) {
    pen.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    pen.textBaseline = "top";
    // Under the limit's line, on the side that has room, neighbours below one another.
    const right = x < left + width / 2;
    pen.textAlign = right ? "left" : "right";
    const down = (22 + 16 * row) * devicePixelRatio;
    pen.fillText(moment.text, x + (right ? 6 : -6) * devicePixelRatio, top + down);
  }
  pen.restore();
}

function forget() {
  for (const made of drawn.values()) made.destroy();
  drawn.clear();
  draw();
}

if (section instanceof HTMLElement && uPlot) {
  section.addEventListener("change", (event) => {
    const input = event.target;
    if (!(input instanceof HTMLInputElement)) return;
    minutes = Number(input.value);
    for (const made of drawn.values()) made.zoomed = false;
    load();
  });
  document.addEventListener("unswept:view", load);
  onTheme(forget);
  let width = 0;
  new ResizeObserver(() => {
    if (width && width !== section.clientWidth) {
      for (const [id, made] of drawn) {
        made.setSize({ width: document.getElementById(id).clientWidth, height: made.height });
      }
    }
    width = section.clientWidth;
  }).observe(section);
  load();
}
