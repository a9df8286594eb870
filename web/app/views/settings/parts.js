// What the program works with: storage, upstreams, instances, and itself.
import { html, useState } from "../../lib/preact.js";
import { logOut, session } from "../../lib/api.js";
import { bytes, dated, hour, span } from "../../lib/format.js";
import { plainReason } from "../../lib/reasons.js";
import { rich, t } from "../../lib/words.js";
import { Button, providerName } from "../../parts/form.js";
import { Icon } from "../../parts/icon.js";
import { Badge } from "../../parts/state.js";
import { LoadError, Table } from "../../parts/table.js";
import { Ago, now } from "../../parts/time.js";
import { toastError } from "../../parts/toast.js";
import { Encrypt } from "../overview/attention.js";

/** Facts: [name, what][]; what is left out where it is nothing. */
const Facts = ({ rows }) => html`<dl class="facts">${rows.filter(([, what]) => what).map(([name, what]) => html`<dt key=${`${name}-t`}>${name}</dt><dd key=${name}>${what}</dd>`)}</dl>`;
const Bones = ({ n }) => html`<dl class="facts" aria-busy="true">${Array.from({ length: n }, (_, i) => html`<dt key=${`${i}-t`}><span class="bone w4 wide"></span></dt><dd key=${i}><span class=${`bone w${2 + (i % 2)}`}></span></dd>`)}</dl>`;

const Panel = ({ title, sub, acts, children }) => html`<section class="panel" aria-label=${title}><div class="panel-head"><h2>${title}</h2>${sub && html`<span class="sub">${sub}</span>`}${acts && html`<div class="actions">${acts}</div>`}</div>${children}</section>`;

function Redis({ of: r }) {
  if (!r) return html`<span class="muted">${t("settings.redis.none")}</span>`;
  return html`<${Badge} state=${r.up ? "active" : "failed"}>${t(r.up ? "settings.redis.up" : "settings.redis.down", { at: hour(r.since) })}<//>
    <code>${r.address}</code> <span class="tag">${t(`settings.redis.${r.mode}`)}</span>
    ${!r.up && r.error && html`<small class="why-line" lang="en">${r.error}</small>`}`; // words: settings.redis.*
}

function Outage({ s }) {
  const o = s.outage;
  if (!o) return html`<${Badge} state="active">${t("settings.storage.up")}<//>`;
  return html`<${Badge} state="failed">${t("settings.storage.down", { at: hour(o.since) })}<//>
    <small class="why-line" lang="en">${o.reason}</small>
    ${o.lastAnswer && html`<small class="why-line">${rich("settings.storage.last", { ago: html`<${Ago} at=${o.lastAnswer} />` })}</small>`}`;
}

/** Where the data lie. */
export function Storage({ data, error, retry }) {
  const [how, setHow] = useState(false);
  const s = data?.storage;
  return html`<${Panel} title=${t("settings.storage")}><div class="panel-body">
    ${error && !s ? html`<${LoadError} error=${error} retry=${retry} title=${t("settings.storage.error")} />` : !s ? html`<${Bones} n=${6} />` : html`<${Facts} rows=${[
      [t("settings.storage.engine"), t(`settings.engine.${s.engine}`)],
      [t("settings.storage.reach"), s.engine !== "sqlite" && html`<${Outage} s=${s} />`],
      [t("settings.storage.path"), s.path && html`<code>${s.path}</code>`],
      [t("settings.storage.host"), s.host && html`<code>${s.host}</code>`],
      [t("settings.storage.bytes"), s.bytes > 0 && bytes(s.bytes)],
      [t("settings.storage.encrypted"), s.encrypted
        ? html`<${Badge} state="active">${t("settings.storage.sealed")}<//>`
        : html`<${Badge} state="resting">${t("settings.storage.open")}<//> <button type="button" class="link" onClick=${() => setHow(true)}>${t("settings.storage.how")}</button>`],
      [t("settings.storage.mirror"), s.engine !== "sqlite" && (s.local ? html`<code>${s.local}</code>` : html`<span class="muted">${t("settings.storage.mirror.none")}</span>`)],
      [t("settings.storage.waits"), s.engine !== "sqlite" && (s.spooledBatches > 0 ? t("settings.storage.batches", { n: s.spooledBatches }) : t("settings.storage.waits.none"))],
      [t("settings.redis"), html`<${Redis} of=${s.redis} />`],
    ]} />`}
    ${how && html`<${Encrypt} onClose=${() => setHow(false)} />`}
  </div><//>`; // words: settings.engine.*
}

