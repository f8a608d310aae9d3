/** Which address shows which page. Everything but Home comes when it is asked for. */
import { lazy, Suspense } from "react";
import { BrowserRouter, Navigate, Route, Routes } from "react-router";
import { Loading } from "./parts/states";
import { Home } from "./pages/home";
import { Missing } from "./pages/missing";
import { SessionProvider } from "./session";
import { Shell } from "./shell";

const Connection = lazy(() => import("./pages/connection/page"));
const Job = lazy(() => import("./pages/job"));
const Jobs = lazy(() => import("./pages/jobs"));
const Setup = lazy(() => import("./pages/setup/page"));
const Ends = lazy(() => import("./pages/ends"));
const EndPage = lazy(() => import("./pages/end"));
const Connectors = lazy(() => import("./pages/connectors"));
const Cdc = lazy(() => import("./pages/cdc"));
const Alerts = lazy(() => import("./pages/alerts"));
const Access = lazy(() => import("./pages/access"));
const Audit = lazy(() => import("./pages/audit"));
const Settings = lazy(() => import("./pages/settings"));

export function App() {
  return (
    <BrowserRouter>
      <SessionProvider>
        <Shell>
          <Suspense fallback={<Loading />}>
            <Routes>
              <Route path="/" element={<Home />} />
              <Route path="/connections" element={<Navigate to="/" replace />} />
              <Route path="/connections/:id/:tab?" element={<Connection />} />
              <Route path="/jobs" element={<Jobs />} />
              <Route path="/jobs/:id" element={<Job />} />
              <Route path="/setup" element={<Setup />} />
              <Route path="/sources" element={<Ends role="source" />} />
              <Route path="/sources/:id" element={<EndPage role="source" />} />
              <Route path="/destinations" element={<Ends role="destination" />} />
              <Route path="/destinations/:id" element={<EndPage role="destination" />} />
              <Route path="/connectors" element={<Connectors />} />
              <Route path="/cdc" element={<Cdc />} />
              <Route path="/alerts/:tab?" element={<Alerts />} />
              <Route path="/access/:tab?" element={<Access />} />
              <Route path="/audit" element={<Audit />} />
              <Route path="/settings" element={<Settings />} />
              <Route path="*" element={<Missing />} />
            </Routes>
          </Suspense>
        </Shell>
      </SessionProvider>
    </BrowserRouter>
  );
}
