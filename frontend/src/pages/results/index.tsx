/** Results: all runs, one run, several over one another, the adapters, and their exports. */

import { lazy } from "react";
import { Route, Routes } from "react-router";

import { AdaptersPage } from "./AdaptersPage";
import { ExportsPage } from "./ExportsPage";
import { RunsPage } from "./RunsPage";

// Charts are fetched with the pages that draw them.
const RunPage = lazy(() => import("./RunPage"));
const NewExportPage = lazy(() => import("./NewExportPage"));
const ExportPage = lazy(() => import("./ExportPage"));
const OverlayPage = lazy(() => import("./OverlayPage"));

export default function ResultsPage() {
  return (
    <Routes>
      <Route index element={<RunsPage />} />
      <Route path="adapters" element={<AdaptersPage />} />
      <Route path="exports" element={<ExportsPage />} />
      <Route path="exports/:name" element={<ExportPage />} />
      <Route path="export" element={<NewExportPage />} />
      <Route path="overlay" element={<OverlayPage />} />
      <Route path=":run/*" element={<RunPage />} />
    </Routes>
  );
}