function Stands({ u }) {
  if (!u.enabled) return html`<${Badge} state="disabled">${t("settings.upstream.off")}<//>`;
  if (u.breaker === "closed") return html`<${Badge} state="active">${t("settings.upstream.used")}<//>`;
  return html`<${Badge} state="failed">${t(u.reason ? "settings.upstream.refuses" : "settings.upstream.silent")}<//>`;
}

/** The upstream services. */
export const Upstreams = ({ data, error, retry }) => html`<${Panel} title=${t("settings.upstreams")}>
  ${error && !data ? html`<${LoadError} error=${error} retry=${retry} title=${t("settings.upstreams.error")} />` : !data ? html`<div class="panel-body"><${Bones} n=${2} /></div>` : html`<ul class="list upstreams">${data.upstreams.map((u) => html`<li key=${u.provider}><span class="what"><b>${providerName(u.provider)}</b> <${Stands} u=${u} />
    <small><code>${u.baseUrl}</code></small>
    ${u.breaker !== "closed" && html`<small>${u.openedAt && t("settings.upstream.since", { at: hour(u.openedAt) })}${u.reason && ` ${plainReason(u.reason)}`}</small>`}
  </span><a class="do" href=${`/dashboard/requests?provider=${u.provider}`}>${t("nav.requests")}</a></li>`)}</ul>`}
<//>`;

const columns = () => [
  { id: "name", label: t("settings.instance.name"), class: "a", cell: (i) => html`${i.name}${i.self && html` <span class="tag">${t("settings.instance.self")}</span>`}` },
  { id: "version", label: t("settings.version"), class: "b nowrap", cell: (i) => i.version },
  { id: "started", label: t("settings.started"), class: "c nowrap", cell: (i) => html`<${Ago} at=${i.started_at} />` },
  { id: "seen", label: t("settings.instance.seen"), class: "d nowrap", cell: (i) => (i.self ? t("settings.instance.now") : html`<${Ago} at=${i.seen_at} />`) },
];

/** The instances that work on the store. */
export const Instances = ({ data, error, retry }) => html`<${Panel} title=${t("settings.instances")} sub=${data && t("settings.instances.n", { n: data.storage.instances.length })}>
  ${error && !data ? html`<${LoadError} error=${error} retry=${retry} title=${t("settings.instances.error")} />` : html`<${Table} label=${t("settings.instances")} columns=${columns()} rows=${data?.storage.instances} rowKey=${(i) => i.id} bones=${1} />`}
<//>`;

/** The program: its version, and one's own session. */
export function Program({ data, error, retry }) {
  const [busy, setBusy] = useState(false);
  const leave = () => {
    setBusy(true);
    logOut().catch((e) => {
      setBusy(false);
      toastError(e);
    });
  };
  const b = data?.build;
  const page = (href, text) => html`<a href=${href} target="_blank" rel="noreferrer">${text}<${Icon} name="external" /></a>`;
  return html`<${Panel} title=${t("settings.program")} acts=${html`<${Button} class="small" icon="logout" busy=${busy} onClick=${leave}>${t("logout")}<//>`}><div class="panel-body">
    ${error && !data ? html`<${LoadError} error=${error} retry=${retry} title=${t("settings.error")} />` : !data ? html`<${Bones} n=${5} />` : html`<${Facts} rows=${[
      [t("settings.version"), html`<b>${data.version}</b>${b.modified && html` <span class="tag">${t("settings.modified")}</span>`}`],
      [t("settings.commit"), b.commit && html`<code title=${b.commit}>${b.commit.slice(0, 12)}</code>${b.time && html` <span class="muted">${dated(b.time)}</span>`}`],
      [t("settings.go"), b.go],
      [t("settings.started"), html`${dated(data.startedAt)} <span class="muted">${t("settings.uptime", { span: span((now.value - new Date(data.startedAt)) / 1000) })}</span>`],
      [t("settings.session"), session.value && t("settings.session.until", { at: dated(session.value.expiresAt) })],
      [t("settings.links"), html`<span class="links">${page("/health", t("settings.health"))}${page("/metrics", t("settings.metrics"))}${page("/openapi.json", "OpenAPI")}</span>`],
    ]} />`}
  </div><//>`;
}
