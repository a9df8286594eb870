// The list of a provider's models, from the same address that clients ask.
import { signal, useEffect } from "../../lib/preact.js";
import { get } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { modelsAddress } from "./dialects.js";
import { token } from "./draft.js";

const guarded = signal(false); // the lists want a token (MODELS_REQUIRE_AUTH)
const looksWhole = (text) => text.length >= 20;

async function load(provider, with_, stop) {
  try {
    const list = await get(modelsAddress(provider), {}, { signal: stop, headers: with_ === "" ? {} : { Authorization: `Bearer ${with_}` } });
    return list.data.map((m) => m.id);
  } catch (e) {
    if (e.status === 401) guarded.value = true;
    throw e;
  }
}

/** The models of a provider, as useLoad gives them. */
export const useModels = (provider) => {
  const with_ = guarded.value && looksWhole(token.value.trim()) ? token.value.trim() : "";
  return useLoad((stop) => load(provider, with_, stop), [provider, with_]);
};

const lasting = {}; // the model that was used last, by provider

/** Keeps the model in mind that is used with a provider. */
export function useLastModel(provider, model) {
  useEffect(() => {
    if (model) lasting[provider] = model;
  }, [provider, model]);
}

/** The model to begin with: the one used last, else the first that can chat. */
export const firstModel = (provider, models) => lasting[provider] ?? models?.find((m) => !/embed/i.test(m)) ?? models?.[0] ?? "";
