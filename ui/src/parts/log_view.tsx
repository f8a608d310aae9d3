/** A job's log: live, filtered, of any length. Only the lines in view are in the document. */
import { Button, Checkbox, Group, Select, Text, TextInput } from "@mantine/core";
import { IconDownload, IconSearch } from "@tabler/icons-react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { useSearchParams } from "react-router";
import { ask, data, own, OWN } from "../api/client";
import { follow } from "../api/stream";
import { said } from "./act";
import { Broken, Empty, Loading } from "./states";
import { plural, utc } from "./words";

export interface Line {
  at: string;
  level: string;
  message: string;
  attempt: number;
  stream?: string | null;
  kind?: string | null;
}

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"];
/** The newest so many of a job that has ended: what the server gives in one answer. The others come when asked for. */
const MOST = 100_000;
/** A list that is higher is cut off by some browsers: Firefox ends at 17.9 million pixels. */
const HIGHEST = 15_000_000;
const LINE = 20;

export default function LogView({ jobId, active, attempts }: { jobId: number; active: boolean; attempts: number }) {
  const [whole, setWhole] = useState(false);
  const [began] = useState(active);
  const { lines, done, error } = useLines(jobId, began || whole);
  const [query, setQuery] = useSearchParams();
  const level = query.get("level") ?? "INFO";
  const text = query.get("log") ?? "";
  const attempt = query.get("attempt") ?? "";
  const set = (key: string, value: string, standard = "") =>
    setQuery((before) => {
      const after = new URLSearchParams(before);
      if (value && value !== standard) after.set(key, value);
      else after.delete(key);
      return after;
    }, { replace: true });
  const wanted = useDeferredValue(text);
  const shown = useMemo(() => matching(lines, level, wanted, Number(attempt)), [lines, level, wanted, attempt]);
  const [tail, setTail] = useState(active);
  const download = () =>
    said(async () => {
      const answer = await ask(`${OWN}/jobs/${jobId}/logs/text`);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = `syncline-job-${jobId}.log`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  return (
    <div className="sheet">
      <Group p="sm" gap="sm" style={{ borderBottom: "1px solid var(--line)" }}>
        <TextInput aria-label="Filter the log" placeholder="Filter" leftSection={<IconSearch size={15} />} value={text} onChange={(e) => set("log", e.currentTarget.value)} size="xs" style={{ flex: "1 1 160px", maxWidth: 340 }} />
        <Select aria-label="Level" size="xs" w={116} value={level} allowDeselect={false} onChange={(value) => set("level", value ?? "INFO", "INFO")} data={LEVELS.map((value) => ({ value, label: value === "ERROR" ? "Errors" : `${value[0]}${value.slice(1).toLowerCase()} up` }))} />
        {attempts > 1 && (
          <Select aria-label="Attempt" size="xs" w={130} placeholder="Every attempt" clearable value={attempt || null} onChange={(value) => set("attempt", value ?? "")} data={Array.from({ length: attempts }, (_, i) => ({ value: String(i + 1), label: `Attempt ${i + 1}` }))} />
        )}
        <Checkbox size="xs" label="Stay at the end" checked={tail} onChange={(e) => setTail(e.currentTarget.checked)} />
        <Text size="xs" className="quiet num" role="status">
          {shown.length === lines.length ? plural(lines.length, "line") : `${shown.length.toLocaleString("en")} of ${plural(lines.length, "line")}`}
        </Text>
        {!began && !whole && lines.length >= MOST && (
          <Button size="xs" variant="subtle" onClick={() => setWhole(true)}>
            Load the older ones too
          </Button>
        )}
        <Button size="xs" variant="default" ml="auto" leftSection={<IconDownload size={15} />} onClick={download}>
          Download
        </Button>
      </Group>
      {error && lines.length === 0 ? (
        <Broken error={error} />
      ) : lines.length === 0 && !done ? (
        <Loading rows={5} label="Loading the log" />
      ) : shown.length === 0 ? (
        <Empty title="No lines">{lines.length === 0 ? "Nothing was written." : "None fits the filter and the level."}</Empty>
      ) : (
        <Lines lines={shown} tail={tail} release={() => setTail(false)} />
      )}
    </div>
  );
}

/** The lines that are at or above the level and hold the text; of one attempt when `attempt` is not 0. */
export function matching(lines: readonly Line[], level: string, text: string, attempt = 0): readonly Line[] {
  const least = LEVELS.indexOf(level);
  const word = text.toLowerCase();
  if (least <= 0 && !word && !attempt) return lines;
  return lines.filter(
    (line) =>
      LEVELS.indexOf(line.level) >= least &&
      (!attempt || line.attempt === attempt) &&
      (!word || line.message.toLowerCase().includes(word) || (line.stream ?? "").toLowerCase().includes(word)),
  );
}

function Lines({ lines, tail, release }: { lines: readonly Line[]; tail: boolean; release: () => void }) {
  const frame = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState<Line | null>(null);
  // A million lines are higher than browsers can lay out: then a pixel of the frame stands for more than one of the list.
  const stretch = Math.max(1, (lines.length * LINE) / HIGHEST);
  const rows = useVirtualizer({ count: Math.ceil(lines.length / stretch), getScrollElement: () => frame.current, estimateSize: () => LINE, overscan: 20 });
  useEffect(() => {
    if (tail) rows.scrollToIndex(Math.ceil(lines.length / stretch) - 1, { align: "end" });
  }, [tail, lines.length, stretch, rows]);
  const places = rows.getVirtualItems();
  const height = Math.ceil(lines.length / stretch);
  const shift = places.length === 0 || stretch === 1 ? 0 : shiftOf(places[0]!.index, places.length, height, lines.length);
  return (
    <>
      <div ref={frame} className="log" tabIndex={0} role="log" aria-live="off" aria-label="Log lines" onWheel={(e) => e.deltaY < 0 && tail && release()}>
        <div style={{ height: rows.getTotalSize(), position: "relative" }}>
          {places.map((row) => {
            const line = lines[row.index + shift];
            if (!line) return null;
            return (
              <div key={row.index + shift} className={`log-line ${line.level}`} style={{ position: "absolute", top: 0, left: 0, right: 0, height: LINE, transform: `translateY(${row.start}px)` }} onClick={() => setOpen(line)}>
                <time className="quiet" dateTime={line.at} title={utc(line.at)}>
                  {clock(line.at)}
                </time>
                <span>{line.level}</span>
                <span className="stream clip">{line.stream ?? ""}</span>
                <span className="clip" title={line.message.slice(0, 2000)}>
                  {line.message}
                </span>
              </div>
            );
          })}
        </div>
      </div>
      {open && (
        <div style={{ borderTop: "1px solid var(--line)", padding: 12 }}>
          <Group justify="space-between" mb={6}>
            <Text size="sm" className="quiet break">
              {utc(open.at)} · attempt {open.attempt} · {open.level}
              {open.stream ? ` · ${open.stream}` : ""}
              {open.kind ? ` · ${open.kind}` : ""}
            </Text>
            <Button size="compact-xs" variant="subtle" onClick={() => setOpen(null)}>
              Close
            </Button>
          </Group>
          <pre className="code">{open.message}</pre>
        </div>
      )}
    </>
  );
}

/** By how much the line at a place of the frame is further down than the place, when there are more lines than places:
 * nothing at the beginning, all that is missing at the end. */
export function shiftOf(first: number, shown: number, places: number, lines: number): number {
  const scrolled = places <= shown ? 0 : Math.min(1, first / (places - shown));
  return Math.round(scrolled * (lines - places));
}

function clock(at: string): string {
  const time = new Date(at);
  return `${time.toLocaleTimeString("en-GB")}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** The newest there are, at once; or (`live`) all of them from the first, as they come. */
function useLines(jobId: number, live: boolean): { lines: readonly Line[]; done: boolean; error: unknown } {
  const [state, setState] = useState<{ lines: readonly Line[]; done: boolean; error: unknown }>({ lines: [], done: false, error: null });
  useEffect(() => {
    const stop = new AbortController();
    if (!live) {
      data(own.GET("/jobs/{jobId}/logs", { params: { path: { jobId: String(jobId) }, query: { tail: MOST } }, signal: stop.signal }))
        .then((found) => setState({ lines: found.lines, done: true, error: null }))
        .catch((error: unknown) => !stop.signal.aborted && setState((before) => ({ ...before, done: true, error })));
      return () => stop.abort();
    }
    // Lines are collected and shown ten times a second at most, once a second while few come to many: no copy of the
    // list for each line.
    const all: Line[] = [];
    let ended = false;
    let shown = -1;
    let at = 0;
    const timer = setInterval(() => {
      const few = all.length - shown < all.length / 20 && performance.now() - at < 1000;
      if ((all.length === shown || few) && !ended) return;
      shown = all.length;
      at = performance.now();
      setState({ lines: all.slice(), done: ended, error: null });
      if (ended) clearInterval(timer);
    }, 100);
    void follow(
      `${OWN}/jobs/${jobId}/logs/stream`,
      (events) => {
        for (const event of events) {
          if (event.kind === "log") all.push(event.data as Line);
          else if (event.kind === "end") ended = true;
        }
      },
      stop.signal,
      (event) => event.kind === "end",
    );
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [jobId, live]);
  return state;
}
