import { Route, Routes } from "react-router";

import Overview from "./Overview";
import RunPage from "./RunPage";

export default function TrainingPage() {
  return (
    <Routes>
      <Route index element={<Overview />} />
      <Route path=":run" element={<RunPage />} />
    </Routes>
  );
}
