// The list of requests and what happens to it while one looks: new ones come in,
// or wait until one lets them in.
import { get } from "../../lib/api.js";
import { link, newest, returns } from "../../lib/live.js";
import { effect, useCallback, useEffect, useRef, useState } from "../../lib/preact.js";
import { wait } from "../../lib/ready.js";

const pageSize = 50;

const most = 200; // that the API gives at once, and that wait at most
const spacing = 1000; // ms between two looks for new ones
const long = 300; // rows after which old ones are let go
const longest = 1000; // the same while one of them is open

const blank = { rows: undefined, newest: null, next: null, counts: null, log: null, error: null, late: null, of: null, pending: [], overflow: false };

/** What tells two requests apart: clients may choose an id twice. */
export const rowKey = (row) => `${row.id} ${row.at}`;

/**
 * Loads a page of the request log and follows it. filters go to the API as they
 * are, before is the cursor of an older page ("" for the newest). With paused
 * new requests wait in pending (overflow: there are more than it holds). open is
 * the id of the request that is looked at, hold is called before rows come in
 * above those that are shown. Returns the state, and
 *
 *   loading      a page is on its way; fresh: what is shown is what was asked for
 *   error, late  why the page, or what is new, could not be loaded
 *   letIn()      shows what waits
 *   reload()     loads the page anew
 */
export function useFeed(filters, { before, paused, open, hold }) {
  const [state, setState] = useState(blank);
  const [loading, setLoading] = useState(true);
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify([filters, before]);
  const at = useRef(null);
  at.current = { state, filters, paused, open, hold };
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const back = returns.value;

  useEffect(() => {
    const stop = new AbortController();
    const done = wait();
    setLoading(true);
    get("/admin/requests", { ...filters, before, limit: pageSize }, { signal: stop.signal }).then(
      (page) => setState({ ...blank, rows: page.requests, newest: page.newest, next: page.next, counts: page.counts, log: page.log, of: key }),
      (error) => {
        if (!stop.signal.aborted) setState((s) => ({ ...s, error }));
      },
    ).finally(() => {
      if (!stop.signal.aborted) setLoading(false);
      done();
    });
    return () => {
      stop.abort();
      done();
    };
  }, [key, turn, back]);

  const tooLong = (more) => {
    const { state: s, open: opened } = at.current;
    const n = more + s.rows.length;
    return n > longest || n > long && !s.rows.some((r) => r.id === opened);
  };

  const letIn = useCallback(() => {
    const { state: s, hold: held } = at.current;
    if (s.overflow || tooLong(s.pending.length)) {
      reload();
      return;
    }
    held();
    setState((now) => ({ ...now, rows: [...now.pending, ...now.rows], pending: [] }));
  }, []);

  const follows = before === "" && state.of === key && !loading && !state.overflow;
  useFollow(key, follows, async (signal) => {
    const { state: s, filters: of } = at.current;
    const page = await get("/admin/requests", { ...of, after: s.newest, limit: most }, { signal });
    const { paused: waits, hold: held } = at.current;
    const fits = page.next === null;
    if (!waits && (!fits || tooLong(page.requests.length))) {
      reload();
      return;
    }
    if (!waits && page.requests.length > 0) held();
    setState((now) => {
      if (now.newest !== s.newest) return now; // loaded anew meanwhile
      const pending = waits ? [...page.requests, ...now.pending] : now.pending;
      return {
        ...now, newest: page.newest ?? now.newest, counts: page.counts, log: page.log, late: null,
        rows: waits ? now.rows : [...page.requests, ...now.rows],
        pending: pending.slice(0, most), overflow: waits && (!fits || pending.length > most),
      };
    });
  }, (late) => setState((now) => ({ ...now, late })));

  useEffect(() => {
    if (!paused && at.current.state.pending.length > 0) letIn();
  }, [paused]);

  return { ...state, loading, fresh: state.of === key, reload, letIn };
}

/**
 * Looks for new requests whenever the live figures tell of some, and when they
 * come back after they were away; at most once a second, and one look after the
 * other. failed is called with what a look failed with.
 */
function useFollow(key, on, look, failed) {
  const latest = useRef(null);
  latest.current = { look, failed };
  useEffect(() => {
    if (!on) return undefined;
    const stop = new AbortController();
    let timer = 0;
    let busy = false;
    let asked = false;
    let last = Date.now();
    const run = async () => {
      timer = 0;
      busy = true;
      asked = false;
      last = Date.now();
      try {
        await latest.current.look(stop.signal);
      } catch (error) {
        if (!stop.signal.aborted) latest.current.failed(error);
      }
      busy = false;
      plan();
    };
    const plan = () => {
      if (asked && !busy && timer === 0 && !stop.signal.aborted) timer = setTimeout(run, Math.max(0, last + spacing - Date.now()));
    };
    const end = effect(() => {
      newest.value; // read, so that this runs when it changes
      if (link.value !== "live" && link.value !== "polling") return;
      asked = true;
      plan();
    });
    return () => {
      end();
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, on]);
}
