/** Numbers, sizes and times as people say them. */

const LETTERS = ["", " k", " M", " G", " T"];

/** 12 345 678 → "12.3 M"; what is small stays exact. */
export function count(value: number): string {
  if (Math.abs(value) < 10_000) return value.toLocaleString("en");
  let step = 0;
  let rest = value;
  while (Math.abs(rest) >= 999.5 && step < LETTERS.length - 1) {
    rest /= 1000;
    step += 1;
  }
  return `${rest >= 100 ? rest.toFixed(0) : rest.toFixed(1)}${LETTERS[step]}`;
}

/** 64490516 → "64.5 MB": powers of ten, as disks and networks are sold. */
export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let step = -1;
  let rest = value;
  while (rest >= 999.5 && step < units.length - 1) {
    rest /= 1000;
    step += 1;
  }
  return `${rest >= 100 ? rest.toFixed(0) : rest.toFixed(1)} ${units[step]}`;
}

/** Seconds as the two largest units: "1 h 4 min", "3.2 s". */
export function span(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  const parts: [number, string][] = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  let rest = Math.round(s);
  const said: string[] = [];
  for (const [size, name] of parts) {
    const whole = Math.floor(rest / size);
    if (whole > 0 && said.length < 2) said.push(`${whole} ${name}`);
    else if (said.length > 0) break;
    rest -= whole * size;
  }
  return said.join(" ");
}

/** How long ago, or until when. */
export function ago(moment: string, now = Date.now()): string {
  const seconds = (now - Date.parse(moment)) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  const said = span(Math.abs(seconds)).split(" ").slice(0, 2).join(" ");
  return seconds > 0 ? `${said} ago` : `in ${said}`;
}

/** In the viewer's zone. */
export function local(moment: string): string {
  return new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function utc(moment: string): string {
  return `${new Date(moment).toISOString().replace("T", " ").slice(0, 19)} UTC`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${value.toLocaleString("en")} ${value === 1 ? one : many}`;
}

export const MODES: Record<string, { short: string; long: string }> = {
  full_refresh_overwrite: { short: "Copy whole, replace", long: "Read everything each time; the new copy replaces the old one when it is whole." },
  full_refresh_append: { short: "Copy whole, add", long: "Read everything each time and add it to what is there." },
  full_refresh_overwrite_deduped: { short: "Copy whole, one row per key", long: "Read everything each time; the destination keeps one row for each key." },
  incremental_append: { short: "New rows, add", long: "Read what is new since the last run and add it: a history of changes." },
  incremental_deduped_history: { short: "Changes, merge by key", long: "Read what is new since the last run; the destination keeps the newest row of each key." },
};
