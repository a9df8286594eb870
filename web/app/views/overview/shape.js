// How long the lists of the overview were the last time, so that what stands in
// their place while they load is as high as they will be. Nothing else is kept.
const kept = "overview.shape";

const usual = { attention: 4, models: 5, rests: 5, failures: 8, providers: 2 };

/** The lengths: { attention, models, rests, failures, providers }. */
export function shape() {
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem(kept)) };
  } catch {
    return usual; // storage is switched off, or holds something else
  }
}

let last = "";

/** Remembers the lengths of what is shown. */
export function remember(data, guided) {
  if (guided) return;
  const text = JSON.stringify({
    attention: Math.max(1, data.attention.length), models: data.topModels.length, rests: data.rests.length,
    failures: data.lastFailures.length, providers: data.providers.length,
  });
  if (text === last) return;
  last = text;
  try {
    localStorage.setItem(kept, text);
  } catch {
    // it is as high as usual the next time
  }
}

