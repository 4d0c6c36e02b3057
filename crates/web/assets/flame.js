// A differential flame graph on a canvas: width is what a call holds after (or before, if more),
// colour is how it changed, and a sign says the same. Search, zoom by click or Enter, arrows to
// move. The tree is the server's; the table above the graph has the largest stacks for readers who
// do not see it.

import { bytes, colour, count, onTheme } from "./figures.js";

/** @typedef {{name: string, before: number, after: number, children?: Node[]}} Node */
/** @typedef {{node: Node, parent: Box | null, depth: number, from: number, to: number}} Box */

const ROW = 22;
const DEPTH_MAX = 60;

/** @param {Node} node */
const size = (node) => Math.max(node.before, node.after, 0);

class FlameGraph {
  /** @param {HTMLElement} section */
  constructor(section) {
    this.section = section;
    this.thing = section.dataset.thing ?? "call";
    this.format = section.dataset.unit === "goroutine" ? (/** @type {number} */ v) => `${count(v)} goroutines` : bytes;
    /** @type {Box[]} */
    this.boxes = [];
    /** @type {Box | null} */
    this.zoom = null;
    /** @type {Box | null} */
    this.current = null;
    this.search = "";
    this.build();
    this.load();
  }

  build() {
    const tools = document.createElement("div");
    tools.className = "tools";
    this.input = document.createElement("input");
    this.input.type = "search";
    this.input.placeholder = this.thing === "call" ? "Search functions" : "Search holders";
    this.input.setAttribute("aria-label", `${this.input.placeholder} in the graph`);
    this.out = document.createElement("button");
    this.out.textContent = "Show all";
    this.out.disabled = true;
    const key = document.createElement("span");
    key.className = "key";
    for (const [name, text] of [["grew", "▲ grew"], ["same", "unchanged"], ["shrank", "▼ shrank"]]) {
      const one = document.createElement("span");
      one.className = name;
      one.textContent = text;
      key.append(one);
    }
    tools.append(this.input, this.out, key);
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Flame graph: arrow keys move, Enter zooms, Escape shows all");
    this.told = document.createElement("p");
    this.told.className = "told";
    this.told.setAttribute("role", "status");
    this.section.append(tools, this.canvas, this.told);
    this.listen();
  }

