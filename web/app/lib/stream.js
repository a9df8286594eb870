// The one event stream of this browser. A window that is looked at follows the
// stream of another window where there is one, since a browser has six
// connections to a server over HTTP/1.1, and streams would take all of them.
const address = "/admin/events";
const names = ["figures", "requests", "jobs"];
const asks = 120; // ms that another window has to say that it has a stream

const me = Math.random();
const others = "BroadcastChannel" in globalThis ? new BroadcastChannel("events-1") : null;
const say = (message) => others?.postMessage({ ...message, from: me });

/**
 * Follows the stream. heard is called with { name, data, id } for every event,
 * ended once, when the stream has ended or could not be had; it is for the
 * caller to begin anew. The function that is returned leaves the stream, and
 * ended is not called then.
 *
 * EventSource would come back by itself, though at the same pace for ever and
 * for all windows at once. So each stream is a new one: Last-Event-ID is not
 * sent, and not missed, as the id of every event is the newest cursor of the
 * request log.
 */
export function follow(heard, ended) {
  let source = null;
  let tells = false; // source has told something
  const last = {}; // the last event of each name, for windows that come later
  let timer = 0;
  let over = false;

  const leave = () => {
    over = true;
    clearTimeout(timer);
    if (others) others.onmessage = null;
    if (source) say({ kind: "left" });
    source?.close();
  };
  const end = () => {
    if (over) return;
    leave();
    ended();
  };
  const open = () => {
    if (over) return;
    source = new EventSource(address);
    source.addEventListener("error", end);
    for (const name of names) {
      source.addEventListener(name, (e) => {
        tells = true;
        last[name] = { name, data: e.data, id: e.lastEventId };
        say({ kind: "event", event: last[name] });
        heard(last[name]);
      });
    }
  };
  const answer = ({ data: message }) => {
    if (message.kind === "who" && tells) {
      for (const event of [last.figures, last.jobs ?? { name: "jobs", data: '{"jobs":[]}', id: "" }]) if (event) say({ kind: "event", event });
    } else if (message.kind === "left" && source === null) {
      clearTimeout(timer);
      timer = setTimeout(end, 300 * Math.random()); // another one may be first
    } else if (message.kind === "event") {
      if (tells && message.from > me) return; // of two streams that of the lower number stays
      clearTimeout(timer);
      source?.close();
      source = null;
      tells = false;
      heard(message.event);
    }
  };

  if (others) {
    others.onmessage = answer;
    say({ kind: "who" });
    timer = setTimeout(open, asks);
  } else open();
  return leave;
}
