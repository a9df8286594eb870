// Which keys are ticked: some by name, on whatever page, or all that match.
import { useRef, useState } from "../../lib/preact.js";

const none = { picked: new Map(), all: false };

/**
 * The choice among the keys of a filter. It holds while pages are turned, and
 * ends with the filter, which scope names. rows are those of the page.
 */
export function useChoice(scope, rows) {
  const [state, setState] = useState({ scope, ...none });
  const last = useRef("");
  const { picked, all } = state.scope === scope ? state : none;
  const change = (next) => setState((s) => ({ scope, all: false, ...next(s.scope === scope ? s : none) }));
  const set = (list, all = false) => change(() => ({ picked: new Map(list.map((r) => [r.id, r])), all }));
  const add = (list, on) => change((s) => {
    const picked = new Map(s.picked);
    for (const row of list) {
      if (on) picked.set(row.id, row);
      else picked.delete(row.id);
    }
    return { picked };
  });
  const reach = (id) => {
    const from = rows.findIndex((r) => r.id === last.current);
    const to = rows.findIndex((r) => r.id === id);
    return from < 0 ? rows.slice(to, to + 1) : rows.slice(Math.min(from, to), Math.max(from, to) + 1);
  };
  const here = rows.filter((r) => picked.has(r.id)).length;
  return {
    all,
    count: picked.size,
    rows: [...picked.values()],
    any: all || picked.size > 0,
    has: (row) => all || picked.has(row.id),
    page: all || (here > 0 && here === rows.length) ? true : here > 0 ? "some" : false,
    /** Ticks a key, with Shift all between it and the one before. Of all that match, those of this page stay. */
    pick(row, on, e) {
      if (all) set(rows.filter((r) => r.id !== row.id));
      else add(e?.shiftKey ? reach(row.id) : [row], on);
      last.current = row.id;
    },
    pickPage(on) {
      if (all) set([]);
      else add(rows, on);
    },
    pickAll: () => set([], true),
    onlyPage: () => set(rows),
    clear: () => set([]),
  };
}
