/** Streams as they are offered and as they are wanted, between the config API's catalog and the public API's streams. */
import type { components as Config } from "../api/config";
import type { components as Public } from "../api/public";
import { MODES } from "./words";

export interface Field {
  name: string;
  type: string;
}

export interface Offered {
  name: string;
  namespace: string | null;
  fields: Field[];
  key: string[];
  cursor: string | null;
  /** The source finds changes by itself: no cursor is chosen. */
  sourceCursor: boolean;
  incremental: boolean;
}

export interface Wanted {
  mode: string;
  cursor: string | null;
  key: string[];
  /** null: every column, those that come later too. */
  columns: string[] | null;
}

type Catalog = Config["schemas"]["SyncCatalog"];
export type StreamConfiguration = Public["schemas"]["StreamConfiguration"];

const HALVES: Record<string, [string, string]> = {
  full_refresh_overwrite: ["full_refresh", "overwrite"],
  full_refresh_append: ["full_refresh", "append"],
  full_refresh_overwrite_deduped: ["full_refresh", "overwrite_dedup"],
  incremental_append: ["incremental", "append"],
  incremental_deduped_history: ["incremental", "append_dedup"],
};

export const keyOf = (stream: { name: string; namespace?: string | null }) => JSON.stringify([stream.namespace ?? null, stream.name]);

interface RawStream {
  name: string;
  namespace?: string | null;
  jsonSchema?: { properties?: Record<string, { type?: string | string[]; format?: string; airbyte_type?: string }> };
  supportedSyncModes?: string[];
  sourceDefinedCursor?: boolean;
  defaultCursorField?: string[];
  sourceDefinedPrimaryKey?: string[][];
}

interface RawConfig {
  syncMode?: string;
  destinationSyncMode?: string;
  cursorField?: string[];
  primaryKey?: string[][];
  selected?: boolean;
  fieldSelectionEnabled?: boolean;
  selectedFields?: { fieldPath: string[] }[];
}

export function offeredBy(catalog: Catalog | null | undefined): Offered[] {
  return (catalog?.streams ?? []).map(({ stream }) => {
    const raw = stream as unknown as RawStream;
    return {
      name: raw.name,
      namespace: raw.namespace ?? null,
      fields: Object.entries(raw.jsonSchema?.properties ?? {}).map(([name, about]) => ({ name, type: typeOf(about) })),
      key: (raw.sourceDefinedPrimaryKey ?? []).map((path) => path[0]!),
      cursor: raw.defaultCursorField?.[0] ?? null,
      sourceCursor: raw.sourceDefinedCursor ?? false,
      incremental: raw.supportedSyncModes?.includes("incremental") ?? false,
    };
  });
}

function typeOf(about: { type?: string | string[]; format?: string; airbyte_type?: string }): string {
  if (about.airbyte_type) return about.airbyte_type.replaceAll("_", " ");
  if (about.format) return about.format;
  const types = [about.type ?? []].flat().filter((each) => each !== "null");
  return types.join(" or ") || "any";
}

export function wantedBy(catalog: Catalog | null | undefined): Map<string, Wanted> {
  const found = new Map<string, Wanted>();
  for (const entry of catalog?.streams ?? []) {
    const config = (entry.config ?? {}) as RawConfig;
    if (config.selected === false) continue;
    const mode = Object.entries(HALVES).find(([, [sync, write]]) => sync === config.syncMode && write === config.destinationSyncMode)?.[0];
    const offered = entry.stream as unknown as RawStream;
    const incremental = config.syncMode === "incremental";
    found.set(keyOf(offered), {
      mode: mode ?? "full_refresh_overwrite",
      cursor: incremental && !offered.sourceDefinedCursor ? (config.cursorField?.[0] ?? null) : null,
      key: (config.primaryKey ?? []).map((path) => path[0]!),
      columns: config.fieldSelectionEnabled ? (config.selectedFields ?? []).map((field) => field.fieldPath[0]!) : null,
    });
  }
  return found;
}

/** Modes that both the stream and the destination can keep. A key can be named by hand, so it is no condition. */
export function modesOf(stream: Offered, destinationModes: string[]): string[] {
  return Object.keys(MODES).filter((mode) => {
    const [sync, write] = HALVES[mode]!;
    if (sync === "incremental" && !stream.incremental) return false;
    return destinationModes.length === 0 || destinationModes.includes(write);
  });
}

/** The body's streams, in the order in which they are offered; `kept` brings what this page does not show. */
export function configured(offered: Offered[], wanted: Map<string, Wanted>, kept: readonly StreamConfiguration[] = []): StreamConfiguration[] {
  const before = new Map(kept.map((each) => [keyOf(each), each]));
  return offered.flatMap((stream) => {
    const want = wanted.get(keyOf(stream));
    if (!want) return [];
    const known = before.get(keyOf(stream)) ?? kept.find((each) => each.name === stream.name && !each.namespace);
    const made: StreamConfiguration = {
      name: stream.name,
      ...(stream.namespace ? { namespace: stream.namespace } : {}),
      syncMode: want.mode as StreamConfiguration["syncMode"],
    };
    if (want.cursor) made.cursorField = [want.cursor];
    // The source's own key need not be said, and follows it when it changes.
    if (want.mode.includes("dedup") && want.key.join("\n") !== stream.key.join("\n")) made.primaryKey = want.key.map((name) => [name]);
    if (want.columns) made.selectedFields = want.columns.map((name) => ({ fieldPath: [name] }));
    if (known?.mappers?.length) made.mappers = known.mappers;
    return [made];
  });
}

/** What is missing before it can be saved, in words; empty when nothing is. */
export function lacking(offered: Offered[], wanted: Map<string, Wanted>): string[] {
  const said: string[] = [];
  for (const stream of offered) {
    const want = wanted.get(keyOf(stream));
    if (!want) continue;
    if (want.mode.startsWith("incremental") && !stream.sourceCursor && !want.cursor) said.push(`${stream.name} needs a cursor column`);
    if (want.mode.includes("dedup") && want.key.length === 0) said.push(`${stream.name} needs a key`);
  }
  return said;
}

/** What a change means for the data, one sentence for each stream, before the server is asked for its plan. */
export function consequences(offered: Offered[], before: Map<string, Wanted>, after: Map<string, Wanted>): { stream: string; says: string }[] {
  const said: { stream: string; says: string }[] = [];
  for (const stream of offered) {
    const was = before.get(keyOf(stream));
    const is = after.get(keyOf(stream));
    if (!was && is) said.push({ stream: stream.name, says: `is added: ${MODES[is.mode]?.short.toLowerCase()}. The next run copies it whole.` });
    if (was && !is) said.push({ stream: stream.name, says: "is left out from now on. What was written stays at the destination." });
    if (!was || !is) continue;
    if (was.mode !== is.mode) said.push({ stream: stream.name, says: `changes from “${MODES[was.mode]?.short}” to “${MODES[is.mode]?.short}”.` });
    if (was.cursor !== is.cursor && is.cursor) said.push({ stream: stream.name, says: `is read by ${is.cursor} from now on${was.cursor ? `, no longer by ${was.cursor}` : ""}.` });
    if (was.key.join() !== is.key.join()) said.push({ stream: stream.name, says: `is keyed by ${is.key.join(", ") || "nothing"}.` });
    if ((was.columns ?? []).join() !== (is.columns ?? []).join() || (was.columns === null) !== (is.columns === null))
      said.push({ stream: stream.name, says: is.columns === null ? "takes every column, new ones too." : `takes ${is.columns.length} of ${stream.fields.length} columns.` });
  }
  return said;
}
