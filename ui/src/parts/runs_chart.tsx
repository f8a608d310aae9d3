/** A timeline of runs: each a bar at its time, as high as it took, in the colour of how it ended; rows as a line. */
import { useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { JobDetail } from "../api/queries";
import { look } from "./status";
import { count, span } from "./words";

const HEIGHT = 190;

export function RunsChart({ runs, pick }: { runs: JobDetail[]; pick: (jobId: number) => void }) {
  const { ref, width } = useElementSize();
  const plot = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme("light");
  useEffect(() => {
    const place = plot.current;
    if (!place || width < 50 || runs.length === 0) return;
    const shown = [...runs].reverse();
    const css = getComputedStyle(document.documentElement);
    const quiet = css.getPropertyValue("--quiet").trim();
    const line = css.getPropertyValue("--line").trim();
    const colour = (status: string) => css.getPropertyValue(`--mantine-color-${look(status).color}-6`).trim();
    const bars = uPlot.paths.bars!({
      size: [0.7, 26, 3],
      radius: 0.2,
      disp: {
        fill: { unit: 3, values: () => shown.map((run) => colour(run.status)) },
      },
    });
    const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui" };
    const chart = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [8, 0, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { time: false, range: [-0.6, Math.max(shown.length, 12) - 0.4] }, y: { range: (_, __, max) => [0, max * 1.1 || 1] }, rows: { range: (_, __, max) => [0, max * 1.1 || 1] } },
        axes: [
          { ...axis, grid: { show: false }, values: (_, at) => at.map((i) => (Number.isInteger(i) && shown[i] ? `#${shown[i].jobId}` : "")) },
          { ...axis, size: 82, values: (_, at) => at.map((value) => (value ? span(value) : "0")) },
          { ...axis, side: 1, scale: "rows", grid: { show: false }, size: 58, values: (_, at) => at.map((value) => count(value)) },
        ],
        series: [
          {},
          { label: "Duration", paths: bars, points: { show: false }, fill: quiet, width: 0 },
          { label: "Rows", scale: "rows", stroke: quiet, width: 1.5, points: { show: shown.length < 40, size: 5 } },
        ],
      },
      [shown.map((_, i) => i), shown.map((run) => run.seconds ?? 0), shown.map((run) => run.rows)],
      place,
    );
    const click = () => {
      const run = chart.cursor.idx == null ? undefined : shown[chart.cursor.idx];
      if (run) pick(run.jobId);
    };
    chart.over.addEventListener("click", click);
    chart.over.style.cursor = "pointer";
    return () => chart.destroy();
  }, [runs, width, scheme, pick]);
  return (
    <div ref={ref} role="img" aria-label={`Durations and rows of the last ${runs.length} runs; the table below has the numbers.`}>
      <div ref={plot} style={{ height: HEIGHT }} />
    </div>
  );
}
