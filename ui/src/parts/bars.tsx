/** The last runs as bars and their rows as a line: small enough for a list of a thousand connections. */
import { Link } from "react-router";
import type { Run } from "../api/queries";
import { barColor, look } from "./status";
import { count, local, span } from "./words";

const PLACES = 14;

/** Oldest left. A bar's height is the run's duration against the longest, its colour how it ended. */
export function RunBars({ runs, link = true }: { runs: readonly Run[]; link?: boolean }) {
  const shown = runs.slice(0, PLACES).reverse();
  const longest = Math.max(1, ...shown.map((run) => run.seconds ?? 0));
  if (shown.length === 0) return <span className="quiet">no runs yet</span>;
  return (
    <span style={{ display: "inline-flex", alignItems: "flex-end", gap: 3, height: 28 }}>
      {shown.map((run) => {
        const height = 6 + 22 * Math.sqrt((run.seconds ?? 0) / longest);
        const said = `Job ${run.jobId}: ${look(run.status).word.toLowerCase()}, ${count(run.rows)} rows${
          run.seconds == null ? "" : ` in ${span(run.seconds)}`
        }, ${local(run.createdAt)}`;
        const bar = (
          <span
            style={{ display: "block", width: 8, height, borderRadius: 2, background: barColor(run.status) }}
            className={run.status === "running" ? "pulse" : undefined}
          />
        );
        return link ? (
          <Link key={run.jobId} to={`/jobs/${run.jobId}`} title={said} aria-label={said}>
            {bar}
          </Link>
        ) : (
          <span key={run.jobId} title={said}>
            {bar}
          </span>
        );
      })}
    </span>
  );
}

export function RowsLine({ runs }: { runs: readonly Run[] }) {
  const values = runs
    .filter((run) => run.status === "succeeded")
    .slice(0, PLACES)
    .reverse()
    .map((run) => run.rows);
  if (values.length < 2) return <span className="num">{values.length === 1 ? count(values[0]!) : "–"}</span>;
  const top = Math.max(1, ...values);
  const step = 64 / (values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(1)},${(22 - 20 * (value / top)).toFixed(1)}`).join(" ");
  return (
    <span style={{ display: "inline-flex", alignItems: "center", gap: 8 }} title={`Rows of the last ${values.length} runs, newest ${values.at(-1)!.toLocaleString("en")}`}>
      <svg width="64" height="24" aria-hidden="true">
        <polyline points={points} fill="none" stroke="var(--mantine-primary-color-filled)" strokeWidth="1.5" />
      </svg>
      <span className="num quiet" style={{ fontSize: 12 }}>
        {count(values.at(-1)!)}
      </span>
    </span>
  );
}
