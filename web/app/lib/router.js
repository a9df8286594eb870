// Where one is: the address is the only place that remembers filters, pages and
// what is open, so that links, the back button and a reload work by themselves.
import { computed, signal } from "./preact.js";

const here = () => ({ path: location.pathname, search: location.search });

/** The address: { path, search }. */
export const place = signal(here());

/** The values in the query of the address, as an object of texts. */
export const query = computed(() => Object.fromEntries(new URLSearchParams(place.value.search)));

// Each step of the history remembers how far down one was. The browser would put
// that back too early, before a list has its rows again.
const patience = 3000; // ms that rows may take
const depths = new Map(); // by the number of a step
let step = history.state?.step ?? 0;
let last = step; // the newest number that was given
let keeping = 0;
let going = null; // what puts one back: { y, stop }

history.scrollRestoration = "manual";
if (history.state?.step === undefined) history.replaceState({ ...history.state, step }, "");

const depth = () => going?.y ?? Math.round(scrollY);

// What is kept in the history itself outlives the document.
function keep() {
  clearTimeout(keeping);
  keeping = 0;
  if ((history.state?.y ?? 0) === depth() && history.state?.step === step) return;
  try {
    history.replaceState({ ...history.state, step, y: depth() }, "");
  } catch {
    // browsers allow a hundred of these in half a minute
  }
}

function scrollBack(y) {
  going?.stop();
  const until = performance.now() + patience;
  const kinds = ["wheel", "touchstart", "keydown", "pointerdown"];
  let frame = 0;
  let frames = 0;
  const stop = () => {
    cancelAnimationFrame(frame);
    for (const kind of kinds) removeEventListener(kind, stop);
    going = null;
  };
  const look = () => {
    const most = document.documentElement.scrollHeight - innerHeight;
    scrollTo(0, Math.min(y, most));
    // What a step needs is asked for after the first frame, so readiness means nothing before.
    if (++frames > 3 && most >= y && document.documentElement.dataset.ready || performance.now() > until) stop();
    else frame = requestAnimationFrame(look);
  };
  for (const kind of kinds) addEventListener(kind, stop, { passive: true }); // who moves meanwhile is not held
  going = { y, stop };
  frame = requestAnimationFrame(look);
}

addEventListener("popstate", () => {
  depths.set(step, depth());
  const known = history.state?.step !== undefined;
  step = known ? history.state.step : ++last;
  if (step > last) last = step;
  place.value = here();
  if (known) scrollBack(depths.get(step) ?? history.state.y ?? 0);
  else history.replaceState({ step }, ""); // a link to a place on the page, where the browser goes by itself
});
addEventListener("scroll", () => {
  if (keeping === 0) keeping = setTimeout(keep, 400);
}, { passive: true });
addEventListener("pagehide", keep);
if (history.state?.y > 0) scrollBack(history.state.y); // loaded anew, or come back to

/** Goes to an address of this site; replace leaves no step for the back button. */
export function go(address, { replace = false } = {}) {
  const url = new URL(address, location.href);
  if (url.pathname + url.search === location.pathname + location.search) return;
  const moved = url.pathname !== place.value.path;
  if (replace) history.replaceState(history.state, "", url.pathname + url.search + url.hash);
  else {
    keep();
    depths.set(step, depth());
    going?.stop();
    step = ++last;
    history.pushState({ step }, "", url.pathname + url.search + url.hash);
  }
  place.value = here();
  if (moved) scrollTo(0, 0);
}

/** The address of this page with some values of its query changed; null, "" and undefined take one away. */
export function withQuery(changes, path = place.value.path) {
  const q = new URLSearchParams(path === place.value.path ? place.value.search : "");
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") q.delete(name);
    else q.set(name, String(value));
  }
  const text = q.toString();
  return path + (text === "" ? "" : `?${text}`);
}

/** Changes values of the query; with replace, without a step for the back button. */
export const setQuery = (changes, options) => go(withQuery(changes), options);

/** Makes an address from a path and values. */
export function address(path, values = {}) {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "") q.set(name, String(value));
  }
  const text = q.toString();
  return path + (text === "" ? "" : `?${text}`);
}

/** Follows plain clicks on links within the given paths without loading the page anew. */
export function followLinks(within) {
  addEventListener("click", (e) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const a = e.target instanceof Element ? e.target.closest("a[href]") : null;
    if (!a || a.target || a.hasAttribute("download") || a.origin !== location.origin || !within(a.pathname)) return;
    if (a.hash && a.pathname + a.search === location.pathname + location.search) return; // a place on this page
    e.preventDefault();
    go(a.href);
  });
}
