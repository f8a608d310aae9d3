import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./style.css";
import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { LostServer, Problem } from "./api/client";
import { App } from "./app";
import { theme } from "./theme";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      networkMode: "always",
      staleTime: 2000,
      // What the server refused it refuses again; a server that is away is asked again when it is back.
      retry: (failures, error) => !(error instanceof Problem) && !(error instanceof LostServer) && failures < 2,
    },
    mutations: { networkMode: "always" },
  },
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={client}>
        <Notifications position="bottom-right" />
        <App />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
