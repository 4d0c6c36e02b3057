// Keeps a page current. The server says over /events that there is a newer view; the page is then
// fetched again and its `data-part` elements are replaced where they differ. What has no
// `data-part` (charts, graphs) stays and is told by the event `unswept:view`.

const POLL_MS = 5000;
const live = document.getElementById("live");
let busy = false;
let again = false;
let polling = 0;

/** @param {string} state @param {string} text */
function say(state, text) {
  if (live && live.textContent !== text) {
    live.className = `live ${state}`;
    live.textContent = text;
  }
}

/** Fetches this page and swaps what changed. One at a time; the latest wish wins. */
async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    // A target or an incident may be gone: what is shown stays, and is said to be old.
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    say("on", "live");
    document.dispatchEvent(new Event("unswept:view"));
  } catch {
    say("off", "not current: the watcher does not answer");
  } finally {
    busy = false;
    if (again) {
      again = false;
      setTimeout(refresh, 250);
    }
  }
}

/** @param {Document} next */
function swap(next) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const fresh = next.getElementById(part.id);
    if (!fresh || holdsSelection(part)) continue;
    const open = new Map([...part.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
    for (const [id, is] of open) {
      const one = fresh.querySelector(`details[id="${CSS.escape(id)}"]`);
      if (one) one.open = is;
    }
    if (part.innerHTML === fresh.innerHTML) continue;
    const focus = focusPath(part);
    part.replaceChildren(...fresh.childNodes);
    if (focus) restoreFocus(part, focus);
  }
  // A graph that was not there when the page was loaded comes after the part that it belongs to.
  for (const graph of next.querySelectorAll("[data-flame]")) {
    const same = `[data-flame="${CSS.escape(graph.dataset.flame)}"]`;
    const above = document.getElementById(graph.previousElementSibling?.id ?? "");
    if (above && !document.querySelector(same)) above.after(document.importNode(graph, true));
  }
  if (next.title) document.title = next.title;
}

/** Text that somebody marks is not pulled away. @param {Element} part */
function holdsSelection(part) {
  const selection = getSelection();
  return !!selection && !selection.isCollapsed && !!selection.anchorNode && part.contains(selection.anchorNode);
}

/** How to find the focused element again: by its link or its place. @param {Element} part */
function focusPath(part) {
  const focused = document.activeElement;
  if (!focused || !part.contains(focused)) return null;
  const all = [...part.querySelectorAll("a, summary, button, input, [tabindex]")];
  return { href: focused.getAttribute("href"), at: all.indexOf(focused) };
}

/** @param {Element} part @param {{href: string | null, at: number}} focus */
function restoreFocus(part, focus) {
  const all = [...part.querySelectorAll("a, summary, button, input, [tabindex]")];
  const same = focus.href ? all.find((one) => one.getAttribute("href") === focus.href) : undefined;
  const target = same ?? all[focus.at];
  if (target instanceof HTMLElement) target.focus({ preventScroll: true });
}

function poll() {
  if (!polling) polling = setInterval(() => document.hidden || refresh(), POLL_MS);
}

function listen() {
  const source = new EventSource("/events");
  let first = true;
  source.addEventListener("view", () => {
    clearInterval(polling);
    polling = 0;
    // The first one is about the view that this page was made of, or one a moment newer.
    if (first) say("on", "live");
    else if (!document.hidden) refresh();
    first = false;
  });
  source.addEventListener("error", () => {
    if (!navigator.onLine || source.readyState !== EventSource.OPEN) poll();
    // Refused for good (too many listeners): ask for the stream again later, poll until then.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 60000);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
// `?static` is for pictures of a page: nothing moves.
if (!new URLSearchParams(location.search).has("static")) listen();
