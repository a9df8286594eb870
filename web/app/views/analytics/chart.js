// What became of the busiest models in the course of the range. The legend takes
// series out and brings them back.
import { html, useState } from "../../lib/preact.js";
import { middle } from "../../lib/format.js";
import { setQuery } from "../../lib/router.js";
import { t } from "../../lib/words.js";
import { LineMark, Lines } from "../../parts/chart.js";
import { Seg, providerName } from "../../parts/form.js";

const others = "\u0000"; // no model is called so

/** The series: a line for each model, and for requests one for all others where there are any. */
function seriesOf(data, what) {
  const twice = (m) => data.series.filter((s) => s.model === m).length > 1;
  const all = data.series.map((s, n) => ({ id: `${s.provider} ${s.model}`, name: twice(s.model) ? `${middle(s.model)} · ${providerName(s.provider)}` : middle(s.model), title: s.model, values: s[what], n }));
  if (what === "requests" && data.rest.some((v) => v > 0)) all.push({ id: others, name: t("analytics.others"), values: data.rest, n: 5 });
  return all;
}

/** what is "requests" or "failure". */
export function Chart({ data, what }) {
  const [hidden, setHidden] = useState([]);
  const turn = (id) => setHidden((was) => (was.includes(id) ? was.filter((o) => o !== id) : [...was, id]));
  const series = data ? seriesOf(data, what) : [];
  const shown = series.filter((s) => !hidden.includes(s.id));
  const step = data?.range.step ?? "hour";
  const title = t(`analytics.chart.${what}.${step}`); // words: analytics.chart.*
  return html`<section class="panel" aria-label=${title}>
    <div class="panel-head"><h2>${title}</h2>
      <${Seg} label=${t("analytics.chart")} value=${what} onChange=${(v) => setQuery({ show: v === "requests" ? null : "failures" }, { replace: true })}
        options=${[["requests", t("analytics.requests")], ["failure", t("analytics.failures")]]} />
      <div class="actions legend" role="group" aria-label=${t("analytics.legend")}>${series.map((s) => html`<button key=${s.id} type="button" aria-pressed=${String(!hidden.includes(s.id))} title=${s.title} onClick=${() => turn(s.id)}><${LineMark} n=${s.n} />${s.name}</button>`)}</div>
    </div>
    <div class="panel-body">
      ${data
        ? html`<${Lines} at=${data.points.map((p) => p.at)} series=${shown} step=${step} label=${title} none=${series.length > 0 && shown.length === 0 ? t("analytics.chart.hidden") : t(what === "requests" ? "analytics.chart.none" : "analytics.chart.none.failures")} />`
        : html`<div class="chart canvas tall" aria-hidden="true"><div class="plot"></div></div>`}
    </div>
  </section>`;
}
