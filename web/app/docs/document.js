// Reads the OpenAPI document: what the page shows is said there and nowhere else.

const methods = ["get", "post", "put", "patch", "delete"];

/** The groups of the document with their operations: [{ name, operations }]. */
export function groupsOf(doc) {
  const groups = doc.tags.map((tag) => ({ name: tag.name, operations: [] }));
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of methods) {
      const o = item[method];
      if (o) groups.find((g) => g.name === o.tags?.[0])?.operations.push({ ...o, method: method.toUpperCase(), path, access: accessOf(o) });
    }
  }
  for (const g of groups) g.operations.sort((x, y) => rank(x) - rank(y));
  return groups.filter((g) => g.operations.length > 0);
}

// What clients call most comes first, what is refused here last; else the order
// of the document holds.
const first = ["/v1/chat/", "/v1/", "/openrouter/", "/api/", "/t/"];

function rank(o) {
  if (o.summary.startsWith("Not allowed")) return first.length;
  const at = first.findIndex((p) => o.path.startsWith(p));
  return at < 0 ? 0 : at;
}

/** Who may call: "admin", "client" or "open". */
function accessOf(o) {
  const schemes = (o.security ?? []).flatMap((s) => Object.keys(s));
  if (schemes.includes("adminToken")) return "admin";
  return schemes.includes("clientToken") ? "client" : "open";
}

/** Follows a reference, also one that may be null. */
function resolve(doc, schema) {
  if (!schema) return {};
  if (schema.$ref) return { ...doc.components.schemas[schema.$ref.split("/").pop()], ...schema, $ref: undefined };
  const choices = (schema.anyOf ?? schema.oneOf ?? []).filter((c) => c.type !== "null");
  return choices.length === 1 ? { ...resolve(doc, choices[0]), ...schema, anyOf: undefined, oneOf: undefined } : schema;
}

/** The body that an operation takes: { type, schema, example }, or null. JSON comes first where several are taken. */
export function bodyOf(doc, o) {
  const content = o.requestBody?.content;
  if (!content) return null;
  const type = "application/json" in content ? "application/json" : Object.keys(content)[0];
  const schema = resolve(doc, content[type].schema);
  return { type, types: Object.keys(content), schema, required: o.requestBody.required === true, example: content[type].example ?? sample(doc, schema, 3) };
}

/** The answers of an operation: [{ status, description, types, schema, example }]. */
export const answersOf = (doc, o) =>
  Object.entries(o.responses ?? {}).map(([status, r]) => {
    const types = Object.keys(r.content ?? {});
    const first = r.content?.[types[0]];
    return { status, description: r.description, types, schema: resolve(doc, first?.schema), example: first?.example };
  }).sort((a, b) => (a.status === "default") - (b.status === "default") || a.status.localeCompare(b.status));

/** The type of a field in a word: "string", "integer[]", "ollama | openrouter". */
export function typeOf(doc, schema) {
  const s = resolve(doc, schema);
  if (s.enum) return s.enum.map(String).join(" | ");
  const kinds = [s.type ?? (s.anyOf ?? s.oneOf ?? []).map((x) => typeOf(doc, x)).join(" | ")].flat();
  const text = kinds.map((k) => (k === "array" ? `${typeOf(doc, s.items)}[]` : k)).join(" | ") || "any";
  return s.format ? `${text} (${s.format})` : text;
}

/** The fields of a schema as rows, those of what lies inside below with a longer name; three levels at most. */
export function fieldsOf(doc, schema, prefix = "", depth = 0) {
  let s = resolve(doc, schema);
  let name = prefix;
  while (s.type === "array" || (Array.isArray(s.type) && s.type.includes("array"))) {
    s = resolve(doc, s.items);
    name += "[]";
  }
  const rows = [];
  for (const [key, value] of Object.entries(s.properties ?? {})) {
    const own = resolve(doc, value);
    const full = name === "" ? key : `${name}.${key}`;
    rows.push({ name: full, type: typeOf(doc, value), required: (s.required ?? []).includes(key), description: value.description ?? own.description ?? "", default: own.default });
    if (depth < 2) rows.push(...fieldsOf(doc, value, full, depth + 1));
  }
  return rows;
}

/** A value that fits a schema, for where the document gives no example. */
function sample(doc, schema, depth) {
  const s = resolve(doc, schema);
  if (s.example !== undefined) return s.example;
  if (s.default !== undefined) return s.default;
  if (s.enum) return s.enum[0];
  const kind = [s.type].flat()[0];
  if (kind === "array") return depth > 0 ? [sample(doc, s.items, depth - 1)] : [];
  if (kind === "object" || s.properties) {
    const out = {};
    for (const [k, v] of Object.entries(s.properties ?? {})) {
      if (depth > 0 && (s.required === undefined || s.required.includes(k))) out[k] = sample(doc, v, depth - 1);
    }
    return out;
  }
  return { string: "", integer: 0, number: 0, boolean: false }[kind] ?? null;
}

/** Whether an operation matches what is searched for. */
export const matches = (o, text) =>
  text.toLowerCase().split(/\s+/).every((w) => `${o.method} ${o.path} ${o.summary} ${o.description ?? ""}`.toLowerCase().includes(w));
