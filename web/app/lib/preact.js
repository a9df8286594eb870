// The parts of the vendored libraries that the pages use, under one address.
import { h, render } from "../../vendor/preact/preact.js";
import {
  useCallback, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState,
} from "../../vendor/preact/hooks.js";
import htm from "../../vendor/htm/htm.js";
import { batch, computed, effect, signal } from "../../vendor/signals/signals.js";

export const html = htm.bind(h);
export {
  batch, computed, effect, render, signal,
  useCallback, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState,
};
