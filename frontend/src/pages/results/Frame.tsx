import type { ReactNode } from "react";
import { useNavigate } from "react-router";

import { PageHeader, Tabs } from "@/components/ui";

type Section = "runs" | "adapters";

const PLACES: Record<Section, string> = { runs: "/results", adapters: "/results/adapters" };

/** Title and tabs that the two lists share. */
export function Frame({
  section,
  actions,
  children,
}: {
  section: Section;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const navigate = useNavigate();
  return (
    <>
      <PageHeader
        title="Results"
        description="Every run with its settings and history, and every adapter on this machine."
        actions={actions}
      />
      <Tabs
        label="Results"
        value={section}
        tabs={[
          { value: "runs", label: "Runs" },
          { value: "adapters", label: "Adapters" },
        ]}
        onValue={(to) => void navigate(PLACES[to])}
      >
        {children}
      </Tabs>
    </>
  );
}
