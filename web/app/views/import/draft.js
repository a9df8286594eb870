// What is to be imported and was not sent yet. It is kept in memory, so that it is
// still there when one comes back from another page, and nowhere else; the browser
// asks before it is lost.
import { computed, effect, signal } from "../../lib/preact.js";
import { parting, session } from "../../lib/api.js";
import { t } from "../../lib/words.js";
import { FormError, formOf } from "./forms.js";

/** The files: { id, name, size, form, error }; name is "" for a pasted text, form is undefined while one is looked at. */
export const files = signal([]);

/** What stands in the field. */
export const typed = signal("");

/** Whether there is anything. */
export const some = computed(() => files.value.length > 0 || typed.value.trim() !== "");

/** A longer text is not put into the field, where it would be slow, but kept as a file. */
export const longest = 64 << 10; // characters

let last = 0;

/** Takes files; those over the limit are refused. */
export function add(list, limit) {
  for (const file of list) {
    const one = { id: ++last, name: file.name ?? "", size: file.size, form: undefined, error: "" };
    if (file.size === 0) one.error = "empty";
    else if (file.size > limit) one.error = "limit";
    files.value = [...files.value, one];
    if (one.error === "") look(one.id, file);
  }
}

/** Takes a text that is too long for the field. */
export const addText = (text, limit) => add([new Blob([text])], limit);

async function look(id, file) {
  let found;
  try {
    found = { form: await formOf(file) };
  } catch (e) {
    found = { error: e instanceof FormError ? e.message : "unreadable" };
  }
  files.value = files.value.map((f) => (f.id === id ? { ...f, ...found } : f));
}

/** Takes a file out. */
export const drop = (id) => (files.value = files.value.filter((f) => f.id !== id));

/** Forgets everything. */
export function clear() {
  files.value = [];
  typed.value = "";
}

/**
 * Puts everything together as it is sent: { blob, type, json, size, lines, name, place },
 * where name is what the files are called ("" where nothing has a name) and
 * place(n) says where the line or entry n of it came from: { name, line }, or
 * { entry } of a list. Throws a FormError.
 */
export async function together() {
  const all = [...files.value];
  if (all.some((f) => f.error !== "")) throw new FormError("some");
  if (typed.value.trim() !== "") {
    const blob = new Blob([typed.value]);
    all.push({ name: "", size: blob.size, form: await formOf(blob) });
  }
  const name = all.map((f) => f.name).filter(Boolean).join(", ");
  if (all.length === 1) {
    const { blob, json, lines, first } = all[0].form;
    return { blob, ...kind(json), json, size: all[0].size, lines, name, place: (n) => (first === 0 ? { entry: n } : { name: "", line: n + first - 1 }) };
  }
  if (all.some((f) => f.form.json)) throw new FormError("alone");
  return joined(all, name);
}

const kind = (json) => ({ type: json ? "application/json" : "text/plain;charset=utf-8" });

function joined(all, name) {
  const pieces = [];
  const ends = [];
  let lines = 0;
  for (const { name: of, form } of all) {
    pieces.push(form.blob);
    if (!form.ended) pieces.push("\n");
    ends.push({ name: of || t("import.pasted.text"), from: lines, to: (lines += form.lines) });
  }
  const blob = new Blob(pieces);
  const place = (n) => {
    const of = ends.find((e) => n <= e.to) ?? ends[ends.length - 1];
    return { name: of.name, line: n - of.from };
  };
  return { blob, ...kind(false), json: false, size: blob.size, lines, name, place };
}

const ask = (e) => e.preventDefault();

effect(() => {
  if (some.value) addEventListener("beforeunload", ask);
  else removeEventListener("beforeunload", ask);
});

// Who logs out leaves nothing behind; whose session has ended goes on where he was.
effect(() => {
  if (session.value === null && parting.value === "left") clear();
});
