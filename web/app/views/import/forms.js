// In which form a file comes, and what of it is sent. Nothing is parsed here that
// need not be: a list in JSON is sent as it is with another beginning, lines are
// only counted. The server reads them.

const headSize = 4096; // bytes by which a form is known
const utf16 = { "\xff\xfe": "utf-16le", "\xfe\xff": "utf-16be" };
const mark = "\xef\xbb\xbf"; // of UTF-8

/** What is wrong with a file; its message is the name of the reason. */
export class FormError extends Error {}

/** The largest file that is turned into another form, for which all of it has to be in memory. */
const largestTurned = 64 << 20;

/**
 * Finds out how a file is to be sent: { blob, json, lines, first, ended }. json
 * tells a JSON document with a list under "keys" from text; lines is how many
 * lines a text has, or undefined; first is the line of the file that entry 1 of
 * its list is, 1 as a rule, or 0 where entries are no lines; ended tells whether
 * a text ends with the end of a line. Throws a FormError.
 */
export async function formOf(file) {
  let blob = file;
  let head = await beginning(blob);
  const encoding = utf16[head.slice(0, 2)];
  if (encoding) {
    blob = new Blob([new TextDecoder(encoding).decode(await whole(blob))]);
    head = await beginning(blob);
  }
  if (head.startsWith(mark)) {
    blob = blob.slice(mark.length);
    head = head.slice(mark.length);
  }
  if (/[\x00-\x08\x0e-\x1f]/.test(head) && !/^[^\x00]\x00[^\x00]\x00|^\x00[^\x00]\x00[^\x00]/.test(head)) throw new FormError("binary");
  const begin = head.trimStart();
  if (begin.startsWith("[")) return { blob: new Blob(['{"keys":', blob, "}"]), json: true, first: 0 };
  if (begin.startsWith("{")) return object(blob, head);
  if (isTable(file.name ?? "", head)) return { blob: await fromTable(blob), json: true, first: 2 };
  return { blob, json: false, first: 1, ...(await count(blob)) };
}

/** The first bytes, a character each. */
async function beginning(blob) {
  const bytes = new Uint8Array(await blob.slice(0, headSize).arrayBuffer());
  return String.fromCharCode(...bytes);
}

async function whole(blob) {
  if (blob.size > largestTurned) throw new FormError("large");
  return blob.arrayBuffer();
}

const lists = new Set(["keys", "accounts", "api_keys"]);

/** An object that holds the list, or one of many objects, a line each. */
async function object(blob, head) {
  const { list, end, account } = look(head);
  if (list > 0) return { blob: new Blob(['{"keys":', blob.slice(list)]), json: true, first: 0 };
  if (account && end > 0 && !head.slice(0, end).includes("\n") && /^\s*$|^[ \t\r]*\n\s*\{/.test(head.slice(end))) {
    const text = new TextDecoder().decode(await whole(blob));
    const rows = text.split("\n").map((row) => row.trim() || '""'); // an empty entry keeps the count of lines
    return { blob: new Blob(['{"keys":[', rows.join(","), "]}"]), json: true, first: 1 };
  }
  throw new FormError("list");
}

/**
 * Where in the first object the list begins that holds the keys, and where the
 * object ends, 0 where the beginning does not tell; and whether it is an account
 * itself.
 */
function look(head) {
  let depth = 0;
  let name = "";
  let account = false;
  for (let i = 0; i < head.length; i++) {
    const c = head[i];
    if (c === '"') {
      const from = i + 1;
      for (i++; i < head.length && head[i] !== '"'; i++) if (head[i] === "\\") i++;
      name = head.slice(from, i);
    } else if (c === "[" && depth === 1 && lists.has(name)) {
      return { list: i, end: 0, account };
    } else if (c === "{" || c === "[") {
      depth++;
    } else if (c === "}" || c === "]") {
      if (--depth === 0) return { list: 0, end: i + 1, account };
    } else if (c === ":" && depth === 1) {
      account ||= name === "api_key" || name === "apiKey";
    } else if (c === ",") {
      name = "";
    }
  }
  return { list: 0, end: 0, account };
}

const keyColumns = ["api_key", "apikey", "key"];
const nameColumns = ["username", "email", "user", "account"];
const parts = [",", ";", "\t"];

/** The head of a table: its separator and columns; null where there is none. */
function tableHead(line) {
  for (const part of parts) {
    const columns = line.split(part).map((c) => c.trim().replace(/^"|"$/g, "").toLowerCase());
    const key = columns.findIndex((c) => keyColumns.includes(c));
    if (key >= 0 && (columns.length > 1 || part === ",")) return { part, key, name: columns.findIndex((c) => nameColumns.includes(c)) };
  }
  return null;
}

/** Whether a file is a table by its name, or by a head that names the column of the keys and another one. */
function isTable(name, head) {
  if (/\.(csv|tsv)$/i.test(name)) return true;
  const line = /^[^\r\n]*/.exec(head)[0];
  return /[,;\t]/.test(line) && tableHead(line) !== null;
}

const pauseAfter = 20000; // rows, then the page gets its turn

/** Makes a list of accounts of a table, in which entry 1 is the row below its head. */
async function fromTable(blob) {
  const text = new TextDecoder().decode(await whole(blob));
  const head = tableHead(/^[^\r\n]*/.exec(text)[0]);
  if (head === null) throw new FormError("columns");
  const out = [];
  let n = 0;
  for (const cells of rows(text, head.part)) {
    if (n++ === 0) continue;
    const key = plain(cells[head.key] ?? "");
    if (key === "" && cells.every((c) => c.trim() === "")) out.push('""');
    else out.push(JSON.stringify({ api_key: key, username: plain(cells[head.name] ?? "") }));
    if (n % pauseAfter === 0) await new Promise((done) => setTimeout(done));
  }
  return new Blob(['{"keys":[', out.join(","), "]}"]);
}

/** A cell without the quote that keeps a spreadsheet from taking it for a formula. */
const plain = (cell) => cell.trim().replace(/^'(?=[=+\-@])/, "");

/** The rows of a table as RFC 4180 has them. */
function* rows(text, part) {
  let cells = [];
  let i = 0;
  while (i < text.length) {
    let cell = "";
    if (text[i] === '"') {
      for (i++; i < text.length; i++) {
        if (text[i] !== '"') cell += text[i];
        else if (text[i + 1] === '"') cell += text[++i];
        else break;
      }
      i++;
    }
    let to = i;
    while (to < text.length && text[to] !== part && text[to] !== "\n" && text[to] !== "\r") to++;
    cells.push(cell + text.slice(i, to));
    i = to + 1;
    if (text[to] === part) continue;
    if (text[to] === "\r" && text[i] === "\n") i++;
    yield cells;
    cells = [];
  }
  if (cells.length > 0) yield cells;
}

/** Counts lines as the server does: they end with LF, CRLF or CR. */
async function count(blob) {
  const reader = blob.stream().getReader();
  let lines = 0;
  let last = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    for (let i = 0; i < value.length; i++) {
      const c = value[i];
      if (c === 13 || (c === 10 && last !== 13)) lines++;
      last = c;
    }
  }
  const ended = last === 10 || last === 13;
  return { lines: lines + (last === 0 || ended ? 0 : 1), ended };
}
