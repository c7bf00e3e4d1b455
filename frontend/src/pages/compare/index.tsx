/** Compare: one prompt, the base and up to three adapters, side by side. */

import { Columns2 } from "lucide-react";

import { useListAdaptersQuery, useListModelsQuery } from "@/api";
import { EmptyState, ErrorNote, LinkButton, PageHeader, Skeleton } from "@/components/ui";

import { isUsable } from "./choices";
import { MemoryLine } from "./MemoryLine";
import { Workbench } from "./Workbench";

export default function ComparePage() {
  // Both change by what happens elsewhere: a training that saves, a folder that is copied here.
  const fresh = { refetchOnMountOrArgChange: true, refetchOnFocus: true };
  const models = useListModelsQuery(undefined, fresh);
  const adapters = useListAdaptersQuery(undefined, fresh);
  return (
    <>
      <PageHeader
        title="Compare"
        description="One prompt, answered by the base and by up to three adapters, side by side."
        actions={<MemoryLine />}
      />
      {models.data && (adapters.data ?? adapters.error) !== undefined ? (
        models.data.some(isUsable) ? (
          <>
            {adapters.error !== undefined && !adapters.data && (
              <div className="mb-5">
                <ErrorNote error={adapters.error} onRetry={() => void adapters.refetch()} />
              </div>
            )}
            <Workbench models={models.data} adapters={adapters.data ?? []} />
          </>
        ) : (
          <EmptyState
            icon={Columns2}
            title="There is no model yet."
            actions={<LinkButton to="/setup">Go to Setup</LinkButton>}
          >
            Fetch or import a base model in Setup; then it can be asked here, with or without adapters.
          </EmptyState>
        )
      ) : models.error !== undefined ? (
        <ErrorNote error={models.error} onRetry={() => void models.refetch()} />
      ) : (
        <Waiting />
      )}
    </>
  );
}

function Waiting() {
  return (
    <div role="status" aria-label="Loading models and adapters" className="space-y-5">
      <Skeleton className="h-44 w-full" />
      <Skeleton className="h-72 w-full" />
    </div>
  );
}
