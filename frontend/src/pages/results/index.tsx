/** Results: all runs, one run, several over one another, and the adapters. */

import { lazy } from "react";
import { Route, Routes } from "react-router";

import { AdaptersPage } from "./AdaptersPage";
import { RunsPage } from "./RunsPage";

// Charts are fetched with the pages that draw them.
const RunPage = lazy(() => import("./RunPage"));
const OverlayPage = lazy(() => import("./OverlayPage"));

export default function ResultsPage() {
  return (
    <Routes>
      <Route index element={<RunsPage />} />
      <Route path="adapters" element={<AdaptersPage />} />
      <Route path="overlay" element={<OverlayPage />} />
      <Route path=":run/*" element={<RunPage />} />
    </Routes>
  );
}
