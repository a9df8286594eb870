// What the API calls forms and sources of imports, in the reader's language.
import { t } from "../../lib/words.js";

/** How a line was read. */
export function formName(form) {
  const fields = /^(\d+) fields$/.exec(form);
  if (fields) return t("import.form.fields", { n: Number(fields[1]) });
  return form === "bare key" ? t("import.form.bare") : form === "object" ? t("import.form.object") : form;
}

/** Where keys came from: a file's name, or how many lines were pasted. */
export function sourceName(source) {
  const pasted = /^pasted, (\d+) lines?$/.exec(source);
  return pasted ? t("import.pasted", { n: Number(pasted[1]) }) : source;
}
