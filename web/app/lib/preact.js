// The parts of the vendored libraries that the pages use, under one address.
import { Fragment, createRef, h, render } from "../../vendor/preact/preact.js";
import {
  useCallback, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState,
} from "../../vendor/preact/hooks.js";
import htm from "../../vendor/htm/htm.js";
import { batch, computed, effect, signal, untracked, useComputed, useSignal, useSignalEffect } from "../../vendor/signals/signals.js";

export const html = htm.bind(h);
export {
  Fragment, batch, computed, createRef, effect, h, render, signal, untracked,
  useCallback, useComputed, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useSignal,
  useSignalEffect, useState,
};
