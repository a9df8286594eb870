// Live figures: server-sent events, and calls in turn where a proxy holds events
// back. Nothing is asked for while nobody looks at the page.
import { batch, effect, signal } from "./preact.js";
import { get, session } from "./api.js";
import { follow } from "./stream.js";

const patience = 6000; // ms of silence after which a stream is given up: events come every two seconds
const soon = 700; // ms until a stream that has ended is begun anew
const inTurn = 5000; // ms between calls, and at first between tries to have events again
const longest = 120000; // ms between those tries after many
const longestPause = 15000; // ms between calls while the server is away
const callFor = 10000; // ms after which a call has failed
const glance = 1500; // ms that a page may be out of sight before it stops
const longAway = 60000; // ms out of sight after which what is shown is loaded anew

/** "off", "live" (events), "polling" (calls in turn) or "away" (the server does not answer). */
export const link = signal("off");

/** The last figures: { timestamp, verdict, states, inFlight, providers, minutes? }, null before the first. */
export const figures = signal(null);

/** The newest cursor of the request log, "" while that is empty or not known; changes when there are new entries. */
export const newest = signal("");

/** How far the running jobs are, as the API lists them. */
export const jobs = signal([]);

/** Counts the times that the server came back; what is shown is loaded anew then. */
export const returns = signal(0);

/** Counts the streams that were begun and told something. */
export const joins = signal(0);

let on = false; // the page is looked at, and there is a session
let leave = null; // ends the stream that is followed
let silence = 0; // timer: the stream has been silent for too long
let again = 0; // timer: a stream is tried
let turn = 0; // timer: the next call in turn
let stop = null; // of the calls in turn, null while none are made
let failures = 0; // streams in a row that told nothing
let pause = 1000;
let missed = false; // the server was away, or the page was out of sight for long
let hidden = 0; // when the page went out of sight

// Many pages that lost the same server do not come back at the same moment.
const about = (ms) => ms * (0.75 + Math.random() / 2);

function came(state) {
  pause = 1000;
  batch(() => {
    link.value = state;
    if (missed) returns.value = returns.peek() + 1;
    missed = false;
  });
}

function read(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null; // cut off on the way
  }
}

function join() {
  quit();
  let told = 0;
  let jobsTold = false;
  const heard = ({ name, data, id }) => {
    listen();
    const said = read(data);
    if (!said) return;
    failures = 0;
    clearTimeout(again);
    endTurns();
    came("live");
    if (told === 0) joins.value = joins.peek() + 1;
    if (id !== "") newest.value = id === "0" ? "" : id;
    if (name === "figures") {
      told++;
      figures.value = said;
      // A stream begins with the jobs that run: silence means that there are none.
      if (told > 1 && !jobsTold && jobs.peek().length > 0) jobs.value = [];
    } else if (name === "jobs") {
      jobsTold = true;
      jobs.value = said.jobs ?? [];
    }
  };
  leave = follow(heard, () => lost(false));
  listen();
}

function listen() {
  clearTimeout(silence);
  silence = setTimeout(() => lost(true), patience);
}

function quit() {
  clearTimeout(silence);
  clearTimeout(again);
  leave?.();
  leave = null;
}

// A stream that has ended is begun anew without a word, as the server ends each
// after a while. One that stays silent, or a second one that fails, is made up
// for by calls in turn.
function lost(late) {
  quit();
  failures++;
  again = setTimeout(join, about(failures === 1 ? soon : Math.min(longest, inTurn * 2 ** (failures - 2))));
  if ((late || failures > 1) && stop === null) {
    stop = new AbortController();
    ask(stop.signal);
  }
}

function endTurns() {
  clearTimeout(turn);
  stop?.abort();
  stop = null;
}

/** Whether a call failed because no server of ours was there to answer it. */
const gone = (e) => !e.status || ([502, 503, 504].includes(e.status) && !e.code);

async function ask(over) {
  const signal = AbortSignal.any([over, AbortSignal.timeout(callFor)]);
  let wait = inTurn;
  try {
    // The first call alone finds out whether there is a server at all.
    const overview = await get("/admin/overview", { range: "1h" }, { signal });
    const [running, log] = await Promise.all([get("/admin/jobs", { pageSize: 1 }, { signal }), get("/admin/requests", { limit: 1 }, { signal })]);
    if (over.aborted) return;
    batch(() => {
      figures.value = { ...overview, inFlight: overview.inFlight.now };
      jobs.value = running.running ?? [];
      newest.value = log.newest ?? "";
    });
    answered();
  } catch (e) {
    if (over.aborted) return;
    if (gone(e)) {
      missed = true;
      link.value = "away";
      clearTimeout(again); // no stream is tried where nothing answers
      wait = pause;
      pause = Math.min(2 * pause, longestPause);
    } else {
      answered();
      wait = Math.max(wait, 1000 * (e.retryAfter ?? 0));
    }
  }
  if (!over.aborted) turn = setTimeout(ask, about(wait), over);
}

function answered() {
  const back = link.peek() === "away";
  came("polling");
  if (back) join();
}

function start() {
  on = true;
  failures = 0;
  pause = 1000;
  if (hidden !== 0 && Date.now() - hidden > longAway) missed = true;
  hidden = 0;
  link.value = "live"; // until it turns out otherwise
  join();
}

function halt() {
  if (on && document.hidden) hidden = Date.now();
  on = false;
  quit();
  endTurns();
  link.value = "off";
}

/** Follows the session and whether the page is looked at. Called once. */
export function begin() {
  let leaving = 0;
  const look = () => {
    clearTimeout(leaving);
    if (!session.peek()) halt();
    else if (!document.hidden) on || start();
    else if (on) leaving = setTimeout(halt, glance); // who comes back at once finds all as it was
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", halt);
  addEventListener("pageshow", (e) => e.persisted && look());
  addEventListener("online", () => {
    if (!on || link.peek() === "live") return;
    endTurns();
    join();
  });
  effect(() => {
    if (session.value === null) {
      batch(() => {
        figures.value = null;
        jobs.value = [];
        newest.value = "";
      });
    }
    look();
  });
}
