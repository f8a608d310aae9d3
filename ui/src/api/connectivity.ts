/** Whether the server answers. While it does not, it is asked every second and a half; whoever listens hears it come back. */
import { useSyncExternalStore } from "react";

const AGAIN_MS = 1500;
const listeners = new Set<() => void>();
const returns = new Set<() => void>();
let lost = false;
let timer: ReturnType<typeof setTimeout> | undefined;

function set(value: boolean): void {
  if (lost === value) return;
  lost = value;
  for (const tell of listeners) tell();
  if (!lost) for (const tell of returns) tell();
}

export function unreachable(): void {
  set(true);
  timer ??= setTimeout(probe, AGAIN_MS);
}

export function reachable(): void {
  clearTimeout(timer);
  timer = undefined;
  set(false);
}

/** Call `tell` each time the server has come back. Returns how to stop. */
export function onReturn(tell: () => void): () => void {
  returns.add(tell);
  return () => returns.delete(tell);
}

async function probe(): Promise<void> {
  timer = undefined;
  try {
    const answer = await fetch("/health", { cache: "no-store" });
    if (answer.ok) return reachable();
  } catch {
    // Still away.
  }
  timer = setTimeout(probe, AGAIN_MS);
}

export function useLost(): boolean {
  return useSyncExternalStore(
    (tell) => {
      listeners.add(tell);
      return () => listeners.delete(tell);
    },
    () => lost,
  );
}