  listen() {
    this.input.addEventListener("input", () => {
      this.search = this.input.value.trim().toLowerCase();
      this.draw();
      this.tellSearch();
    });
    this.out.addEventListener("click", () => this.zoomTo(null));
    this.canvas.addEventListener("mousemove", (event) => {
      const box = this.at(event.offsetX, event.offsetY);
      this.canvas.style.cursor = box ? "pointer" : "default";
      if (box !== this.current) this.point(box);
    });
    this.canvas.addEventListener("mouseleave", () => this.point(null));
    this.canvas.addEventListener("click", (event) => {
      const box = this.at(event.offsetX, event.offsetY);
      if (box) this.zoomTo(box === this.zoom ? box.parent : box);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    onTheme(() => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.section);
  }

  async load() {
    const answer = await fetch(this.section.dataset.flame).catch(() => null);
    if (!answer || !answer.ok) {
      this.told.textContent = "The graph is not there: its evidence cannot be read now.";
      return;
    }
    this.root = (await answer.json()).root;
    this.lay();
    this.draw();
    this.point(null);
  }

  /** Lays every call over its callees, as fractions of the whole. */
  lay() {
    this.boxes = [];
    const put = (/** @type {Node} */ node, /** @type {Box | null} */ parent, /** @type {number} */ from, /** @type {number} */ to) => {
      const box = { node, parent, depth: parent ? parent.depth + 1 : 0, from, to };
      this.boxes.push(box);
      if (box.depth >= DEPTH_MAX) return;
      const children = node.children ?? [];
      // Callees that shrank may sum up to more than their caller has now.
      const whole = Math.max(size(node), children.reduce((sum, child) => sum + size(child), 0)) || 1;
      let at = from;
      for (const child of children) {
        const width = ((to - from) * size(child)) / whole;
        put(child, box, at, at + width);
        at += width;
      }
    };
    put(this.root, null, 0, 1);
    this.top = this.boxes[0];
  }

  /** The stretch and the first row that are shown. */
  frame() {
    const zoom = this.zoom ?? this.top;
    return { from: zoom.from, span: zoom.to - zoom.from || 1, zoom };
  }

  /** @param {Box} box */
  place(box) {
    const { from, span } = this.frame();
    const width = this.canvas.clientWidth;
    const x = ((box.from - from) / span) * width;
    const right = ((box.to - from) / span) * width;
    return { x: Math.max(0, x), y: box.depth * ROW, w: Math.min(width, right) - Math.max(0, x) };
  }

  draw() {
    if (!this.top) return;
    const shown = this.boxes.filter((box) => this.place(box).w > 0.4);
    const rows = Math.max(...shown.map((box) => box.depth)) + 1;
    const scale = devicePixelRatio || 1;
    const width = this.section.clientWidth - parseFloat(getComputedStyle(this.section).paddingLeft) * 2;
    this.canvas.style.height = `${rows * ROW}px`;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(rows * ROW * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "12px ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace";
    pen.textBaseline = "middle";
    const tones = { grew: colour("--grew"), shrank: colour("--shrank"), base: colour("--track"), card: colour("--card"), ink: colour("--ink") };
    const greatest = Math.max(1, Math.abs(this.root.after - this.root.before), size(this.root) / 4);
    for (const box of shown) this.paint(pen, box, tones, greatest);
  }

  /** @param {CanvasRenderingContext2D} pen @param {Box} box @param {Record<string, string>} tones @param {number} greatest */
  paint(pen, box, tones, greatest) {
    const { x, y, w } = this.place(box);
    const change = box.node.after - box.node.before;
    const found = this.search && box.node.name.toLowerCase().includes(this.search);
    pen.globalAlpha = this.search && !found ? 0.35 : 1;
    pen.fillStyle = tones.base;
    pen.fillRect(x, y, w, ROW - 1);
    pen.globalAlpha *= Math.min(1, Math.sqrt(Math.abs(change) / greatest));
    pen.fillStyle = change > 0 ? tones.grew : tones.shrank;
    pen.fillRect(x, y, w, ROW - 1);
    pen.globalAlpha = this.search && !found ? 0.35 : 1;
    pen.fillStyle = tones.card;
    pen.fillRect(x + w - 1, y, 1, ROW - 1);
    if (w > 26) {
      const sign = change === 0 ? "" : change > 0 ? "▲ " : "▼ ";
      const name = box.parent ? shortName(box.node.name) : "everything";
      const whole = `${sign}${name}  ${this.format(box.node.after)}`;
      const letters = Math.floor((w - 10) / 7.3);
      pen.fillStyle = tones.ink;
      const text = whole.length <= letters ? whole : `${(sign + name).slice(0, Math.max(0, letters - 1))}…`;
      if (letters > 2) pen.fillText(text, x + 5, y + ROW / 2);
    }
    if (box === this.current || found) {
      pen.globalAlpha = 1;
      pen.strokeStyle = tones.ink;
      pen.lineWidth = box === this.current ? 2 : 1;
      pen.strokeRect(x + 1, y + 1, Math.max(1, w - 3), ROW - 3);
    }
  }

  /** @param {number} x @param {number} y @returns {Box | null} */
  at(x, y) {
    const depth = Math.floor(y / ROW);
    return this.boxes.find((box) => {
      const place = this.place(box);
      return box.depth === depth && x >= place.x && x < place.x + place.w;
    }) ?? null;
  }

  /** @param {Box | null} box */
  point(box) {
    this.current = box;
    this.draw();
    if (box) this.told.textContent = this.words(box);
    else this.told.textContent = this.search ? "" : `Point at a ${this.thing}, or use the arrow keys, for its figures; click or Enter zooms.`;
  }

  /** @param {Box} box */
  words(box) {
    const { before, after } = box.node;
    const change = after - before;
    const share = size(this.root) ? ` · ${Math.round((after / Math.max(1, this.root.after)) * 100)} % of all` : "";
    return `${box.parent ? box.node.name : "Everything"}: ${this.format(before)} before, ${this.format(after)} after (${change > 0 ? "+" : ""}${this.format(change)})${share}`;
  }

  tellSearch() {
    if (!this.search) return this.point(this.current);
    const found = this.boxes.filter((box) => box.node.name.toLowerCase().includes(this.search));
    this.told.textContent = found.length === 1 ? this.words(found[0]) : `${found.length} ${this.thing}s found`;
  }

  /** @param {Box | null} box */
  zoomTo(box) {
    this.zoom = box && box.parent ? box : null;
    this.out.disabled = !this.zoom;
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.top) return;
    const box = this.current ?? this.zoom ?? this.top;
    const siblings = this.boxes.filter((one) => one.parent === box.parent && this.place(one).w > 0.4);
    const at = siblings.indexOf(box);
    const children = this.boxes.filter((one) => one.parent === box);
    const widest = children.reduce((best, one) => (!best || one.to - one.from > best.to - best.from ? one : best), /** @type {Box | null} */ (null));
    const moves = {
      ArrowDown: widest,
      ArrowUp: box.parent,
      ArrowLeft: siblings[at - 1],
      ArrowRight: siblings[at + 1],
    };
    if (event.key in moves) {
      const next = moves[/** @type {keyof typeof moves} */ (event.key)];
      this.point(this.current ? next ?? box : box);
    } else if (event.key === "Enter") {
      this.zoomTo(box === this.zoom ? box.parent : box);
    } else if (event.key === "Escape") {
      this.zoomTo(null);
    } else {
      return;
    }
    event.preventDefault();
  }
}

/** `http.(*conn).serve` of `net/http.(*conn).serve`. @param {string} name */
function shortName(name) {
  const bracket = name.search(/[([]/);
  const slash = name.lastIndexOf("/", bracket < 0 ? undefined : bracket);
  return slash < 0 ? name : name.slice(slash + 1);
}

function drawAll() {
  for (const section of document.querySelectorAll("[data-flame]:not(.drawn)")) {
    section.classList.add("drawn");
    if (section instanceof HTMLElement) new FlameGraph(section);
  }
}

drawAll();
document.addEventListener("unswept:view", drawAll);
