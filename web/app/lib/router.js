// Where one is: the address is the only place that remembers filters, pages and
// what is open, so that links, the back button and a reload work by themselves.
import { computed, signal } from "./preact.js";

const here = () => ({ path: location.pathname, search: location.search });

/** The address: { path, search }. */
export const place = signal(here());

/** The values in the query of the address, as an object of texts. */
export const query = computed(() => Object.fromEntries(new URLSearchParams(place.value.search)));

addEventListener("popstate", () => {
  place.value = here();
  if (location.hash === "" || history.state?.y !== undefined) scrollBack(history.state?.y ?? 0); // else to a place on the page
});

// Each step of the history remembers how far down one was. The browser would put
// that back too early, before a list has its rows again.
const patience = 3000; // ms that rows may take
let keeping = 0;
let going = null; // ends what puts one back

history.scrollRestoration = "manual";

function keep() {
  clearTimeout(keeping);
  keeping = 0;
  if (going !== null || (history.state?.y ?? 0) === Math.round(scrollY)) return;
  try {
    history.replaceState({ ...history.state, y: Math.round(scrollY) }, "");
  } catch {
    // browsers allow a hundred of these in half a minute
  }
}

function scrollBack(y) {
  going?.();
  const until = performance.now() + patience;
  let frame = 0;
  let frames = 0;
  const stop = () => {
    cancelAnimationFrame(frame);
    for (const kind of ["wheel", "touchstart", "keydown", "pointerdown"]) removeEventListener(kind, stop);
    going = null;
  };
  const look = () => {
    const most = document.documentElement.scrollHeight - innerHeight;
    scrollTo(0, Math.min(y, most));
    // What a step needs is asked for after the first frame, so readiness means nothing before.
    if (++frames > 3 && most >= y && document.documentElement.dataset.ready || performance.now() > until) stop();
    else frame = requestAnimationFrame(look);
  };
  // Who moves meanwhile is not held.
  for (const kind of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(kind, stop, { passive: true });
  going = stop;
  frame = requestAnimationFrame(look);
}

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
    going?.();
    history.pushState(null, "", url.pathname + url.search + url.hash);
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
