// What is done to keys: the calls, and what is said of them afterwards.
import { CallError, call, post, send } from "../../lib/api.js";
import { hour } from "../../lib/format.js";
import { reason } from "../../lib/reasons.js";
import { t } from "../../lib/words.js";
import { toast, toastError } from "../../parts/toast.js";

/** The keys that an act is about by name. */
export const named = (provider, rows) => ({ provider, rows, ids: rows.map((r) => r.id), count: rows.length });

/** The keys that an act is about by what they are, and how many they are thought to be. */
export const matching = (provider, filter, count) => ({ provider, filter, count });

const chosen = (target) => (target.filter ? { filter: target.filter } : { apiKeys: target.ids });

/** A call that changes keys: of a filter only where it chooses as many as were shown. */
const change = (method, path, target, more) =>
  call(method, path, { query: { provider: target.provider }, json: { ...chosen(target), ...(target.filter ? { expect: target.count } : {}), ...more } });

/** How many of the keys there are by now. */
export async function countNow(target) {
  const { deleted } = await call("DELETE", "/admin/api-keys", { query: { provider: target.provider, dryRun: true }, json: chosen(target) });
  return deleted;
}

const missing = (n) => (n > 0 ? t("keys.done.missing", { n }) : "");

/** Clears every mark of keys. */
export async function enable(target) {
  const { changed, failed } = await change("POST", "/admin/keys/enable", target);
  toast({ state: "active", text: t("keys.done.enabled", { n: changed }), more: missing(failed) });
}

const undoable = 20000; // keys of a filter whose names are asked for, so that they can be enabled again

/** The same keys by name; an error as the API's where they are more than was thought. */
async function byName({ provider, filter, count }) {
  const ids = await idsOf({ provider, filter });
  if (ids.length > count) throw new CallError(t("keys.moved", { n: ids.length }), { status: 409 });
  return { provider, ids, count: ids.length };
}

/** Takes keys out for so many seconds, 0 for until they are enabled. after is called when that was undone. */
export async function disable(target, seconds, after) {
  const keys = target.filter && target.count <= undoable ? await byName(target) : target;
  const { changed, failed } = await change("POST", "/admin/keys/disable", keys, { duration: seconds });
  const undo = async () => {
    try {
      await enable(keys);
      after();
    } catch (e) {
      toastError(e);
    }
  };
  toast({
    state: "disabled",
    text: t("keys.done.disabled", { n: changed }),
    more: missing(failed) || (seconds > 0 ? t("keys.done.disabled.until", { at: hour(new Date(Date.now() + 1000 * seconds)) }) : t("keys.done.disabled.open")),
    act: changed > 0 && keys.ids ? { label: t("undo"), run: undo } : null,
  });
}

/** Ends the rests of keys; their other marks stay. */
export async function endRest(target) {
  const { changed } = await change("POST", "/admin/keys/clear-rest", target);
  toast({ state: changed > 0 ? "active" : "info", text: t("keys.done.rested", { n: changed }) });
}

/** Deletes keys. */
export async function remove(target) {
  const { deleted, failed } = await change("DELETE", "/admin/api-keys", target);
  toast({ state: "info", text: t("keys.done.deleted", { n: deleted }), more: missing(failed) });
}

/** Begins to check many keys, and returns the job. */
export async function verify(target) {
  const asked = { ...chosen(target), ...(target.filter ? { expect: target.count } : {}) };
  try {
    const { job } = await call("POST", "/admin/keys/health-check", { query: { provider: target.provider, async: true }, json: asked });
    return job;
  } catch (e) {
    if (e.status === 409 && !e.message.startsWith("the filter")) throw new Error(t("keys.run.busy"));
    throw e;
  }
}

const found = {
  valid: (v) => ({ state: v.status === "active" ? "active" : v.status, text: t("keys.found.valid"), more: v.category ? t("keys.found.valid.more", { family: v.category }) : "" }),
  refused: (v) => ({ state: "failed", text: t("keys.found.refused"), more: reason(v.error) }),
  inconclusive: (v) => ({ state: "info", text: t("keys.found.unclear"), more: reason(v.error) }),
};

/** Checks one key at once. */
export async function verifyOne(provider, id) {
  const verdict = await post("/admin/verify-key", { apiKey: id, provider });
  toast((found[verdict.outcome] ?? found.inconclusive)(verdict));
}

/** Shows a key whole, which the server logs. */
export async function reveal(provider, id) {
  const { api_key: key } = await call("GET", `/admin/api-keys/${id}`, { query: { provider, reveal: true } });
  return key;
}

/** The keys as a file: { name, blob }. */
export async function exported(target, format, whole) {
  const answer = await send("POST", "/admin/api-keys/export", {
    query: { provider: target.provider, format, reveal: whole || undefined }, json: chosen(target), headers: { Accept: "*/*" },
  });
  return { name: `${target.provider}-keys.${format}`, blob: await answer.blob() };
}

/** The ids of keys. */
export async function idsOf(target) {
  if (target.ids) return target.ids;
  const { blob } = await exported(target, "jsonl", false);
  const lines = (await blob.text()).split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line).id);
}
