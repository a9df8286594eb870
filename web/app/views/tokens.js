// The client tokens: the list, making one, changing one, and taking one back.
import { html, useEffect, useState } from "../lib/preact.js";
import { call, get } from "../lib/api.js";
import { moment } from "../lib/format.js";
import { useLater, useLoad } from "../lib/load.js";
import { query, setQuery, withQuery } from "../lib/router.js";
import { rich, t } from "../lib/words.js";
import { Confirm } from "../parts/dialog.js";
import { Search } from "../parts/form.js";
import { Icon } from "../parts/icon.js";
import { PageHead } from "../parts/shell.js";
import { Blank, LoadError, Pager, Table } from "../parts/table.js";
import { toast } from "../parts/toast.js";
import { TokenForm } from "./tokens/form.js";
import { chosen, columns, isToken, standardSort, told } from "./tokens/list.js";
import { Made } from "./tokens/made.js";

const sizes = [20, 50, 100, 200];
const standardSize = 50;
const every = 15000; // ms between looks at the counts

export default function View() {
  const { data, error, loading, reload } = useLoad((signal) => get("/admin/tokens", {}, { signal }), [], { every });
  const [made, setMade] = useState(null);
  const [going, setGoing] = useState(null); // the one to be revoked
  const q = query.value;
  const open = data?.tokens.find((k) => k.id === q.token);
  const leaving = going && (data?.tokens.find((k) => k.id === going.id) ?? going);
  const ask = (k) => {
    setGoing(k);
    reload(); // the question says how much it is used
  };
  const shut = () => setQuery({ token: "", new: "" });
  useEffect(() => {
    if (data && q.token && !open) {
      toast({ state: "failed", text: t("tokens.gone") });
      setQuery({ token: "" }, { replace: true });
    }
  }, [data, q.token]);
  const done = (answer) => {
    shut();
    reload();
    if (open) toast({ text: t("tokens.saved", { name: answer.name }) });
    else setMade(answer);
  };
  const revoke = async (k) => {
    try {
      await call("DELETE", "/admin/tokens", { json: { token: k.id } });
    } catch (e) {
      if (e.status !== 404) throw e; // somebody else was quicker
    }
    reload();
    toast({ text: t("tokens.revoked", { name: k.name }), more: t("tokens.revoked.more") });
  };
  const act = html`<a class="btn primary" href=${withQuery({ new: "1" })}><${Icon} name="plus" />${t("tokens.new")}</a>`;
  return html`<${PageHead} title=${t("tokens.title")} sub=${html`<p class="sub">${t("tokens.sub")}</p>`}>${act}<//>
    <section class="panel fits" aria-label=${t("tokens.title")}>
      ${error && !data ? html`<${LoadError} error=${error} retry=${reload} />`
        : data?.tokens.length === 0 ? html`<${Blank} icon="tokens" title=${t("tokens.none")} acts=${act}>${t("tokens.none.more")}<//>`
        : html`<${List} tokens=${data?.tokens} error=${error} loading=${loading} revoke=${ask} />`}
    </section>
    ${q.new && html`<${TokenForm} token=${null} onClose=${shut} done=${done} />`}
    ${open && html`<${TokenForm} key=${open.id} token=${open} onClose=${shut} done=${done} />`}
    ${made && html`<${Made} made=${made} onClose=${() => setMade(null)} />`}
    ${going && html`<${Confirm} title=${t("tokens.revoke.title", { name: going.name })} label=${t("tokens.revoke")} act=${() => revoke(going)} onClose=${() => setGoing(null)}>
      <p>${leaving.requestCount > 0 ? t("tokens.revoke.used", { n: leaving.requestCount, at: leaving.lastUsed ? moment(leaving.lastUsed) : "–" }) : t("tokens.revoke.unused")}</p>
      <p>${rich("tokens.revoke.more")}</p>
    <//>`}`;
}

/** The table with what stands above and below it. tokens is undefined while nothing has come yet. */
function List({ tokens, error, loading, revoke }) {
  const q = query.value;
  const [typed, setTyped] = useState(q.search ?? "");
  const secret = isToken(typed);
  const later = useLater(250);
  useEffect(() => {
    if (!secret) setTyped(q.search ?? "");
  }, [q.search]);
  const search = (text) => {
    setTyped(text);
    if (isToken(text)) later(() => setQuery({ search: "", page: "" }, { replace: true }));
    else later(() => setQuery({ search: text, page: "" }, { replace: true }));
  };
  const sort = q.sort || standardSort;
  const found = tokens && chosen(tokens, secret ? typed : (q.search ?? ""), sort);
  const size = sizes.includes(Number(q.pageSize)) ? Number(q.pageSize) : standardSize;
  const pages = Math.max(1, Math.ceil((found?.length ?? 0) / size));
  const page = Math.min(pages, Math.max(1, Number.parseInt(q.page, 10) || 1));
  const turn = ({ page: p, pageSize }) => setQuery({ page: p === 1 ? "" : p, pageSize: pageSize === standardSize ? "" : pageSize });
  return html`<div class="toolbar"><div class="grow"><${Search} label=${t("tokens.search")} placeholder=${t("tokens.name")} value=${typed} onInput=${search} /></div>
      <span class="hint end" role="status">${error ? html`<span class="state s-failed"><${Icon} name="offline" />${t("tokens.old", { message: error.message })}</span>` : tokens ? told(tokens) : ""}</span></div>
    ${found?.length === 0
      ? html`<${Blank} icon="search" title=${t("tokens.unfound")} acts=${html`<button type="button" class="btn" onClick=${() => search("")}>${t("tokens.unfound.act")}</button>`}>${t("tokens.unfound.more")}<//>`
      : html`<${Table} label=${t("tokens.title")} columns=${columns(revoke)} rows=${found?.slice((page - 1) * size, page * size)} rowKey=${(k) => k.id} sort=${sort} onSort=${(s) => setQuery({ sort: s === standardSort ? "" : s, page: "" })} fresh=${!loading} />
        ${found && html`<${Pager} page=${page} pageSize=${size} total=${found.length} onChange=${turn} />`}`}`;
}
