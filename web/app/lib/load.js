// Loading what a list or a panel shows, with its states: loading, error, and
// full. What was shown stays while it is loaded anew, and an older answer never
// takes the place of a newer one.
import { useCallback, useEffect, useRef, useState } from "./preact.js";
import { returns } from "./live.js";
import { wait } from "./ready.js";

/**
 * Loads with a function of an AbortSignal whenever one of the deps changes (and
 * once the server is back after it was away). Returns
 * { data, error, loading, reload }: data is undefined until the first answer,
 * error is the last failure or null, loading says that a call is on its way,
 * stale that data belong to other deps. every repeats it, in milliseconds,
 * while the page is looked at, and at once where one comes back later than that.
 * With on false it waits.
 */
export function useLoad(load, deps, { every = 0, on = true } = {}) {
  const [state, setState] = useState({ data: undefined, error: null, loading: on, of: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const key = JSON.stringify(deps);
  const back = returns.value;
  const busy = useRef(false);
  const last = useRef(0); // when the last call began
  const asked = useRef(false); // somebody wants it anew, and is to see that it is on its way

  useEffect(() => {
    if (!on) {
      setState((s) => (s.loading ? { ...s, loading: false } : s));
      return undefined;
    }
    const stop = new AbortController();
    const done = wait();
    const again = asked.current;
    asked.current = false;
    busy.current = true;
    last.current = Date.now();
    setState((s) => ({ ...s, loading: true, error: again && s.data === undefined ? null : s.error }));
    const run = async () => {
      let next;
      try {
        const data = await latest.current(stop.signal);
        next = () => ({ data, error: null, loading: false, of: key });
      } catch (error) {
        next = (s) => ({ ...s, error, loading: false });
      }
      if (stop.signal.aborted) return;
      busy.current = false;
      setState(next);
      done();
    };
    run();
    return () => {
      stop.abort();
      busy.current = false;
      done();
    };
  }, [key, turn, on, back]);

  useEffect(() => {
    if (every === 0 || !on) return undefined;
    // A call that takes longer than that is waited for.
    const look = () => {
      if (document.hidden || busy.current || Date.now() - last.current < 0.8 * every) return;
      busy.current = true;
      setTurn((n) => n + 1);
    };
    const timer = setInterval(look, every);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [every, on]);

  const reload = useCallback(() => {
    asked.current = true;
    setTurn((n) => n + 1);
  }, []);
  return { ...state, stale: state.of !== key, reload };
}

/** Calls a function some time after the last of many calls. */
export function useLater(ms) {
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback((f) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(f, ms);
  }, [ms]);
}
