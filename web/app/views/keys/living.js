// How the table keeps up with what happens without getting in the way.
import { useCallback, useEffect, useRef, useState } from "../../lib/preact.js";
import { figures } from "../../lib/live.js";

const pause = 5000; // ms between two loadings
const rest = 30; // s after which it is loaded anew also where no state has changed

/**
 * Calls reload when the states of a provider's keys have changed, and every half
 * minute, but not while hold says so: then as soon as it does not any more.
 */
export function useFresh(provider, hold, reload) {
  const stand = figures.value?.providers?.find((p) => p.provider === provider)?.states;
  const seen = useRef({ provider: "", mark: "", at: 0 });
  const mark = stand ? JSON.stringify(stand) : "";
  const latest = useRef({});
  latest.current = { hold, reload, mark };
  useEffect(() => {
    if (seen.current.provider !== provider || seen.current.mark === "") seen.current = { provider, mark, at: Date.now() };
  }, [provider, mark]);
  useEffect(() => {
    const timer = setInterval(() => {
      const { hold, reload, mark } = latest.current;
      const age = Date.now() - seen.current.at;
      if (document.hidden || age < pause || mark === "" || hold()) return;
      if (mark === seen.current.mark && age < rest * 1000) return;
      seen.current = { ...seen.current, mark, at: Date.now() };
      reload();
    }, 1000);
    return () => clearInterval(timer);
  }, []);
}

/**
 * Keeps rows where they are while the pointer is over them: what is loaded then
 * changes what they say, not which they are. scope names what they belong to.
 * release lets the next rows come as they are.
 */
export function useSteady(rows, scope) {
  const over = useRef(false);
  const kept = useRef({ scope: "", from: undefined, rows: undefined, free: true });
  const [, turn] = useState(0);
  const k = kept.current;
  if (k.scope !== scope || rows === undefined) {
    // Until the rows of the new scope have come, those of the old one are shown.
    kept.current = { scope, from: rows, rows, free: true };
  } else if (k.from !== rows) {
    const hold = over.current && !k.free && k.rows !== undefined;
    const now = new Map(rows.map((r) => [r.id, r]));
    kept.current = { scope, from: rows, rows: hold ? k.rows.map((r) => now.get(r.id) ?? r) : rows, free: false };
  }
  const release = useCallback(() => {
    kept.current.free = true;
  }, []);
  const box = {
    onPointerEnter: (e) => {
      over.current = e.pointerType === "mouse";
    },
    onPointerLeave: () => {
      over.current = false;
      kept.current.rows = kept.current.from;
      turn((n) => n + 1);
    },
  };
  return { rows: kept.current.rows, box, release };
}

const typed = "input:not([type=checkbox]), textarea, select, dialog, [role=menu], [contenteditable]";

/**
 * Walks through the rows by keyboard: j and k open the next and the one before
 * beside the table, the arrows move among the rows.
 */
export function useWalk(rows, open, openRow) {
  const latest = useRef({});
  latest.current = { rows, open, openRow };
  useEffect(() => {
    const strike = (e) => {
      const { rows, open, openRow } = latest.current;
      const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[e.key];
      if (!step || !rows?.length || e.metaKey || e.ctrlKey || e.altKey || e.shiftKey || e.defaultPrevented) return;
      const at = e.target instanceof Element ? e.target : document.body;
      if (at.closest(typed) || document.querySelector("dialog[open], [popover]:popover-open")) return;
      const arrow = e.key.startsWith("Arrow");
      const row = at.closest("tr")?.querySelector(".row-link")?.id.slice("row-".length);
      if (arrow && !row) return;
      e.preventDefault();
      const from = rows.findIndex((r) => r.id === (row ?? open));
      const next = rows[from < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, from + step))];
      const link = document.getElementById(`row-${next.id}`);
      if (row) link?.focus();
      link?.scrollIntoView({ block: "nearest" });
      if (open || !arrow) openRow(next, open !== "");
    };
    addEventListener("keydown", strike);
    return () => removeEventListener("keydown", strike);
  }, []);
}
