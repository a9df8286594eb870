// Live figures: server-sent events, and calls in turn where a proxy holds events
// back. Nothing is asked for while nobody looks at the page, which also leaves
// the browser's few connections to the tabs that are looked at.
import { effect, signal } from "./preact.js";
import { get, session } from "./api.js";

const patience = 6000; // ms without the first event, after which calls are made in turn
const inTurn = 5000; // ms between them
const longestPause = 15000; // ms between tries while the server is away

/** "off", "live" (events), "polling" (calls in turn) or "away" (the server does not answer). */
export const link = signal("off");

/** The last figures: { timestamp, verdict, states, inFlight, providers, minutes? }, null before the first. */
export const figures = signal(null);

/** The newest cursor of the request log; changes when there are new entries. */
export const newest = signal("");

/** How far the running jobs are, as the API lists them. */
export const jobs = signal([]);

/** Counts the times that the server came back; what is shown is loaded anew then. */
export const returns = signal(0);

let source = null;
let timer = 0;
let turns = 0;
let pause = 1000;

function close() {
  source?.close();
  source = null;
  clearTimeout(timer);
  clearInterval(turns);
  turns = 0;
}

function came(state) {
  const was = link.peek();
  pause = 1000;
  link.value = state;
  if (was === "away") returns.value++;
}

function read(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null; // cut off on the way
  }
}

function open() {
  close();
  source = new EventSource("/admin/events");
  timer = setTimeout(poll, patience);
  source.addEventListener("figures", (e) => {
    const said = read(e.data);
    if (!said) return;
    clearTimeout(timer);
    stopPolling();
    came("live");
    figures.value = said;
  });
  source.addEventListener("requests", (e) => {
    const said = read(e.data);
    if (said?.newest) newest.value = said.newest;
  });
  source.addEventListener("jobs", (e) => {
    const said = read(e.data);
    if (said) jobs.value = said.jobs ?? [];
  });
  source.addEventListener("error", () => {
    clearTimeout(timer);
    if (source.readyState === EventSource.CLOSED) source.close();
    ask(); // is it the events alone, or does nothing answer?
  });
}

function stopPolling() {
  clearInterval(turns);
  turns = 0;
}

// poll makes calls in turn; the stream stays open, in case that it comes through.
function poll() {
  if (turns !== 0) return;
  ask();
  turns = setInterval(ask, inTurn);
}

async function ask() {
  let answered = false;
  try {
    const [overview, running, log] = await Promise.all([
      get("/admin/overview", { range: "1h" }),
      get("/admin/jobs", { pageSize: 1 }),
      get("/admin/requests", { pageSize: 1 }),
    ]);
    answered = true;
    figures.value = { ...overview, inFlight: overview.inFlight.now };
    jobs.value = running.running ?? [];
    if (log.newest) newest.value = log.newest;
  } catch (e) {
    answered = e.status > 0;
  }
  if (source === null) return; // switched off meanwhile
  if (answered) {
    came(source.readyState === EventSource.OPEN && turns === 0 ? "live" : "polling");
    if (source.readyState === EventSource.CLOSED) again(inTurn);
    return;
  }
  link.value = "away";
  if (source.readyState === EventSource.CLOSED) {
    again(pause);
    pause = Math.min(2 * pause, longestPause);
  }
}

function again(ms) {
  clearTimeout(timer);
  timer = setTimeout(open, ms);
}

/** Follows the session and whether the page is looked at. Called once. */
export function begin() {
  const follow = () => {
    if (session.value && !document.hidden) {
      if (source === null) open();
    } else {
      close();
      link.value = "off";
    }
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("online", () => source && open());
  effect(follow);
}
