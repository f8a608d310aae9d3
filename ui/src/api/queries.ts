/** What pages ask for, under names that live events make stale. */
import { queryOptions, type QueryClient } from "@tanstack/react-query";
import { config, data, own, patiently, pub } from "./client";
import type { components as Own } from "./own";

export type Glance = Own["schemas"]["GlanceRead"];
export type Run = Own["schemas"]["RunRead"];
export type JobDetail = Own["schemas"]["JobDetail"];
export type Attempt = Own["schemas"]["AttemptRead"];
export type StreamRun = Own["schemas"]["StreamRead"];
export type Failure = Own["schemas"]["ErrorRead"];
export type Detail = Own["schemas"]["ConnectionDetail"];
export type Plan = Own["schemas"]["StreamPlanRead"];
export type Schedule = Own["schemas"]["ScheduleWire"];
export type Role = "source" | "destination";

export interface End {
  id: string;
  role: Role;
  name: string;
  type: string;
  definitionId: string;
  workspaceId: string;
  configuration: Record<string, unknown>;
  createdAt: number;
}

export interface Definition {
  id: string;
  name: string;
  repository: string;
  version: string;
}

const ACTIVE = ["pending", "running", "incomplete"];

export const isActive = (status: string) => ACTIVE.includes(status);

export const overview = queryOptions({ queryKey: ["overview"], queryFn: () => data(own.GET("/overview")) });

export const workspaces = queryOptions({
  queryKey: ["workspaces"],
  queryFn: async () => (await data(pub.GET("/workspaces", { params: { query: { limit: 100 } } }))).data,
});

export const detail = (id: string) =>
  queryOptions({
    queryKey: ["connection", id, "detail"],
    queryFn: () => data(own.GET("/connections/{connectionId}", { params: { path: { connectionId: id } } })),
  });

export const runs = (connectionId: string, limit = 60) =>
  queryOptions({
    queryKey: ["connection", connectionId, "runs", limit],
    queryFn: async () =>
      (await data(own.GET("/jobs", { params: { query: { connectionId: [connectionId], limit } } }))).runs,
    refetchInterval: (query) => (query.state.data?.some((run) => isActive(run.status)) ? 1000 : false),
  });

export const job = (id: string) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: () => data(own.GET("/jobs/{jobId}", { params: { path: { jobId: id } } })),
    refetchInterval: (query) => (query.state.data && isActive(query.state.data.status) ? 1000 : false),
  });

export const state = (id: string) =>
  queryOptions({
    queryKey: ["connection", id, "state"],
    queryFn: () => data(own.GET("/connections/{connectionId}/state", { params: { path: { connectionId: id } } })),
  });

export const catalogOf = (connectionId: string) =>
  queryOptions({
    queryKey: ["connection", connectionId, "catalog"],
    queryFn: () => data(config.POST("/web_backend/connections/get", { body: { connectionId } })),
  });

export const discovered = (sourceId: string) =>
  queryOptions({
    queryKey: ["source", sourceId, "catalog"],
    queryFn: ({ signal }) =>
      patiently(() => data(config.POST("/sources/discover_schema", { body: { sourceId } })), signal),
    staleTime: Infinity,
    retry: false,
  });

export const logLag = (connectionId: string) =>
  queryOptions({
    queryKey: ["connection", connectionId, "loglag"],
    queryFn: ({ signal }) =>
      patiently(
        () => data(own.GET("/connections/{connectionId}/lag/log", { params: { path: { connectionId } } })),
        signal,
      ),
    retry: false,
  });

/** All pages of a list that comes a hundred at a time. */
async function whole<T>(page: (offset: number) => Promise<{ data: T[]; next?: string }>): Promise<T[]> {
  const found: T[] = [];
  for (;;) {
    const part = await page(found.length);
    found.push(...part.data);
    if (!part.next || part.data.length === 0) return found;
  }
}

export const ends = (role: Role) =>
  queryOptions({
    queryKey: [role, "list"],
    queryFn: async (): Promise<End[]> => {
      if (role === "source") {
        const found = await whole((offset) => data(pub.GET("/sources", { params: { query: { limit: 100, offset } } })));
        return found.map((each) => ({ ...each, id: each.sourceId, type: each.sourceType, role }));
      }
      const found = await whole((offset) =>
        data(pub.GET("/destinations", { params: { query: { limit: 100, offset } } })),
      );
      return found.map((each) => ({ ...each, id: each.destinationId, type: each.destinationType, role }));
    },
  });

export const end = (role: Role, id: string) =>
  queryOptions({
    queryKey: [role, id],
    queryFn: async (): Promise<End> => {
      if (role === "source") {
        const found = await data(pub.GET("/sources/{sourceId}", { params: { path: { sourceId: id } } }));
        return { ...found, id, type: found.sourceType, role };
      }
      const path = { destinationId: id };
      const found = await data(pub.GET("/destinations/{destinationId}", { params: { path } }));
      return { ...found, id, type: found.destinationType, role };
    },
  });

export const definitions = (role: Role, workspaceId: string) =>
  queryOptions({
    queryKey: ["definitions", role, workspaceId],
    queryFn: async (): Promise<Definition[]> => {
      const params = { path: { workspaceId } };
      const found =
        role === "source"
          ? await data(pub.GET("/workspaces/{workspaceId}/definitions/sources", { params }))
          : await data(pub.GET("/workspaces/{workspaceId}/definitions/destinations", { params }));
      return found.data.map((each) => ({
        id: each.id,
        name: each.name,
        repository: each.dockerRepository,
        version: each.dockerImageTag,
      }));
    },
    staleTime: 60_000,
  });

export const spec = (role: Role, definitionId: string, workspaceId: string) =>
  queryOptions({
    queryKey: ["spec", role, definitionId],
    queryFn: async (): Promise<{ schema: Record<string, unknown>; modes: string[] }> => {
      if (role === "source") {
        const body = { sourceDefinitionId: definitionId, workspaceId };
        const found = await data(config.POST("/source_definition_specifications/get", { body }));
        return { schema: (found.connectionSpecification ?? {}) as Record<string, unknown>, modes: [] };
      }
      const body = { destinationDefinitionId: definitionId, workspaceId };
      const found = await data(config.POST("/destination_definition_specifications/get", { body }));
      return {
        schema: (found.connectionSpecification ?? {}) as Record<string, unknown>,
        modes: found.supportedDestinationSyncModes ?? [],
      };
    },
    staleTime: Infinity,
  });

/** What an event about a connection's job makes stale. */
export function heard(client: QueryClient, connectionId: string, jobId?: number): void {
  void client.invalidateQueries({ queryKey: ["overview"] });
  void client.invalidateQueries({ queryKey: ["runs"] });
  void client.invalidateQueries({ queryKey: ["connection", connectionId] });
  if (jobId !== undefined) void client.invalidateQueries({ queryKey: ["job", String(jobId)] });
}
