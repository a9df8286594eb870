// Calls with a large body: they tell how much of it has gone, and can be given
// up on the way. fetch tells nothing of that.
import { CallError, hasNewToken, refused, session } from "./api.js";
import { t } from "./words.js";

/**
 * Sends a Blob and returns what the answer says, or throws a CallError, whose
 * sent tells whether the whole body had gone. query and headers are as with send
 * of api.js, type is the body's. progress is called with the bytes that have
 * gone. An AbortError passes as it is.
 */
export async function upload(path, options) {
  const token = session.value?.csrfToken;
  try {
    return await sendOnce(path, options);
  } catch (error) {
    if (!(await hasNewToken(token, error))) throw error;
    return sendOnce(path, options);
  }
}

function sendOnce(path, { query, body, type, headers = {}, signal: stop, progress = () => {} }) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, String(value));
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    let sent = false;
    const fail = (error) => reject(Object.assign(error, { sent }));
    call.open("POST", url);
    for (const [name, value] of Object.entries({ Accept: "application/json", "Content-Type": type, ...headers })) call.setRequestHeader(name, value);
    if (session.value) call.setRequestHeader("X-CSRF-Token", session.value.csrfToken);
    call.upload.addEventListener("progress", (e) => progress(Math.min(e.loaded, body.size)));
    call.upload.addEventListener("load", () => {
      sent = true;
      progress(body.size);
    });
    call.addEventListener("error", () => fail(new CallError(t("error.away"))));
    call.addEventListener("abort", () => fail(new DOMException("given up", "AbortError")));
    call.addEventListener("load", () => {
      let said;
      try {
        said = JSON.parse(call.responseText);
      } catch {
        said = undefined; // a proxy's page, or broken off
      }
      if (call.status >= 200 && call.status < 300) {
        if (said === undefined) fail(new CallError(t("error.cut")));
        else resolve(said);
        return;
      }
      fail(refused(path, said?.error, call.status, (name) => call.getResponseHeader(name)));
    });
    stop?.addEventListener("abort", () => call.abort(), { once: true });
    if (stop?.aborted) {
      fail(new DOMException("given up", "AbortError"));
      return;
    }
    call.send(body);
  });
}
