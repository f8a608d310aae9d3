/**
 * The token of who signed in. Kept for this tab only (it outlives a reload, not the tab), and never where other tabs or
 * later visitors find it.
 */
import { useSyncExternalStore } from "react";

const PLACE = "syncline.token";
const listeners = new Set<() => void>();
let held: string | null = sessionStorage.getItem(PLACE);

export function token(): string | null {
  return held;
}

export function keepToken(value: string): void {
  held = value;
  sessionStorage.setItem(PLACE, value);
  for (const tell of listeners) tell();
}

export function forgetToken(): void {
  held = null;
  sessionStorage.removeItem(PLACE);
  for (const tell of listeners) tell();
}

export function useToken(): string | null {
  return useSyncExternalStore(
    (tell) => {
      listeners.add(tell);
      return () => listeners.delete(tell);
    },
    () => held,
  );
}
