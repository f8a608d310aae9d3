/** Which streams a connection takes, and how: modes, cursors, keys, columns. Holds a draft; who uses it saves. */
import { Badge, Button, Checkbox, Collapse, Group, MultiSelect, Select, Stack, Text, TextInput, UnstyledButton } from "@mantine/core";
import { IconChevronDown, IconChevronRight, IconKey, IconSearch } from "@tabler/icons-react";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useDeferredValue, useMemo, useRef, useState } from "react";
import { Empty } from "./states";
import { type Offered, keyOf, modesOf, type Wanted } from "./selection";
import { MODES, plural } from "./words";

interface Props {
  offered: Offered[];
  wanted: Map<string, Wanted>;
  change: (next: Map<string, Wanted>) => void;
  /** The destination's modes, where they are known. */
  destinationModes?: string[];
  readOnly?: boolean;
}

export function StreamsEditor({ offered, wanted, change, destinationModes = [], readOnly = false }: Props) {
  const [text, setText] = useState("");
  const word = useDeferredValue(text).toLowerCase();
  const shown = useMemo(() => offered.filter((each) => `${each.namespace ?? ""}.${each.name}`.toLowerCase().includes(word)), [offered, word]);
  const chosen = offered.filter((each) => wanted.has(keyOf(each))).length;
  const frame = useRef<HTMLDivElement>(null);
  const rows = useWindowVirtualizer({ count: shown.length, estimateSize: () => 62, overscan: 10, scrollMargin: frame.current?.offsetTop ?? 0, getItemKey: (i) => keyOf(shown[i]!) });

  const set = (stream: Offered, value: Wanted | null) => {
    const next = new Map(wanted);
    if (value) next.set(keyOf(stream), value);
    else next.delete(keyOf(stream));
    change(next);
  };
  const setAll = (on: boolean) => {
    const next = new Map(wanted);
    for (const stream of shown) {
      if (!on) next.delete(keyOf(stream));
      else if (!next.has(keyOf(stream))) next.set(keyOf(stream), standard(stream, destinationModes));
    }
    change(next);
  };
  const setMode = (mode: string) => {
    const next = new Map(wanted);
    for (const stream of shown) {
      const now = next.get(keyOf(stream));
      if (now && modesOf(stream, destinationModes).includes(mode)) next.set(keyOf(stream), { ...now, mode });
    }
    change(next);
  };
  return (
    <div className="sheet">
      <Group p="sm" gap="sm" style={{ borderBottom: "1px solid var(--line)" }}>
        <Checkbox
          aria-label="Every stream that is shown"
          checked={shown.length > 0 && shown.every((each) => wanted.has(keyOf(each)))}
          indeterminate={shown.some((each) => wanted.has(keyOf(each))) && !shown.every((each) => wanted.has(keyOf(each)))}
          disabled={readOnly}
          onChange={(e) => setAll(e.currentTarget.checked)}
        />
        <TextInput aria-label="Filter streams" placeholder="Filter streams" leftSection={<IconSearch size={15} />} value={text} onChange={(e) => setText(e.currentTarget.value)} style={{ flex: "1 1 200px", maxWidth: 360 }} />
        <Text size="sm" className="quiet num" role="status">
          {chosen} of {plural(offered.length, "stream")} chosen
        </Text>
        {!readOnly && (
          <Select aria-label="Mode of all chosen streams that are shown" placeholder="Set the mode of all" w={230} ml="auto" value={null} onChange={(value) => value && setMode(value)} data={Object.entries(MODES).map(([value, { short }]) => ({ value, label: short }))} />
        )}
      </Group>
      {shown.length === 0 ? (
        <Empty title={offered.length === 0 ? "The source offers no streams" : "No stream fits"}>{offered.length === 0 ? "Look at its settings: schemas or paths may leave everything out." : "Change the filter."}</Empty>
      ) : (
        <div ref={frame} role="list" aria-label="Streams" style={{ height: rows.getTotalSize(), position: "relative" }}>
          {rows.getVirtualItems().map((row) => (
            <div key={row.key} role="listitem" ref={rows.measureElement} data-index={row.index} style={{ position: "absolute", top: 0, left: 0, right: 0, transform: `translateY(${row.start - rows.options.scrollMargin}px)` }}>
              <Row stream={shown[row.index]!} wanted={wanted.get(keyOf(shown[row.index]!)) ?? null} set={set} destinationModes={destinationModes} readOnly={readOnly} />
            </div>
          ))}
        </div>
      )}
    </div>
  );
}

/** What a stream gets when it is ticked: changes where the source can tell them, else whole copies. */
export function standard(stream: Offered, destinationModes: string[]): Wanted {
  const modes = modesOf(stream, destinationModes);
  const best = ["incremental_deduped_history", "incremental_append", "full_refresh_overwrite"].find((mode) => modes.includes(mode));
  const cursor = stream.sourceCursor ? null : (stream.cursor ?? null);
  const mode = best?.startsWith("incremental") && !cursor && !stream.sourceCursor ? "full_refresh_overwrite" : best;
  return { mode: mode ?? modes[0] ?? "full_refresh_overwrite", cursor: mode?.startsWith("incremental") ? cursor : null, key: stream.key, columns: null };
}

interface RowProps {
  stream: Offered;
  wanted: Wanted | null;
  set: (stream: Offered, value: Wanted | null) => void;
  destinationModes: string[];
  readOnly: boolean;
}

