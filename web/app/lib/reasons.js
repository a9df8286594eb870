// What the API says in English, in the reader's language: why keys are out, why
// requests failed, whose fault an attempt was. A text that is not known here is
// shown as it is.
import { hour, number } from "./format.js";
import { known, t } from "./words.js";

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
const names = { ollama: "Ollama", openrouter: "OpenRouter" };

/** Whole texts with something of their own inside: the name of their words, and what that is. */
const told = [
  [/^(?<reason>.+), found by a check$/, "told.checked"],
  [/^the upstream refuses every key at present: (?<reason>.+)$/, "told.everybody"],
  [/^status (?<status>\d+) says nothing about the key$/, "told.says-nothing"],
  [/^a web page instead of an answer \(status (?<status>\d+)\)$/, "told.web-page"],
  [/^by import: (?<source>.+)$/s, "told.imported"],
  [/^longer than (?<bytes>\d+) bytes$/, "told.line-long"],
  [/^internal error, request id \S+$/, "told.internal"], // the id is told beside it
  [/^the database \((?<place>.+)\) is out of reach since (?<since>[-\d]{10} [:\d]{8}) UTC: /, "told.database-away"],
  [/^the database is out of reach since (?<since>[-\d]{10}T[:\d]{8}Z)(: |$)/, "told.database-down"],
  [/^every (?<provider>\w+) key is out of quota; .+$/, "told.all-resting"],
  [/^every key that was tried is out of quota \(last: (?<reason>.+)\)$/, "told.tried-resting"],
  [/^the upstream refused every key that was tried \(last: (?<reason>.+)\)$/, "told.tried-refused"],
  [/^no (?<provider>\w+) key is usable now/, "told.none-usable"],
  [/^no usable (?<provider>\w+) key may use this model/, "told.no-plan"],
  [/^(?<provider>\w+) is not answering; /, "told.not-answering"],
  [/^(?<provider>\w+) refuses every key \((?<reason>.+)\), so /, "told.refuses-all"],
  [/^the (?<provider>\w+) pool has no keys: /, "told.no-keys"],
  [/^(?<provider>\w+) did not answer in time$/, "told.late"],
  [/^(?<provider>\w+) could not be reached or broke the connection$/, "told.unreachable"],
  [/^provider "(?<provider>\w+)" is switched off$/, "told.switched-off"],
  [/^model "(?<model>.+)" is not in the list of (?<provider>\w+)$/s, "told.no-model"],
  [/^the model list of (?<provider>\w+) could not be read$/, "told.no-list"],
  [/^request body is larger than (?<bytes>\d+) bytes/, "told.body-long"],
  [/^this token is not valid for the provider "(?<provider>\w+)"$/, "told.token-provider"],
  [/^this token may not use model "(?<model>.+)" \(models\)$/s, "told.token-model"],
  [/^this token may use certain models only/, "told.token-models"],
  [/^this token may not be used from this network/, "told.token-network"],
  [/^this token has .+ \((?<limit>[a-z ]+)\)$/, "told.token-limit"],
  [/^too many requests from this address: /, "told.often"],
  [/^the filter chooses (?<now>\d+) keys by now, not (?<then>\d+); nothing was changed$/, "told.moved"],
];

/**
 * A reason, such as the last error of a key, of a rest or of an attempt, the
 * error of a request, or what is wrong with a line of an import. Nothing gives "".
 */
export function reason(text) {
  if (!text) return "";
  const key = `reason.${slug(text)}`;
  if (known(key)) return t(key); // words: reason.*
  for (const [form, words] of told) {
    const found = form.exec(text)?.groups ?? (form.test(text) ? {} : null);
    if (found) return t(words, inner(found));
  }
  return text;
}

function inner(found) {
  const vars = { ...found };
  if (vars.reason) vars.reason = reason(vars.reason);
  if (vars.limit) vars.limit = reason(vars.limit);
  if (vars.provider) vars.provider = names[vars.provider] ?? vars.provider;
  if (vars.since) vars.since = hour(vars.since.replace(/^(\S+) (\S+)$/, "$1T$2Z"));
  if (vars.bytes) vars.bytes = number(Number(vars.bytes));
  return vars;
}

/** The status that a reason speaks of, "" where it names none: "402 no credit" → "402", "quota: weekly" → "429". */
export const reasonStatus = (text) => /^\d{3}(?= )/.exec(text ?? "")?.[0] ?? (/^quota(:|$)/.test(text ?? "") ? "429" : "");

/** A reason without its status, where that stands beside it. */
export const plainReason = (text) => reason(text).replace(/^\d{3} /, "");

const spelt = (section, word) => {
  const key = `${section}.${slug(word)}`;
  return known(key) ? t(key) : word; // words: scope.* action.* next.*
};

/** Whose fault an attempt was: "key+model" → "the key's, for this model". */
export const scopeName = (scope) => spelt("scope", scope);

/** What was done about an attempt, a step of a request as the API tells it. */
export function actionText(step) {
  let word = step.action === "nothing" && step.ok ? "served" : slug(step.action);
  if (word === "fail-key" && step.scope === "account") word = "fail-account";
  const until = step.until ? `action.${word}-until` : "";
  return until && known(until) ? t(until, { until: hour(step.until) }) : spelt("action", word);
}

/** What happened to the request after an attempt, "" where that goes without saying. */
export const nextText = (step) => (step.next === "deliver" && step.ok ? "" : spelt("next", step.next));
