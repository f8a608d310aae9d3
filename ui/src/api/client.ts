/** The server's three APIs, typed from their OpenAPI documents, and what their failures become. */
import createClient, { type Middleware } from "openapi-fetch";
import { reachable, unreachable } from "./connectivity";
import type { paths as ConfigPaths } from "./config";
import type { paths as OwnPaths } from "./own";
import type { paths as PublicPaths } from "./public";
import { forgetToken, token } from "./token";

export const OWN = "/api/syncline/v1";
export const PUBLIC = "/api/public/v1";
export const CONFIG = "/api/v1";

/** A request that the server answered with a failure: its own words, and where in the body they belong. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fields: Record<string, string> = {},
    readonly title = "",
  ) {
    super(message);
    this.name = "Problem";
  }
}

/** No answer at all: the server is away. */
export class LostServer extends Error {
  constructor() {
    super("The server does not answer.");
    this.name = "LostServer";
  }
}

/** `fetch` with the token; a lost server becomes :class:`LostServer`, and is told to whoever shows it. */
export async function ask(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = new Request(typeof input === "string" ? new URL(input, window.location.origin) : input, init);
  const held = token();
  if (held) request.headers.set("Authorization", `Bearer ${held}`);
  let answer: Response;
  try {
    answer = await fetch(request);
  } catch (error) {
    if (request.signal.aborted) throw error;
    unreachable();
    throw new LostServer();
  }
  // A proxy answers so while the server behind it is away.
  if (answer.status === 502 || answer.status === 503 || answer.status === 504) {
    unreachable();
    throw new LostServer();
  }
  reachable();
  if (answer.status === 401 && !new URL(request.url).pathname.endsWith("/login")) forgetToken();
  return answer;
}

const failing: Middleware = {
  async onResponse({ response }) {
    if (!response.ok) throw await problemOf(response);
  },
};

export async function problemOf(response: Response): Promise<Problem> {
  let body: Record<string, unknown> = {};
  try {
    body = (await response.json()) as Record<string, unknown>;
  } catch {
    // Not ours: a proxy's page, say. The status has to do.
  }
  const fields: Record<string, string> = {};
  const data = (body.data ?? {}) as Record<string, unknown>;
  for (const item of (data.errors ?? []) as { path: string; message: string }[]) fields[item.path] = item.message;
  if (typeof data.field === "string") fields[data.field] = String(body.message);
  const message = typeof body.message === "string" ? body.message : `The server answered ${response.status}.`;
  return new Problem(response.status, message, fields, typeof body.title === "string" ? body.title : "");
}

function made<Paths extends object>(baseUrl: string) {
  const client = createClient<Paths>({ baseUrl: window.location.origin + baseUrl, fetch: ask });
  client.use(failing);
  return client;
}

export const own = made<OwnPaths>(OWN);
export const pub = made<PublicPaths>(PUBLIC);
export const config = made<ConfigPaths>(CONFIG);

/** The answer itself; what went wrong was thrown before. */
export async function data<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

/** A look at another system that lasts longer than one request may: asked again until it has ended. */
export async function patiently<T>(look: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const until = Date.now() + 150_000;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      const goesOn = error instanceof Problem && error.status === 409 && /look goes on/.test(error.message);
      if (!goesOn || Date.now() > until || signal?.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}
