// Looks at a page as it is drawn, and returns what is wrong with it, a sentence
// each. It is a function of the Latin words that may stand in a Chinese page.
async (names) => {
  const faults = new Set();
  const shell = document.querySelector("#app, main") ?? document.body;
  const html = document.documentElement;
  const chinese = html.lang.startsWith("zh");
  const short = (text) => {
    const plain = text.trim().replace(/\s+/g, " ");
    return plain.length > 60 ? `${plain.slice(0, 57)}…` : plain;
  };
  const called = (e) => {
    const kind = e.localName + (e.getAttribute("class") ? `.${e.getAttribute("class").trim().replace(/\s+/g, ".")}` : "");
    return `${kind} “${short(e.getAttribute("aria-label") ?? e.innerText ?? e.textContent ?? "")}”`;
  };

  // What is drawn: not hidden, not kept for screen readers, not transparent.
  const forReaders = (e) => e.closest(".sr-only, .skip, [hidden], noscript, script, style, option, title, defs") !== null;
  const clippedAway = new Map();
  const away = (e) => {
    if (!e || e === document.body) return false;
    if (!clippedAway.has(e)) clippedAway.set(e, getComputedStyle(e).clipPath === "inset(50%)" || away(e.parentElement));
    return clippedAway.get(e);
  };
  const drawn = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true }) && !forReaders(e) && !away(e);
  // What hovers over the page belongs to a layer of its own.
  const layer = (e) => {
    for (let at = e; at && at !== document.body; at = at.parentElement) {
      if (["fixed", "sticky"].includes(getComputedStyle(at).position) || at.matches(":popover-open, dialog")) return at;
    }
    return null;
  };
  const meet = (a, b) => [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];

  const texts = [];
  for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
    const node = walk.currentNode;
    if (node.data.trim() && drawn(node.parentElement)) texts.push(node);
  }

  head();
  await icons();
  const rects = texts.flatMap(room);
  overlaps(rects, "text", (a, b) => {
    const [wide, high] = meet(a.rect, b.rect);
    return wide > 3 && high > 0.4 * Math.min(a.rect.height, b.rect.height);
  });
  controls();
  columns();
  await words();
  return [...faults];

  // The document: its title, language, headings.
  function head() {
    if (!document.title.includes("Ollama API Pool") || document.title.trim() === "Ollama API Pool") faults.add(`the title is “${document.title}”`);
    if (!["en", "zh-CN"].includes(html.lang)) faults.add(`the language is “${html.lang}”`);
    const all = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((e) => e.checkVisibility() && !e.closest("nav"));
    const first = all.filter((e) => e.localName === "h1");
    if (first.length !== 1) faults.add(`there are ${first.length} h1: ${first.map(called)}`);
    let level = 0;
    for (const e of all) {
      const is = Number(e.localName[1]);
      if (is > level + 1) faults.add(`after a heading of level ${level} comes ${called(e)}`);
      level = is;
    }
    const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) faults.add(`the id ${id} is there more than once`);
  }

  // Every <use> must find its symbol, every picture its file.
  async function icons() {
    const sprites = new Map();
    for (const use of document.querySelectorAll("use")) {
      const [file, id] = (use.getAttribute("href") ?? "").split("#");
      if (!sprites.has(file)) {
        const text = file ? await (await fetch(file)).text() : html.outerHTML;
        sprites.set(file, new Set([...text.matchAll(/\bid="([^"]+)"/g)].map((m) => m[1])));
      }
      if (!sprites.get(file).has(id)) faults.add(`there is no icon “${id}” in ${file}`);
    }
    for (const e of document.querySelectorAll("[fill^='url(#'], [mask^='url(#']")) {
      const id = (e.getAttribute("fill") ?? e.getAttribute("mask")).slice(5, -1);
      if (!document.getElementById(id)) faults.add(`there is no pattern “${id}”`);
    }
    for (const img of document.images) if (!img.complete || img.naturalWidth === 0) faults.add(`no picture ${img.src}`);
  }

  // The places that a text takes, without what is cut away. Texts that are cut
  // without an ellipsis, and texts that reach out of their box, are faults.
  function room(node) {
    const range = document.createRange();
    range.selectNodeContents(node);
    const out = [];
    for (const r of range.getClientRects()) {
      if (r.width < 1 || r.height < 1) continue;
      let box = { left: r.left, top: r.top, right: r.right, bottom: r.bottom };
      let free = true; // no box around has cut it or may be scrolled so far
      for (let at = node.parentElement; at && at !== document.body; at = at.parentElement) {
        const style = getComputedStyle(at);
        if (style.display === "inline" || style.display === "contents" || at instanceof SVGElement) continue;
        const b = at.getBoundingClientRect();
        const clips = style.overflowX !== "visible" || style.overflowY !== "visible";
        const over = Math.max(r.right - b.right, b.left - r.left);
        if (free && over > 1.5) {
          const scrolls = ["auto", "scroll"].includes(style.overflowX);
          const shortens = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none" || style.maskImage !== "none";
          if (clips && !scrolls && !shortens) faults.add(`“${short(node.data)}” is cut by ${Math.round(over)} px in ${called(at)}`);
          if (!clips) faults.add(`“${short(node.data)}” reaches ${Math.round(over)} px out of ${called(at)}`);
          free = false;
        }
        if (clips) {
          const low = Math.max(r.bottom - b.bottom, b.top - r.top);
          if (free && low > 4 && !["auto", "scroll"].includes(style.overflowY) && style.webkitLineClamp === "none") faults.add(`“${short(node.data)}” is cut by ${Math.round(low)} px of height in ${called(at)}`);
          free = false;
          box = { left: Math.max(box.left, b.left), top: Math.max(box.top, b.top), right: Math.min(box.right, b.right), bottom: Math.min(box.bottom, b.bottom) };
        }
        if (["absolute", "fixed"].includes(style.position)) free = false;
      }
      if (box.right - box.left > 1 && box.bottom - box.top > 1) out.push({ e: node.parentElement, what: `“${short(node.data)}”`, layer: layer(node.parentElement), rect: new DOMRect(box.left, box.top, box.right - box.left, box.bottom - box.top) });
    }
    return out;
  }

  function overlaps(list, kind, bad) {
    const sorted = list.toSorted((a, b) => a.rect.top - b.rect.top);
    sorted.forEach((a, n) => {
      for (let m = n + 1; m < sorted.length && sorted[m].rect.top < a.rect.bottom; m++) {
        const b = sorted[m];
        if (a.e === b.e || a.layer !== b.layer || (kind !== "text" && (a.e.contains(b.e) || b.e.contains(a.e)))) continue;
        if (bad(a, b)) faults.add(`${a.what} and ${b.what} lie on each other`);
      }
    });
  }

  // What can be pressed has room of its own, and enough.
  function controls() {
    const all = [...document.querySelectorAll("button, a[href], input, select, textarea, summary, .seg label, [role=button], [role=tab], [role=switch], [role=menuitem]")].filter(drawn);
    const found = [];
    const all24 = [];
    for (const e of all) {
      let rect = e.getBoundingClientRect();
      const label = e.matches("input[type=checkbox], input[type=radio]") ? e.closest("label, td, th") ?? e.labels?.[0] : null;
      if (label) rect = label.getBoundingClientRect();
      if (rect.width < 1 || rect.height < 1) continue;
      const inSentence = e.localName === "a" && getComputedStyle(e).display === "inline" && e.closest("p, small, dd, li, td, .sub, .hint, .help, .note-box, span, h1, h2, h3, .actions");
      const underLabel = e.matches(".seg input"); // on purpose
      const stands = !inSentence && !underLabel;
      if (stands) all24.push({ e, rect, small: rect.width < 23.5 || rect.height < 23.5 });
      if (!e.matches("input") && !(e.getAttribute("aria-label") || e.getAttribute("title") || e.innerText?.trim() || e.labels?.length || e.textContent.trim())) faults.add(`${called(e)} has no name`);
      if (stands && !e.matches("input[type=file]")) found.push({ e, what: called(e), layer: layer(e), rect: clipped(e) });
    }
    // What is smaller than 24 pixels needs so much room around its middle (WCAG 2.5.8).
    const round = ({ rect }) => ({ x: rect.left + rect.width / 2, y: rect.top + rect.height / 2 });
    const far = (p, { rect, small }) => {
      const q = small ? round({ rect }) : { x: Math.max(rect.left, Math.min(p.x, rect.right)), y: Math.max(rect.top, Math.min(p.y, rect.bottom)) };
      return Math.hypot(p.x - q.x, p.y - q.y) >= (small ? 23.5 : 11.5);
    };
    for (const one of all24.filter((c) => c.small)) {
      const near = all24.find((c) => c.e !== one.e && !c.e.contains(one.e) && !one.e.contains(c.e) && layer(c.e) === layer(one.e) && !far(round(one), c));
      if (near) faults.add(`${called(one.e)} is ${Math.round(one.rect.width)}×${Math.round(one.rect.height)} px small, and close to ${called(near.e)}`);
    }
    overlaps(found.filter((f) => f.rect), "control", (a, b) => Math.min(...meet(a.rect, b.rect)) > 2 && !beside(a.e, b.e));
  }

  // A button in a field, as that which empties a search, belongs there.
  function beside(a, b) {
    return a.closest(".with-icon, label") !== null && a.closest(".with-icon, label") === b.closest(".with-icon, label");
  }

  function clipped(e) {
    const r = e.getBoundingClientRect();
    let [left, top, right, bottom] = [r.left, r.top, r.right, r.bottom];
    for (let at = e.parentElement; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const b = at.getBoundingClientRect();
      [left, top, right, bottom] = [Math.max(left, b.left), Math.max(top, b.top), Math.min(right, b.right), Math.min(bottom, b.bottom)];
    }
    return right > left && bottom > top ? new DOMRect(left, top, right - left, bottom - top) : null;
  }

  // Where a table is one, what stands in a column is aligned as its head.
  function columns() {
    for (const table of document.querySelectorAll("table")) {
      const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
      for (const row of [...table.tBodies].flatMap((b) => [...b.rows]).slice(0, 20)) {
        if (row.cells.length !== heads.length || getComputedStyle(row).display !== "table-row") continue;
        [...row.cells].forEach((cell, n) => {
          if (!heads[n].innerText.trim() || !drawn(cell) || !drawn(heads[n])) return;
          const side = (e) => ({ start: "left", "-webkit-auto": "left", end: "right" })[getComputedStyle(e).textAlign] ?? getComputedStyle(e).textAlign;
          if (side(cell) !== side(heads[n])) faults.add(`the column “${short(heads[n].innerText)}” is aligned ${side(heads[n])}, its cells ${side(cell)}`);
        });
      }
    }
  }

  // Words: none that failed to come, none in the other language.
  async function words() {
    const assets = new URL(document.querySelector("meta[name=assets]")?.content ?? "", location.href).href;
    const [en, zh] = (await Promise.all(["en", "zh"].map((l) => import(`${assets}/words/${l}.js`)))).map((m) => m.default);
    const sections = new Set(Object.keys(en).map((key) => key.split(".")[0]));
    const said = texts.map((node) => ({ text: node.data, e: node.parentElement }));
    for (const e of shell.querySelectorAll("[aria-label], [title], [placeholder], [alt]")) {
      for (const name of ["aria-label", "title", "placeholder", "alt"]) if (e.getAttribute(name) && e.checkVisibility()) said.push({ text: e.getAttribute(name), e, name });
    }
    said.push({ text: document.title, e: document.head });
    // Values that differ, so that an English one in a Chinese page was not asked for.
    const foreign = new Set(Object.keys(en).filter((key) => zh[key] !== en[key] && !/[{`*[]/.test(en[key])).map((key) => en[key]));
    for (const { text, e, name } of said) {
      const other = e.closest("[lang]");
      if (other && other !== html && other.lang !== html.lang) continue; // it says that it is in another language
      const code = e.closest("code, pre, kbd, samp, textarea, .mono, .code, [data-verbatim]") !== null;
      if (code) continue;
      for (const token of text.match(/[a-z][\w-]*(?:\.[\w-]+)+/g) ?? []) if (token in en) faults.add(`a key instead of words: ${token}`);
      if (text.trim() === text && /^[a-z]+(\.[a-z-]+)+$/.test(text) && sections.has(text.split(".")[0])) faults.add(`a key without words: ${text}`);
      if (/\b(undefined|NaN|Infinity|Invalid Date)\b|\[object |\{\w+(:[^}]*)?\}/.test(text)) faults.add(`it says “${short(text)}”`);
      if (chinese) untranslated(text, name, foreign);
      else if (/[\u4e00-\u9fff]/.test(text)) faults.add(`Chinese in the English page: “${short(text)}”`);
    }
  }

  function untranslated(text, name, foreign) {
    if (foreign.has(text.trim()) && !names.includes(text.trim())) {
      faults.add(`not translated: “${short(text)}”${name ? ` (${name})` : ""}`);
      return;
    }
    // Names of keys, accounts, models and addresses have figures or signs in them.
    let rest = text;
    for (const n of names.toSorted((a, b) => b.length - a.length)) rest = rest.replaceAll(n, " ");
    const left = rest.split(/[\s\u3000-\u9fff\uff00-\uffef“”‘’·…—,;()]+/).filter((word) => /^[A-Za-z][a-z]{2,}[.:!?]?$/.test(word));
    if (left.length > 0) faults.add(`English words (${left.join(" ")}) in “${short(text)}”${name ? ` (${name})` : ""}`);
    // Punctuation of the other script after a Chinese character, and none of a space beside a word.
    const odd = /[\u4e00-\u9fff][,;:?!](?:\s|$)|[\u4e00-\u9fff]\.(?:\s|$)|[\u4e00-\u9fff][A-Za-z]{2,}|[A-Za-z]{2,}[\u4e00-\u9fff]/.exec(text);
    if (odd) faults.add(`Chinese is set oddly (${odd[0]}) in “${short(text)}”`);
  }
}
