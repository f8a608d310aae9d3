/**
 * Server-sent events over `fetch`, because an EventSource cannot carry a token. Goes on after a break where it was.
 */
import { ask, problemOf } from "./client";

export interface ServerEvent {
  id: string | null;
  kind: string;
  data: unknown;
}

/** What arrives in one piece is told in one call, so that a long log costs few renders. */
export async function follow(
  path: string,
  tell: (events: ServerEvent[]) => void,
  signal: AbortSignal,
  until: (event: ServerEvent) => boolean = () => false,
): Promise<void> {
  let last: string | null = null;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (last !== null) headers["Last-Event-ID"] = last;
      const answer = await ask(path, { headers, signal });
      if (!answer.ok) throw await problemOf(answer);
      wait = 500;
      for await (const events of batches(answer)) {
        for (const event of events) if (event.id !== null) last = event.id;
        tell(events);
        if (events.some(until)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      const status = (error as { status?: number }).status;
      if (status === 401 || status === 403 || status === 404) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 5000);
  }
}

async function* batches(answer: Response): AsyncGenerator<ServerEvent[]> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop()!;
    const events = blocks.map(parsed).filter((event) => event !== null);
    if (events.length > 0) yield events;
  }
}

export function parsed(block: string): ServerEvent | null {
  let id: string | null = null;
  let kind = "message";
  const lines: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) id = line.slice(4);
    else if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("data: ")) lines.push(line.slice(6));
  }
  return lines.length === 0 ? null : { id, kind, data: JSON.parse(lines.join("\n")) };
}
