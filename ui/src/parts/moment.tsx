/** Times and numbers with the exact value on hover and for screen readers. */
import { Tooltip } from "@mantine/core";
import { useEffect, useState } from "react";
import { ago, bytes, count, local, span, utc } from "./words";

/** A clock that ticks once in `ms`, for everything that says "ago". */
export function useNow(ms = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms]);
  return now;
}

export function Ago({ at, now }: { at: string; now?: number }) {
  return (
    <Tooltip label={`${local(at)} · ${utc(at)}`}>
      <time dateTime={at} className="num" tabIndex={-1}>
        {ago(at, now)}
      </time>
    </Tooltip>
  );
}

export function At({ at }: { at: string }) {
  return (
    <Tooltip label={utc(at)}>
      <time dateTime={at} className="num">
        {local(at)}
      </time>
    </Tooltip>
  );
}

export function Count({ value, unit }: { value: number; unit?: string }) {
  const exact = `${value.toLocaleString("en")}${unit ? ` ${unit}` : ""}`;
  const said = count(value);
  if (said === value.toLocaleString("en")) return <span className="num">{unit ? exact : said}</span>;
  return (
    <Tooltip label={exact}>
      <span className="num">
        {said}
        {unit ? ` ${unit}` : ""}
      </span>
    </Tooltip>
  );
}

export function Bytes({ value }: { value: number }) {
  return (
    <Tooltip label={`${value.toLocaleString("en")} bytes`}>
      <span className="num">{bytes(value)}</span>
    </Tooltip>
  );
}

export function Span({ seconds }: { seconds: number }) {
  return (
    <Tooltip label={`${seconds.toLocaleString("en", { maximumFractionDigits: 3 })} s`}>
      <span className="num">{span(seconds)}</span>
    </Tooltip>
  );
}
