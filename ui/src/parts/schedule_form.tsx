/** When a connection runs, with the next times as the server computes them. */
import { Group, NumberInput, SegmentedControl, Select, Stack, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { data, own } from "../api/client";
import type { Schedule } from "../api/queries";
import { local, utc } from "./words";

const KINDS = [
  { value: "manual", label: "By hand" },
  { value: "basic", label: "Every so often" },
  { value: "cron", label: "Cron" },
];
const UNITS = ["minutes", "hours", "days", "weeks", "months"] as const;

const EXAMPLES: [string, string][] = [
  ["*/15 * * * *", "every 15 minutes"],
  ["0 * * * *", "hourly"],
  ["0 3 * * *", "daily at 3:00"],
  ["0 9 * * 1-5", "weekdays at 9:00"],
  ["0 0 L * *", "last day of the month"],
];

interface Props {
  value: Schedule;
  change: (next: Schedule) => void;
  /** The source has a log that can be followed. */
  followsLog?: boolean;
  readOnly?: boolean;
}

export function ScheduleForm({ value, change, followsLog = false, readOnly = false }: Props) {
  const [asked] = useDebouncedValue(value, 300);
  const timed = asked.kind === "cron" || asked.kind === "basic";
  const preview = useQuery({
    queryKey: ["preview", asked],
    queryFn: () => data(own.POST("/schedules/preview", { body: asked, params: { query: { count: 4 } } })),
    enabled: timed && (asked.kind !== "cron" || Boolean(asked.cronExpression)),
    retry: false,
    staleTime: 30_000,
  });
  const kinds = [...KINDS, ...(followsLog || value.kind === "continuous" ? [{ value: "continuous", label: "Always" }] : []), ...(value.kind === "after" ? [{ value: "after", label: "After others" }] : [])];
  const pick = (kind: string) => {
    if (kind === "basic") change({ kind, units: 1, timeUnit: "hours" });
    else if (kind === "cron") change({ kind, cronExpression: "0 3 * * *", timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone });
    else change({ kind: kind as Schedule["kind"] });
  };
  return (
    <Stack gap="sm">
      <SegmentedControl value={value.kind} onChange={pick} data={kinds} disabled={readOnly} aria-label="Kind of schedule" style={{ alignSelf: "flex-start" }} />
      {value.kind === "basic" && (
        <Group align="flex-end">
          <NumberInput label="Every" min={1} max={100_000} w={110} value={value.units ?? 1} disabled={readOnly} onChange={(units) => change({ ...value, units: Number(units) || 1 })} />
          <Select aria-label="Unit" data={UNITS.map((unit) => ({ value: unit, label: unit }))} value={value.timeUnit ?? "hours"} allowDeselect={false} disabled={readOnly} onChange={(timeUnit) => change({ ...value, timeUnit: timeUnit as (typeof UNITS)[number] })} w={140} />
        </Group>
      )}
      {value.kind === "cron" && (
        <>
          <Group align="flex-start">
            <TextInput label="Cron expression" description="Five fields, or Quartz's six or seven" className="mono" w={240} value={value.cronExpression ?? ""} disabled={readOnly} error={preview.error?.message} onChange={(e) => change({ ...value, cronExpression: e.currentTarget.value })} />
            <Select label="Time zone" description="Where these hours are" searchable w={240} value={value.timeZone ?? "UTC"} disabled={readOnly} data={zones()} onChange={(timeZone) => change({ ...value, timeZone: timeZone ?? undefined })} />
          </Group>
          {!readOnly && (
            <Group gap={6}>
              {EXAMPLES.map(([expression, says]) => (
                <button key={expression} type="button" className="chip" onClick={() => change({ ...value, cronExpression: expression })}>
                  {says}
                </button>
              ))}
            </Group>
          )}
        </>
      )}
      {value.kind === "continuous" && <Text size="sm" className="quiet">One job follows the log of the source and never ends; changes arrive within seconds.</Text>}
      {value.kind === "manual" && <Text size="sm" className="quiet">It runs when somebody asks: here, by the API, an orchestrator or a webhook.</Text>}
      {timed && preview.data && (
        <Text size="sm" role="status">
          Next: {preview.data.nextRuns.map((at, i) => (
            <time key={at} dateTime={at} title={utc(at)} className="num">
              {i > 0 && ", "}
              {local(at)}
            </time>
          ))}
        </Text>
      )}
      {asked.kind === "basic" && preview.error && <Text size="sm" c="red">{preview.error.message}</Text>}
    </Stack>
  );
}

function zones(): string[] {
  const known = Intl.supportedValuesOf?.("timeZone") ?? [];
  return [...new Set(["UTC", Intl.DateTimeFormat().resolvedOptions().timeZone, ...known])];
}
