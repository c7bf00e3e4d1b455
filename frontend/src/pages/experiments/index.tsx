/** Experiments: all of them, a new one, one with its plan and what it has found. */

import { lazy } from "react";
import { Route, Routes } from "react-router";

import { ListPage } from "./ListPage";

const NewPage = lazy(() => import("./NewPage"));
const ExperimentPage = lazy(() => import("./ExperimentPage"));

export default function ExperimentsPage() {
  return (
    <Routes>
      <Route index element={<ListPage />} />
      <Route path="new" element={<NewPage />} />
      <Route path=":experiment" element={<ExperimentPage />} />
    </Routes>
  );
}
