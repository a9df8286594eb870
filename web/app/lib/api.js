// Calls of the admin API: the session's token goes along, errors become one
// kind, and a session that has ended sends one back to the login.
import { batch, signal } from "./preact.js";
import { span } from "./format.js";
import { reason } from "./reasons.js";
import { known, t } from "./words.js";

/**
 * The session: undefined until it is known, null where there is none, else
 * { csrfToken, expiresAt }.
 */
export const session = signal(undefined);

/** Why there is no session any more: "" at first, "ended" or "left". */
export const parting = signal("");

/** What a call failed with. status is 0 where no answer came. */
export class CallError extends Error {
  constructor(message, { status = 0, code = "", request = "", retryAfter = 0 } = {}) {
    super(message);
    this.name = "CallError";
    Object.assign(this, { status, code, request, retryAfter });
  }
}

/** Whether a call is one of the admin API with the session, and not one with a token of its own. */
const withSession = (path, headers = {}) => path.startsWith("/admin/") && !("Authorization" in headers);

/** The seconds that a Retry-After asks for, which may be a date; 0 where it asks for none. */
function seconds(after) {
  if (!after) return 0;
  const n = Number(after);
  return Number.isFinite(n) ? Math.max(0, n) : Math.max(0, Math.ceil((Date.parse(after) - Date.now()) / 1000) || 0);
}

/** What is said of a call that was refused. */
function told(error, status, retryAfter) {
  const text = typeof error === "string" ? error : error?.message; // a native address says the text alone
  const message = typeof text === "string" ? text : "";
  if (message !== "") {
    const said = reason(message);
    if (said !== message) return said;
    return known(`error.code.${error.code}`) ? t(`error.code.${error.code}`, { message }) : message; // words: error.code.*
  }
  if (status === 429 && retryAfter > 0) return t("error.often", { span: span(retryAfter) });
  const own = `error.status.${status}`;
  return t(known(own) ? own : "error.status", { status: String(status) }); // words: error.status.*
}

/**
 * What a call was refused with, from what the answer's error says (undefined
 * where it is not ours, as a proxy's page), its status, and a function that gives
 * a header. Where the session has ended, that is noted; headers are those that
 * were sent.
 */
export function refused(path, error, status, header, headers) {
  if (status === 401 && path !== "/admin/login" && withSession(path, headers) && session.value) ended();
  const retryAfter = seconds(header("Retry-After"));
  return new CallError(told(error, status, retryAfter), { status, code: error?.code ?? "", request: header("X-Request-Id") ?? "", retryAfter });
}

function ended() {
  batch(() => {
    parting.value = "ended";
    session.value = null;
  });
}

/**
 * Whether a call that was refused with a CSRF token may pass with another one:
 * there was a login in another window meanwhile. Asks for the session if need be.
 */
export async function hasNewToken(used, error) {
  if (error.status !== 403 || error.code !== "permission_error" || !session.value) return false;
  if (session.value.csrfToken === used) {
    try {
      await lookAgain();
    } catch {
      return false;
    }
  }
  return Boolean(session.value) && session.value.csrfToken !== used;
}

async function lookAgain() {
  const found = await get("/admin/session", { optional: "true" });
  if (!found?.csrfToken) {
    if (session.value) ended();
  } else if (found.csrfToken !== session.value?.csrfToken) {
    batch(() => {
      parting.value = "";
      session.value = found;
    });
  }
}

// Who logs in or out in one window has done so in all of this browser.
const windows = "BroadcastChannel" in globalThis ? new BroadcastChannel("session") : null;
if (windows) {
  windows.onmessage = () => {
    if (session.value !== undefined) lookAgain().catch(() => {}); // else it comes out at the next call
  };
}

/**
 * Makes a call and returns the Response, or throws a CallError. query is an
 * object (empty values are left out), json a body; body and headers pass as
 * they are. An AbortError passes as it is, too.
 */
export async function send(method, path, { query, json, body, headers = {}, signal: stop, repeated = false } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, String(value));
  }
  const sent = { Accept: "application/json", ...headers };
  const content = body;
  if (json !== undefined) {
    sent["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  const token = method !== "GET" && withSession(path, headers) ? session.value?.csrfToken : undefined;
  if (token !== undefined) sent["X-CSRF-Token"] = token;
  let response;
  try {
    response = await fetch(url, { method, headers: sent, body, signal: stop });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new CallError(t("error.away"));
  }
  if (response.ok) return response;
  let error;
  try {
    error = (await response.json()).error;
  } catch {
    // not ours: a proxy's page
  }
  const failed = refused(path, error, response.status, (name) => response.headers.get(name), headers);
  if (token === undefined || repeated || !(await hasNewToken(token, failed))) throw failed;
  return send(method, path, { query, json, body: content, headers, signal: stop, repeated: true });
}

/** Makes a call and returns what its answer says. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  if (!/\bjson\b/i.test(response.headers.get("Content-Type") ?? "")) {
    response.body?.cancel().catch(() => {});
    throw new CallError(t("error.foreign"), { code: "foreign" }); // a page of a proxy, such as a login of its own
  }
  try {
    return await response.json();
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new CallError(t("error.cut")); // broken off on the way
  }
}

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, json, options) => call("POST", path, { json, ...options });

/** Finds out whether there is a session. */
export async function findSession() {
  const found = await get("/admin/session", { optional: "true" });
  session.value = found?.csrfToken ? found : null;
}

/** Begins a session, or throws. */
export async function logIn(token, remember) {
  const made = await post("/admin/login", { token, remember });
  batch(() => {
    parting.value = "";
    session.value = made;
  });
  windows?.postMessage("in");
}

/** Ends the session, here and on the server. */
export async function logOut() {
  try {
    await post("/admin/logout", {});
  } catch (e) {
    if (e.status !== 401) throw e; // there is no session to end
  }
  batch(() => {
    parting.value = "left";
    session.value = null;
  });
  windows?.postMessage("out");
}
