// Calls of the admin API: the session's token goes along, errors become one
// kind, and a session that has ended sends one back to the login.
import { signal } from "./preact.js";
import { t } from "./words.js";

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

/**
 * What a call was refused with, from what the answer's error says (undefined
 * where it is not ours, as a proxy's page), its status, and a function that gives
 * a header. Where the session has ended, that is noted.
 */
export function refused(path, error, status, header) {
  if (status === 401 && path !== "/admin/login" && session.value) {
    parting.value = "ended";
    session.value = null;
  }
  return new CallError(error?.message || t("error.status", { status: String(status) }), {
    status,
    code: error?.code ?? "",
    request: header("X-Request-Id") ?? "",
    retryAfter: Number(header("Retry-After")) || 0,
  });
}

/**
 * Makes a call and returns the Response, or throws a CallError. query is an
 * object (empty values are left out), json a body; body and headers pass as
 * they are. An AbortError passes as it is, too.
 */
export async function send(method, path, { query, json, body, headers = {}, signal: stop } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, String(value));
  }
  const sent = { Accept: "application/json", ...headers };
  if (json !== undefined) {
    sent["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  if (method !== "GET" && session.value) sent["X-CSRF-Token"] = session.value.csrfToken;
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
  throw refused(path, error, response.status, (name) => response.headers.get(name));
}

/** Makes a call and returns what its answer says. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
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
  session.value = found.csrfToken ? found : null;
}

/** Begins a session, or throws. */
export async function logIn(token, remember) {
  const made = await post("/admin/login", { token, remember });
  parting.value = "";
  session.value = made;
}

/** Ends the session, here and on the server. */
export async function logOut() {
  await post("/admin/logout", {});
  parting.value = "left";
  session.value = null;
}
