// The bar of what can be done with the ticked keys.
import { html, useLayoutEffect, useRef, useState } from "../../lib/preact.js";
import { rich, t } from "../../lib/words.js";
import { copy } from "../../parts/copy.js";
import { typedAbove } from "../../parts/dialog.js";
import { Button, IconButton } from "../../parts/form.js";
import { Menu } from "../../parts/menu.js";
import { toast, toastError } from "../../parts/toast.js";
import { enable, endRest, idsOf, verify } from "./acts.js";

async function copyIds(target) {
  const ids = await idsOf(target);
  if (await copy(ids.join("\n"))) toast({ state: "active", text: t("keys.copied", { n: ids.length }) });
  else toast({ state: "failed", text: t("copy.failed"), more: t("copy.failed.more") });
}

/** Scrolls by what the bar takes, so that the rows stay under the pointer. */
function useStill(ref) {
  useLayoutEffect(() => {
    const height = ref.current.offsetHeight;
    scrollBy({ top: height, behavior: "instant" });
    return () => scrollBy({ top: -height, behavior: "instant" });
  }, []);
}

/**
 * The bar. choice is that of useChoice, target what is chosen, ask(what, target)
 * opens a dialog, begun takes a check that began, done follows every change.
 */
export function Bulk({ choice, total, target, ask, begun, done }) {
  const ref = useRef(null);
  useStill(ref);
  const [busy, setBusy] = useState("");
  const run = (what, act) => async () => {
    setBusy(what);
    try {
      await act();
    } catch (e) {
      toastError(e);
    }
    setBusy("");
  };
  const asks = (what) => () => ask(what, target);
  const check = choice.all ? asks("verify") : run("verify", async () => begun(await verify(target)));
  const restore = choice.all || target.count > typedAbove ? asks("enable") : run("enable", async () => {
    await enable(target);
    done();
  });
  const more = [
    { label: t("keys.bulk.rest"), icon: "clock", run: run("more", async () => {
      await endRest(target);
      done();
    }) },
    { label: t("keys.bulk.ids"), icon: "copy", run: run("more", () => copyIds(target)) },
    { label: t("keys.bulk.export"), icon: "download", run: asks("export") },
  ];
  return html`<div ref=${ref} class="bulk" role="region" aria-label=${t("keys.bulk")}>
    <span aria-live="polite">${choice.all ? rich("keys.bulk.all", { n: target.count }) : rich("keys.bulk.some", { n: choice.count })}</span>
    ${choice.all ? html`<button type="button" class="link" onClick=${choice.onlyPage}>${t("keys.bulk.page")}</button>`
      : total > choice.count && html`<button type="button" class="link" onClick=${choice.pickAll}>${t("keys.bulk.match", { n: total })}</button>`}
    <div class="btn-row">
      <${Button} class="small" icon="verify" busy=${busy === "verify"} onClick=${check}>${t("keys.verify")}<//>
      <${Button} class="small" icon="power" busy=${busy === "enable"} onClick=${restore}>${t("keys.enable")}<//>
      <${Button} class="small" icon="pause" onClick=${asks("disable")}>${t("keys.disable")}<//>
      <${Button} class="small danger" icon="trash" onClick=${asks("delete")}>${t("keys.delete")}<//>
      <${Menu} label=${t("keys.bulk.more")} icon="more" square class="small" items=${more} disabled=${busy === "more"} />
    </div>
    <${IconButton} icon="close" label=${t("keys.bulk.clear")} class="ghost small clear" onClick=${choice.clear} />
  </div>`;
}
