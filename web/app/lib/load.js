// Loading what a list or a panel shows, with its states: loading, error, and
// full. What was shown stays while it is loaded anew.
import { useCallback, useEffect, useRef, useState } from "./preact.js";
import { returns } from "./live.js";
import { wait } from "./ready.js";

/**
 * Loads with a function of an AbortSignal whenever one of the deps changes (and
 * once the server is back after it was away). Returns
 * { data, error, loading, reload }: data is undefined until the first answer,
 * error is the last failure or null, loading says that a call is on its way,
 * stale that data belong to other deps. every repeats it, in milliseconds,
 * while the page is looked at. With on false it waits.
 */
export function useLoad(load, deps, { every = 0, on = true } = {}) {
  const [state, setState] = useState({ data: undefined, error: null, loading: on, of: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const key = JSON.stringify(deps);
  const back = returns.value;

  useEffect(() => {
    if (!on) return undefined;
    const stop = new AbortController();
    const done = wait();
    setState((s) => ({ ...s, loading: true }));
    latest.current(stop.signal).then(
      (data) => setState({ data, error: null, loading: false, of: key }),
      (error) => {
        if (!stop.signal.aborted) setState((s) => ({ ...s, error, loading: false }));
      },
    ).finally(done);
    return () => {
      stop.abort();
      done();
    };
  }, [key, turn, on, back]);

  useEffect(() => {
    if (every === 0 || !on) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) setTurn((n) => n + 1);
    }, every);
    return () => clearInterval(timer);
  }, [every, on]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
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
