/** Routes. Each page owns everything below its first path segment and is loaded when it is opened. */

import { Compass } from "lucide-react";
import { lazy } from "react";
import { Navigate, Route, Routes } from "react-router";

import { EmptyState, LinkButton } from "@/components/ui";
import { useAppSelector } from "@/state/hooks";

import { Shell } from "./shell/Shell";
import { SignIn } from "./shell/SignIn";
import { Toaster, useRunToasts } from "./shell/Toaster";
import { useUpdates } from "./updates";

const Setup = lazy(() => import("@/pages/setup"));
const Enhanced = lazy(() => import("@/pages/enhanced"));
const Training = lazy(() => import("@/pages/training"));
const Results = lazy(() => import("@/pages/results"));
const Experiments = lazy(() => import("@/pages/experiments"));
const Compare = lazy(() => import("@/pages/compare"));

function NotFound() {
  return (
    <EmptyState
      icon={Compass}
      title="There is no such page."
      actions={<LinkButton to="/setup">Go to Setup</LinkButton>}
    >
      The address may be mistyped, or what it showed was deleted.
    </EmptyState>
  );
}

export function App() {
  useUpdates();
  useRunToasts();
  const signedOut = useAppSelector((state) => state.session.signedIn === false);
  if (signedOut) return <SignIn />;
  return (
    <>
      <Routes>
        <Route element={<Shell />}>
          <Route index element={<Navigate to="/setup" replace />} />
          <Route path="setup/*" element={<Setup />} />
          <Route path="enhanced/*" element={<Enhanced />} />
          <Route path="training/*" element={<Training />} />
          <Route path="results/*" element={<Results />} />
          <Route path="experiments/*" element={<Experiments />} />
          <Route path="compare/*" element={<Compare />} />
          <Route path="*" element={<NotFound />} />
        </Route>
      </Routes>
      <Toaster />
    </>
  );
}
