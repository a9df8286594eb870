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
});

/** Goes to an address of this site; replace leaves no step for the back button. */
export function go(address, { replace = false } = {}) {
  const url = new URL(address, location.href);
  if (url.pathname + url.search === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", url.pathname + url.search + url.hash);
  const moved = url.pathname !== place.value.path;
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
