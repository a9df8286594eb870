// Examples of a call in curl, Python and JavaScript, all from the same values.

const tokens = { admin: "ADMIN_TOKEN", client: "TOKEN" };

/** The languages of examples: [value, label][]. */
export const languages = [["curl", "curl"], ["python", "Python"], ["javascript", "JavaScript"]];

/**
 * What a call sends: { url, method, headers, body }. values are those of the
 * parameters by their place and name ("query.page"); token is the token itself,
 * or "" for the name of a variable that holds it.
 */
export function callOf(o, body, values, token, origin) {
  let path = o.path;
  const query = new URLSearchParams();
  const headers = {};
  for (const p of o.parameters ?? []) {
    const value = values[`${p.in}.${p.name}`];
    if (p.in === "path") path = path.replace(`{${p.name}}`, value ? encodeURIComponent(value) : `{${p.name}}`);
    else if (value === undefined || value === "") continue;
    else if (p.in === "query") query.set(p.name, value);
    else if (p.in === "header") headers[p.name] = value;
  }
  if (o.access !== "open") headers.Authorization = `Bearer ${token || `$${tokens[o.access]}`}`;
  if (body !== null) headers["Content-Type"] = body.type;
  const text = query.toString();
  return { method: o.method, url: origin + path + (text === "" ? "" : `?${text}`), headers, body: body?.text ?? null };
}

/** The text of an example; c.stream says that the answer comes in parts. */
export const example = (language, c) => ({ curl, python, javascript })[language](c);

const quoted = (s) => `'${s.replaceAll("'", "'\\''")}'`;

function curl(c) {
  const lines = [`curl ${c.stream ? "-N " : ""}${c.method === "GET" ? "" : `-X ${c.method} `}${quoted(c.url)}`];
  for (const [name, value] of Object.entries(c.headers)) {
    lines.push(`-H ${value.includes("$") ? `"${name}: ${value}"` : quoted(`${name}: ${value}`)}`);
  }
  if (c.body !== null) lines.push(`-d ${quoted(c.body)}`);
  return lines.join(" \\\n  ");
}

// What a header says in a program: a token is read from the environment.
const parts = (value) => /^(.*)\$([A-Z_]+)$/.exec(value);

function python(c) {
  const header = (v) => (parts(v) ? `"${parts(v)[1]}" + os.environ["${parts(v)[2]}"]` : JSON.stringify(v));
  const env = Object.values(c.headers).some(parts);
  const lines = [...(env ? ["import os", ""] : []), "import requests", "", `answer = requests.request(`, `    "${c.method}", ${JSON.stringify(c.url)},`];
  const headers = Object.entries(c.headers).map(([k, v]) => `"${k}": ${header(v)}`);
  if (headers.length > 0) lines.push(`    headers={${headers.join(", ")}},`);
  if (c.body !== null) lines.push(`    data=${JSON.stringify(c.body)}.encode(),`);
  if (c.stream) lines.push("    stream=True,", ")", "answer.raise_for_status()", "for line in answer.iter_lines():", "    print(line.decode())");
  else lines.push(")", "answer.raise_for_status()", "print(answer.text)");
  return lines.join("\n");
}

function javascript(c) {
  const header = (v) => (parts(v) ? `\`${parts(v)[1]}\${process.env.${parts(v)[2]}}\`` : JSON.stringify(v));
  const lines = [`const answer = await fetch(${JSON.stringify(c.url)}, {`, `  method: "${c.method}",`];
  const headers = Object.entries(c.headers).map(([k, v]) => `"${k}": ${header(v)}`);
  if (headers.length > 0) lines.push(`  headers: { ${headers.join(", ")} },`);
  if (c.body !== null) lines.push(`  body: ${JSON.stringify(c.body)},`);
  lines.push("});", "if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);");
  if (c.stream) lines.push("for await (const part of answer.body.pipeThrough(new TextDecoderStream())) process.stdout.write(part);");
  else lines.push("console.log(await answer.text());");
  return lines.join("\n");
}
