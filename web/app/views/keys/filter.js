// What is shown of the keys, as the address remembers it: filters, order, page.
import { signal } from "../../lib/preact.js";
import { query, setQuery } from "../../lib/router.js";

/** The orders that the API knows, with "-" in front where it begins at the end. */
export const orders = ["-created_at", "created_at", "username", "-username", "status", "-status", "-last_used", "last_used", "-consecutive_failures", "consecutive_failures", "expires_at", "-expires_at"];
const sizes = [20, 50, 100, 200];
const usualSize = 50;

/** A search that may be a whole key. It is kept in memory alone, never in the address. */
export const secretSearch = signal("");

const maySecret = (text) => text.length >= 16 && !/[\s@]/.test(text) && !/^[0-9a-f]{16}$/i.test(text);

const whole = (text, least, otherwise) => {
  const n = Number.parseInt(text, 10);
  return n >= least ? n : otherwise;
};

/** Reads the address: { provider, status, category, reason, search, sort, page, pageSize }. */
export function filtersNow() {
  const q = query.value;
  return {
    provider: q.provider === "openrouter" ? "openrouter" : "ollama",
    status: q.status && q.status !== "all" ? q.status : "",
    category: q.category ?? "",
    reason: q.reason ?? "",
    search: secretSearch.value || (q.search ?? ""),
    sort: orders.includes(q.sort) ? q.sort : orders[0],
    page: whole(q.page, 1, 1),
    pageSize: Math.min(sizes.at(-1), whole(q.pageSize, 1, usualSize)),
  };
}

/** Changes filters; the list begins at its first page again. */
export const setFilters = (changes, options) => setQuery({ page: null, ...changes }, options);

/** Searches for something while it is typed. */
export function searchFor(text) {
  const secret = maySecret(text.trim());
  secretSearch.value = secret ? text.trim() : "";
  setFilters({ search: secret ? null : text.trim() }, { replace: true });
}

/** Takes the filters away, but for the provider. */
export function unfilter() {
  secretSearch.value = "";
  setFilters({ status: null, category: null, reason: null, search: null });
}

export const setPage = ({ page, pageSize }) => setQuery({ page: page === 1 ? null : page, pageSize: pageSize === usualSize ? null : pageSize });

/** What the API calls the filter of the keys that are shown. */
export function chosenBy({ status, category, reason, search }) {
  const filter = { category, reason, search };
  for (const name of Object.keys(filter)) if (filter[name] === "") delete filter[name];
  if (status) filter.status = status;
  return Object.keys(filter).length === 0 ? { status: "all" } : filter;
}

/** Whether other things than the status are asked for. */
export const narrowed = (f) => f.category !== "" || f.reason !== "" || f.search !== "";