const Row = memo(function Row({ stream, wanted, set, destinationModes, readOnly }: RowProps) {
  const [open, setOpen] = useState(false);
  const modes = modesOf(stream, destinationModes);
  const label = stream.name.slice(0, 120);
  const incremental = wanted?.mode.startsWith("incremental") ?? false;
  const keyed = wanted?.mode.includes("dedup") ?? false;
  return (
    <div style={{ borderBottom: "1px solid var(--line)", padding: "8px 12px" }}>
      <Group wrap="nowrap" gap="sm" align="center">
        <Checkbox checked={wanted !== null} disabled={readOnly} onChange={(e) => set(stream, e.currentTarget.checked ? standard(stream, destinationModes) : null)} aria-label={`Take ${label}`} />
        <UnstyledButton onClick={() => setOpen(!open)} aria-expanded={open} style={{ display: "flex", alignItems: "center", gap: 8, minWidth: 0, flex: "1 1 160px" }}>
          {open ? <IconChevronDown size={16} style={{ flex: "none" }} /> : <IconChevronRight size={16} style={{ flex: "none" }} />}
          <span style={{ minWidth: 0 }}>
            <span className="clip" style={{ display: "block", fontWeight: 600 }} title={stream.name.slice(0, 300)}>
              <span className="sr-only">Columns of </span>
              {stream.name}
            </span>
            <span className="quiet clip" style={{ display: "block", fontSize: 12 }}>
              {stream.namespace ? `${stream.namespace} · ` : ""}
              {wanted?.columns ? `${wanted.columns.length} of ` : ""}
              {plural(stream.fields.length, "column")}
            </span>
          </span>
        </UnstyledButton>
        {wanted && (
          <Group gap="xs" wrap="wrap" justify="flex-end" style={{ flex: "3 1 300px" }}>
            <Select aria-label={`Mode of ${label}`} w={216} size="xs" value={wanted.mode} disabled={readOnly} allowDeselect={false} onChange={(mode) => mode && set(stream, { ...wanted, mode, cursor: mode.startsWith("incremental") ? (wanted.cursor ?? (stream.sourceCursor ? null : (stream.cursor ?? null))) : null })} data={[...new Set([...modes, wanted.mode])].map((value) => ({ value, label: MODES[value]?.short ?? value }))} />
            {incremental &&
              (stream.sourceCursor ? (
                <Badge variant="default" tt="none" radius="sm" size="lg" fw={500}>
                  found by the source
                </Badge>
              ) : (
                <Select aria-label={`Cursor of ${label}`} placeholder="Cursor" w={170} size="xs" searchable value={wanted.cursor} disabled={readOnly} error={!wanted.cursor} onChange={(cursor) => set(stream, { ...wanted, cursor })} data={stream.fields.map((field) => field.name)} />
              ))}
            {keyed && (
              <MultiSelect aria-label={`Key of ${label}`} placeholder={wanted.key.length === 0 ? "Key" : undefined} w={210} size="xs" searchable styles={{ inputField: { minWidth: 30, width: 30 } }} leftSection={<IconKey size={14} />} value={wanted.key} disabled={readOnly} error={wanted.key.length === 0} onChange={(key) => set(stream, { ...wanted, key })} data={[...new Set(stream.fields.map((field) => field.name))]} />
            )}
          </Group>
        )}
      </Group>
      <Collapse expanded={open}>{open && <Columns stream={stream} wanted={wanted} set={set} readOnly={readOnly} />}</Collapse>
      {wanted && open && (
        <Text size="xs" className="quiet" pl={52} pb={6}>
          {MODES[wanted.mode]?.long}
        </Text>
      )}
    </div>
  );
});

function Columns({ stream, wanted, set, readOnly }: Pick<RowProps, "stream" | "wanted" | "set" | "readOnly">) {
  const all = stream.fields.map((field) => field.name);
  const taken = new Set(wanted?.columns ?? all);
  const toggle = (name: string) => {
    if (!wanted) return;
    const next = taken.has(name) ? all.filter((each) => each !== name && taken.has(each)) : all.filter((each) => each === name || taken.has(each));
    set(stream, { ...wanted, columns: next.length === all.length ? null : next });
  };
  return (
    <Stack gap={4} pl={52} py="xs">
      {wanted?.columns && !readOnly && (
        <Button size="compact-xs" variant="subtle" w="max-content" onClick={() => set(stream, { ...wanted, columns: null })}>
          Take every column, new ones too
        </Button>
      )}
      <div style={{ display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(230px, 1fr))", gap: "4px 16px" }}>
        {stream.fields.map((field) => (
          <Group key={field.name} gap={8} wrap="nowrap" style={{ minWidth: 0 }}>
            <Checkbox size="xs" checked={wanted !== null && taken.has(field.name)} disabled={readOnly || !wanted || wanted.key.includes(field.name) || wanted.cursor === field.name} onChange={() => toggle(field.name)} aria-label={`Take column ${field.name.slice(0, 80)}`} />
            <span className="clip" title={field.name.slice(0, 300)}>
              {field.name}
            </span>
            <span className="quiet mono clip">{field.type}</span>
            {stream.key.includes(field.name) && <IconKey size={13} aria-label="part of the key" style={{ flex: "none" }} />}
          </Group>
        ))}
      </div>
    </Stack>
  );
}
