import type { RunSummary } from "@/api";
import { Badge } from "@/components/ui";

import { lookOf } from "./states";

/** A run's state as a word with a sign. */
export function StateBadge({ run }: { run: RunSummary }) {
  const { label, tone, icon } = lookOf(run);
  return (
    <Badge tone={tone} icon={icon}>
      {label}
    </Badge>
  );
}
